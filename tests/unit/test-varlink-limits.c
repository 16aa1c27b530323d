/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* What a caller of the Varlink server may take: the size of a message, the time for it, answers that nobody
 * reads, connections; and who may come in at all. */

#include "varlink-fixture.h"

#include <fcntl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>

static void test_depth_and_size(void **state)
{
    enum {
        BIG = 10 * 1024 * 1024
    };
    Fixture *f = *state;
    char *big = malloc(BIG);
    int fd;

    assert_non_null(big);
    memset(big, '[', 100000);
    big[100000] = '\0';
    fd = connect_pair(f);
    say(f, fd, big);
    assert_hears_part(f, fd, "nested too deep");
    assert_end(f, fd);
    close(fd);

    memset(big, ' ', BIG);
    fd = connect_pair(f);
    say_bytes(f, fd, big, BIG);
    assert_hears_part(f, fd, "longer than 1048576 bytes");
    assert_hears_part(f, fd, "");
    close(fd);
    pump(f);
    assert_int_equal(varlink_server_n_connections(f->server), 0);

    /* The largest that is allowed, answered at its whole length though nobody reads at first. */
    memset(big, 'x', BIG);
    memcpy(big, "{\"method\":\"" DOMAIN ".Echo\",\"parameters\":{\"text\":\"", 54);
    memcpy(big + MIB - 3, "\"}}", 4);
    assert_memory_equal(big + 52, "\"x", 0);
    fd = connect_pair(f);
    say(f, fd, big);
    pump(f);
    {
        _cleanup_free_ char *s = hear(f, fd);

        assert_non_null(s);
        assert_true(strlen(s) > MIB - 100);
        assert_true(endswith(s, "xxx\"}}"));
    }
    close(fd);
    free(big);
}

/* Runs the loop until the connection is closed. */
static void wait_for_end(Fixture *f)
{
    while (varlink_server_n_connections(f->server) > 0) {
        assert_true(now_usec(CLOCK_MONOTONIC) < f->deadline);
        assert_true(sd_event_run(f->event, USEC_PER_SEC) >= 0);
    }
}

static void test_half_message(void **state)
{
    VarlinkLimits limits = VARLINK_LIMITS_DEFAULT;
    Fixture *f = *state;
    int fd, idle;

    limits.message_timeout_usec = 200 * USEC_PER_MSEC;
    fixture_serve(f, &limits);
    fd = connect_pair(f);
    say(f, fd, ECHO("1"));
    assert_hears(f, fd, ECHOED("1"));
    say_bytes(f, fd, "{\"method", 8);
    wait_for_end(f);
    assert_hears_part(f, fd, "not ended in time");
    assert_end(f, fd);
    close(fd);

    /* Who says nothing at all may stay, and so may who waits for an answer. */
    idle = connect_pair(f);
    fd = connect_pair(f);
    say(f, fd, CALL("Park"));
    say_bytes(f, fd, "{\"method", 8);
    pump(f);
    {
        /* A third one measures the time. */
        int clock = connect_pair(f);

        say_bytes(f, clock, "{", 1);
        while (varlink_server_n_connections(f->server) > 2)
            assert_true(sd_event_run(f->event, USEC_PER_SEC) >= 0);
        close(clock);
    }
    assert_int_equal(varlink_server_n_connections(f->server), 2);
    assert_int_equal(varlink_call_reply(f->parked, NULL), 0);
    close(fd);
    close(idle);
}

static void test_slow_reader(void **state)
{
    _cleanup_json_ json_object *o = json_object_new_object();
    VarlinkLimits limits = VARLINK_LIMITS_DEFAULT;
    char text[4096];
    Fixture *f = *state;
    int fd, i, r = 0;

    memset(text, 'x', sizeof(text) - 1);
    text[sizeof(text) - 1] = '\0';
    json_object_object_add(o, "text", json_object_new_string(text));
    limits.output_max_bytes = 256 * KIB;
    fixture_serve(f, &limits);
    fd = connect_pair(f);
    say(f, fd, "{\"method\":\"" DOMAIN ".Stream\",\"more\":true}");
    pump(f);
    for (i = 0; i < 10000 && r == 0; i++)
        r = varlink_call_notify(f->parked, o);
    assert_int_equal(r, -ENOBUFS);
    assert_true(i > 60);
    assert_int_equal(f->gone, 0);
    assert_int_equal(varlink_call_notify(f->parked, o), -ECONNRESET);
    pump(f);
    assert_int_equal(f->gone, 1);
    assert_int_equal(varlink_server_n_connections(f->server), 0);
    close(fd);

    /* One who reads in time gets everything. */
    fd = connect_pair(f);
    say(f, fd, "{\"method\":\"" DOMAIN ".Stream\",\"more\":true}");
    pump(f);
    for (i = 0; i < 500; i++) {
        assert_int_equal(varlink_call_notify(f->parked, o), 0);
        if (i >= 40)
            assert_hears_part(f, fd, "xxx");
    }
    close(fd);
    pump(f);
    assert_int_equal(f->gone, 2);
}

/* What one user does not read is bounded over all his connections, too. */
static void test_slow_user(void **state)
{
    _cleanup_json_ json_object *o = json_object_new_object();
    VarlinkLimits limits = VARLINK_LIMITS_DEFAULT;
    VarlinkCall *calls[3];
    Fixture *f = *state;
    char text[4096];
    size_t i;
    int fds[3], r = 0;

    memset(text, 'x', sizeof(text) - 1);
    text[sizeof(text) - 1] = '\0';
    json_object_object_add(o, "text", json_object_new_string(text));
    limits.output_max_bytes = 64 * KIB;
    limits.output_per_uid_max_bytes = 128 * KIB;
    fixture_serve(f, &limits);
    for (i = 0; i < ELEMENTSOF(fds); i++) {
        fds[i] = connect_pair(f);
        say(f, fds[i], "{\"method\":\"" DOMAIN ".Stream\",\"more\":true}");
        pump(f);
        calls[i] = f->parked;
    }
    /* 60 KiB wait in each of the first two, behind what the kernel takes. */
    for (i = 0; i < 2; i++) {
        size_t before = varlink_unread(f->server, getuid());

        while (varlink_unread(f->server, getuid()) < before + 58 * KIB)
            assert_int_equal(varlink_call_notify(calls[i], o), 0);
    }
    while ((r = varlink_call_notify(calls[2], o)) == 0)
        assert_true(varlink_unread(f->server, getuid()) <= limits.output_per_uid_max_bytes);
    assert_int_equal(r, -ENOBUFS);
    pump(f);
    assert_int_equal(varlink_server_n_connections(f->server), 2);
    for (i = 0; i < ELEMENTSOF(fds); i++)
        close(fds[i]);
}

/* ---- who may come in ---- */

static int nobody(const VarlinkPeer *peer, void *userdata)
{
    int *asked = userdata;

    (*asked)++;
    assert_int_equal(peer->pid, getpid());
    return 0;
}

static void test_denied(void **state)
{
    VarlinkLimits limits = VARLINK_LIMITS_DEFAULT;
    Fixture *f = *state;
    int fd, asked = 0;

    limits.message_timeout_usec = 200 * USEC_PER_MSEC;
    fixture_serve(f, &limits);
    assert_int_equal(varlink_server_set_authorize(f->server, nobody, "only friends", &asked), 0);
    fd = connect_pair(f);
    say(f, fd, ECHO("1"));
    say(f, fd, ECHO("2"));
    assert_hears(f, fd,
                 "{\"error\":\"" DOMAIN ".PermissionDenied\",\"parameters\":{\"reason\":\"only friends\"}}");
    assert_end(f, fd);
    close(fd);
    fd = connect_pair(f);
    say(f, fd, "{\"method\":\"org.varlink.service.GetInfo\",\"oneway\":true}");
    assert_end(f, fd);
    close(fd);
    /* Nor may they sit there. */
    fd = connect_pair(f);
    wait_for_end(f);
    close(fd);
    assert_int_equal(f->handled, 0);
    assert_int_equal(asked, 3);
}

static int listener(Fixture *f, struct sockaddr_un *sa)
{
    static int n;
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    *sa = (struct sockaddr_un){.sun_family = AF_UNIX};
    snprintf(sa->sun_path + 1, sizeof(sa->sun_path) - 1, "test-varlink-%d-%d", getpid(), n++);
    assert_int_equal(bind(fd, (struct sockaddr *)sa, sizeof(*sa)), 0);
    assert_int_equal(listen(fd, 600), 0);
    assert_int_equal(varlink_server_listen_fd(f->server, fd), 0);
    return fd;
}

static int dial(const struct sockaddr_un *sa)
{
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    assert_true(fd >= 0);
    assert_int_equal(connect(fd, (const struct sockaddr *)sa, sizeof(*sa)), 0);
    assert_int_equal(fcntl(fd, F_SETFL, O_NONBLOCK), 0);
    return fd;
}

static void test_500_connections(void **state)
{
    VarlinkLimits limits = VARLINK_LIMITS_DEFAULT;
    const bool root = geteuid() == 0;
    unsigned allowed = root ? 320 : 64, i, refused = 0;
    Fixture *f = *state;
    struct sockaddr_un sa;
    int fds[500];
    char *s;

    fixture_serve(f, &limits);
    listener(f, &sa);
    for (i = 0; i < ELEMENTSOF(fds); i++)
        fds[i] = dial(&sa);
    pump(f);
    assert_int_equal(varlink_server_n_connections(f->server), allowed);
    for (i = 0; i < ELEMENTSOF(fds); i++) {
        s = hear(f, fds[i]);
        if (!s)
            continue;
        assert_non_null(strstr(s, "\"error\":\"" DOMAIN ".LimitReached\""));
        free(s);
        assert_end(f, fds[i]);
        refused++;
    }
    assert_int_equal(refused, ELEMENTSOF(fds) - allowed);
    say(f, fds[0], ECHO("first"));
    assert_hears(f, fds[0], ECHOED("first"));
    for (i = 0; i < ELEMENTSOF(fds); i++)
        close(fds[i]);
    pump(f);
    assert_int_equal(varlink_server_n_connections(f->server), 0);
    fds[0] = dial(&sa);
    say(f, fds[0], ECHO("again"));
    assert_hears(f, fds[0], ECHOED("again"));
    close(fds[0]);
}

static void test_per_user(void **state)
{
    VarlinkLimits limits = VARLINK_LIMITS_DEFAULT;
    Fixture *f = *state;
    struct sockaddr_un sa;
    int fds[3], root;
    char *s;

    if (geteuid() != 0)
        skip();
    limits.connections_max = 2;
    limits.connections_per_uid_max = 1;
    fixture_serve(f, &limits);
    listener(f, &sa);
    assert_int_equal(seteuid(65534), 0);
    fds[0] = dial(&sa);
    fds[1] = dial(&sa);
    assert_int_equal(seteuid(0), 0);
    assert_int_equal(seteuid(65533), 0);
    fds[2] = dial(&sa);
    assert_int_equal(seteuid(0), 0);
    root = dial(&sa);
    assert_silence(f, fds[0]);
    s = hear(f, fds[1]);
    assert_non_null(strstr(s, "user 65534 has 1 connections open"));
    free(s);
    assert_silence(f, fds[2]);
    /* All places are taken, and root comes in nevertheless. */
    say(f, root, ECHO("x"));
    assert_hears(f, root, ECHOED("x"));
    close(fds[0]);
    close(fds[1]);
    close(fds[2]);
    close(root);
}

static void test_no_descriptors(void **state)
{
    struct rlimit old, small;
    Fixture *f = *state;
    struct sockaddr_un sa;
    int fd, spare;

    listener(f, &sa);
    fd = dial(&sa);
    spare = dup(fd);
    close(spare);
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &old), 0);
    small = old;
    small.rlim_cur = spare;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &small), 0);
    say(f, fd, ECHO("patience"));
    pump(f); /* comes to rest: the listener is paused, not spinning */
    assert_int_equal(varlink_server_n_connections(f->server), 0);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &old), 0);
    while (varlink_server_n_connections(f->server) == 0) {
        assert_true(now_usec(CLOCK_MONOTONIC) < f->deadline);
        assert_true(sd_event_run(f->event, USEC_PER_SEC) >= 0);
    }
    assert_hears(f, fd, ECHOED("patience"));
    close(fd);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        FIXTURE_TEST(test_depth_and_size), FIXTURE_TEST(test_half_message),    FIXTURE_TEST(test_slow_reader),
        FIXTURE_TEST(test_denied),         FIXTURE_TEST(test_500_connections), FIXTURE_TEST(test_per_user),
        FIXTURE_TEST(test_no_descriptors), FIXTURE_TEST(test_slow_user),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
