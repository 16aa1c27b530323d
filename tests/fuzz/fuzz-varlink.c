/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The Varlink server under a caller who sends anything in pieces of odd sizes, with answers, late answers,
 * half-closed and closed connections in between, as the bytes say. What it must never do: crash, leak, spin,
 * or call a method that was not asked for. */

#include "varlink.h"

#include <sys/socket.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static VarlinkCall *parked;

static void on_gone(VarlinkCall *call, void *userdata)
{
    if (call != parked)
        abort();
    parked = NULL;
}

static int method_echo(VarlinkCall *call, json_object *parameters, void *userdata)
{
    return varlink_call_reply(call, parameters);
}

static int method_park(VarlinkCall *call, json_object *parameters, void *userdata)
{
    if (parked)
        abort(); /* one at a time */
    parked = call;
    varlink_call_set_gone(call, on_gone, NULL);
    return 0;
}

static int method_broken(VarlinkCall *call, json_object *parameters, void *userdata)
{
    return -EIO;
}

static const char *const parameters[] = {"id", NULL};
static const VarlinkMethod methods[] = {
    {"a.b.Echo", method_echo, .parameters = parameters},
    {"a.b.Park", method_park},
    {"a.b.Stream", method_park, .needs_more = true},
    {"a.b.Broken", method_broken},
    {},
};

static void pump(sd_event *event, int fd)
{
    char buf[4096];
    int i;

    for (i = 0; sd_event_run(event, 0) > 0; i++)
        if (i > 100000)
            abort(); /* it spins */
    while (recv(fd, buf, sizeof(buf), MSG_DONTWAIT) > 0)
        ;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const VarlinkIdentity identity = {"v", "p", "1", "u"};
    VarlinkLimits limits = VARLINK_LIMITS_DEFAULT;
    VarlinkServer *server = NULL;
    sd_event *event = NULL;
    size_t i, n;
    int fds[2];

    limits.message_max_bytes = 512;
    if (sd_event_new(&event) < 0 || varlink_server_new(&server, event, "a.b", &identity, &limits) < 0 ||
        varlink_server_add_interface(server, "a.b", "interface a.b\n", methods, NULL) < 0 ||
        socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fds) < 0 ||
        varlink_server_add_connection_fd(server, fds[1]) < 0)
        abort();
    for (i = 0; i < size; i += n) {
        n = MIN(size - i, (size_t)(data[i] % 143 + 1));
        if (send(fds[0], data + i, n, MSG_NOSIGNAL) < 0)
            break;
        switch (data[i] >> 2 & 7) {
        case 0:
        case 1:
        case 2:
            pump(event, fds[0]);
            break;
        case 3:
            if (parked)
                (void)varlink_call_notify(parked, NULL);
            break;
        case 4:
            if (parked)
                (void)varlink_call_reply(TAKE_PTR(parked), NULL);
            pump(event, fds[0]);
            break;
        case 5:
            if (parked)
                (void)varlink_call_fail(TAKE_PTR(parked), NULL, NULL);
            break;
        }
    }
    if (size % 3 == 0)
        (void)shutdown(fds[0], SHUT_WR);
    if (size % 3 != 2)
        pump(event, fds[0]);
    close(fds[0]);
    if (size % 2 == 0)
        for (n = 0; sd_event_run(event, 0) > 0; n++)
            if (n > 100000)
                abort();
    parked = NULL;
    varlink_server_free(server);
    sd_event_unref(event);
    return 0;
}
