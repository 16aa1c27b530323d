/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* lib/: children with deadlines, files, secrets, local sockets. */

#include "child.h"
#include "files.h"
#include "local-socket.h"
#include "scratch.h"
#include "secret.h"
#include "timeutil.h"

#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <sys/stat.h>

#include <cmocka.h>

static int run(const char *script, const ChildOptions *options, ChildResult *ret)
{
    char *argv[] = {(char *)"sh", (char *)"-c", (char *)script, NULL};

    return child_run(argv, options, ret);
}

static void test_child_output_and_status(void **state)
{
    ChildOptions options = {.timeout_usec = 30 * USEC_PER_SEC, .input = "hello"};
    _cleanup_child_ ChildResult r = {};

    assert_int_equal(run("read x; echo got $x; echo oops >&2; exit 3", &options, &r), 0);
    assert_int_equal(r.status, 3);
    assert_false(r.timed_out);
    assert_string_equal(r.output, "got hello\n");
    assert_string_equal(r.error, "oops\n");
}

static void test_child_is_bounded(void **state)
{
    ChildOptions options = {.timeout_usec = 60 * USEC_PER_SEC};
    _cleanup_child_ ChildResult r = {};

    assert_int_equal(run("head -c 5000000 /dev/zero | tr '\\0' x", &options, &r), 0);
    assert_int_equal(r.status, 0);
    assert_int_equal(strlen(r.output), CHILD_OUTPUT_MAX);
}

static void test_child_deadline(void **state)
{
    ChildOptions options = {.timeout_usec = 200 * USEC_PER_MSEC};
    uint64_t begin = now_usec(CLOCK_MONOTONIC);
    _cleanup_child_ ChildResult r = {};

    assert_int_equal(run("echo early; sleep 1000 & sleep 1000", &options, &r), 0);
    assert_true(r.timed_out);
    assert_int_equal(r.status, 128 + 9);
    assert_string_equal(r.output, "early\n");
    assert_true(now_usec(CLOCK_MONOTONIC) - begin < 20 * USEC_PER_SEC);
}

/* A grandchild that keeps the pipes open does not keep us. */
static void test_child_leaves_grandchild(void **state)
{
    ChildOptions options = {.timeout_usec = 30 * USEC_PER_SEC};
    uint64_t begin = now_usec(CLOCK_MONOTONIC);
    _cleanup_child_ ChildResult r = {};

    assert_int_equal(run("sleep 5 & echo done", &options, &r), 0);
    assert_string_equal(r.output, "done\n");
    assert_true(now_usec(CLOCK_MONOTONIC) - begin < 4 * USEC_PER_SEC);
}

static void test_child_cannot_be_started(void **state)
{
    char *argv[] = {(char *)"no-such-program-here", NULL};
    ChildOptions options = {.timeout_usec = 30 * USEC_PER_SEC};
    _cleanup_child_ ChildResult r = {};

    assert_int_equal(child_run(argv, &options, &r), 0);
    assert_int_equal(r.status, 127);
    assert_non_null(strstr(r.error, "no-such-program-here"));
}

static void test_child_environment(void **state)
{
    ChildOptions options = {.timeout_usec = 30 * USEC_PER_SEC};
    _cleanup_child_ ChildResult r = {};

    setenv("AZURE_SECRET", "leak", 1);
    assert_int_equal(run("env; ls /proc/self/fd | wc -l", &options, &r), 0);
    assert_null(strstr(r.output, "leak"));
    assert_non_null(strstr(r.output, "\n4\n")); /* 0, 1, 2 and the directory itself */
}

static int work_answer(void *userdata, int fd)
{
    return write(fd, "answer", 6) == 6 ? *(int *)userdata : -EIO;
}

static int work_hang(void *userdata, int fd)
{
    while (pause() < 0)
        ;
    return 0;
}

static int work_die(void *userdata, int fd)
{
    _exit(1);
}

static int work_wait(void *userdata, int fd)
{
    uint64_t msec = *(uint64_t *)userdata;

    (void)poll(NULL, 0, (int)msec);
    (void)dprintf(fd, "%d", (int)msec);
    return msec == 201 ? -EIO : 0;
}

static int work_bytes(void *userdata, int fd)
{
    return child_put_hex(fd, userdata, 256);
}

static void test_child_hex(void **state)
{
    uint8_t bytes[256], back[256] = {};
    _cleanup_free_ char *text = NULL;
    unsigned i;

    for (i = 0; i < 256; i++)
        bytes[i] = (uint8_t)(i + 250);
    assert_int_equal(child_call(work_bytes, bytes, 30 * USEC_PER_SEC, &text), 0);
    assert_int_equal(strlen(text), 512);
    assert_int_equal(child_get_hex(text, sizeof(back), back), 0);
    assert_memory_equal(back, bytes, sizeof(bytes));
    assert_int_equal(child_get_hex("0", 1, back), -EPROTO);
    assert_int_equal(child_get_hex("0g-1", 2, back), -EPROTO);
    assert_int_equal(child_get_hex("", 0, back), 0);
}

/* They wait beside each other, one that fails or hangs is no other one's matter, and more than go at a time
 * are done. */
static void test_child_call_each(void **state)
{
    uint64_t wait[CHILD_CALLS_MAX + 2], start = now_usec(CLOCK_MONOTONIC), took;
    ChildCall calls[ELEMENTSOF(wait)];
    size_t i;

    for (i = 0; i < ELEMENTSOF(wait); i++) {
        wait[i] = i == 2 ? 201 : i == 3 ? 600000 : 200;
        calls[i] = (ChildCall){.userdata = &wait[i]};
    }
    child_call_each(work_wait, calls, ELEMENTSOF(calls), 3 * USEC_PER_SEC);
    took = now_usec(CLOCK_MONOTONIC) - start;
    for (i = 0; i < ELEMENTSOF(calls); i++) {
        assert_int_equal(calls[i].result, i == 2 ? -EIO : i == 3 ? -ETIMEDOUT : 0);
        assert_string_equal(calls[i].text, i == 2 ? "201" : i == 3 ? "" : "200");
        free(calls[i].text);
    }
    /* one after the other: 26 x 0.2 s, and the 3 s */
    assert_true(took >= 3 * USEC_PER_SEC && took < 6 * USEC_PER_SEC);
}

static void test_child_call(void **state)
{
    _cleanup_free_ char *text = NULL, *none = NULL;
    int r = -ENOENT;

    assert_int_equal(child_call(work_answer, &r, 30 * USEC_PER_SEC, &text), -ENOENT);
    assert_string_equal(text, "answer");
    assert_int_equal(child_call(work_hang, NULL, 100 * USEC_PER_MSEC, NULL), -ETIMEDOUT);
    assert_int_equal(child_call(work_die, NULL, 30 * USEC_PER_SEC, &none), -EPROTO);
}

static void test_files(void **state)
{
    _cleanup_close_ int fd = open(scratch, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    _cleanup_free_ char *text = NULL, *none = NULL;
    struct stat st;
    char path[128];
    size_t size;

    assert_int_equal(file_write_atomic(fd, "a", "12345", 5, 0640, -1, -1), 0);
    assert_int_equal(fstatat(fd, "a", &st, 0), 0);
    assert_int_equal(st.st_mode & 07777, 0640);
    assert_int_equal(file_read(fd, "a", 5, &text, &size), 0);
    assert_int_equal(size, 5);
    assert_string_equal(text, "12345");
    assert_int_equal(file_read(fd, "a", 4, &none, &size), -EFBIG);
    assert_int_equal(file_read(fd, "absent", 4, &none, &size), -ENOENT);
    /* A link in the way of the temporary file is not followed. */
    assert_int_equal(symlinkat("/etc/passwd", fd, "b.tmp"), 0);
    assert_int_equal(file_write_atomic(fd, "b", "x", 1, 0600, -1, -1), 0);
    assert_int_equal(fstatat(fd, "b", &st, AT_SYMLINK_NOFOLLOW), 0);
    assert_true(S_ISREG(st.st_mode));
    /* Trees are removed without following links. */
    snprintf(path, sizeof(path), "%s/d", scratch);
    assert_int_equal(dir_make(path, 0700, getuid(), getgid()), 0);
    assert_int_equal(dir_make(path, 0750, getuid(), getgid()), 0);
    snprintf(path, sizeof(path), "%s/d/e", scratch);
    assert_int_equal(dir_make(path, 0700, getuid(), getgid()), 0);
    snprintf(path, sizeof(path), "%s/d/e/link", scratch);
    assert_int_equal(symlink(scratch, path), 0);
    assert_int_equal(file_remove_tree(fd, "d"), 0);
    assert_int_equal(file_remove_tree(fd, "d"), 0);
    assert_int_equal(faccessat(fd, "a", F_OK, 0), 0);
}

/* What an enemy may leave in a directory of his own. */
static void test_foreign_files(void **state)
{
    _cleanup_close_ int fd = open(scratch, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    _cleanup_free_ char *text = NULL;
    uid_t me = getuid();
    size_t size;

    assert_int_equal(file_write_atomic(fd, "good", "12345", 5, 0640, -1, -1), 0);
    assert_int_equal(file_read_foreign(fd, "good", me, 5, &text, &size), 0);
    assert_string_equal(text, "12345");
    free(TAKE_PTR(text));
    assert_int_equal(file_read_foreign(fd, "good", me, 4, &text, &size), -EFBIG);
    assert_int_equal(file_read_foreign(fd, "good", me + 1, 5, &text, &size), -EBADMSG);
    assert_int_equal(file_read_foreign(fd, "absent", me, 5, &text, &size), -ENOENT);
    assert_int_equal(symlinkat("good", fd, "link"), 0);
    assert_int_equal(file_read_foreign(fd, "link", me, 5, &text, &size), -EBADMSG);
    assert_int_equal(mkfifoat(fd, "pipe", 0600), 0);
    assert_int_equal(file_read_foreign(fd, "pipe", me, 5, &text, &size), -EBADMSG);
    assert_int_equal(linkat(fd, "good", fd, "second", 0), 0);
    assert_int_equal(file_read_foreign(fd, "good", me, 5, &text, &size), -EBADMSG);
}

/* Deeper than there are descriptors, and names that the removal itself would take. */
static void test_remove_deep_tree(void **state)
{
    _cleanup_close_ int fd = open(scratch, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int at, next, i;

    assert_int_equal(mkdirat(fd, "deep", 0700), 0);
    assert_int_equal(mkdirat(fd, "deep/.removed-0", 0700), 0);
    assert_int_equal(mkdirat(fd, "deep/.removed-0/x", 0700), 0);
    at = openat(fd, "deep", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    for (i = 0; i < 3000; i++) {
        assert_int_equal(mkdirat(at, "d", 0700), 0);
        assert_int_equal(symlinkat(scratch, at, "link"), 0);
        next = openat(at, "d", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        close(at);
        at = next;
    }
    close(at);
    assert_int_equal(file_empty_tree(fd, "deep"), 0);
    assert_int_equal(unlinkat(fd, "deep", AT_REMOVEDIR), 0);
    assert_int_equal(file_empty_tree(fd, "deep"), 0);
}

static void test_secret_file(void **state)
{
    _cleanup_close_ int fd = open(scratch, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    _cleanup_secret_ Secret *s = NULL, *none = NULL;
    char path[128];

    snprintf(path, sizeof(path), "%s/secret", scratch);
    assert_int_equal(file_write_atomic(fd, "secret", "hunter2\n", 8, 0600, -1, -1), 0);
    assert_int_equal(secret_read_file(path, 077, 100, &s), 0);
    assert_string_equal(secret_text(s), "hunter2");
    assert_int_equal(secret_size(s), 7);
    assert_int_equal(chmod(path, 0640), 0);
    assert_int_equal(secret_read_file(path, 077, 100, &none), -EPERM);
    assert_int_equal(chmod(path, 0600), 0);
    assert_int_equal(secret_read_file(path, 077, 3, &none), -EFBIG);
    assert_int_equal(file_write_atomic(fd, "secret", "\n", 1, 0600, -1, -1), 0);
    assert_int_equal(secret_read_file(path, 077, 100, &none), -ENODATA);
    assert_int_equal(secret_read_file(scratch, 077, 100, &none), -EINVAL);
}

static void test_local_socket(void **state)
{
    _cleanup_close_ int old = -EBADF, listener = -EBADF, caller = -EBADF;
    struct sockaddr_un sa;
    char path[256];

    memset(path, 'x', sizeof(path));
    path[sizeof(sa.sun_path)] = '\0';
    assert_int_equal(local_socket_address(path, &sa), -ENAMETOOLONG);
    assert_int_equal(local_socket_bind(path, 0), -ENAMETOOLONG);
    path[sizeof(sa.sun_path) - 1] = '\0';
    assert_int_equal(local_socket_address(path, &sa), 0);
    snprintf(path, sizeof(path), "%s/socket", scratch);
    assert_int_equal(local_socket_connect(path, 0), -ENOENT);
    old = local_socket_bind(path, 0);
    assert_true(old >= 0);
    assert_int_equal(local_socket_connect(path, 0), -ECONNREFUSED); /* it does not listen yet */
    assert_int_equal(listen(old, 1), 0);
    /* Whoever comes later has the path. */
    listener = local_socket_bind(path, SOCK_NONBLOCK);
    assert_true(listener >= 0);
    assert_int_equal(listen(listener, 1), 0);
    caller = local_socket_connect(path, SOCK_NONBLOCK);
    assert_true(caller >= 0);
    assert_true(fcntl(caller, F_GETFD) & FD_CLOEXEC);
    assert_true(fcntl(caller, F_GETFL) & O_NONBLOCK);
    safe_close(accept4(listener, NULL, NULL, SOCK_CLOEXEC));
    assert_int_equal(recv(caller, path, 1, 0), 0);
    /* A directory in its place stays. */
    assert_true(local_socket_bind(scratch, 0) < 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_child_output_and_status),
        cmocka_unit_test(test_child_is_bounded),
        cmocka_unit_test(test_child_deadline),
        cmocka_unit_test(test_child_leaves_grandchild),
        cmocka_unit_test(test_child_cannot_be_started),
        cmocka_unit_test(test_child_environment),
        cmocka_unit_test(test_child_call),
        cmocka_unit_test(test_child_hex),
        cmocka_unit_test(test_child_call_each),
        SCRATCH_TEST(test_foreign_files),
        SCRATCH_TEST(test_remove_deep_tree),
        SCRATCH_TEST(test_files),
        SCRATCH_TEST(test_secret_file),
        SCRATCH_TEST(test_local_socket),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
