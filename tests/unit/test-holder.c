/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Who is in the way of a release, on a made-up /proc. */

#include "holder.h"
#include "paths.h"
#include "scratch.h"

#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <sys/sysmacros.h>

#include <cmocka.h>

static void put_process(const char *pid, const char *comm, const char *cwd)
{
    char name[128], path[PATH_MAX];

    snprintf(name, sizeof(name), "%s/comm", pid);
    scratch_put(name, comm);
    snprintf(name, sizeof(name), "%s/status", pid);
    scratch_put(name, "Name:\tx\nUid:\t1000\t1000\t1000\t1000\n");
    snprintf(name, sizeof(name), "%s/fd", pid);
    scratch_dir(name);
    snprintf(path, sizeof(path), "%s/%s/cwd", scratch, pid);
    assert_int_equal(symlink(cwd, path), 0);
}

static void holders(void **state)
{
    const char *proc = paths.proc;
    MountPoint mounts[] = {
        {.id = 987654, .device = makedev(253, 77), .path = (char *)"/run/ilr/abcd1234/volumes/root"}};
    HolderQuery q = {.directory = "/run/ilr/abcd1234", .mounts = mounts, .n_mounts = 1};
    _cleanup_json_ json_object *found = NULL;
    _cleanup_free_ char *text = NULL;
    char path[PATH_MAX];
    const char *s;
    bool seen[4] = {};
    int64_t pid;
    size_t i;

    put_process("4711", "bash\n", "/run/ilr/abcd1234/volumes/root/etc");
    put_process("4712", "other\n", "/run/ilr/abcd12345/volumes/root"); /* another session's */
    put_process("4713", "tail\n", "/");
    snprintf(path, sizeof(path), "%s/4713/fd/3", scratch);
    assert_int_equal(symlink("/run/ilr/abcd1234/volumes/root/log (deleted)", path), 0);
    put_process("4714", "\x1b[2Jevil\n", "/");
    scratch_put("4714/maps",
                "55d0c0000000-55d0c0001000 r-xp 00000000 fd:4d 131                /usr/lib/x.so\n");
    put_process("4715", "ns\n", "/");
    scratch_put("4715/ns/mnt", "");
    scratch_put("4715/mountinfo", "36 35 253:77 / /tmp/kept\\040here ro,nosuid - ext4 /dev/dm-77 ro\n");
    put_process("4716", "follower\n", "/");
    scratch_put("4716/ns/mnt", "");
    scratch_put("4716/mountinfo", "37 35 253:77 / /run/ilr/x ro master:5 - ext4 /dev/dm-77 ro\n");
    scratch_dir("self");
    scratch_put("not-a-process", "");

    paths.proc = scratch;
    assert_int_equal(holders_scan(&q, &found), 0);
    paths.proc = proc;
    assert_int_equal(json_object_array_length(found), 4);
    for (i = 0; i < 4; i++) {
        json_object *o = json_object_array_get_idx(found, i);

        assert_int_equal(json_get_int64(o, "pid", &pid), 1);
        assert_int_equal(json_get_string(o, "command", &s), 1);
        if (pid == 4711) {
            assert_string_equal(s, "bash");
            assert_int_equal(json_get_string(o, "path", &s), 1);
            assert_string_equal(s, "/run/ilr/abcd1234/volumes/root/etc");
            assert_int_equal(json_get_int64(o, "uid", &pid), 1);
            assert_int_equal(pid, 1000);
            seen[0] = true;
        } else if (pid == 4713)
            seen[1] = true;
        else if (pid == 4714) {
            assert_string_equal(s, "?[2Jevil");
            seen[2] = true;
        } else if (pid == 4715) {
            assert_int_equal(json_get_string(o, "path", &s), 1);
            assert_string_equal(s, "/tmp/kept here");
            seen[3] = true;
        }
    }
    assert_true(seen[0] && seen[1] && seen[2] && seen[3]);
    text = holders_text(found);
    assert_non_null(strstr(text, "pid 4711 (bash)"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        SCRATCH_TEST(holders),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
