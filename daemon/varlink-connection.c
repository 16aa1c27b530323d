/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* One connection: bytes in, bytes out, and when it ends. Reads only while there is nothing else to do for
 * this caller, so what waits is bounded by one message here and by the socket's buffer in the kernel.
 *
 * EPOLLRDHUP is not looked at: a client that has shut down its sending half still wants its answers. EPOLLHUP
 * comes only when it is gone altogether, and comes without being asked for. */

#include "varlink-internal.h"

#include <stdarg.h>
#include <sys/epoll.h>
#include <sys/socket.h>

static void connection_unlink(VarlinkConnection *c)
{
    VarlinkServer *s = c->server;

    if (!s)
        return;
    c->server = NULL;
    LIST_REMOVE(s->connections, c);
    s->n_connections--;
    varlink_server_resume(s);
}

void varlink_connection_free(VarlinkConnection *c)
{
    if (c->freed)
        *c->freed = true;
    sd_event_source_disable_unref(c->io);
    sd_event_source_disable_unref(c->work);
    sd_event_source_disable_unref(c->deadline);
    c->fd = safe_close(c->fd);
    connection_unlink(c);
    framing_done(&c->in);
    free(c->out);
    varlink_fds_close(&c->fds);
    if (c->call)
        varlink_call_free(c->call);
    free(c->peer.groups);
    free(c);
}

/* The end, from the event loop: who waits with a parked call is told. */
static void connection_close(VarlinkConnection *c)
{
    VarlinkCall *call = c->call;

    /* Not found by varlink_server_free() any more, should the callback end the server. */
    connection_unlink(c);
    /* A call that wants no answer outlives its client, but not its connection: memory has run out. */
    if (call && call->gone) {
        call->over = true;
        call->gone(call, call->gone_userdata);
    }
    varlink_connection_free(c);
}

/* Sends what the socket takes. */
static void connection_flush(VarlinkConnection *c)
{
    while (c->out_sent < c->out_used) {
        ssize_t n = send(c->fd, c->out + c->out_sent, c->out_used - c->out_sent, MSG_NOSIGNAL | MSG_DONTWAIT);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
            return;
        if (n < 0) {
            /* Nobody reads any more. What was sent before may still be waiting to be read here. */
            c->hup = true;
            break;
        }
        c->out_sent += n;
    }
    c->out_sent = c->out_used = 0;
    if (c->out_allocated > 64 * KIB) {
        free(c->out);
        c->out = NULL;
        c->out_allocated = 0;
    }
}

size_t varlink_unread(const VarlinkServer *s, uid_t uid)
{
    const VarlinkConnection *c;
    size_t n = 0;

    LIST_FOREACH (c, s->connections)
        if (c->peer.uid == uid)
            n += c->out_used - c->out_sent;
    return n;
}

int varlink_connection_send(VarlinkConnection *c, json_object *message)
{
    size_t size, pending = c->out_used - c->out_sent, unread;
    const char *text;

    if (c->hup || c->broken)
        return -ECONNRESET;
    text = json_object_to_json_string_length(message, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE,
                                             &size);
    if (!text)
        return -ENOMEM;
    size++; /* its NUL */
    unread = varlink_unread(c->server, c->peer.uid);
    /* A first message is always taken: it is ours, and as large as it is. */
    if ((pending > 0 && pending + size > c->server->limits.output_max_bytes) ||
        (unread > 0 && unread + size > c->server->limits.output_per_uid_max_bytes)) {
        c->broken = true;
        return -ENOBUFS;
    }
    if (c->out_sent > 0) {
        memmove(c->out, c->out + c->out_sent, pending);
        c->out_used = pending;
        c->out_sent = 0;
    }
    if (c->out_used + size > c->out_allocated) {
        size_t want = MAX(c->out_used + size, MIN(2 * c->out_allocated, c->server->limits.output_max_bytes));
        char *out = realloc(c->out, want);

        if (!out)
            return -ENOMEM;
        c->out = out;
        c->out_allocated = want;
    }
    memcpy(c->out + c->out_used, text, size);
    c->out_used += size;
    connection_flush(c);
    return c->hup ? -ECONNRESET : 0;
}

void varlink_connection_update(VarlinkConnection *c)
{
    const bool half = c->in.used > c->in.consumed, unsent = c->out_used > c->out_sent;
    const bool lost = c->broken || (c->hup && (c->closing || (c->call && !c->call->oneway)));
    const bool limited = c->denied || (c->closing && unsent) || (half && c->reading && !c->call);
    uint32_t events = 0;
    int r = 0;

    if (c->reading && !c->call && !c->eof && !c->closing)
        events |= EPOLLIN;
    if (unsent)
        events |= EPOLLOUT;
    r = sd_event_source_set_io_events(c->io, events);
    /* A caller who is gone, while a call that needs no answer is worked on: EPOLLHUP would come for ever. */
    if (r >= 0)
        r = sd_event_source_set_enabled(c->io,
                                        c->hup && c->call && c->call->oneway ? SD_EVENT_OFF : SD_EVENT_ON);
    if (r >= 0 && limited != c->deadline_set) {
        c->deadline_set = limited;
        if (limited)
            r = sd_event_source_set_time_relative(c->deadline, c->server->limits.message_timeout_usec);
        if (r >= 0)
            r = sd_event_source_set_enabled(c->deadline, limited ? SD_EVENT_ONESHOT : SD_EVENT_OFF);
    }
    if (r < 0)
        c->broken = true;
    if (r < 0 || lost || (c->closing && !unsent) || (!c->call && !c->closing && (!c->reading || c->eof)))
        (void)sd_event_source_set_enabled(c->work, SD_EVENT_ONESHOT);
}

void varlink_connection_refuse(VarlinkConnection *c, const char *format, ...)
{
    _cleanup_failure_ Failure *f = NULL;
    _cleanup_json_ json_object *message = NULL;
    _cleanup_free_ char *text = NULL;
    va_list ap;

    va_start(ap, format);
    if (vasprintf(&text, format, ap) < 0)
        text = NULL;
    va_end(ap);
    c->closing = true;
    f = failure_new(FAILURE_INVALID_REQUEST, "the message %s", text ? text : "cannot be used");
    if (varlink_failure_message_new(c->server, &message, f, NULL) >= 0)
        (void)varlink_connection_send(c, message);
}

/* Does the next thing there is to do; one message at most, so that nobody can keep the loop for himself. */
static void connection_work(VarlinkConnection *c)
{
    const char *text;
    size_t size;
    int r;

    if (c->broken || (c->hup && (c->closing || (c->call && !c->call->oneway)))) {
        connection_close(c);
        return;
    }
    if (!c->call && !c->closing) {
        r = framing_next(&c->in, &text, &size);
        c->reading = r == 0;
        if (r > 0 && !varlink_connection_dispatch(c, text, size))
            return;
        if (r < 0)
            varlink_connection_refuse(c, "is longer than %zu bytes", c->in.max);
        else if (r == 0 && c->eof)
            c->closing = true; /* half a message at the end is nothing */
    }
    if (c->closing && c->out_used == c->out_sent) {
        connection_close(c);
        return;
    }
    varlink_connection_update(c);
}

static int on_io(sd_event_source *source, int fd, uint32_t revents, void *userdata)
{
    VarlinkConnection *c = userdata;

    if (revents & EPOLLOUT)
        connection_flush(c);
    if (revents & (EPOLLHUP | EPOLLERR))
        c->hup = true;
    if ((revents & (EPOLLIN | EPOLLHUP | EPOLLERR)) && c->reading && !c->call && !c->eof && !c->closing) {
        ssize_t n = varlink_fds_receive(c);

        if (n > 0)
            c->reading = false;
        else if (n == 0)
            c->eof = true;
        else if (n == -EMSGSIZE)
            c->reading = false; /* framing_next() says the same */
        else if (n == -E2BIG)
            varlink_connection_refuse(c, "brings more than %d descriptors, or they cannot be taken",
                                      VARLINK_FDS_MAX);
        else if (n != -EAGAIN)
            c->broken = true;
    }
    connection_work(c);
    return 0;
}

static int on_work(sd_event_source *source, void *userdata)
{
    connection_work(userdata);
    return 0;
}

static int on_deadline(sd_event_source *source, uint64_t usec, void *userdata)
{
    VarlinkConnection *c = userdata;

    c->deadline_set = false;
    if (c->denied || c->closing)
        c->broken = true;
    else {
        varlink_connection_refuse(c, "was begun and not ended in time");
        /* No second deadline for one who does not read either. */
        c->broken = c->out_used > c->out_sent;
    }
    connection_work(c);
    return 0;
}

int varlink_connection_new(VarlinkServer *s, int fd, const VarlinkPeer *peer, bool denied)
{
    VarlinkConnection *c = calloc(1, sizeof(*c));
    int r = -ENOMEM;

    if (!c)
        return -ENOMEM;
    *c = (VarlinkConnection){.fd = -EBADF, .peer = *peer, .denied = denied, .reading = true};
    c->peer.groups = NULL;
    framing_init(&c->in, s->limits.message_max_bytes);
    if (peer->n_groups > 0) {
        c->peer.groups = calloc(peer->n_groups, sizeof(gid_t));
        if (!c->peer.groups)
            goto finish;
        memcpy(c->peer.groups, peer->groups, peer->n_groups * sizeof(gid_t));
    }
    if ((r = sd_event_add_io(s->event, &c->io, fd, EPOLLIN, on_io, c)) < 0 ||
        (r = sd_event_add_defer(s->event, &c->work, on_work, c)) < 0 ||
        (r = sd_event_source_set_enabled(c->work, SD_EVENT_OFF)) < 0 ||
        (r = sd_event_add_time_relative(s->event, &c->deadline, CLOCK_MONOTONIC, USEC_PER_SEC,
                                        100 * USEC_PER_MSEC, on_deadline, c)) < 0 ||
        (r = sd_event_source_set_enabled(c->deadline, SD_EVENT_OFF)) < 0)
        goto finish;
    c->fd = fd;
    c->server = s;
    LIST_PREPEND(s->connections, c);
    s->n_connections++;
    varlink_connection_update(c);
    return 0;

finish:
    varlink_connection_free(c);
    return r;
}
