/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Descriptors that come with Varlink messages: who gets them, that none is left open, and that nobody can
 * make the server hold many or wait for one. */

#include "framing.h"
#include "timeutil.h"
#include "varlink.h"

#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <sys/mman.h>
#include <sys/socket.h>

#include <cmocka.h>

#define DOMAIN "io.test.Things"
#define CALL(name) "{\"method\":\"" DOMAIN "." name "\"}"
#define MANY 250

typedef struct Fixture {
    sd_event *event;
    VarlinkServer *server;
    VarlinkCall *parked;
    int fd; /* the caller's */
    size_t n_seen, n_freed;
    char taken[64];
} Fixture;

/* ---- the server's side ---- */

static void count_free(void *data)
{
    (*(size_t *)data)++;
}

static int method_take(VarlinkCall *call, json_object *parameters, void *userdata)
{
    Fixture *f = userdata;
    int fd = varlink_call_take_fd(call, 0);

    f->n_seen = varlink_call_n_fds(call);
    memset(f->taken, 0, sizeof(f->taken));
    if (fd >= 0) {
        assert_true(fcntl(fd, F_GETFD) & FD_CLOEXEC);
        assert_int_equal(varlink_call_take_fd(call, 0), -EBADF); /* once */
        assert_true(pread(fd, f->taken, sizeof(f->taken) - 1, 0) >= 0);
        close(fd);
    }
    assert_int_equal(varlink_call_take_fd(call, 1), -EBADF);
    return varlink_call_reply(call, NULL);
}

static int method_park(VarlinkCall *call, json_object *parameters, void *userdata)
{
    Fixture *f = userdata;

    f->parked = call;
    f->n_seen = varlink_call_n_fds(call);
    varlink_call_set_data(call, &f->n_freed, count_free);
    assert_ptr_equal(varlink_call_data(call), &f->n_freed);
    return 0;
}

static int method_none(VarlinkCall *call, json_object *parameters, void *userdata)
{
    return varlink_call_reply(call, NULL);
}

static const VarlinkMethod methods[] = {
    {DOMAIN ".Take", method_take, .fds_max = 1},
    {DOMAIN ".Park", method_park, .fds_max = VARLINK_FDS_MAX},
    {DOMAIN ".None", method_none},
    {},
};

static void pump(Fixture *f)
{
    int i, r = 1;

    for (i = 0; i < 100000 && r > 0; i++)
        r = sd_event_run(f->event, 0);
    assert_int_equal(r, 0);
}

static void dial(Fixture *f)
{
    int fds[2];

    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fds), 0);
    assert_int_equal(varlink_server_add_connection_fd(f->server, fds[1]), 0);
    f->fd = fds[0];
}

static int setup(void **state)
{
    static const VarlinkIdentity identity = {"Vendor", "Product", "1", ""};
    Fixture *f = calloc(1, sizeof(*f));

    assert_non_null(f);
    assert_int_equal(sd_event_new(&f->event), 0);
    assert_int_equal(varlink_server_new(&f->server, f->event, DOMAIN, &identity, NULL), 0);
    assert_int_equal(varlink_server_add_interface(f->server, DOMAIN, "", methods, f), 0);
    dial(f);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    Fixture *f = *state;

    close(f->fd);
    varlink_server_free(f->server);
    sd_event_unref(f->event);
    free(f);
    return 0;
}

/* ---- the caller's side ---- */

/* Sends with n descriptors; the caller keeps none of them. */
static void say(Fixture *f, const char *bytes, size_t size, int *fds, size_t n)
{
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(MANY * sizeof(int))];
    } room = {};
    struct iovec iov = {.iov_base = (void *)bytes, .iov_len = size};
    struct msghdr m = {.msg_iov = &iov, .msg_iovlen = 1};
    size_t i;

    if (n > 0) {
        struct cmsghdr *c;

        m.msg_control = room.bytes;
        m.msg_controllen = CMSG_SPACE(n * sizeof(int));
        c = CMSG_FIRSTHDR(&m);
        c->cmsg_level = SOL_SOCKET;
        c->cmsg_type = SCM_RIGHTS;
        c->cmsg_len = CMSG_LEN(n * sizeof(int));
        memcpy(CMSG_DATA(c), fds, n * sizeof(int));
    }
    assert_int_equal(sendmsg(f->fd, &m, MSG_NOSIGNAL), (ssize_t)size);
    for (i = 0; i < n; i++)
        close(fds[i]);
}

static void call(Fixture *f, const char *text, int *fds, size_t n)
{
    say(f, text, strlen(text) + 1, fds, n);
    pump(f);
}

static void hears(Fixture *f, const char *part)
{
    char buf[1024] = "";
    ssize_t n;

    pump(f);
    n = recv(f->fd, buf, sizeof(buf) - 1, 0);
    assert_true(n >= 0);
    if (part ? !strstr(buf, part) : n != 0)
        fail_msg("\"%s\" is not in: %s", part ? part : "(the end)", buf);
}

/* n write ends of one pipe; returns its read end, which hears when all of them are closed. */
static int pipes(int *fds, size_t n)
{
    int p[2];
    size_t i;

    assert_int_equal(pipe2(p, O_CLOEXEC | O_NONBLOCK), 0);
    fds[0] = p[1];
    for (i = 1; i < n; i++) {
        fds[i] = fcntl(p[1], F_DUPFD_CLOEXEC, 0);
        assert_true(fds[i] >= 0);
    }
    return p[0];
}

static bool all_closed(int reader)
{
    char c;

    return read(reader, &c, 1) == 0;
}

static int memory(const char *text)
{
    int fd = memfd_create("key", MFD_CLOEXEC | MFD_ALLOW_SEALING);

    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), (ssize_t)strlen(text));
    return fd;
}

static size_t n_open(void)
{
    DIR *d = opendir("/proc/self/fd");
    size_t n = 0;

    assert_non_null(d);
    while (readdir(d))
        n++;
    closedir(d);
    return n;
}

/* ---- tests ---- */

static void test_taken(void **state)
{
    Fixture *f = *state;
    size_t before = n_open();
    int fd = memory("secret");

    call(f, CALL("Take"), &fd, 1);
    hears(f, "{\"parameters\":{}}");
    assert_string_equal(f->taken, "secret");
    assert_int_equal(f->n_seen, 1);
    assert_int_equal(n_open(), before);
    /* The next call of the connection has none of it. */
    call(f, CALL("Take"), NULL, 0);
    hears(f, "{\"parameters\":{}}");
    assert_int_equal(f->n_seen, 0);
    assert_string_equal(f->taken, "");
}

/* Behind the first byte, while the message is on its way. */
static void test_in_pieces(void **state)
{
    static const char text[] = CALL("Take");
    Fixture *f = *state;
    int fd = memory("later");

    say(f, text, 5, NULL, 0);
    pump(f);
    say(f, text + 5, 1, &fd, 1);
    pump(f);
    say(f, text + 6, sizeof(text) - 6, NULL, 0);
    hears(f, "{\"parameters\":{}}");
    assert_string_equal(f->taken, "later");
}

static void test_not_taken(void **state)
{
    int fds[VARLINK_FDS_MAX], reader = pipes(fds, VARLINK_FDS_MAX);
    Fixture *f = *state;

    call(f, CALL("Park"), fds, VARLINK_FDS_MAX);
    assert_int_equal(f->n_seen, VARLINK_FDS_MAX);
    /* The call waits, its descriptors do not. */
    assert_non_null(f->parked);
    assert_true(all_closed(reader));
    assert_int_equal(f->n_freed, 0);
    varlink_call_reply(f->parked, NULL);
    assert_int_equal(f->n_freed, 1);
    close(reader);
}

static void test_data_of_who_goes(void **state)
{
    Fixture *f = *state;

    call(f, CALL("Park"), NULL, 0);
    close(f->fd);
    pump(f);
    assert_int_equal(f->n_freed, 1);
    dial(f);
    call(f, CALL("Park"), NULL, 0);
    f->server = varlink_server_free(f->server);
    assert_int_equal(f->n_freed, 2);
}

static void test_unwanted(void **state)
{
    int fds[2], reader = pipes(fds, 2);
    Fixture *f = *state;

    call(f, CALL("Take"), fds, 2);
    hears(f, "takes at most 1 descriptors, and 2 came with it");
    assert_true(all_closed(reader));
    close(reader);
    reader = pipes(fds, 1);
    call(f, CALL("None"), fds, 1);
    hears(f, "takes at most 0 descriptors");
    assert_true(all_closed(reader));
    close(reader);
    reader = pipes(fds, 1);
    call(f, CALL("Unknown"), fds, 1);
    hears(f, "MethodNotFound");
    assert_true(all_closed(reader));
    close(reader);
    /* The connection goes on. */
    call(f, CALL("None"), NULL, 0);
    hears(f, "{\"parameters\":{}}");
}

static void test_too_many(void **state)
{
    static const size_t counts[] = {VARLINK_FDS_MAX + 1, VARLINK_FDS_MAX + 2, 64, MANY};
    Fixture *f = *state;
    size_t before = n_open(), i;

    for (i = 0; i < ELEMENTSOF(counts); i++) {
        int fds[MANY], reader = pipes(fds, counts[i]);

        call(f, CALL("Park"), fds, counts[i]);
        hears(f, "brings more than 8 descriptors");
        hears(f, NULL);
        assert_null(f->parked);
        assert_true(all_closed(reader));
        close(reader);
        close(f->fd);
        pump(f);
        dial(f);
        assert_int_equal(n_open(), before);
    }
}

/* A few with each byte of a message that never ends. */
static void test_trickle(void **state)
{
    Fixture *f = *state;
    int fds[VARLINK_FDS_MAX + 1], reader = pipes(fds, ELEMENTSOF(fds));
    size_t i;

    for (i = 0; i < ELEMENTSOF(fds); i++) {
        say(f, "{", 1, &fds[i], 1);
        pump(f);
    }
    hears(f, "brings more than 8 descriptors");
    hears(f, NULL);
    assert_true(all_closed(reader));
    close(reader);
}

static void test_gone_in_between(void **state)
{
    Fixture *f = *state;
    int fds[4], reader = pipes(fds, 4);

    say(f, "{", 1, fds, 4);
    pump(f);
    assert_false(all_closed(reader));
    close(f->fd);
    pump(f);
    assert_true(all_closed(reader));
    close(reader);
    /* Nor does the end of the server. */
    dial(f);
    reader = pipes(fds, 4);
    say(f, "{", 1, fds, 4);
    pump(f);
    f->server = varlink_server_free(f->server);
    assert_true(all_closed(reader));
    close(reader);
}

static int deny(const VarlinkPeer *peer, void *userdata)
{
    return 0;
}

static void test_denied(void **state)
{
    Fixture *f = *state;
    int fds[1], reader = pipes(fds, 1);

    assert_int_equal(varlink_server_set_authorize(f->server, deny, "no", NULL), 0);
    close(f->fd);
    dial(f);
    say(f, "{", 1, fds, 1);
    pump(f);
    /* Not even for the time until the message is there. */
    assert_true(all_closed(reader));
    close(reader);
}

/* What may hang when it is closed is closed elsewhere, but it is. */
static void test_files(void **state)
{
    Fixture *f = *state;
    uint64_t deadline = now_usec(CLOCK_MONOTONIC) + 30 * USEC_PER_SEC;
    size_t before = n_open(), i;
    int fds[4];

    for (i = 0; i < ELEMENTSOF(fds); i++)
        assert_true((fds[i] = open("/proc/self/maps", O_RDONLY | O_CLOEXEC)) >= 0);
    call(f, CALL("Park"), fds, ELEMENTSOF(fds));
    while (n_open() > before) {
        assert_true(now_usec(CLOCK_MONOTONIC) < deadline);
        poll(NULL, 0, 1);
    }
    varlink_call_reply(f->parked, NULL);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_taken),    TEST(test_in_pieces), TEST(test_not_taken),
        TEST(test_unwanted), TEST(test_too_many),  TEST(test_data_of_who_goes),
        TEST(test_trickle),  TEST(test_denied),    TEST(test_gone_in_between),
        TEST(test_files),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
