/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* One connection from its handshake to its end: TLS on one side, the target on the other, the filter between.
 */

#include "portal-internal.h"

#include "log.h"
#include "timeutil.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>

#define HANDSHAKE_USEC (30 * USEC_PER_SEC)
#define LOGIN_USEC (60 * USEC_PER_SEC)
#define FLOW_MAX (256 * KIB) /* bytes that wait in one direction */
#define PIECE_MAX (64 * KIB)

/* The filter asks for the names of a discovery that has just logged in. */
static int user_targets(void *userdata, const char *name, const char *initiator, char ***ret)
{
    PortalConnection *c = userdata;
    Portal *p = c->portal;
    int r = 0;

    pthread_mutex_lock(&p->lock);
    PortalKnown *u = portal_find_user(p, name);
    if (u && (!u->initiator || streq(u->initiator, initiator))) {
        bool not_ready = u->discoveries < u->faults.not_ready_times;

        u->discoveries++;
        r = portal_answer(u->targets, u->faults.blocked, not_ready, ret);
    }
    pthread_mutex_unlock(&p->lock);
    return r;
}

int portal_password_of(void *userdata, const char *name, char **ret)
{
    PortalConnection *c = userdata;
    Portal *p = c->portal;
    PortalKnown *u;
    int r = -ENOENT;

    pthread_mutex_lock(&p->lock);
    u = portal_find_user(p, name);
    if (u) {
        *ret = strdup(u->password);
        r = *ret ? 0 : -ENOMEM;
    }
    pthread_mutex_unlock(&p->lock);
    return r;
}

/* Once it is known who logged in: remember it, so that removing the user ends this connection. -EPERM:
 * nobody. */
static int connection_identify(PortalConnection *c)
{
    Portal *p = c->portal;
    int r = -EPERM;

    pthread_mutex_lock(&p->lock);
    PortalKnown *u = c->filter.user ? portal_find_user(p, c->filter.user) : NULL;
    if (u) {
        c->user = strdup(u->name);
        c->faults = u->faults;
        if (c->filter.phase == ISCSI_PHASE_NORMAL)
            u->logins++;
        r = c->user ? 0 : -ENOMEM;
    }
    pthread_mutex_unlock(&p->lock);
    return r;
}

static int handshake(PortalConnection *c)
{
    uint64_t deadline = now_usec(CLOCK_MONOTONIC) + HANDSHAKE_USEC;

    for (;;) {
        int n = SSL_accept(c->ssl), e, r;

        if (n == 1)
            return 0;
        e = SSL_get_error(c->ssl, n);
        if (e != SSL_ERROR_WANT_READ && e != SSL_ERROR_WANT_WRITE)
            return -EPROTO;
        r = portal_wait(c->portal, c->client, e == SSL_ERROR_WANT_READ ? POLLIN : POLLOUT, deadline);
        if (r <= 0)
            return r < 0 ? r : -ETIMEDOUT;
    }
}

static int connect_target(PortalConnection *c)
{
    Portal *p = c->portal;
    int error = 0, one = 1, r;
    socklen_t size = sizeof(error);

    c->target = socket(p->target.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (c->target < 0)
        return -errno;
    (void)setsockopt(c->target, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    if (connect(c->target, (struct sockaddr *)&p->target, p->target_size) == 0)
        return 0;
    if (errno != EINPROGRESS)
        return -errno;
    r = portal_wait(p, c->target, POLLOUT, now_usec(CLOCK_MONOTONIC) + HANDSHAKE_USEC);
    if (r <= 0)
        return r < 0 ? r : -ETIMEDOUT;
    if (getsockopt(c->target, SOL_SOCKET, SO_ERROR, &error, &size) < 0)
        return -errno;
    return -error;
}

/* The result of an SSL call that moved nothing: 0 if it is only waiting, otherwise the end. */
static int tls_result(PortalConnection *c, int n)
{
    int e = SSL_get_error(c->ssl, n);

    if (e == SSL_ERROR_WANT_WRITE)
        c->want_write = true;
    if (e == SSL_ERROR_WANT_READ || e == SSL_ERROR_WANT_WRITE)
        return 0;
    return e == SSL_ERROR_ZERO_RETURN ? -ECONNRESET : -EPIPE;
}

/* Each of the four moves what it can at once. 1: something moved; 0: it would wait; negative: the end. */
static int read_client(PortalConnection *c)
{
    bool direct = iscsi_filter_transparent(&c->filter, ISCSI_TO_TARGET);
    char piece[16 * KIB], *p = piece;
    int n, r;

    if (bytes_size(&c->up) >= FLOW_MAX)
        return 0;
    if (direct) {
        r = bytes_reserve(&c->up, sizeof(piece));
        if (r < 0)
            return r;
        p = c->up.data + c->up.end;
    }
    n = SSL_read(c->ssl, p, sizeof(piece));
    if (n <= 0)
        return tls_result(c, n);
    if (direct) {
        c->up.end += n;
        return 1;
    }
    r = iscsi_filter_feed(&c->filter, ISCSI_TO_TARGET, p, n, &c->up);
    return r < 0 ? r : 1;
}

static int write_target(PortalConnection *c)
{
    ssize_t n;

    if (bytes_size(&c->up) == 0)
        return 0;
    n = send(c->target, c->up.data + c->up.start, bytes_size(&c->up), MSG_NOSIGNAL);
    if (n < 0)
        return errno == EAGAIN || errno == EINTR ? 0 : -errno;
    bytes_take(&c->up, n);
    return 1;
}

static int read_target(PortalConnection *c)
{
    bool direct = iscsi_filter_transparent(&c->filter, ISCSI_TO_CLIENT);
    char piece[16 * KIB];
    ssize_t n;
    int r;

    if (c->target_ended)
        return bytes_size(&c->down) > 0 ? 0 : -ECONNRESET;
    if (bytes_size(&c->down) >= FLOW_MAX)
        return 0;
    if (direct) {
        r = bytes_reserve(&c->down, PIECE_MAX);
        if (r < 0)
            return r;
        n = recv(c->target, c->down.data + c->down.end, PIECE_MAX, 0);
    } else
        n = recv(c->target, piece, sizeof(piece), 0);
    if (n < 0)
        return errno == EAGAIN || errno == EINTR ? 0 : -errno;
    if (n == 0) {
        c->target_ended = true;
        return 1;
    }
    r = portal_pause(c->portal, c->faults.delay_usec);
    if (r < 0)
        return r;
    if (direct) {
        c->down.end += n;
        return 1;
    }
    r = iscsi_filter_feed(&c->filter, ISCSI_TO_CLIENT, piece, n, &c->down);
    if (r >= 0 && !c->user && c->filter.phase != ISCSI_PHASE_LOGIN)
        r = connection_identify(c);
    return r < 0 ? r : 1;
}

static int write_client(PortalConnection *c)
{
    int n;

    if (bytes_size(&c->down) == 0)
        return 0;
    n = SSL_write(c->ssl, c->down.data + c->down.start, MIN(bytes_size(&c->down), (size_t)FLOW_MAX));
    if (n <= 0)
        return tls_result(c, n);
    bytes_take(&c->down, n);
    if (c->filter.phase == ISCSI_PHASE_NORMAL)
        c->bytes_to_client += n;
    return 1;
}

static bool fault_due(const PortalConnection *c, int64_t after)
{
    return after > 0 && c->bytes_to_client >= after;
}

/* Until one end closes, an error, the portal's stop or a fault. */
static void relay(PortalConnection *c)
{
    int (*const steps[])(PortalConnection *) = {read_client, write_target, read_target, write_client};
    uint64_t login_deadline = now_usec(CLOCK_MONOTONIC) + LOGIN_USEC;

    for (;;) {
        struct pollfd fds[3] = {
            {.fd = c->portal->stop, .events = POLLIN}, {.fd = c->client}, {.fd = c->target}};
        bool login = c->filter.phase == ISCSI_PHASE_LOGIN, moved = false;

        if (fault_due(c, c->faults.close_after_bytes))
            return;
        if (fault_due(c, c->faults.stall_after_bytes)) {
            (void)portal_wait(c->portal, c->client, POLLRDHUP, USEC_INFINITY);
            return;
        }
        c->want_write = false;
        for (size_t i = 0; i < ELEMENTSOF(steps); i++) {
            int r = steps[i](c);

            if (r < 0)
                return;
            moved |= r > 0;
        }
        if (login && now_usec(CLOCK_MONOTONIC) > login_deadline)
            return;
        if (moved)
            continue;
        fds[1].events = (bytes_size(&c->up) < FLOW_MAX ? POLLIN : 0) | (c->want_write ? POLLOUT : 0);
        fds[2].events = (!c->target_ended && bytes_size(&c->down) < FLOW_MAX ? POLLIN : 0) |
                        (bytes_size(&c->up) > 0 ? POLLOUT : 0);
        if (fds[2].events == 0)
            fds[2].fd = -1; /* its hangup is not news */
        if (poll(fds, 3, login ? 1000 : -1) < 0 && errno != EINTR)
            return;
        if (fds[0].revents || ((fds[1].revents & (POLLERR | POLLHUP)) && !(fds[1].events & POLLIN)))
            return;
    }
}

static int connection_run(PortalConnection *c)
{
    Portal *p = c->portal;
    int r;

    c->faults = portal_early_faults(p);
    if (c->faults.refuse) {
        struct linger reset = {.l_onoff = 1};

        (void)setsockopt(c->client, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
        return -ECONNREFUSED;
    }
    r = portal_pause(p, c->faults.handshake_delay_usec);
    if (r >= 0 && c->faults.hang_handshake)
        r = portal_wait(p, c->client, POLLRDHUP, USEC_INFINITY);
    if (r < 0)
        return r;
    c->ssl = SSL_new(c->faults.wrong_certificate ? p->wrong_tls : p->tls);
    if (!c->ssl || SSL_set_fd(c->ssl, c->client) != 1)
        return -ENOMEM;
    r = handshake(c);
    if (r >= 0)
        r = connect_target(c);
    if (r < 0)
        return r;
    relay(c);
    return 0;
}

static void connection_free(PortalConnection *c)
{
    if (c->ssl) {
        (void)SSL_shutdown(c->ssl);
        SSL_free(c->ssl);
    }
    safe_close(c->client);
    safe_close(c->target);
    iscsi_filter_done(&c->filter);
    bytes_done(&c->up);
    bytes_done(&c->down);
    free(c->user);
    free(c);
}

static void *connection_thread(void *userdata)
{
    PortalConnection *c = userdata;
    Portal *p = c->portal;
    int r = connection_run(c);

    if (r < 0 && r != -ECANCELED)
        log_debug("portal: a connection ended before its login: %s", strerror(-r));
    if (c->filter.cut)
        log_warning("portal: %s: the list of targets is longer than its initiator takes, cut",
                    c->user ? c->user : "?");
    pthread_mutex_lock(&p->lock);
    PortalKnown *u = c->user ? portal_find_user(p, c->user) : NULL;
    if (u)
        u->bytes_to_client += c->bytes_to_client;
    LIST_REMOVE(p->connections, c);
    pthread_mutex_unlock(&p->lock);
    connection_free(c);
    /* Only now, so that portal_stop() knows that nothing of this thread uses the portal's TLS context any
     * more. */
    pthread_mutex_lock(&p->lock);
    p->connections_n--;
    pthread_cond_broadcast(&p->gone);
    pthread_mutex_unlock(&p->lock);
    return NULL;
}

int portal_connection_start(Portal *p, int fd)
{
    PortalConnection *c = calloc(1, sizeof(*c));
    pthread_attr_t attr;
    pthread_t thread;
    int one = 1, r;

    if (!c) {
        safe_close(fd);
        return -ENOMEM;
    }
    *c = (PortalConnection){.portal = p, .client = fd, .target = -EBADF};
    iscsi_filter_init(&c->filter, user_targets, &p->accounts, c);
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    (void)setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &one, sizeof(one));
    pthread_mutex_lock(&p->lock);
    LIST_PREPEND(p->connections, c);
    p->connections_n++;
    pthread_mutex_unlock(&p->lock);
    pthread_attr_init(&attr);
    pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
    pthread_attr_setstacksize(&attr, 512 * KIB);
    r = -pthread_create(&thread, &attr, connection_thread, c);
    pthread_attr_destroy(&attr);
    if (r < 0) {
        pthread_mutex_lock(&p->lock);
        LIST_REMOVE(p->connections, c);
        p->connections_n--;
        pthread_mutex_unlock(&p->lock);
        connection_free(c);
    }
    return r;
}
