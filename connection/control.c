/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "control.h"

#include "framing.h"
#include "list.h"
#include "local-socket.h"

#include <sys/socket.h>
#include <sys/stat.h>

#define CLIENTS_MAX 8
#define REQUEST_MAX (16 * KIB)
#define REQUEST_TIMEOUT_USEC (30 * USEC_PER_SEC)

struct ControlClient {
    LIST_FIELDS(ControlClient);
    Control *control;
    sd_event_source *io, *timer;
    int fd;
    Framing framing;
};

struct Control {
    sd_event *event;
    sd_event_source *io;
    char *path;
    int fd;
    ControlClient *clients;
    size_t n_clients;
    ControlRequest on_request;
    void *userdata;
};

static ControlClient *client_free(ControlClient *client)
{
    if (!client)
        return NULL;
    if (client->control) {
        LIST_REMOVE(client->control->clients, client);
        client->control->n_clients--;
    }
    sd_event_source_disable_unref(client->io);
    sd_event_source_disable_unref(client->timer);
    safe_close(client->fd);
    framing_done(&client->framing);
    free(client);
    return NULL;
}
DEFINE_CLEANUP(ControlClient *, client_free)

void control_reply(ControlClient *client, json_object *answer)
{
    /* The answer is far smaller than a socket's buffer; who does not read it does not get it. */
    if (answer)
        (void)framing_write(client->fd, json_text(answer));
    client_free(client);
}

static int on_client(sd_event_source *s, int fd, uint32_t events, void *userdata)
{
    _cleanup_json_ json_object *request = NULL;
    ControlClient *client = userdata;
    const char *text;
    size_t size;
    ssize_t n;
    int r;

    n = framing_read(&client->framing, fd);
    if (n == -EAGAIN)
        return 0;
    r = n > 0 ? framing_next(&client->framing, &text, &size) : -ECONNRESET;
    if (r == 0)
        return 0;
    if (r > 0)
        r = json_parse(text, size, &request);
    if (r < 0 || !json_object_is_type(request, json_type_object)) {
        client_free(client);
        return 0;
    }
    /* While it is being answered nothing more is read, and a peer that goes away is not noticed: what it
     * started goes on to its end. */
    (void)sd_event_source_set_enabled(client->io, SD_EVENT_OFF);
    (void)sd_event_source_set_enabled(client->timer, SD_EVENT_OFF);
    client->control->on_request(client->control->userdata, client, request);
    return 0;
}

static int on_client_timeout(sd_event_source *s, uint64_t usec, void *userdata)
{
    client_free(userdata);
    return 0;
}

static int client_add(Control *c, int fd)
{
    _cleanup_(client_freep) ControlClient *client = NULL;
    int r;

    client = calloc(1, sizeof(*client));
    if (!client) {
        safe_close(fd);
        return -ENOMEM;
    }
    client->fd = fd;
    framing_init(&client->framing, REQUEST_MAX);
    r = sd_event_add_io(c->event, &client->io, fd, EPOLLIN, on_client, client);
    if (r < 0)
        return r;
    r = sd_event_add_time_relative(c->event, &client->timer, CLOCK_MONOTONIC, REQUEST_TIMEOUT_USEC, 0,
                                   on_client_timeout, client);
    if (r < 0)
        return r;
    client->control = c;
    c->n_clients++;
    LIST_PREPEND(c->clients, client);
    TAKE_PTR(client);
    return 0;
}

static int on_accept(sd_event_source *s, int fd, uint32_t events, void *userdata)
{
    _cleanup_close_ int peer = -EBADF;
    Control *c = userdata;
    struct ucred cred;
    socklen_t size = sizeof(cred);

    peer = accept4(fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (peer < 0)
        return 0;
    /* Root inside the sandbox is the same user as this program. */
    if (getsockopt(peer, SOL_SOCKET, SO_PEERCRED, &cred, &size) < 0 || cred.uid != geteuid())
        return 0;
    if (c->n_clients < CLIENTS_MAX)
        (void)client_add(c, TAKE_FD(peer));
    return 0;
}

int control_new(Control **ret, sd_event *event, const char *path, ControlRequest on_request, void *userdata)
{
    _cleanup_(control_freep) Control *c = NULL;
    int r;

    c = calloc(1, sizeof(*c));
    if (!c)
        return -ENOMEM;
    c->event = event;
    c->on_request = on_request;
    c->userdata = userdata;
    c->fd = local_socket_bind(path, SOCK_NONBLOCK);
    if (c->fd < 0)
        return c->fd;
    c->path = strdup(path);
    if (!c->path)
        return -ENOMEM;
    if (chmod(path, 0600) < 0 || listen(c->fd, CLIENTS_MAX) < 0)
        return -errno;
    r = sd_event_add_io(event, &c->io, c->fd, EPOLLIN, on_accept, c);
    if (r < 0)
        return r;
    *ret = TAKE_PTR(c);
    return 0;
}

Control *control_free(Control *c)
{
    if (!c)
        return NULL;
    while (c->clients)
        client_free(c->clients);
    sd_event_source_disable_unref(c->io);
    safe_close(c->fd);
    if (c->path)
        (void)unlink(c->path);
    free(c->path);
    free(c);
    return NULL;
}
