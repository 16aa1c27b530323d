/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* What the helper looks up before it relies on it: whose a listener is, whether there is one of a name, and
 * how old a program is. */

#include "check.h"
#include "helper-host.h"
#include "listener.h"

#include <arpa/inet.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <sys/socket.h>

#include <cmocka.h>

#define TCP_HEAD                                                                                             \
    "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n"
#define TCP(address, state, inode)                                                                           \
    "   0: " address " 00000000:0000 " state " 00000000:00000000 00:00000000 00000000   901        0 " inode \
    " 1 0 0 10 0\n"

static void test_listener_table(void **state)
{
    uint64_t inodes[LISTENERS_MAX];

    assert_int_equal(listener_inodes(TCP_HEAD, 5365, inodes), 0);
    assert_int_equal(listener_inodes("", 5365, inodes), 0);
    /* 5365 = 0x14F5; established, another port and another address do not count */
    assert_int_equal(listener_inodes(TCP_HEAD TCP("0100007F:14F5", "01", "11")
                                         TCP("0100007F:14F6", "0A", "12") TCP("0200007F:14F5", "0A", "13"),
                                     5365, inodes),
                     0);
    assert_int_equal(listener_inodes(TCP_HEAD TCP("00000000:14F5", "0A", "14"), 5365, inodes), 1);
    assert_int_equal(inodes[0], 14);
    /* one at the very address takes the connection */
    assert_int_equal(listener_inodes(TCP_HEAD TCP("00000000:14F5", "0A", "14")
                                         TCP("0100007F:14F5", "0A", "15")
                                             TCP("0100007F:14F5", "0A", "4294967299"),
                                     5365, inodes),
                     2);
    assert_int_equal(inodes[0], 15);
    assert_int_equal(inodes[1], 4294967299);
    assert_int_equal(listener_inodes(TCP_HEAD "nonsense\n", 5365, inodes), -EBADMSG);
}

/* A listener of our own, looked up through the real /proc and a control group that is a file here. */
static void test_listener_owner(void **state)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    _cleanup_close_ int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    socklen_t size = sizeof(a);
    char self[32];
    pid_t owner;
    int port;

    assert_int_equal(bind(fd, (struct sockaddr *)&a, sizeof(a)), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&a, &size), 0);
    port = ntohs(a.sin_port);
    snprintf(self, sizeof(self), "%d\n", (int)getpid());
    scratch_put("sys/fs/cgroup/ours/cgroup.procs", self);
    scratch_put("sys/fs/cgroup/others/cgroup.procs", "0\n");
    assert_int_equal(listener_owner(port, "/ours", &owner), -ECONNREFUSED);
    assert_int_equal(listen(fd, 1), 0);
    assert_int_equal(listener_owner(port, "/others", &owner), -EPERM);
    assert_int_equal(listener_owner(port, "/nobody", &owner), -ENOENT);
    assert_int_equal(listener_owner(port, "/ours", &owner), 0);
    assert_int_equal(owner, getpid());
}

static void test_abstract_listener(void **state)
{
    static const char head[] = "Num       RefCount Protocol Flags    Type St Inode Path\n";
    _cleanup_free_ char *text = NULL;

    assert_true(asprintf(&text,
                         "%s0000000000000000: 00000002 00000000 00010000 0001 01 1234 /run/x\n"
                         "0000000000000000: 00000002 00000000 00010000 0001 01 1235 @NAME\n"
                         "0000000000000000: 00000003 00000000 00000000 0001 03 1236 @CONNECTED\n"
                         "0000000000000000: 00000003 00000000 00000000 0001 03 1237\n",
                         head) > 0);
    assert_true(abstract_listener(text, "NAME"));
    assert_false(abstract_listener(text, "NAM"));
    assert_false(abstract_listener(text, "NAMES"));
    assert_false(abstract_listener(text, "CONNECTED"));
    assert_false(abstract_listener(text, "/run/x"));
    assert_false(abstract_listener("", "NAME"));
    assert_false(abstract_listener("@", ""));
}

static void test_versions(void **state)
{
    assert_true(version_at_least("bubblewrap 0.8.0\n", 0, 8));
    assert_true(version_at_least("bubblewrap 0.11.0\n", 0, 8));
    assert_true(version_at_least("iscsiadm version 2.1.8", 2, 0));
    assert_true(version_at_least("Python 3.11.2", 3, 0));
    assert_false(version_at_least("bubblewrap 0.4.1", 0, 8));
    assert_false(version_at_least("no number", 0, 0));
    assert_false(version_at_least("", 0, 0));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_versions),
        cmocka_unit_test(test_abstract_listener),
        cmocka_unit_test(test_listener_table),
        cmocka_unit_test(test_listener_owner),
    };

    return cmocka_run_group_tests(tests, host_make, scratch_remove);
}
