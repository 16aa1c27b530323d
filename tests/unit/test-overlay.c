/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Overlays: how big their stores are, what device-mapper says of one, how all that is the session's is called
 * there, and what lies on which (on a made-up /sys). */

#include "dm.h"
#include "overlay.h"
#include "paths.h"
#include "scratch.h"
#include "up-state.h"

#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <sys/sysmacros.h>

#include <cmocka.h>

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

static void overlay_words(void **state)
{
    uint64_t used;

    assert_int_equal(overlay_status_parse("96/524288 32", &used), 0);
    assert_int_equal(used, 96 * 512);
    assert_int_equal(overlay_status_parse("Invalid", &used), -ENOSPC);
    assert_int_equal(overlay_status_parse("", &used), -EBADMSG);
}

static void dm_words(void **state)
{
    char buf[DM_NAME_SIZE], params[DM_PARAMS_SIZE];

    dm_name("abcd1234", 1, 0, buf);
    assert_string_equal(buf, "ilr_abcd1234_d1");
    dm_name("abcd1234", 1, -1, buf);
    assert_string_equal(buf, "ilr_abcd1234_d1cow");
    dm_name("abcd1234", 12, 3, buf);
    assert_string_equal(buf, "ilr_abcd1234_d12p3");
    dm_uuid("abcd1234", 12, 3, buf);
    assert_string_equal(buf, "LVM-ILRabcd1234d12p3");
    assert_null(strchr(strchr(buf, '-') + 1, '-')); /* with a second dash libblkid would not look into it */
    dm_uuid("abcd1234", 2, -1, buf);
    assert_string_equal(buf, "LVM-ILRabcd1234d2cow");
    dm_prefix("abcd1234", buf);
    assert_string_equal(buf, "ilr_abcd1234_");
    dm_params_linear(makedev(7, 3), 2048, params);
    assert_string_equal(params, "7:3 2048");
    dm_params_snapshot(makedev(8, 16), makedev(253, 4), params);
    assert_string_equal(params, "8:16 253:4 P 16");
}

static void device_make(unsigned minor, const char *name, int slave)
{
    char path[PATH_MAX], to[32];

    snprintf(path, sizeof(path), "dev/block/253:%u/dm/name", minor);
    scratch_put(path, name);
    snprintf(path, sizeof(path), "dev/block/253:%u/slaves", minor);
    scratch_dir(path);
    if (slave >= 0) {
        snprintf(path, sizeof(path), "%s/dev/block/253:%u/slaves/dm-%d", scratch, minor, slave);
        snprintf(to, sizeof(to), "../../253:%d", slave);
        assert_int_equal(symlink(to, path), 0);
    }
}

static void what_lies_on_what(void **state)
{
    paths.sysfs = scratch;
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

/* Before its first table a device has no size; that it cannot be told is something else. */
static void sizes_of_devices(void **state)
{
    static const struct {
        const char *text;
        int result;
    } sizes[] = {{"2048\n", 0}, {"0\n", -ENODATA}, {"", -EBADMSG}};
    uint64_t n = 0;
    size_t i;

    paths.sysfs = scratch;
    for (i = 0; i < ELEMENTSOF(sizes); i++) {
        scratch_put("dev/block/253:1/size", sizes[i].text);
        assert_int_equal(device_sectors(makedev(253, 1), &n), sizes[i].result);
    }
    assert_int_equal(n, 2048);
    assert_int_equal(device_sectors(makedev(253, 2), &n), -ENOENT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(store_sizes),   cmocka_unit_test(overlay_words), cmocka_unit_test(dm_words),
        SCRATCH_TEST(what_lies_on_what), SCRATCH_TEST(sizes_of_devices),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
