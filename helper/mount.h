/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Mounting and unmounting through libmount, in children with a deadline. Always ro,nosuid,nodev,noexec; no
 * helper program, no fstab. What the kernel refuses is a reason for people, with the kernel's own words. */

#include "volume.h"
#include <sys/types.h>

/* Mounts a volume that has a node on a directory. replay: the file system may replay its journal, which the
 * overlay takes. ret_reason: NULL on success, else why not. ret_replayed: the kernel said that it replayed a
 * journal. ret_journal_elsewhere: it has one on another device, which is not replayed. Returns 0 in both
 * cases; an error only if the machine failed. */
int volume_mount(const Volume *volume, const char *directory, bool replay, uint64_t timeout_usec,
                 char **ret_reason, bool *ret_replayed, bool *ret_journal_elsewhere);
/* The same question about one that is mounted. What cannot be read has none. */
bool volume_journal_elsewhere(const Volume *volume, uint64_t timeout_usec);

/* From now on the kernel follows no symbolic links on this mount. */
int mount_forbid_links(const char *directory, uint64_t timeout_usec);

/* The options for a volume; the caller's. NULL: no memory. */
char *mount_options(const Volume *volume, bool replay);

/* Does a line of the kernel's log say that a journal of this device was replayed? name: "dm-3". For tests,
 * too. */
bool kernel_line_replayed(const char *line, const char *name);

typedef struct MountPoint {
    int id;
    dev_t device; /* of its superblock */
    char *path;
} MountPoint;

/* All mounts at or below a directory, in mount order (the last one goes first). */
int mounts_below(const char *directory, MountPoint **ret, size_t *ret_n);
void mounts_free(MountPoint *mounts, size_t n);

/* Not mounted: 0. -EBUSY: held, -ETIMEDOUT: the kernel waits for a dead disk. detach: MNT_DETACH. */
int path_unmount(const char *path, bool detach, uint64_t timeout_usec);
