/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* A btrfs gets a new identity before the kernel sees it: the kernel keeps all file systems of one fsid for
 * one, and a clone beside its living original stops the one or the other from being mounted. Only the
 * superblocks are changed, so generation and log stay and the log can be replayed. Writes: only ever called
 * on an overlay. */

#include "util.h"

typedef struct BtrfsSuper {
    uint8_t fsid[16];
    uint64_t n_devices; /* of the file system */
    uint64_t device;    /* which of them this is */
} BtrfsSuper;

/* Reads the first superblock. 0; -EMEDIUMTYPE: none that its checksum confirms; -EOPNOTSUPP: a checksum
 * algorithm that neither we nor this kernel knows; or the errno of the read. */
int btrfs_read(int fd, BtrfsSuper *ret);

/* Gives the device of a file system on fd (size_bytes long, a device or an image) the fsid given; the old one
 * becomes its metadata UUID. All devices of one file system need the same. As btrfs_read(). */
int btrfs_set_fsid(int fd, uint64_t size_bytes, const uint8_t fsid[static 16]);

/* CRC-32C (Castagnoli) as btrfs uses it, for its tests. */
uint32_t crc32c(const void *data, size_t size);
