/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* What the helper reads of a disk and writes onto it, on images: REPORT LUNS, partition tables, content, how
 * it is mounted, the btrfs superblock. */

#include "btrfs.h"
#include "child.h"
#include "disk.h"
#include "mount.h"
#include "partition.h"
#include "probe.h"
#include "scratch.h"

#include <endian.h>
#include <fcntl.h>
#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

/* ---- REPORT LUNS ---- */

static void luns(void **state)
{
    const uint8_t answer[] = {
        0,    0,    0, 40, 0, 0, 0, 0, /* length, reserved */
        0,    0,    0, 0,  0, 0, 0, 0, /* 0 */
        0,    1,    0, 0,  0, 0, 0, 0, /* 1 */
        0x40, 0x80, 0, 0,  0, 0, 0, 0, /* flat space 128: the kernel says 16512 */
        0xc1, 1,    0, 0,  0, 0, 0, 0, /* well-known */
        0,    7,    0, 0,  0, 0, 0, 0, /* 7 */
    };
    _cleanup_free_ uint64_t *found = NULL, *cut = NULL, *none = NULL;
    size_t n;

    assert_int_equal(report_luns_parse(answer, sizeof(answer), &found, &n), 0);
    assert_int_equal(n, 4);
    assert_int_equal(found[0], 0);
    assert_int_equal(found[1], 1);
    assert_int_equal(found[2], 16512);
    assert_int_equal(found[3], 7);
    /* It promises more than it brings. */
    assert_int_equal(report_luns_parse(answer, 24, &cut, &n), 0);
    assert_int_equal(n, 2);
    assert_int_equal(report_luns_parse(answer, 8, &none, &n), 0);
    assert_int_equal(n, 0);
    assert_int_equal(report_luns_parse(answer, 7, &none, &n), -EBADMSG);
}

/* ---- partition tables and content, on images made with the real tools ---- */

static bool run(const char *const *argv, const char *input)
{
    ChildOptions options = {.timeout_usec = 60 * USEC_PER_SEC, .input = input};
    _cleanup_child_ ChildResult result = {};

    return child_run((char *const *)argv, &options, &result) >= 0 && result.status == 0;
}

static int image(const char *name, uint64_t size)
{
    char path[PATH_MAX];
    int fd;

    snprintf(path, sizeof(path), "%s/%s", scratch, name);
    fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    assert_int_equal(ftruncate(fd, (off_t)size), 0);
    return fd;
}

static bool sfdisk(const char *name, const char *script)
{
    char path[PATH_MAX];
    const char *argv[] = {"sfdisk", "-q", path, NULL};

    snprintf(path, sizeof(path), "%s/%s", scratch, name);
    return run(argv, script);
}

static void table_gpt(void **state)
{
    _cleanup_close_ int fd = image("gpt", 16 * MIB);
    _cleanup_(partition_table_done) PartitionTable t = {}, again = {};
    _cleanup_json_ json_object *o = NULL;
    bool part;

    if (!sfdisk("gpt", "label: gpt\nstart=2048,size=2048,name=\"one\"\nstart=8192,size=4096,"
                       "type=21686148-6449-6E6F-744E-656564454649\n"))
        skip();
    assert_int_equal(partition_table_read(fd, &t), 0);
    assert_string_equal(t.type, "gpt");
    assert_int_equal(t.n_partitions, 2);
    assert_int_equal(t.partitions[0].number, 1);
    assert_int_equal(t.partitions[0].start_bytes, 1 * MIB);
    assert_int_equal(t.partitions[0].size_bytes, 1 * MIB);
    assert_string_equal(t.partitions[0].label, "one");
    assert_null(t.partitions[1].label);
    assert_non_null(partition_type_reason(t.partitions[1].type, &part));
    assert_false(part);
    assert_null(partition_type_reason(t.partitions[0].type, &part));
    assert_int_equal(strlen(t.partitions[0].uuid), 36);
    assert_non_null(partition_type_reason("AF9B60A0-1431-4F62-BC68-3311714A69AD", &part));
    assert_true(part);
    assert_non_null(partition_type_reason("0x42", &part));
    assert_true(part);
    /* Between child and parent nothing is lost. */
    assert_int_equal(partition_table_to_json(&t, &o), 0);
    assert_int_equal(partition_table_from_json(o, &again), 0);
    assert_int_equal(again.n_partitions, 2);
    assert_int_equal(again.partitions[1].start_bytes, 4 * MIB);
    assert_string_equal(again.partitions[0].label, "one");
    assert_string_equal(again.partitions[1].type, t.partitions[1].type);
}

/* The image is seen with sectors of 512, the table was written for 4096. */
static void table_of_other_sectors(void **state)
{
    _cleanup_close_ int fd = image("4k", 64 * MIB);
    _cleanup_(partition_table_done) PartitionTable t = {};

    char path[PATH_MAX];
    const char *argv[] = {"fdisk", "-b", "4096", path, NULL};

    snprintf(path, sizeof(path), "%s/4k", scratch);
    if (!run(argv, "g\nn\n1\n256\n1279\nw\n"))
        skip();
    assert_int_equal(partition_table_read(fd, &t), 0);
    assert_int_equal(t.n_partitions, 1);
    assert_int_equal(t.sector_bytes, 4096);
    assert_int_equal(t.partitions[0].start_bytes, 1 * MIB);
    assert_int_equal(t.partitions[0].size_bytes, 4 * MIB);
}

static void table_mbr(void **state)
{
    _cleanup_close_ int fd = image("mbr", 16 * MIB);
    _cleanup_(partition_table_done) PartitionTable t = {};

    if (!sfdisk("mbr", "label: dos\nstart=2048,size=2048,type=83\nstart=4096,type=5\n"
                       "start=6144,size=2048,type=83\nstart=10240,size=2048,type=82\n"))
        skip();
    assert_int_equal(partition_table_read(fd, &t), 0);
    assert_string_equal(t.type, "dos");
    assert_int_equal(t.n_partitions, 3); /* the extended one is no volume */
    assert_int_equal(t.partitions[0].number, 1);
    assert_int_equal(t.partitions[1].number, 5);
    assert_int_equal(t.partitions[1].start_bytes, 3 * MIB);
    assert_int_equal(t.partitions[2].number, 6);
    assert_string_equal(t.partitions[2].type, "0x82");
}

/* A table that promises more than the disk has: what reaches beyond is no volume. */
static void table_beyond_the_end(void **state)
{
    _cleanup_close_ int fd = image("short", 16 * MIB);
    _cleanup_(partition_table_done) PartitionTable t = {};

    if (!sfdisk("short", "label: dos\nstart=2048,size=2048,type=83\nstart=8192,size=16384,type=83\n"))
        skip();
    assert_int_equal(ftruncate(fd, 8 * MIB), 0);
    assert_int_equal(partition_table_read(fd, &t), 0);
    assert_int_equal(t.n_partitions, 1);
    assert_int_equal(t.partitions[0].number, 1);
}

static void table_none(void **state)
{
    _cleanup_close_ int fd = image("none", 1 * MIB);
    _cleanup_(partition_table_done) PartitionTable t = {};

    assert_int_equal(partition_table_read(fd, &t), 0);
    assert_null(t.type);
    assert_int_equal(t.n_partitions, 0);
}

static void probe_contents(void **state)
{
    _cleanup_close_ int fd = image("ext4", 8 * MIB), empty = image("empty", 2 * MIB),
                        junk = image("junk", 2 * MIB);
    char path[PATH_MAX];
    const char *argv[] = {"mkfs.ext4", "-q", "-L", "two words", path, NULL};
    Volume v = {.size_bytes = 8 * MIB}, e = {.size_bytes = 2 * MIB}, s = {.size_bytes = 2 * MIB},
           j = {.start_bytes = 1 * MIB, .size_bytes = 1 * MIB};

    snprintf(path, sizeof(path), "%s/ext4", scratch);
    if (!run(argv, NULL))
        skip();
    assert_int_equal(volume_probe(fd, &v, 10 * USEC_PER_SEC), 0);
    assert_string_equal(v.type, "ext4");
    assert_string_equal(v.label, "two words");
    assert_non_null(v.uuid);
    assert_null(v.reason);
    /* Rotten, but for sure an ext4: libblkid before 2.39 leaves the checksum to the kernel. */
    assert_int_equal(pwrite(fd, "rotten", 6, 1024 + 0x1a8), 6);
    free(v.type), free(v.label), free(v.uuid);
    v = (Volume){.size_bytes = 8 * MIB};
    assert_int_equal(volume_probe(fd, &v, 10 * USEC_PER_SEC), 0);
    assert_string_equal(v.type, "ext4");
    assert_true(!v.reason || strstr(v.reason, "damaged superblock"));
    /* The first piece of a volume of a dynamic disk looks like the whole. */
    v.partition_type = (char *)"0x42";
    free(v.type), free(v.label), free(v.uuid);
    v.type = v.label = v.uuid = NULL;
    assert_int_equal(volume_probe(fd, &v, 10 * USEC_PER_SEC), 0);
    assert_non_null(v.reason);
    assert_non_null(strstr(v.reason, "dynamic disk"));
    free(v.reason);
    assert_int_equal(volume_probe(empty, &e, 10 * USEC_PER_SEC), 0);
    assert_string_equal(e.reason, "empty");
    assert_int_equal(pwrite(junk, "junk", 4, 1 * MIB), 4);
    assert_int_equal(volume_probe(junk, &j, 10 * USEC_PER_SEC), 0);
    assert_non_null(strstr(j.reason, "unknown content"));
    assert_int_equal(pwrite(junk, "SWAPSPACE2", 10, 4086), 10);
    assert_int_equal(pwrite(junk, "\1\0\0\0\xff\0\0\0", 8, 1024), 8);
    assert_int_equal(volume_probe(junk, &s, 10 * USEC_PER_SEC), 0);
    assert_string_equal(s.type, "swap");
    assert_non_null(strstr(s.reason, "swap space"));
    free(v.type), free(v.label), free(v.uuid);
    free(e.reason);
    free(j.reason);
    free(s.type), free(s.label), free(s.uuid), free(s.reason);
}

static void types(void **state)
{
    assert_true(type_mountable("ext4"));
    assert_true(type_mountable("btrfs"));
    assert_true(type_mountable("ntfs"));
    assert_false(type_mountable("nfs"));
    assert_false(type_mountable(""));
    static const struct {
        const char *type;
        bool replay, degraded;
        const char *options;
    } mounts[] = {
        {"ext4", true, false, "ro,nosuid,nodev,noexec,errors=continue"},
        {"ext4", false, false, "ro,nosuid,nodev,noexec,errors=continue,noload"},
        {"ext4", true, true, "ro,nosuid,nodev,noexec,errors=continue"},
        {"ext3", false, false, "ro,nosuid,nodev,noexec,errors=continue,noload"},
        {"ext2", false, false, "ro,nosuid,nodev,noexec,errors=continue"},
        {"xfs", true, false, "ro,nosuid,nodev,noexec,nouuid"},
        {"xfs", false, false, "ro,nosuid,nodev,noexec,nouuid,norecovery"},
        {"btrfs", false, true, "ro,nosuid,nodev,noexec,subvolid=5,rescue=nologreplay,degraded"},
        {"vfat", true, false, "ro,nosuid,nodev,noexec,uid=0,gid=0,umask=0022,utf8"},
    };
    char *partners[] = {(char *)"ilr_abcd1234_d2", NULL};
    size_t i;

    for (i = 0; i < ELEMENTSOF(mounts); i++) {
        Volume v = {.type = (char *)mounts[i].type, .degraded = mounts[i].degraded};
        _cleanup_free_ char *options = mount_options(&v, mounts[i].replay);

        assert_string_equal(options, mounts[i].options);
        v.partners = partners;
        free(options);
        options = mount_options(&v, true);
        assert_true(endswith(options, ",device=/dev/mapper/ilr_abcd1234_d2"));
    }
}

static void words_of_the_kernel(void **state)
{
    assert_true(kernel_line_replayed("EXT4-fs (dm-3): recovery complete", "dm-3"));
    assert_true(kernel_line_replayed("XFS (dm-3): Starting recovery (logdev: internal)", "dm-3"));
    assert_true(kernel_line_replayed("BTRFS info (device dm-3): start tree-log replay", "dm-3"));
    assert_false(kernel_line_replayed("EXT4-fs (dm-31): recovery complete", "dm-3"));
    assert_false(kernel_line_replayed("EXT4-fs (dm-3): mounted filesystem", "dm-3"));
}

/* ---- btrfs ---- */

static void checksum(void **state)
{
    assert_int_equal(crc32c("123456789", 9), 0xe3069283);
}

static const uint8_t fsid[16] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16};

/* A superblock as the kernel would take it, as far as we look. */
static void put_super(int fd, uint64_t at, uint64_t devices, uint16_t csum_type)
{
    uint8_t s[4096] = {};
    uint64_t place = htole64(at), n = htole64(devices);
    uint32_t csum;

    memset(s + 0x20, 0xaa, 16);
    memcpy(s + 0x30, &place, 8);
    memcpy(s + 0x40, "_BHRfS_M", 8);
    memcpy(s + 0x88, &n, 8);
    s[0xc4] = (uint8_t)csum_type;
    csum = htole32(crc32c(s + 0x20, sizeof(s) - 0x20));
    memcpy(s, &csum, 4);
    assert_int_equal(pwrite(fd, s, sizeof(s), (off_t)at), sizeof(s));
}

static void btrfs_identity(void **state)
{
    _cleanup_close_ int fd = image("btrfs", 65 * MIB);
    uint8_t s[4096], other[16];
    const uint64_t places[] = {64 * KIB, 64 * MIB};
    uint32_t csum;
    size_t i, round;

    put_super(fd, places[0], 1, 0);
    put_super(fd, places[1], 1, 0);
    memset(other, 0x55, sizeof(other));
    for (round = 0; round < 2; round++) {
        assert_int_equal(btrfs_set_fsid(fd, 65 * MIB, round ? other : fsid), 0);
        for (i = 0; i < ELEMENTSOF(places); i++) {
            assert_int_equal(pread(fd, s, sizeof(s), (off_t)places[i]), sizeof(s));
            assert_memory_equal(s + 0x20, round ? other : fsid, 16);
            assert_int_equal(s[0x23b],
                             0xaa); /* the tree's blocks carry the first one, also the second time */
            assert_int_equal(s[0x23b + 15], 0xaa);
            assert_int_equal(s[0xbd] & 4, 4);
            memcpy(&csum, s, 4);
            assert_int_equal(le32toh(csum), crc32c(s + 0x20, sizeof(s) - 0x20));
        }
    }
}

static void btrfs_refused(void **state)
{
    _cleanup_close_ int fd = image("btrfs-bad", 1 * MIB);
    BtrfsSuper super;

    assert_int_equal(btrfs_set_fsid(fd, 1 * MIB, fsid), -EMEDIUMTYPE);
    assert_int_equal(btrfs_read(fd, &super), -EMEDIUMTYPE);
    put_super(fd, 64 * KIB, 2, 0);
    assert_int_equal(btrfs_read(fd, &super), 0);
    assert_int_equal(super.n_devices, 2);
    put_super(fd, 64 * KIB, 1, 77);
    assert_int_equal(btrfs_set_fsid(fd, 1 * MIB, fsid), -EOPNOTSUPP);
    put_super(fd, 64 * KIB, 1, 0);
    assert_int_equal(pwrite(fd, "x", 1, 64 * KIB + 0x300), 1); /* damaged */
    assert_int_equal(btrfs_set_fsid(fd, 1 * MIB, fsid), -EMEDIUMTYPE);
    /* The first copy would lie beyond the end. */
    assert_int_equal(btrfs_set_fsid(fd, 64 * KIB, fsid), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(luns),
        SCRATCH_TEST(table_gpt),
        SCRATCH_TEST(table_of_other_sectors),
        SCRATCH_TEST(table_mbr),
        SCRATCH_TEST(table_beyond_the_end),
        SCRATCH_TEST(table_none),
        SCRATCH_TEST(probe_contents),
        cmocka_unit_test(types),
        cmocka_unit_test(words_of_the_kernel),
        cmocka_unit_test(checksum),
        SCRATCH_TEST(btrfs_identity),
        SCRATCH_TEST(btrfs_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
