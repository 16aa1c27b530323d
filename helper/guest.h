/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Which of a session's volumes a backed-up machine mounts where, by its own etc/fstab. Pure: nothing here
 * touches the system. What it says is foreign and is only compared with what was found. */

#include "fstab.h"
#include "volume.h"

typedef struct GuestMount {
    const FstabEntry *entry;
    size_t volume;   /* index */
    char *subvolume; /* below the volume's own mount; "": all of it */
} GuestMount;

typedef struct GuestMissing {
    const FstabEntry *entry;
    char *reason;
} GuestMissing;

typedef struct GuestPlan {
    GuestMount *mounts; /* in the order of mounting */
    size_t n_mounts;
    GuestMissing *missing;
    size_t n_missing;
} GuestPlan;

/* The volume that a first field of fstab or crypttab names; of several one on this disk, if there is.
 * -ENOENT: none, then with a reason, the caller's. */
ssize_t guest_match(const Volume *volumes, size_t n, const Fstab *f, size_t disk, const char *what,
                    char **ret_reason);
/* All but "/" itself, which lies on volume root. Borrows from f. */
int guest_plan(const Volume *volumes, size_t n, const Fstab *f, size_t root, GuestPlan *ret);
void guest_plan_done(GuestPlan *p);
int guest_missing_add(GuestPlan *p, const FstabEntry *entry, char *reason);

/* The n-th place on a volume where a root may be, borrowed, "" is the volume itself; NULL: no more. Of a
 * btrfs: its default subvolume, and what distributions call theirs. */
const char *guest_root_place(const Volume *v, size_t n);
