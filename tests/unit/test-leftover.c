/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* What a session has of the host while it lasts, and may leave behind: its directories and their lock, files,
 * devices, mounts, the host's own iSCSI records, and what of device-mapper only the kernel remembers. */

#include "dm-cookie.h"
#include "files.h"
#include "helper-host.h"
#include "leftover.h"
#include "paths.h"
#include "session-dirs.h"
#include "validate.h"

#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <sys/sem.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <time.h>

#include <cmocka.h>

static void test_lock(void **state)
{
    pid_t child;
    int a, b;

    assert_int_equal(session_lock("zzzz9999", 0, &a), -ENOENT);
    assert_int_equal(session_lock("..", 0, &a), -EINVAL);
    assert_int_equal(session_lock(ID, 0, &a), 0);
    assert_int_equal(session_lock(ID, 60 * USEC_PER_MSEC, &b), -ETIMEDOUT);
    /* A child that cannot be ended has the descriptor, too. */
    child = fork();
    if (child == 0) {
        (void)pause();
        _exit(0);
    }
    assert_true(child > 0);
    assert_int_equal(session_unlock(a), -EBADF);
    assert_int_equal(session_lock(ID, 0, &b), 0);
    session_unlock(b);
    assert_int_equal(kill(child, SIGKILL), 0);
    assert_int_equal(waitpid(child, NULL, 0), child);
}

/* What a session leaves that never came to its start. */
static void test_directories(void **state)
{
    char path[128];
    int a, b;

    if (geteuid() != 0)
        skip(); /* they are given to root */
    snprintf(path, sizeof(path), "%s/fresh123", paths.private_dir);
    assert_int_equal(session_dirs_lock("fresh123", 0, &a), 0);
    assert_int_equal(session_dirs_lock("fresh123", 0, &b), -ETIMEDOUT);
    scratch_put("private/fresh123/session.json", "{}");
    scratch_put("private/fresh123/iscsi/nodes/x", "");
    scratch_put("connect/fresh123/script", "#!/bin/sh\n");
    scratch_put("unit/ilr-connection@fresh123.service.d/50-addresses.conf", "");
    assert_int_equal(session_dirs_clear("fresh123"), 0);
    assert_int_equal(rmdir(path), 0); /* there, and empty */
    session_unlock(a);
    snprintf(path, sizeof(path), "%s/connect/fresh123", scratch);
    assert_int_equal(access(path, F_OK), -1);
    snprintf(path, sizeof(path), "%s/unit/ilr-connection@fresh123.service.d", scratch);
    assert_int_equal(access(path, F_OK), -1);
    assert_int_equal(session_dirs_remove("fresh123"), 0);
}

/* A semaphore as device-mapper makes it for a cookie that nobody has. */
static int semaphore_new(uint32_t *ret_cookie)
{
    uint32_t cookie = 0x0D4D0000U | (uint32_t)getpid() % 0xff00;
    int sem;

    while ((sem = semget((key_t)cookie, 1, IPC_CREAT | IPC_EXCL | 0600)) < 0 && errno == EEXIST)
        cookie++;
    assert_true(sem >= 0);
    *ret_cookie = cookie;
    return sem;
}

static bool semaphore_exists(int sem)
{
    return semctl(sem, 0, GETVAL) >= 0;
}

static void test_cookies(void **state)
{
    uint32_t cookie, other_cookie, not_noted;
    int left, others, foreign, next;

    left = semaphore_new(&cookie);
    dm_cookie_note("ilr_" ID "_d1", cookie);
    others = semaphore_new(&other_cookie);
    dm_cookie_note("ilr_abcd1235_d1", other_cookie);
    foreign = semaphore_new(&not_noted);
    dm_cookie_note("vg-lv", not_noted);
    dm_cookies_drop(ID);
    assert_false(semaphore_exists(left));
    assert_true(semaphore_exists(others));
    assert_true(semaphore_exists(foreign));
    /* The same cookie is somebody else's meanwhile. */
    next = semget((key_t)cookie, 1, IPC_CREAT | IPC_EXCL | 0600);
    assert_true(next >= 0 && next != left);
    dm_cookies_drop(ID);
    assert_true(semaphore_exists(next));
    dm_cookies_drop("nobody00");
    dm_cookie_note("ilr_" ID "_d1", 0);
    (void)semctl(next, 0, IPC_RMID);
    (void)semctl(others, 0, IPC_RMID);
    (void)semctl(foreign, 0, IPC_RMID);
}

/* Nothing in sysfs leads from a disk to a loop device over it but the name of the node that the latter has
 * open. */
static void test_leftover_loops(void **state)
{
    LeftoverBlocks b;

    scratch_put("sys/class/scsi_device/6:0:0:1/device/vendor", TARGET_VENDOR "\n");
    scratch_put("sys/class/scsi_device/6:0:0:1/device/block/sdq/dev", "65:0\n");
    scratch_put("sys/class/block/sdq/dev", "65:0\n");
    scratch_put("sys/class/block/loop1/dev", "7:1\n");
    scratch_put("sys/class/block/loop1/loop/backing_file", "/dev/loop2\n");
    scratch_put("sys/class/block/loop2/dev", "7:2\n");
    scratch_put("sys/class/block/loop2/loop/backing_file", "/dev/sdq\n");
    scratch_put("sys/class/block/loop3/dev", "7:3\n");
    scratch_put("sys/class/block/loop3/loop/backing_file", "/dev/sda\n");
    scratch_put("sys/class/block/loop4/dev", "7:4\n");
    scratch_put("sys/class/block/loop4/loop/backing_file", "/home/sdq\n");
    scratch_put("sys/class/block/loop5/dev", "7:5\n");
    assert_int_equal(leftover_blocks_look(&b), 0);
    assert_int_equal(b.n, 3);
    assert_non_null(leftover_block_named(&b, "sdq"));
    assert_non_null(leftover_block_named(&b, "loop1"));
    assert_non_null(leftover_block_named(&b, "loop2"));
    assert_int_equal(leftover_block_named(&b, "loop2")->kind, LEFTOVER_LOOP);
    assert_false(leftover_block_named(&b, "loop2")->ours);
    /* What is on top goes first. */
    assert_int_equal(leftover_block_named(&b, "loop2")->height, 1);
    assert_int_equal(leftover_block_named(&b, "loop1")->height, 2);
    leftover_blocks_done(&b);
}

/* A file as old as a helper lets none become. */
static void put_old(const char *name, const char *text)
{
    const struct timespec times[2] = {{.tv_sec = time(NULL) - 3600}, {.tv_sec = time(NULL) - 3600}};
    char path[128];

    scratch_put(name, text);
    snprintf(path, sizeof(path), "%s/%s", scratch, name);
    assert_int_equal(utimensat(AT_FDCWD, path, times, 0), 0);
}

static const Leftover *left(const Leftovers *l, const char *end)
{
    size_t i;

    for (i = 0; i < l->n; i++)
        if (endswith(l->items[i].name, end))
            return &l->items[i];
    return NULL;
}

/* What a helper keeps for a moment is a leftover once it was there for longer, whose it is is told, and it
 * goes although it is no directory. */
static void test_leftover_files(void **state)
{
    char mine[64];
    const Leftover *item;
    Leftovers l = {};

    snprintf(mine, sizeof(mine), "dev/.ilr-7-1-%d", (int)getpid());
    put_old("private/hook-ready-" ID ".env", "ILR_EVENT=\"ready\"\n");
    scratch_put("private/hook-closed-" ID ".env", "");
    put_old("private/hook-" ID ".env", "");
    scratch_put(mine, "");
    scratch_put("dev/.ilr-9-0-999999999", ""); /* nobody has that number */
    put_old("dev/.ilr-9-0-1x", "");
    put_old("dev/sda", "");
    assert_int_equal(leftover_add_files(&l), 0);
    item = left(&l, "/hook-ready-" ID ".env");
    assert_non_null(item);
    assert_int_equal(item->kind, LEFTOVER_FILE);
    assert_true(item->ours);
    assert_string_equal(item->session, ID);
    assert_int_equal(file_remove_tree(AT_FDCWD, item->name), 0);
    assert_int_equal(access(item->name, F_OK), -1);
    assert_null(left(&l, "/hook-closed-" ID ".env"));
    item = left(&l, "/hook-" ID ".env");
    assert_non_null(item);
    assert_false(item->ours);
    item = left(&l, "/.ilr-9-0-999999999");
    assert_non_null(item);
    assert_int_equal(item->kind, LEFTOVER_FILE);
    assert_null(left(&l, mine + 3));
    assert_null(left(&l, "1x"));
    assert_null(left(&l, "/sda"));
    leftovers_done(&l);
}

#define MOUNTED "36 35 %s / %s ro,nosuid - %s %s ro\n"

static void put_mounts(void)
{
    char text[4096];
    size_t i, n = 0;
    const struct {
        const char *device, *path, *type, *source;
    } mounts[] = {
        {"65:0", "/mnt/by\\040hand", "ext4", "/dev/sdq"},
        {"0:44", "/mnt/pool", "btrfs", "/dev/sdq"},
        {"8:1", "/", "ext4", "/dev/sda1"},
        {"253:9", "/root/web1-20261120220000/Volume2", "xfs", "/dev/sdr2"},
        {"253:8", "/root/web1-20261120220000/LVM1", "ext4", "/dev/mapper/vg-lv"},
        {"253:7", "/root/web1-20261120220000/LVM2", "ext4", "/dev/mapper/vg-two"},
        {"8:1", "/root/web1-20261120220000/Volume3", "ext4", "/dev/sda1"},
        {"253:9", "/root/web1-20261120/Volume1", "ext4", "/dev/sdr3"},
        {"253:9", "/srv/data", "ext4", "/dev/sdr4"},
    };

    for (i = 0; i < ELEMENTSOF(mounts); i++)
        n += (size_t)snprintf(text + n, sizeof(text) - n, MOUNTED, mounts[i].device, mounts[i].path,
                              mounts[i].type, mounts[i].source);
    n += (size_t)snprintf(text + n, sizeof(text) - n,
                          "36 35 253:3 / %s/" ID "/volumes/root ro - ext4 /dev/dm-3 ro\n", paths.mounts_dir);
    assert_true(n < sizeof(text));
    scratch_put("proc/self/mountinfo", text);
}

/* What is on a recovery disk, by its number or, of btrfs, by its name; what is at our places; and what the
 * connection script has mounted where it mounts, if its disk is gone: only then nobody can want it any more.
 */
static void test_leftover_mounts(void **state)
{
    LeftoverBlock disk = {.name = "sdq", .device = makedev(65, 0), .sid = -1};
    const LeftoverBlocks blocks = {.items = &disk, .n = 1};
    const char *proc = paths.proc;
    const Leftover *item;
    Leftovers l = {};
    char made[64];

    scratch_put("sys/dev/block/8:1/dev", "8:1\n");
    scratch_put("sys/dev/block/253:8/dm/name", "vg-lv\n");
    scratch_dir("sys/dev/block/253:8/slaves");
    scratch_put("sys/dev/block/253:7/dm/name", "vg-two\n");
    scratch_put("sys/dev/block/253:7/slaves/sda", "");
    put_mounts();
    snprintf(made, sizeof(made), "%s/proc", scratch);
    paths.proc = made;
    assert_int_equal(leftover_add_mounts(&l, &blocks), 0);
    paths.proc = proc;
    assert_int_equal(l.n, 5);
    item = left(&l, "/by hand");
    assert_non_null(item);
    assert_int_equal(item->kind, LEFTOVER_MOUNT);
    assert_false(item->ours);
    assert_false(item->dead);
    assert_non_null(left(&l, "/pool"));
    item = left(&l, "/web1-20261120220000/Volume2");
    assert_non_null(item);
    assert_true(item->dead);
    assert_false(item->ours);
    assert_non_null(left(&l, "/LVM1"));
    item = left(&l, ID "/volumes/root");
    assert_non_null(item);
    assert_true(item->ours);
    assert_string_equal(item->session, ID);
    leftovers_done(&l);
}

/* The host's own records: of recovery targets, and of discoveries through a tunnel. Where a tunnel and
 * anybody's target may be (3260), only if all that was found there is of the recovery service. */
static void test_leftover_records(void **state)
{
    const Leftover *item;
    Leftovers l = {};

    scratch_put("etc/iscsi/nodes/" TARGET_PREFIX "one/127.0.0.1,5365,1/default", "");
    scratch_put("etc/iscsi/nodes/iqn.2005-03.org.example:data/10.0.0.1,3260,1/default", "");
    scratch_put("etc/iscsi/send_targets/127.0.0.1,5390/st_config", "");
    scratch_put("etc/iscsi/send_targets/127.0.0.1,5397/st_config", "");
    scratch_put("etc/iscsi/send_targets/10.0.0.1,5390/st_config", "");
    scratch_put("etc/iscsi/send_targets/127.0.0.1,5366/iqn.2005-03.org.example:data,127.0.0.1,5366,1,default",
                "");
    scratch_put("etc/iscsi/send_targets/127.0.0.1,3260/st_config", "");
    assert_int_equal(leftover_add_files(&l), 0);
    item = left(&l, "/nodes/" TARGET_PREFIX "one");
    assert_non_null(item);
    assert_int_equal(item->kind, LEFTOVER_NODE_RECORD);
    assert_false(item->ours);
    assert_null(left(&l, ":data"));
    item = left(&l, "/127.0.0.1,5390");
    assert_non_null(item);
    assert_int_equal(item->kind, LEFTOVER_DISCOVERY_RECORD);
    assert_int_equal(item->port, 5390);
    assert_false(item->ours);
    assert_null(left(&l, ",5397"));
    assert_null(left(&l, "/10.0.0.1,5390"));
    assert_null(left(&l, ",5366"));
    assert_null(left(&l, ",3260"));
    leftovers_done(&l);
    scratch_put("etc/iscsi/send_targets/127.0.0.1,3260/" TARGET_PREFIX "one,127.0.0.1,3260,1,default", "");
    assert_int_equal(leftover_add_files(&l), 0);
    assert_non_null(left(&l, ",3260"));
    leftovers_done(&l);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_leftover_files),   cmocka_unit_test(test_leftover_loops),
        cmocka_unit_test(test_cookies),          cmocka_unit_test(test_lock),
        cmocka_unit_test(test_directories),      cmocka_unit_test(test_leftover_mounts),
        cmocka_unit_test(test_leftover_records),
    };

    return cmocka_run_group_tests(tests, host_make, scratch_remove);
}
