/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Who uses the disks of somebody's iSCSI session, on a made-up host: whoever is overlooked here is logged out
 * from under. */

#include "helper-host.h"
#include "leftover.h"
#include "paths.h"

#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <sys/sysmacros.h>

#include <cmocka.h>

static void put(const char *text, const char *format, ...) _printf_(2, 3);
static void put(const char *text, const char *format, ...)
{
    char name[256];
    va_list ap;

    va_start(ap, format);
    vsnprintf(name, sizeof(name), format, ap);
    va_end(ap);
    scratch_put(name, text);
}

static void put_link(const char *to, const char *name)
{
    char path[PATH_MAX];

    snprintf(path, sizeof(path), "%s/%s", scratch, name);
    assert_int_equal(symlink(to, path), 0);
}

/* A disk of iSCSI session sid with one partition. Whose it says that it is does not matter, what target it is
 * of does. */
static void put_disk(int sid, const char *name, unsigned minor)
{
    char numbers[16], place[256], to[512];

    snprintf(numbers, sizeof(numbers), "8:%u\n", minor);
    snprintf(place, sizeof(place), "sys/devices/host%d/session%d/target/%d:0:0:1", sid, sid, sid);
    put("OTHER\n", "%s/vendor", place);
    put(TARGET_PREFIX "1\n", "sys/class/iscsi_session/session%d/targetname", sid);
    put(numbers, "%s/block/%s/dev", place, name);
    snprintf(to, sizeof(to), "%s/%s", scratch, place);
    snprintf(place, sizeof(place), "sys/class/scsi_device/%d:0:0:1/x", sid);
    scratch_dir(place);
    *strrchr(place, '/') = '\0';
    strcat(place, "/device");
    put_link(to, place);
    put(numbers, "sys/class/block/%s/dev", name);
    snprintf(numbers, sizeof(numbers), "8:%u\n", minor + 1);
    put(numbers, "sys/class/block/%s/%s1/dev", name, name);
    put(numbers, "sys/class/block/%s1/dev", name);
    put("1\n", "sys/class/block/%s1/partition", name);
}

static void assert_users(int64_t sid, const char *expected)
{
    _cleanup_free_ char *who = NULL;

    assert_int_equal(leftover_disk_users(sid, 0, 10 * USEC_PER_SEC, &who), expected != NULL);
    if (expected)
        assert_string_equal(who, expected);
    else
        assert_null(who);
}

static int make(void **state)
{
    if (host_make_with_proc(state) < 0)
        return -1;
    put_disk(7, "sdb", 16);
    put_disk(8, "sdc", 32);
    return 0;
}
#define HOST_TEST(name) cmocka_unit_test_setup_teardown(name, make, scratch_remove)

static void nobody(void **state)
{
    put("Filename\tType\tSize\tUsed\tPriority\n/dev/sda2    partition 1 0 -2\n/swap\\040sdb file 1 0 -3\n",
        "proc/swaps");
    put("", "sys/fs/btrfs/features/raid56");
    put("", "sys/fs/btrfs/0f6e/devices/sda3");
    assert_users(7, NULL);
    assert_users(8, NULL);
}

/* A group that spans both disks: nothing but the second one's own holders leads from it to the volume, which
 * was found above the first one. */
static void spanning_volume(void **state)
{
    put("", "sys/class/block/sdb1/holders/dm-4");
    put("", "sys/class/block/sdc1/holders/dm-4");
    put("253:4\n", "sys/class/block/dm-4/dev");
    put("vg-lv\n", "sys/class/block/dm-4/dm/name");
    assert_users(7, "vg-lv (dm-4)");
    assert_users(8, "vg-lv (dm-4)");
}

static void array(void **state)
{
    put("", "sys/class/block/sdc/holders/md127");
    put("9:127\n", "sys/class/block/md127/dev");
    put("clean\n", "sys/class/block/md127/md/array_state");
    assert_users(8, "md127");
    assert_users(7, NULL);
}

static void loop_device(void **state)
{
    put("7:3\n", "sys/class/block/loop3/dev");
    put("/dev/sdc1\n", "sys/class/block/loop3/loop/backing_file");
    assert_users(8, "loop3");
    assert_users(7, NULL);
}

/* Mounted nowhere that can be seen from here, as one device of several. */
static void btrfs(void **state)
{
    put("", "sys/fs/btrfs/0f6e/devices/sdb");
    put("", "sys/fs/btrfs/0f6e/devices/sdc1");
    assert_users(7, "btrfs 0f6e");
    assert_users(8, "btrfs 0f6e");
}

static void swap(void **state)
{
    put("Filename\tType\tSize\tUsed\tPriority\n/dev/sdc1    partition 1048572 0 -2\n", "proc/swaps");
    assert_users(8, "swap on sdc1");
    assert_users(7, NULL);
}

/* A target that is no recovery's: what its disk says of itself does not make it one. */
static void others_target(void **state)
{
    put("iqn.2005-03.org.example:data\n", "sys/class/iscsi_session/session8/targetname");
    put(TARGET_VENDOR "\n", "sys/devices/host8/session8/target/8:0:0:1/vendor");
    put("", "sys/class/block/sdc/holders/dm-4");
    assert_users(8, NULL);
}

/* What the kernel has and who has that, both are told. */
static void process(void **state)
{
    put("", "sys/class/block/sdc/holders/dm-4");
    put("253:4\n", "sys/class/block/dm-4/dev");
    put("vg-lv\n", "sys/class/block/dm-4/dm/name");
    put("bash\n", "proc/4711/comm");
    put("7f00-7f01 r--p 00000000 fd:04 131 /srv/x\n", "proc/4711/maps");
    assert_users(8, "vg-lv (dm-4), pid 4711 (bash)");
    assert_users(7, NULL);
}

/* Of no iSCSI session: each such disk for itself. */
static void no_session(void **state)
{
    _cleanup_free_ char *who = NULL;

    put(TARGET_VENDOR "  \n", "sys/class/scsi_device/2:0:0:1/device/vendor");
    put("8:48\n", "sys/class/scsi_device/2:0:0:1/device/block/sdd/dev");
    put("8:48\n", "sys/class/block/sdd/dev");
    put("8:49\n", "sys/class/block/sdd/sdd1/dev");
    put("8:49\n", "sys/class/block/sdd1/dev");
    put("", "sys/class/block/sdd1/holders/dm-5");
    put(TARGET_VENDOR "\n", "sys/class/scsi_device/3:0:0:1/device/vendor");
    put("8:64\n", "sys/class/scsi_device/3:0:0:1/device/block/sde/dev");
    put("8:64\n", "sys/class/block/sde/dev");
    assert_int_equal(leftover_disk_users(-1, makedev(8, 64), 10 * USEC_PER_SEC, &who), 0);
    assert_int_equal(leftover_disk_users(-1, makedev(8, 48), 10 * USEC_PER_SEC, &who), 1);
    assert_string_equal(who, "dm-5");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        HOST_TEST(nobody),      HOST_TEST(spanning_volume), HOST_TEST(array),
        HOST_TEST(loop_device), HOST_TEST(btrfs),           HOST_TEST(swap),
        HOST_TEST(process),     HOST_TEST(others_target),   HOST_TEST(no_session),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
