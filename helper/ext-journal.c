/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "ext-journal.h"

#include "util.h"

/* struct ext4_super_block (fs/ext4/ext4.h of the kernel): 1024 bytes into the volume. The lowest bytes of its
 * numbers come first. */
#define SUPER_OFFSET 1024
#define MAGIC_OFFSET 0x38
#define MAGIC_LE "\x53\xef"
#define FEATURES_OFFSET 0x5c
#define FEATURE_HAS_JOURNAL 0x4
#define JOURNAL_INODE_OFFSET 0xe0

int ext_journal_elsewhere(int fd)
{
    static const uint8_t none[4];
    uint8_t super[1024];
    ssize_t n = pread(fd, super, sizeof(super), SUPER_OFFSET);

    if (n < 0)
        return -errno;
    if (n < (ssize_t)sizeof(super) || memcmp(super + MAGIC_OFFSET, MAGIC_LE, 2) != 0)
        return 0;
    return (super[FEATURES_OFFSET] & FEATURE_HAS_JOURNAL) &&
           memcmp(super + JOURNAL_INODE_OFFSET, none, sizeof(none)) == 0;
}
