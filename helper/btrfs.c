/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "btrfs.h"

#include "little-endian.h"

#include <linux/if_alg.h>
#include <sys/socket.h>

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

static void put64(uint8_t *p, uint64_t v)
{
    v = htole64(v);
    memcpy(p, &v, sizeof(v));
}

/* The kernel's own hash, which it needs for mounting such a file system anyway. */
static int kernel_hash(const char *name, const void *data, size_t size, uint8_t *ret, size_t ret_size)
{
    struct sockaddr_alg address = {.salg_family = AF_ALG, .salg_type = "hash"};
    _cleanup_close_ int s = socket(AF_ALG, SOCK_SEQPACKET | SOCK_CLOEXEC, 0), op = -EBADF;

    snprintf((char *)address.salg_name, sizeof(address.salg_name), "%s", name);
    if (s < 0 || bind(s, (struct sockaddr *)&address, sizeof(address)) < 0)
        return -EOPNOTSUPP;
    op = accept4(s, NULL, NULL, SOCK_CLOEXEC);
    if (op < 0 || send(op, data, size, 0) != (ssize_t)size || read(op, ret, ret_size) != (ssize_t)ret_size)
        return -EOPNOTSUPP;
    return 0;
}

/* Of all but the field for it; shorter ones have zeros behind them. */
static int super_csum(const uint8_t *s, uint8_t ret[static SUPER_FSID])
{
    static const struct {
        const char *name;
        size_t size;
    } kernel[] = {{NULL, 0}, {"xxhash64", 8}, {"sha256", 32}, {"blake2b-256", 32}}; /* by csum_type */
    unsigned type = (unsigned)(s[SUPER_CSUM_TYPE] | s[SUPER_CSUM_TYPE + 1] << 8);
    uint32_t crc;

    memset(ret, 0, SUPER_FSID);
    if (type >= ELEMENTSOF(kernel))
        return -EOPNOTSUPP;
    if (type > 0)
        return kernel_hash(kernel[type].name, s + SUPER_FSID, SUPER_SIZE - SUPER_FSID, ret,
                           kernel[type].size);
    crc = htole32(crc32c(s + SUPER_FSID, SUPER_SIZE - SUPER_FSID));
    memcpy(ret, &crc, sizeof(crc));
    return 0;
}

/* 1: a superblock that belongs here; 0: none; negative: one that we do not understand. */
static int super_check(const uint8_t *s, uint64_t offset)
{
    uint8_t csum[SUPER_FSID];
    int r;

    if (memcmp(s + SUPER_MAGIC, "_BHRfS_M", 8) != 0 || get64(s + SUPER_BYTENR) != offset)
        return 0;
    r = super_csum(s, csum);
    return r < 0 ? r : memcmp(csum, s, sizeof(csum)) == 0;
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
    uint8_t s[SUPER_SIZE], csum[SUPER_FSID];
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
        r = super_csum(s, csum);
        if (r < 0)
            return r;
        memcpy(s, csum, sizeof(csum));
        r = transfer(fd, s, super_offsets[i], true);
        if (r < 0)
            return r;
    }
    return fsync(fd) < 0 ? -errno : 0;
}
