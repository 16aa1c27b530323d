/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The stand-in for a target whose tunnel is gone: which logins succeed, and that nothing else is answered. */

#include "check.h"
#include "stand-in-target.h"

#include <net/if.h>
#include <netinet/in.h>
#include <poll.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include <cmocka.h>

#define PREFIX "iqn.2016-01.example:"
#define TARGET PREFIX "one"
#define NAMES                                                                                                \
    "InitiatorName=iqn.1993-08.org.debian:01:a\0InitiatorAlias=host\0TargetName=" TARGET                     \
    "\0SessionType=Normal\0"
#define OFFER                                                                                                \
    "HeaderDigest=None,CRC32C\0DataDigest=None\0DefaultTime2Wait=2\0InitialR2T=No\0"                         \
    "MaxRecvDataSegmentLength=262144\0"
#define GRANT                                                                                                \
    "HeaderDigest=None\0DataDigest=None\0DefaultTime2Wait=2\0InitialR2T=No\0MaxRecvDataSegmentLength="       \
    "262144\0"
#define GROUP "TargetPortalGroupTag=1\0"

#define SECURITY_TO_OPERATIONAL 0x81
#define SECURITY_TO_FULL 0x83
#define OPERATIONAL_TO_FULL 0x87

static uint8_t request[48 + 70000];
static uint8_t answer[STAND_IN_ANSWER_MAX];

static size_t padded(size_t size)
{
    return (size + 3) / 4 * 4;
}

/* As open-iscsi writes it: CmdSN 1, the next StatSN 0x01020304. */
static size_t put(uint8_t flags, const char *text, size_t size)
{
    static const uint8_t header[48] = {
        [0] = 0x43, [8] = 0x00, [10] = 0x3d, [13] = 0x05, [16] = 0xde, [17] = 0xad,
        [27] = 1,   [28] = 1,   [29] = 2,    [30] = 3,    [31] = 4};

    memset(request, 0, sizeof(request));
    memcpy(request, header, sizeof(header));
    request[1] = flags;
    request[5] = (uint8_t)(size >> 16);
    request[6] = (uint8_t)(size >> 8);
    request[7] = (uint8_t)size;
    memcpy(request + 48, text, size);
    return 48 + padded(size);
}
#define PUT(flags, text) put(flags, text, sizeof(text) - 1)

static void answers(StandInLogin *l, size_t n, uint8_t flags, const char *text, size_t size)
{
    assert_int_equal(stand_in_target_answer(l, request, n, answer), 48 + padded(size));
    assert_int_equal(answer[0], 0x23);
    assert_int_equal(answer[1], flags);
    assert_int_equal(answer[3], 0);
    assert_int_equal(answer[4], 0);
    assert_int_equal(answer[5] << 16 | answer[6] << 8 | answer[7], size);
    assert_memory_equal(answer + 8, request + 8, 6);       /* ISID */
    assert_memory_equal(answer + 16, request + 16, 4);     /* task */
    assert_memory_equal(answer + 24, "\1\2\3\4", 4);       /* StatSN */
    assert_memory_equal(answer + 28, "\0\0\0\1", 4);       /* ExpCmdSN */
    assert_memory_equal(answer + 32, "\0\0\0\0", 4);       /* MaxCmdSN: no command */
    assert_memory_equal(answer + 36, "\0\0\0\0\0\0\0", 7); /* success */
    assert_memory_equal(answer + 48, text, size);
}
#define ANSWERS(l, n, flags, text) answers(l, n, flags, text, sizeof(text) - 1)

static void test_login(void **state)
{
    StandInLogin l = {.prefix = PREFIX};

    ANSWERS(&l, PUT(SECURITY_TO_OPERATIONAL, NAMES "AuthMethod=CHAP,None\0"), SECURITY_TO_OPERATIONAL,
            "AuthMethod=None\0" GROUP);
    assert_false(l.done);
    assert_memory_equal(answer + 14, "\0\0", 2); /* no session yet */
    ANSWERS(&l, PUT(OPERATIONAL_TO_FULL, OFFER), OPERATIONAL_TO_FULL, GRANT);
    assert_true(l.done);
    assert_memory_equal(answer + 14, "\0\1", 2);
}

static void test_other_ways(void **state)
{
    StandInLogin l = {.prefix = PREFIX};

    /* one that has no CHAP begins with the second stage */
    ANSWERS(&l, PUT(OPERATIONAL_TO_FULL, NAMES OFFER), OPERATIONAL_TO_FULL, GRANT GROUP);
    assert_true(l.done);
    l = (StandInLogin){.prefix = PREFIX};
    ANSWERS(&l, PUT(SECURITY_TO_FULL, NAMES "AuthMethod=None\0"), SECURITY_TO_FULL,
            "AuthMethod=None\0" GROUP);
    assert_true(l.done);
    /* one that does not want to go on yet; the next stage says nothing then */
    l = (StandInLogin){.prefix = PREFIX};
    ANSWERS(&l, PUT(0x01, NAMES), 0x00, GROUP);
    ANSWERS(&l, PUT(SECURITY_TO_OPERATIONAL, ""), SECURITY_TO_OPERATIONAL, "");
    assert_false(l.done);
    /* a session with a handle keeps it */
    (void)PUT(OPERATIONAL_TO_FULL, OFFER);
    request[14] = 7;
    ANSWERS(&l, 48 + padded(sizeof(OFFER) - 1), OPERATIONAL_TO_FULL, GRANT);
    assert_memory_equal(answer + 14, "\7\0", 2);
}

static void refused(size_t n)
{
    StandInLogin l = {.prefix = PREFIX};

    assert_int_equal(stand_in_target_answer(&l, request, n, answer), -EBADMSG);
    assert_false(l.done);
}

static void test_refused(void **state)
{
    static const char names[] = NAMES;
    static char text[STAND_IN_TEXT_MAX + 1];
    size_t i;

    /* to a target that is none of ours, or to none, or to two */
    refused(PUT(SECURITY_TO_OPERATIONAL, "TargetName=iqn.2016-01.example\0"));
    refused(PUT(SECURITY_TO_OPERATIONAL, "TargetName=x" TARGET "\0"));
    refused(PUT(SECURITY_TO_OPERATIONAL, "TargetName=" TARGET "\0TargetName=" TARGET "\0"));
    refused(PUT(SECURITY_TO_OPERATIONAL, "InitiatorName=a\0SessionType=Discovery\0"));
    refused(PUT(OPERATIONAL_TO_FULL, OFFER));
    refused(PUT(SECURITY_TO_OPERATIONAL, "TargetName=" TARGET "\0TargetName=x\0"));
    /* who insists on a proof */
    refused(PUT(SECURITY_TO_OPERATIONAL, NAMES "AuthMethod=CHAP\0"));
    refused(PUT(SECURITY_TO_OPERATIONAL, NAMES "AuthMethod=CHAP,Nonesuch\0"));
    /* keys without their end, keys without a value */
    refused(PUT(SECURITY_TO_OPERATIONAL, "TargetName=" TARGET));
    refused(PUT(SECURITY_TO_OPERATIONAL, NAMES "AuthMethod=None"));
    refused(PUT(SECURITY_TO_OPERATIONAL, NAMES "AuthMethod\0"));
    /* other stages, text in pieces */
    refused(PUT(0x80, NAMES));
    refused(PUT(0x82, NAMES));
    refused(PUT(0x85, NAMES));
    refused(PUT(0x86, NAMES));
    refused(PUT(0x8b, NAMES));
    refused(PUT(0x8f, NAMES));
    refused(PUT(SECURITY_TO_OPERATIONAL | 0x40, NAMES));
    /* another version, an additional header, a command, a ping */
    (void)PUT(SECURITY_TO_OPERATIONAL, NAMES);
    request[3] = 1;
    refused(sizeof(request));
    (void)PUT(SECURITY_TO_OPERATIONAL, NAMES);
    request[4] = 1;
    refused(sizeof(request));
    for (i = 0; i < 0x100; i++) {
        if ((i & 0x3f) == 3)
            continue;
        (void)PUT(SECURITY_TO_OPERATIONAL, NAMES);
        request[0] = (uint8_t)i;
        refused(sizeof(request));
        assert_int_equal(stand_in_target_rest(request), -EBADMSG);
    }
    /* cut off at every place */
    for (i = 0; i < 48 + sizeof(names) - 1; i++) {
        (void)PUT(SECURITY_TO_OPERATIONAL, NAMES);
        refused(i);
    }
    /* too long, and as long as may be */
    memcpy(text, NAMES, sizeof(NAMES));
    memset(text + sizeof(NAMES) - 1, '=', sizeof(text) - sizeof(NAMES) - 1);
    text[STAND_IN_TEXT_MAX - 1] = '\0';
    refused(put(OPERATIONAL_TO_FULL, text, STAND_IN_TEXT_MAX + 1));
    assert_int_equal(stand_in_target_rest(request), -EBADMSG);
    i = put(OPERATIONAL_TO_FULL, text, STAND_IN_TEXT_MAX);
    assert_int_equal(stand_in_target_rest(request), STAND_IN_TEXT_MAX);
    assert_true(stand_in_target_answer(&(StandInLogin){.prefix = PREFIX}, request, i, answer) > 0);
    memset(request, 0xff, sizeof(request));
    refused(sizeof(request));
}

static int connected(const struct sockaddr_in *to)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    assert_int_equal(connect(fd, (const struct sockaddr *)to, sizeof(*to)), 0);
    return fd;
}

static void send_login(int fd, const char *names, size_t size)
{
    size_t n = put(SECURITY_TO_OPERATIONAL, names, size);

    assert_int_equal(send(fd, request, n, 0), n);
    n = PUT(OPERATIONAL_TO_FULL, OFFER);
    assert_int_equal(send(fd, request, n, 0), n);
}

static void answered(int fd)
{
    size_t n = 2 * 48 + padded(sizeof("AuthMethod=None\0" GROUP) - 1) + padded(sizeof(GRANT) - 1);
    uint8_t got[2 * STAND_IN_ANSWER_MAX];

    assert_int_equal(recv(fd, got, n, MSG_WAITALL), n);
    assert_int_equal(recv(fd, got, sizeof(got), 0), 0);
}

/* The whole of it at a real port: who logs in is closed on, other targets of the tunnel are served meanwhile,
 * and who comes first with nonsense, or is another user, stops nobody. */
static void test_serve(void **state)
{
    static const char names[] = NAMES "AuthMethod=CHAP,None\0",
                      other[] = "TargetName=" PREFIX "two\0AuthMethod=None\0";
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    _cleanup_close_ int listener = stand_in_target_listen(0), fd = -EBADF, stranger = -EBADF, second = -EBADF,
                        user = -EBADF;
    socklen_t size = sizeof(a);
    char byte;
    size_t n;

    assert_true(listener >= 0);
    assert_int_equal(getsockname(listener, (struct sockaddr *)&a, &size), 0);
    assert_int_equal(stand_in_target_listen(ntohs(a.sin_port)), -EADDRINUSE);
    assert_false(stand_in_target_serve(listener, PREFIX, TARGET, 1));

    stranger = connected(&a);
    n = PUT(SECURITY_TO_OPERATIONAL, "TargetName=other\0");
    assert_int_equal(send(stranger, request, n, 0), n);
    if (geteuid() == 0) {
        assert_int_equal(seteuid(65534), 0);
        user = connected(&a);
        assert_int_equal(seteuid(0), 0);
        send_login(user, names, sizeof(names) - 1);
    }
    /* another target of the tunnel is answered, but is not the one that it is about */
    second = connected(&a);
    send_login(second, other, sizeof(other) - 1);
    assert_false(stand_in_target_serve(listener, PREFIX, TARGET, 200 * USEC_PER_MSEC));
    answered(second);
    fd = connected(&a);
    send_login(fd, names, sizeof(names) - 1);
    assert_int_equal(shutdown(fd, SHUT_WR), 0); /* so that it need not wait */
    assert_true(stand_in_target_serve(listener, PREFIX, TARGET, 60 * USEC_PER_SEC));
    assert_int_equal(recv(stranger, &byte, 1, 0), 0);
    if (user >= 0) /* closed with unread bytes: reset */
        assert_true(recv(user, &byte, 1, 0) <= 0);
    answered(fd);
}

/* A tunnel that was killed: its end of the connection closed first, without SO_REUSEADDR. */
static void test_port_of_the_dead(void **state)
{
    _cleanup_close_ int tunnel = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), fd = -EBADF;
    int initiator = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), accepted, port, i;
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    socklen_t size = sizeof(a);
    char byte;

    assert_int_equal(bind(tunnel, (struct sockaddr *)&a, size), 0);
    assert_int_equal(listen(tunnel, 1), 0);
    assert_int_equal(getsockname(tunnel, (struct sockaddr *)&a, &size), 0);
    port = ntohs(a.sin_port);
    assert_int_equal(connect(initiator, (struct sockaddr *)&a, size), 0);
    accepted = accept(tunnel, NULL, NULL);
    assert_true(accepted >= 0);
    tunnel = safe_close(tunnel);
    close(accepted);
    assert_int_equal(recv(initiator, &byte, 1, 0), 0);
    assert_int_equal(stand_in_target_listen(port), -EADDRINUSE); /* not over yet */
    close(initiator);
    for (i = 0; i < 1000 && (fd = stand_in_target_listen(port)) == -EADDRINUSE; i++)
        (void)poll(NULL, 0, 5);
    assert_true(fd >= 0);
}

/* A network of our own, where this user may have one: the ports of other programs' connections are not in the
 * way. */
static void own_network(void)
{
    _cleanup_close_ int fd = -EBADF;
    struct ifreq up = {.ifr_name = "lo", .ifr_flags = IFF_UP | IFF_RUNNING};

    if (unshare(CLONE_NEWNET) < 0)
        return;
    fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    assert_int_equal(ioctl(fd, SIOCSIFFLAGS, &up), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_login), cmocka_unit_test(test_other_ways),       cmocka_unit_test(test_refused),
        cmocka_unit_test(test_serve), cmocka_unit_test(test_port_of_the_dead),
    };

    own_network();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
