/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "btrfs.h"

#include <endian.h>

/* The superblock, 4096 bytes at fixed places; offsets from the on-disk format. */
#define SUPER_SIZE 4096
#define SUPER_FSID 0x20
#define SUPER_BYTENR 0x30
#define SUPER_MAGIC 0x40
#define SUPER_NUM_DEVICES 0x88
#define SUPER_INCOMPAT 0xbc
#define SUPER_CSUM_TYPE 0xc4
#define SUPER_DEVICE 0xc9
#define SUPER_METADATA_UUID 0x23b
#define INCOMPAT_METADATA_UUID UINT64_C(0x400)

static const uint64_t super_offsets[] = {64 * KIB, 64 * MIB, 256 * GIB};

uint32_t crc32c(const void *data, size_t size)
{
    const uint8_t *p = data;
    uint32_t crc = ~0U;
    int k;

    while (size-- > 0) {
        crc ^= *p++;
        for (k = 0; k < 8; k++)
            crc = crc >> 1 ^ (crc & 1 ? 0x82f63b78U : 0);
    }
    return ~crc;
}

static uint64_t get64(const uint8_t *p)
{
    uint64_t v;

    memcpy(&v, p, sizeof(v));
    return le64toh(v);
}

static void put64(uint8_t *p, uint64_t v)
{
    v = htole64(v);
    memcpy(p, &v, sizeof(v));
}

static uint32_t super_csum(const uint8_t *s)
{
    return htole32(crc32c(s + SUPER_FSID, SUPER_SIZE - SUPER_FSID));
}

/* 1: a superblock that belongs here; 0: none; negative: one that we do not understand. */
static int super_check(const uint8_t *s, uint64_t offset)
{
    uint32_t csum;

    if (memcmp(s + SUPER_MAGIC, "_BHRfS_M", 8) != 0 || get64(s + SUPER_BYTENR) != offset)
        return 0;
    if (s[SUPER_CSUM_TYPE] != 0 || s[SUPER_CSUM_TYPE + 1] != 0)
        return -EOPNOTSUPP;
    memcpy(&csum, s, sizeof(csum));
    if (csum != super_csum(s))
        return 0;
    return 1;
}

static int transfer(int fd, uint8_t *s, uint64_t offset, bool out)
{
    ssize_t n = out ? pwrite(fd, s, SUPER_SIZE, (off_t)offset) : pread(fd, s, SUPER_SIZE, (off_t)offset);

    return n < 0 ? -errno : n != SUPER_SIZE ? -EIO : 0;
}

int btrfs_read(int fd, BtrfsSuper *ret)
{
    uint8_t s[SUPER_SIZE];
    int r = transfer(fd, s, super_offsets[0], false);

    if (r >= 0)
        r = super_check(s, super_offsets[0]);
    if (r <= 0)
        return r < 0 ? r : -EMEDIUMTYPE;
    memcpy(ret->fsid, s + SUPER_FSID, sizeof(ret->fsid));
    ret->n_devices = get64(s + SUPER_NUM_DEVICES);
    ret->device = get64(s + SUPER_DEVICE);
    return 0;
}

int btrfs_set_fsid(int fd, uint64_t size_bytes, const uint8_t fsid[static 16])
{
    uint8_t s[SUPER_SIZE];
    uint32_t csum;
    size_t i;
    int r;

    for (i = 0; i < ELEMENTSOF(super_offsets); i++) {
        if (super_offsets[i] + SUPER_SIZE > size_bytes)
            break;
        r = transfer(fd, s, super_offsets[i], false);
        if (r < 0)
            return r;
        r = super_check(s, super_offsets[i]);
        if (r < 0)
            return r;
        if (r == 0) {
            if (i == 0) /* the one that the kernel mounts by */
                return -EMEDIUMTYPE;
            continue;
        }
        if (!(get64(s + SUPER_INCOMPAT) & INCOMPAT_METADATA_UUID)) {
            memcpy(s + SUPER_METADATA_UUID, s + SUPER_FSID, 16);
            put64(s + SUPER_INCOMPAT, get64(s + SUPER_INCOMPAT) | INCOMPAT_METADATA_UUID);
        }
        memcpy(s + SUPER_FSID, fsid, 16);
        csum = super_csum(s);
        memset(s, 0, SUPER_FSID);
        memcpy(s, &csum, sizeof(csum));
        r = transfer(fd, s, super_offsets[i], true);
        if (r < 0)
            return r;
    }
    return fsync(fd) < 0 ? -errno : 0;
}
