/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* How big the stores of overlays are, what lies on which overlay (on a made-up /sys), and the time that
 * volumes have. */

#include "assembly.h"
#include "child.h"
#include "files.h"
#include "lvm-report.h"
#include "overlay.h"
#include "paths.h"
#include "timeutil.h"
#include "up-state.h"

#include <fcntl.h>
#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include <cmocka.h>

static char directory[64];

static int setup(void **state)
{
    snprintf(directory, sizeof(directory), "/tmp/test-overlay-XXXXXX");
    return mkdtemp(directory) ? 0 : -1;
}

static int teardown(void **state)
{
    return file_remove_tree(AT_FDCWD, directory);
}

static void store_sizes(void **state)
{
    uint64_t small = overlay_store_bytes(2560 * MIB, 64 * MIB);

    assert_int_equal(overlay_store_bytes(2560 * MIB, 1024 * GIB), 2560 * MIB);
    assert_int_equal(overlay_store_bytes(MIB, 64 * MIB), MIB);
    /* A small disk's store holds all of it, with 16 bytes for each of its chunks. */
    assert_true(small >= 64 * MIB + 64 * MIB / (8 * KIB) * 16 + 16 * KIB);
    assert_true(small < 70 * MIB);
    assert_int_equal(small % MIB, 0);
}

static void device_make(unsigned minor, const char *name, int slave)
{
    char path[PATH_MAX], to[32];

    snprintf(path, sizeof(path), "%s/dev/block/253:%u/dm", directory, minor);
    assert_int_equal(dir_make(path, 0755, (uid_t)-1, (gid_t)-1), 0);
    strcat(path, "/name");
    assert_int_equal(file_write_atomic(AT_FDCWD, path, name, strlen(name), 0644, (uid_t)-1, (gid_t)-1), 0);
    snprintf(path, sizeof(path), "%s/dev/block/253:%u/slaves", directory, minor);
    assert_int_equal(mkdir(path, 0755), 0);
    if (slave >= 0) {
        snprintf(path, sizeof(path), "%s/dev/block/253:%u/slaves/dm-%d", directory, minor, slave);
        snprintf(to, sizeof(to), "../../253:%d", slave);
        assert_int_equal(symlink(to, path), 0);
    }
}

static void what_lies_on_what(void **state)
{
    char path[PATH_MAX];

    paths.sysfs = directory;
    snprintf(path, sizeof(path), "%s/dev", directory);
    assert_int_equal(mkdir(path, 0755), 0);
    strcat(path, "/block");
    assert_int_equal(mkdir(path, 0755), 0);
    for (unsigned i = 1; i <= 5; i++) {
        snprintf(path, sizeof(path), "%s/dev/block/253:%u", directory, i);
        assert_int_equal(mkdir(path, 0755), 0);
    }
    device_make(1, "ilr_aaaaaaaa_d1\n", -1);
    device_make(2, "ilr_aaaaaaaa_d1p2\n", 1);
    device_make(3, "ilr_aaaaaaaa_v1-root\n", 2);
    device_make(4, "ilr_aaaaaaaa_d11\n", -1);
    device_make(5, "ilr_aaaaaaaa_x1\n", 5); /* a loop, which sysfs never has */
    assert_true(device_lies_on(makedev(253, 1), "ilr_aaaaaaaa_d1"));
    assert_true(device_lies_on(makedev(253, 2), "ilr_aaaaaaaa_d1"));
    assert_true(device_lies_on(makedev(253, 3), "ilr_aaaaaaaa_d1"));
    assert_false(device_lies_on(makedev(253, 3), "ilr_aaaaaaaa_d11"));
    assert_false(device_lies_on(makedev(253, 4), "ilr_aaaaaaaa_d1"));
    assert_false(device_lies_on(makedev(253, 5), "ilr_aaaaaaaa_d1"));
    assert_false(device_lies_on(makedev(253, 9), "ilr_aaaaaaaa_d1"));
}

static void time_for_volumes(void **state)
{
    Config config = {.mount_timeout_usec = 10 * USEC_PER_SEC};
    Assembly a = {.config = &config};
    Volume v = {};

    assembly_begin(&a);
    assert_int_equal(assembly_timeout(&a), 10 * USEC_PER_SEC);
    assert_int_equal(assembly_late(&a, &v), 0);
    assert_null(v.reason);
    a.deadline_usec = now_usec(CLOCK_MONOTONIC) + 2 * USEC_PER_SEC;
    assert_true(assembly_timeout(&a) <= 2 * USEC_PER_SEC);
    a.deadline_usec = now_usec(CLOCK_MONOTONIC);
    assert_true(assembly_timeout(&a) > 0);
    assert_int_equal(assembly_late(&a, &v), 1);
    assert_non_null(strstr(v.reason, "no time left"));
    free(v.reason);
}

static void ways_of_logical_volumes(void **state)
{
    static char *raid[] = {(char *)"unsynced_rimage_0(0)", NULL},
                *image[] = {(char *)"/dev/mapper/x(1)", NULL},
                *mirror[] = {(char *)"old_mimage_0(0)", (char *)"old_mimage_1(0)", NULL},
                *through[] = {(char *)"through_corig(0)", NULL}, *moved[] = {(char *)"pvmove0(3)", NULL},
                *pool[] = {(char *)"pool_tdata(0)", NULL}, *none[] = {NULL};
    LvmSegment s[] = {
        {.lv = "back", .type = "cache", .cache_mode = "writeback", .pieces = none},
        {.lv = "moving", .type = "linear", .pieces = moved},
        {.lv = "old", .type = "mirror", .pieces = mirror},
        {.lv = "old_mimage_0", .type = "linear", .hidden = true, .pieces = image},
        {.lv = "plain", .type = "linear", .pieces = image},
        {.lv = "pool", .type = "thin-pool", .pieces = pool},
        {.lv = "pool_tdata", .type = "cache", .hidden = true, .cache_mode = "writethrough", .pieces = none},
        {.lv = "pvmove0", .type = "mirror", .hidden = true, .pieces = image},
        {.lv = "snap", .type = "linear", .origin = "old", .pieces = image},
        {.lv = "snap-of-plain", .type = "linear", .origin = "plain", .pieces = image},
        {.lv = "thin", .type = "thin", .pool = "pool", .pieces = none},
        {.lv = "through", .type = "cache", .cache_mode = "writethrough", .pieces = through},
        {.lv = "unsynced", .type = "raid1", .pieces = raid},
        {.lv = "writer", .type = "writecache", .pieces = none},
    };
    static const struct {
        const char *lv;
        LvmWay way;
    } wanted[] = {{"plain", LVM_WAY_ACTIVATE}, {"unsynced", LVM_WAY_ACTIVATE},
                  {"old", LVM_WAY_MAP},        {"moving", LVM_WAY_MAP},
                  {"through", LVM_WAY_MAP},    {"back", LVM_WAY_REFUSE},
                  {"writer", LVM_WAY_REFUSE},  {"thin", LVM_WAY_REFUSE},
                  {"snap", LVM_WAY_REFUSE},    {"snap-of-plain", LVM_WAY_ACTIVATE}};
    const char *why;

    for (size_t i = 0; i < ELEMENTSOF(wanted); i++) {
        assert_int_equal(lvm_way(s, ELEMENTSOF(s), wanted[i].lv, &why), wanted[i].way);
        assert_non_null(why);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(store_sizes),
        cmocka_unit_test_setup_teardown(what_lies_on_what, setup, teardown),
        cmocka_unit_test(time_for_volumes),
        cmocka_unit_test(ways_of_logical_volumes),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
