/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "varlink-fixture.h"

#include <sys/socket.h>

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

void fixture_serve(Fixture *f, const VarlinkLimits *limits)
{
    static const VarlinkIdentity identity = {"Vendor", "Product", "1", "https://example.com/"};

    f->server = varlink_server_free(f->server);
    assert_int_equal(varlink_server_new(&f->server, f->event, DOMAIN, &identity, limits), 0);
    assert_int_equal(varlink_server_add_interface(f->server, DOMAIN, "interface " DOMAIN "\n", methods, f),
                     0);
    assert_int_equal(varlink_server_add_interface(f->server, DOMAIN, "", methods, f), -EEXIST);
}

int fixture_setup(void **state)
{
    Fixture *f = calloc(1, sizeof(*f));

    assert_non_null(f);
    f->deadline = now_usec(CLOCK_MONOTONIC) + 60 * USEC_PER_SEC;
    assert_int_equal(sd_event_new(&f->event), 0);
    fixture_serve(f, NULL);
    *state = f;
    return 0;
}

int fixture_teardown(void **state)
{
    Fixture *f = *state;

    varlink_server_free(f->server);
    sd_event_unref(f->event);
    free(f);
    return 0;
}

void pump(Fixture *f)
{
    int i, r = 1;

    for (i = 0; i < 100000 && r > 0; i++)
        r = sd_event_run(f->event, 0);
    assert_int_equal(r, 0);
}

/* ---- the caller's side ---- */

int connect_pair(Fixture *f)
{
    int fds[2];

    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fds), 0);
    assert_int_equal(varlink_server_add_connection_fd(f->server, fds[1]), 0);
    return fds[0];
}

void say_bytes(Fixture *f, int fd, const char *bytes, size_t size)
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

void say(Fixture *f, int fd, const char *text)
{
    say_bytes(f, fd, text, strlen(text) + 1);
}

char *hear(Fixture *f, int fd)
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
