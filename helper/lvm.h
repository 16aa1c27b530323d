/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Volume groups. Each gets a new identity (vgimportclone, on the overlays) before anything of it is
 * activated, because LVM finds active volumes by the group's UUID, and the host may have the very same group.
 * All is done by the lvm program, which sees only the physical volumes that it is given (tool.h). */

#include "assembly.h"

/* Activates the complete groups among the volumes and adds their logical volumes. last: also does what can be
 * done for groups with missing physical volumes. */
int lvm_assemble(Assembly *a, bool last);

/* One volume group, or what has none, of one set of physical volumes. For lvm-partial.c. */
struct LvmPv;
typedef struct Group {
    Assembly *a;
    size_t *members; /* volumes */
    size_t n_members;
    const struct LvmPv *pvs; /* all rows of the report it is in */
    size_t n_pvs;
    const struct LvmPv *first; /* for what is the same for all */
    size_t n_missing;
    char name[DM_NAME_SIZE]; /* that it is given; "": none */
} Group;

/* Runs lvm with only these volumes in /dev. As tool_run(). */
int lvm_run(Assembly *a, const size_t *members, size_t n, const char *system_id, char *const *argv,
            ChildResult *ret);
/* All segments of the group, hidden volumes too, under the name that it was given or by its UUID. -EBADMSG:
 * lvm's answer is none. */
struct LvmSegment;
int lvm_segments(Group *g, struct LvmSegment **ret, size_t *ret_n);
/* Adds this volume as a map of our own. */
int lvm_map(Group *g, struct LvmSegment *segments, size_t n, const char *lv);
/* A group with missing physical volumes, which LVM does not let have a new identity: maps of our own for what
 * can be read without LVM. Reads only. */
int lvm_partial(Group *g);
