/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "link.h"

#include "local-socket.h"

#include <poll.h>
#include <signal.h>
#include <sys/socket.h>

#define REPLY_MAX (64 * MIB)

static volatile sig_atomic_t interrupted;

static void on_interrupt(int sig)
{
    interrupted = 1;
}

void link_block_interrupt(void)
{
    struct sigaction sa = {.sa_handler = on_interrupt};
    sigset_t mask;

    sigemptyset(&mask);
    sigaddset(&mask, SIGINT);
    sigprocmask(SIG_BLOCK, &mask, NULL);
    sigaction(SIGINT, &sa, NULL);
}

void link_unblock_interrupt(void)
{
    sigset_t mask;

    sigemptyset(&mask);
    sigaddset(&mask, SIGINT);
    sigprocmask(SIG_UNBLOCK, &mask, NULL);
}

int link_open(Link *l, const char *path)
{
    *l = (Link){.fd = local_socket_connect(path, 0)};
    if (l->fd < 0)
        return l->fd;
    framing_init(&l->in, REPLY_MAX);
    return 0;
}

void link_close(Link *l)
{
    l->fd = safe_close(l->fd);
    framing_done(&l->in);
}

#define FDS_MAX 8

/* The first byte, and with it the descriptors. */
static int send_first(int fd, const char *text, const int *fds, size_t n)
{
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(FDS_MAX * sizeof(int))];
    } room = {};
    struct iovec iov = {.iov_base = (void *)text, .iov_len = 1};
    struct msghdr m = {.msg_iov = &iov,
                       .msg_iovlen = 1,
                       .msg_control = room.bytes,
                       .msg_controllen = CMSG_SPACE(n * sizeof(int))};
    struct cmsghdr *c = CMSG_FIRSTHDR(&m);

    if (n > FDS_MAX)
        return -E2BIG;
    c->cmsg_level = SOL_SOCKET;
    c->cmsg_type = SCM_RIGHTS;
    c->cmsg_len = CMSG_LEN(n * sizeof(int));
    memcpy(CMSG_DATA(c), fds, n * sizeof(int));
    while (sendmsg(fd, &m, MSG_NOSIGNAL) < 0)
        if (errno != EINTR)
            return -errno;
    return 0;
}

int link_call(Link *l, const char *method, json_object *parameters, bool more)
{
    return link_call_fds(l, method, parameters, more, NULL, 0);
}

int link_call_fds(Link *l, const char *method, json_object *parameters, bool more, const int *fds, size_t n)
{
    _cleanup_json_ json_object *o = json_object_new_object(), *p = parameters;
    _cleanup_free_ char *name = NULL;
    const char *text;
    int r;

    if (!o || asprintf(&name, INTERFACE ".%s", method) < 0)
        return -ENOMEM;
    r = json_add_string(o, "method", name);
    if (r >= 0 && p)
        r = json_add(o, "parameters", TAKE_PTR(p));
    if (r >= 0 && more)
        r = json_add_bool(o, "more", true);
    if (r < 0)
        return r;
    text = json_text(o);
    if (!text)
        return -ENOMEM;
    if (n > 0)
        r = send_first(l->fd, text, fds, n);
    if (r >= 0)
        r = framing_write(l->fd, n > 0 ? text + 1 : text);
    /* ilrd may have said why before it closed: link_next() finds it. */
    return r == -EPIPE || r == -ECONNRESET ? 0 : r;
}

static int reply_parse(const char *text, size_t size, Reply *ret)
{
    _cleanup_json_ json_object *o = NULL;
    Reply reply = {};
    int r;

    r = json_parse(text, size, &o);
    if (r < 0)
        return r == -ENOMEM ? r : -EBADMSG;
    if (json_get_string(o, "error", &reply.error) < 0 || json_get_bool(o, "continues", &reply.continues) < 0)
        return -EBADMSG;
    r = json_get_object(o, "parameters", &reply.parameters);
    if (r < 0)
        return -EBADMSG;
    if (r == 0) {
        reply.parameters = json_object_new_object();
        if (json_add(o, "parameters", reply.parameters) < 0)
            return -ENOMEM;
    }
    reply.message = TAKE_PTR(o);
    *ret = reply;
    return 1;
}

int link_next(Link *l, int timeout_msec, Reply *ret)
{
    const struct timespec timeout = {timeout_msec / 1000, timeout_msec % 1000 * 1000000L};
    struct pollfd p = {.fd = l->fd, .events = POLLIN};
    const char *text;
    sigset_t mask;
    size_t size;
    int r;

    sigprocmask(SIG_SETMASK, NULL, &mask);
    sigdelset(&mask, SIGINT);
    for (;;) {
        ssize_t n;

        r = framing_next(&l->in, &text, &size);
        if (r < 0)
            return r;
        if (r > 0)
            return reply_parse(text, size, ret);
        r = ppoll(&p, 1, timeout_msec < 0 ? NULL : &timeout, &mask);
        if (interrupted)
            return -EINTR;
        if (r < 0 && errno != EINTR)
            return -errno;
        if (r == 0)
            return 0;
        if (r < 0)
            continue;
        n = framing_read(&l->in, l->fd);
        if (n <= 0)
            return n == 0 ? -ECONNRESET : (int)n;
    }
}

void reply_done(Reply *r)
{
    json_object_put(r->message);
    *r = (Reply){};
}
