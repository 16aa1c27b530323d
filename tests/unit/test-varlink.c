/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The Varlink server from a caller's side of a socket: what is answered, in which order, what is refused, and
 * that neither a hostile caller nor the end of the server leaves anything behind. */

#include "framing.h"
#include "timeutil.h"
#include "varlink.h"

#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <cmocka.h>

#define DOMAIN "io.test.Things"

typedef struct Fixture {
    sd_event *event;
    VarlinkServer *server;
    VarlinkCall *parked;
    int handled, gone;
    bool free_in_gone;
    uint64_t deadline; /* of the whole test */
} Fixture;

/* ---- the server's side ---- */

static int method_echo(VarlinkCall *call, json_object *parameters, void *userdata)
{
    ((Fixture *)userdata)->handled++;
    return varlink_call_reply(call, parameters);
}

static void on_gone(VarlinkCall *call, void *userdata)
{
    Fixture *f = userdata;

    assert_ptr_equal(call, f->parked);
    /* Too late for an answer; saying so must not end anything. */
    assert_int_equal(varlink_call_reply(call, NULL), -ENOTCONN);
    f->parked = NULL;
    f->gone++;
    if (f->free_in_gone)
        f->server = varlink_server_free(f->server);
}

static int method_park(VarlinkCall *call, json_object *parameters, void *userdata)
{
    Fixture *f = userdata;

    f->handled++;
    f->parked = call;
    varlink_call_set_gone(call, on_gone, f);
    return 0;
}

static int method_broken(VarlinkCall *call, json_object *parameters, void *userdata)
{
    return -EIO;
}

static int method_end(VarlinkCall *call, json_object *parameters, void *userdata)
{
    Fixture *f = userdata;

    f->server = varlink_server_free(f->server);
    return -EIO;
}

static const char *const echo_parameters[] = {"text", "big", NULL};
static const VarlinkMethod methods[] = {
    {DOMAIN ".Echo", method_echo, .parameters = echo_parameters},
    {DOMAIN ".Park", method_park},
    {DOMAIN ".Stream", method_park, .needs_more = true},
    {DOMAIN ".Broken", method_broken},
    {DOMAIN ".End", method_end},
    {DOMAIN ".Later"},
    {},
};

static void serve(Fixture *f, const VarlinkLimits *limits)
{
    static const VarlinkIdentity identity = {"Vendor", "Product", "1", "https://example.com/"};

    f->server = varlink_server_free(f->server);
    assert_int_equal(varlink_server_new(&f->server, f->event, DOMAIN, &identity, limits), 0);
    assert_int_equal(varlink_server_add_interface(f->server, DOMAIN, "interface " DOMAIN "\n", methods, f),
                     0);
    assert_int_equal(varlink_server_add_interface(f->server, DOMAIN, "", methods, f), -EEXIST);
}

static int setup(void **state)
{
    Fixture *f = calloc(1, sizeof(*f));

    assert_non_null(f);
    f->deadline = now_usec(CLOCK_MONOTONIC) + 60 * USEC_PER_SEC;
    assert_int_equal(sd_event_new(&f->event), 0);
    serve(f, NULL);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    Fixture *f = *state;

    varlink_server_free(f->server);
    sd_event_unref(f->event);
    free(f);
    return 0;
}

/* Lets the server do all that it can do now. It must come to rest: a loop that spins fails here. */
static void pump(Fixture *f)
{
    int i, r = 1;

    for (i = 0; i < 100000 && r > 0; i++)
        r = sd_event_run(f->event, 0);
    assert_int_equal(r, 0);
}

/* ---- the caller's side ---- */

static int connect_pair(Fixture *f)
{
    int fds[2];

    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fds), 0);
    assert_int_equal(varlink_server_add_connection_fd(f->server, fds[1]), 0);
    return fds[0];
}

static void say_bytes(Fixture *f, int fd, const char *bytes, size_t size)
{
    while (size > 0) {
        ssize_t n = send(fd, bytes, size, MSG_NOSIGNAL);

        if (n < 0 && errno == EAGAIN) {
            pump(f);
            continue;
        }
        if (n < 0)
            return; /* the server has closed: the test sees what it left */
        bytes += n;
        size -= n;
    }
}

static void say(Fixture *f, int fd, const char *text)
{
    say_bytes(f, fd, text, strlen(text) + 1);
}

/* The next answer as text, without its NUL; "" at the end of the connection; NULL: nothing comes. */
static char *hear(Fixture *f, int fd)
{
    size_t used = 0, size = 4096;
    char *s = malloc(size);

    assert_non_null(s);
    pump(f);
    for (;;) {
        ssize_t n = recv(fd, s + used, 1, 0);

        if (n < 0 && errno == EAGAIN) {
            if (used > 0 || f->server) {
                int r = sd_event_run(f->event, 0);

                if (r > 0)
                    continue;
            }
            assert_int_equal(used, 0);
            free(s);
            return NULL;
        }
        if (n <= 0 || s[used] == '\0') {
            s[used] = '\0';
            return s;
        }
        if (++used == size) {
            s = realloc(s, size *= 2);
            assert_non_null(s);
        }
    }
}

#define assert_hears(f, fd, text)                                                                            \
    do {                                                                                                     \
        char *_heard = hear(f, fd);                                                                          \
        assert_non_null(_heard);                                                                             \
        assert_string_equal(_heard, text);                                                                   \
        free(_heard);                                                                                        \
    } while (0)
#define assert_hears_part(f, fd, text)                                                                       \
    do {                                                                                                     \
        char *_heard = hear(f, fd);                                                                          \
        assert_non_null(_heard);                                                                             \
        if (!strstr(_heard, text))                                                                           \
            fail_msg("\"%s\" is not in: %s", text, _heard);                                                  \
        free(_heard);                                                                                        \
    } while (0)
#define assert_silence(f, fd) assert_null(hear(f, fd))
#define assert_end(f, fd) assert_hears(f, fd, "")

#define ECHO(text) "{\"method\":\"" DOMAIN ".Echo\",\"parameters\":{\"text\":\"" text "\"}}"
#define ECHOED(text) "{\"parameters\":{\"text\":\"" text "\"}}"
#define CALL(name) "{\"method\":\"" DOMAIN "." name "\"}"

/* ---- tests ---- */

static void test_service(void **state)
{
    Fixture *f = *state;
    int fd = connect_pair(f);

    say(f, fd, "{\"method\":\"org.varlink.service.GetInfo\"}");
    assert_hears(f, fd,
                 "{\"parameters\":{\"vendor\":\"Vendor\",\"product\":\"Product\",\"version\":\"1\","
                 "\"url\":\"https://example.com/\",\"interfaces\":[\"" DOMAIN
                 "\",\"org.varlink.service\"]}}");
    say(f, fd,
        "{\"method\":\"org.varlink.service.GetInterfaceDescription\",\"parameters\":{\"interface\":\"" DOMAIN
        "\"}}");
    assert_hears(f, fd, "{\"parameters\":{\"description\":\"interface " DOMAIN "\\n\"}}");
    say(f, fd,
        "{\"method\":\"org.varlink.service.GetInterfaceDescription\","
        "\"parameters\":{\"interface\":\"org.varlink.service\"}}");
    assert_hears_part(f, fd, "method GetInterfaceDescription(interface: string) -> (description: string)");
    say(f, fd,
        "{\"method\":\"org.varlink.service.GetInterfaceDescription\",\"parameters\":{\"interface\":\"no."
        "such\"}}");
    assert_hears(
        f, fd,
        "{\"error\":\"org.varlink.service.InterfaceNotFound\",\"parameters\":{\"interface\":\"no.such\"}}");
    say(f, fd,
        "{\"method\":\"org.varlink.service.GetInterfaceDescription\",\"parameters\":{\"interface\":7}}");
    assert_hears_part(f, fd, "InvalidParameter\",\"parameters\":{\"parameter\":\"interface\"}");
    close(fd);
    pump(f);
    assert_int_equal(varlink_server_n_connections(f->server), 0);
}

static void test_call_errors(void **state)
{
    static const struct {
        const char *call, *answer;
    } cases[] = {
        {"{\"method\":\"io.other.Thing\"}",
         "{\"error\":\"org.varlink.service.InterfaceNotFound\",\"parameters\":{\"interface\":\"io.other\"}}"},
        {CALL("Nothing"),
         "{\"error\":\"org.varlink.service.MethodNotFound\",\"parameters\":{\"method\":\"" DOMAIN
         ".Nothing\"}}"},
        {CALL("Later"),
         "{\"error\":\"org.varlink.service.MethodNotImplemented\",\"parameters\":{\"method\":\"" DOMAIN
         ".Later\"}}"},
        {"{\"method\":\"Echo\"}",
         "{\"error\":\"org.varlink.service.InvalidParameter\",\"parameters\":{\"parameter\":\"method\"}}"},
        {"{\"method\":\".Echo\"}",
         "{\"error\":\"org.varlink.service.InvalidParameter\",\"parameters\":{\"parameter\":\"method\"}}"},
        {"{\"method\":\"" DOMAIN ".Echo\",\"parameters\":{\"txt\":1}}",
         "{\"error\":\"org.varlink.service.InvalidParameter\",\"parameters\":{\"parameter\":\"txt\"}}"},
        {"{\"method\":\"" DOMAIN ".Park\",\"parameters\":{\"txt\":1}}",
         "{\"error\":\"org.varlink.service.InvalidParameter\",\"parameters\":{\"parameter\":\"txt\"}}"},
        {CALL("Stream"), "{\"error\":\"org.varlink.service.ExpectedMore\",\"parameters\":{}}"},
        {"{\"method\":\"" DOMAIN ".Echo\",\"parameters\":null}", "{\"parameters\":{}}"},
    };
    Fixture *f = *state;
    int fd = connect_pair(f);
    size_t i;

    for (i = 0; i < ELEMENTSOF(cases); i++) {
        say(f, fd, cases[i].call);
        assert_hears(f, fd, cases[i].answer);
    }
    say(f, fd, CALL("Broken"));
    assert_hears_part(f, fd, "\"error\":\"" DOMAIN ".InternalFailed\"");
    say(f, fd, ECHO("still here"));
    assert_hears(f, fd, ECHOED("still here"));
    close(fd);
}

static void test_not_varlink(void **state)
{
    static const struct {
        const char *bytes, *answer;
    } cases[] = {
        {"GET / HTTP/1.1\r\n\r\n", "not valid JSON"},
        {"", "not valid JSON"},
        {"{\"method\":\"a.B\"", "not valid JSON"},
        {"{\"method\":\"a.B\"}{}", "not valid JSON"},
        {"{\"method\":\"a.\xff\"}", "not valid JSON"},
        {"[]", "not a JSON object"},
        {"\"text\"", "not a JSON object"},
        {"{}", "has no method"},
        {"{\"method\":7}", "wants a string as method"},
        {"{\"method\":\"a.B\\u0000C\"}", "wants a string as method"},
        {"{\"method\":\"a.B\",\"parameters\":[]}", "wants an object as parameters"},
        {"{\"method\":\"a.B\",\"more\":1}", "wants true or false as more"},
        {"{\"method\":\"a.B\",\"oneway\":\"yes\"}", "wants true or false as oneway"},
        {"{\"method\":\"a.B\",\"upgrade\":{}}", "wants true or false as upgrade"},
        {"{\"method\":\"a.B\",\"upgrade\":true}", "upgrade"},
        {"{\"method\":\"a.B\",\"more\":true,\"oneway\":true}", "both more and oneway"},
        {"{\"method\":\"a.B\",\"color\":1}", "unknown field \\\"color\\\""},
    };
    Fixture *f = *state;
    int other = connect_pair(f);
    size_t i;

    for (i = 0; i < ELEMENTSOF(cases); i++) {
        int fd = connect_pair(f);

        say(f, fd, cases[i].bytes);
        say(f, fd, ECHO("never"));
        assert_hears_part(f, fd, cases[i].answer);
        assert_end(f, fd);
        close(fd);
    }
    assert_int_equal(f->handled, 0);
    say(f, other, ECHO("x"));
    assert_hears(f, other, ECHOED("x"));
    close(other);
}

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

static void test_byte_by_byte(void **state)
{
    static const char text[] = ECHO("slow");
    Fixture *f = *state;
    int fd = connect_pair(f);
    size_t i;

    for (i = 0; i < sizeof(text); i++) {
        assert_silence(f, fd);
        say_bytes(f, fd, text + i, 1);
    }
    assert_hears(f, fd, ECHOED("slow"));
    close(fd);
}

static void test_pipelined(void **state)
{
    static const char text[] =
        ECHO("1") "\0" CALL("Park") "\0" ECHO("2") "\0" ECHO("3") "\0" CALL("Park") "\0" ECHO("4");
    Fixture *f = *state;
    int fd = connect_pair(f);

    say_bytes(f, fd, text, sizeof(text));
    assert_hears(f, fd, ECHOED("1"));
    assert_silence(f, fd);
    assert_int_equal(f->handled, 2);
    assert_int_equal(varlink_call_reply(f->parked, NULL), 0);
    /* Nothing runs from inside the answer. */
    assert_int_equal(f->handled, 2);
    assert_hears(f, fd, "{\"parameters\":{}}");
    assert_hears(f, fd, ECHOED("2"));
    assert_hears(f, fd, ECHOED("3"));
    assert_silence(f, fd);
    assert_int_equal(varlink_call_error(f->parked, "a.B", NULL), 0);
    assert_hears(f, fd, "{\"error\":\"a.B\",\"parameters\":{}}");
    assert_hears(f, fd, ECHOED("4"));
    close(fd);
    pump(f);
    assert_int_equal(f->gone, 0);
}

static void test_many_pipelined(void **state)
{
    Fixture *f = *state;
    int fd = connect_pair(f), i;

    for (i = 0; i < 5000; i++)
        say(f, fd, "{\"method\":\"" DOMAIN ".Echo\",\"oneway\":true}");
    say(f, fd, ECHO("last"));
    assert_hears(f, fd, ECHOED("last"));
    assert_int_equal(f->handled, 5001);
    close(fd);
}

static void test_half_close(void **state)
{
    static const char text[] = ECHO("1") "\0" CALL("Park") "\0" ECHO("2") "\0{\"half";
    Fixture *f = *state;
    int fd = connect_pair(f);

    say_bytes(f, fd, text, sizeof(text) - 1);
    assert_int_equal(shutdown(fd, SHUT_WR), 0);
    assert_hears(f, fd, ECHOED("1"));
    assert_silence(f, fd);
    assert_int_equal(f->gone, 0);
    assert_int_equal(varlink_call_reply(f->parked, NULL), 0);
    assert_hears(f, fd, "{\"parameters\":{}}");
    assert_hears(f, fd, ECHOED("2"));
    assert_end(f, fd);
    assert_int_equal(varlink_server_n_connections(f->server), 0);
    close(fd);
}

static void test_stream(void **state)
{
    _cleanup_json_ json_object *o = json_object_new_object();
    Fixture *f = *state;
    int fd = connect_pair(f);

    json_object_object_add(o, "n", json_object_new_int(1));
    say(f, fd, "{\"method\":\"" DOMAIN ".Stream\",\"more\":true}");
    pump(f);
    assert_true(varlink_call_wants_more(f->parked));
    assert_string_equal(varlink_call_method(f->parked), DOMAIN ".Stream");
    assert_int_equal(varlink_call_uid(f->parked), geteuid());
    assert_int_equal(varlink_call_pid(f->parked), getpid());
    assert_int_equal(varlink_call_notify(f->parked, o), 0);
    assert_hears(f, fd, "{\"parameters\":{\"n\":1},\"continues\":true}");
    assert_int_equal(varlink_call_notify(f->parked, o), 0);
    assert_int_equal(varlink_call_reply(f->parked, o), 0);
    assert_hears(f, fd, "{\"parameters\":{\"n\":1},\"continues\":true}");
    assert_hears(f, fd, "{\"parameters\":{\"n\":1}}");
    /* Who did not ask for more gets the last one only. */
    say(f, fd, CALL("Park"));
    pump(f);
    assert_int_equal(varlink_call_notify(f->parked, o), 0);
    assert_silence(f, fd);
    assert_int_equal(varlink_call_reply(f->parked, o), 0);
    assert_hears(f, fd, "{\"parameters\":{\"n\":1}}");
    close(fd);
}

static void test_failure(void **state)
{
    _cleanup_failure_ Failure *failure = failure_new(FAILURE_BUSY, "held");
    _cleanup_json_ json_object *o = json_object_new_object();
    Fixture *f = *state;
    int fd = connect_pair(f);

    json_object_object_add(o, "session", json_object_new_string("s"));
    json_object_object_add(o, "nothing", NULL);
    say(f, fd, CALL("Park"));
    pump(f);
    assert_int_equal(varlink_call_fail(f->parked, failure, o), 0);
    assert_hears_part(f, fd,
                      "{\"error\":\"" DOMAIN
                      ".Busy\",\"parameters\":{\"failure\":{\"name\":\"Busy\",\"message\":\"held\"");
    say(f, fd, CALL("Park"));
    pump(f);
    assert_int_equal(varlink_call_fail(f->parked, NULL, NULL), 0);
    assert_hears(f, fd, "{\"error\":\"" DOMAIN ".InternalFailed\",\"parameters\":{}}");
    close(fd);
}

static void test_gone(void **state)
{
    Fixture *f = *state;
    int fd = connect_pair(f);

    say(f, fd, CALL("Park"));
    pump(f);
    assert_int_equal(f->gone, 0);
    close(fd);
    pump(f);
    assert_int_equal(f->gone, 1);
    assert_int_equal(varlink_server_n_connections(f->server), 0);

    /* Gone before the call was even looked at. */
    fd = connect_pair(f);
    say(f, fd, CALL("Park"));
    close(fd);
    pump(f);
    assert_int_equal(f->gone, 2);
    assert_int_equal(varlink_server_n_connections(f->server), 0);

    /* Noticed by an answer that cannot be sent: told later, not from inside. */
    fd = connect_pair(f);
    say(f, fd, "{\"method\":\"" DOMAIN ".Park\",\"more\":true}");
    pump(f);
    close(fd);
    assert_int_equal(varlink_call_notify(f->parked, NULL), -ECONNRESET);
    assert_int_equal(f->gone, 2);
    pump(f);
    assert_int_equal(f->gone, 3);

    /* The final answer comes first: then there is nobody to tell. */
    fd = connect_pair(f);
    say(f, fd, CALL("Park"));
    pump(f);
    close(fd);
    assert_int_equal(varlink_call_reply(f->parked, NULL), -ECONNRESET);
    pump(f);
    assert_int_equal(f->gone, 3);
    assert_int_equal(varlink_server_n_connections(f->server), 0);
}

static void test_oneway(void **state)
{
    static const char text[] =
        "{\"method\":\"" DOMAIN ".Park\",\"oneway\":true}\0{\"method\":\"" DOMAIN
        ".Nothing\",\"oneway\":true}\0{\"method\":\"" DOMAIN ".Echo\",\"oneway\":true}";
    Fixture *f = *state;
    int fd = connect_pair(f);

    say_bytes(f, fd, text, sizeof(text));
    say(f, fd, ECHO("x"));
    pump(f);
    assert_true(varlink_call_is_oneway(f->parked));
    assert_int_equal(varlink_call_reply(f->parked, NULL), 0);
    assert_hears(f, fd, ECHOED("x"));
    assert_int_equal(f->handled, 3);
    close(fd);

    /* Said and left: all of it is done all the same. */
    fd = connect_pair(f);
    say_bytes(f, fd, text, sizeof(text));
    close(fd);
    pump(f);
    assert_int_equal(f->gone, 0);
    assert_int_equal(f->handled, 4);
    assert_int_equal(varlink_call_reply(f->parked, NULL), 0);
    pump(f);
    assert_int_equal(f->handled, 5);
    assert_int_equal(varlink_server_n_connections(f->server), 0);
}

static void test_server_free(void **state)
{
    Fixture *f = *state;
    int fd = connect_pair(f), other = connect_pair(f);

    /* With a parked call, buffered messages and unread answers. */
    say(f, other, ECHO("unread"));
    say(f, fd, CALL("Park"));
    say(f, fd, ECHO("waits"));
    pump(f);
    f->server = varlink_server_free(f->server);
    assert_int_equal(f->gone, 0);
    assert_hears(f, other, ECHOED("unread"));
    assert_end(f, other);
    close(fd);
    close(other);

    /* From a handler. */
    serve(f, NULL);
    fd = connect_pair(f);
    other = connect_pair(f);
    say(f, fd, CALL("End"));
    say(f, fd, ECHO("never"));
    pump(f);
    assert_null(f->server);
    close(fd);
    close(other);

    /* From the gone callback. */
    serve(f, NULL);
    fd = connect_pair(f);
    other = connect_pair(f);
    say(f, fd, CALL("Park"));
    pump(f);
    f->free_in_gone = true;
    close(fd);
    pump(f);
    assert_null(f->server);
    assert_int_equal(f->gone, 1);
    close(other);
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
    serve(f, &limits);
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
    serve(f, &limits);
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
    serve(f, &limits);
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

    serve(f, &limits);
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
    serve(f, &limits);
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
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_service),
        TEST(test_call_errors),
        TEST(test_not_varlink),
        TEST(test_depth_and_size),
        TEST(test_byte_by_byte),
        TEST(test_pipelined),
        TEST(test_many_pipelined),
        TEST(test_half_close),
        TEST(test_stream),
        TEST(test_failure),
        TEST(test_gone),
        TEST(test_oneway),
        TEST(test_server_free),
        TEST(test_half_message),
        TEST(test_slow_reader),
        TEST(test_denied),
        TEST(test_500_connections),
        TEST(test_per_user),
        TEST(test_no_descriptors),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
