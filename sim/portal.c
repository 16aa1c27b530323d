/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "portal.h"

#include "iscsi-filter.h"
#include "list.h"
#include "log.h"
#include "timeutil.h"
#include "tls.h"

#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/ssl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/socket.h>

#define HANDSHAKE_USEC (30 * USEC_PER_SEC)
#define LOGIN_USEC (60 * USEC_PER_SEC)
#define FLOW_MAX (256 * KIB) /* bytes that wait in one direction */
#define PIECE_MAX (64 * KIB)
#define USERS_MAX 1024

typedef struct User {
    char *name, *initiator;
    char **targets;
    PortalFaults faults;
    int64_t discoveries, logins, bytes_to_client;
    LIST_FIELDS(struct User);
} User;

typedef struct Connection {
    Portal *portal;
    int client, target;
    SSL *ssl;
    IscsiFilter filter;
    Bytes up, down;      /* to the target, to the client */
    bool want_write;     /* SSL waits for the client's socket to take more */
    bool target_ended;   /* what it said last still goes out */
    char *user;          /* set once under the portal's lock, when the login is through */
    PortalFaults faults; /* of that user; before that, what all users' faults amount to */
    _Atomic int64_t bytes_to_client;
    LIST_FIELDS(struct Connection);
} Connection;

struct Portal {
    SSL_CTX *tls, *wrong_tls;
    struct sockaddr_storage target;
    socklen_t target_size;
    int listener, stop; /* stop: an eventfd that turns readable once and for all */
    uint16_t port;
    pthread_t thread;
    bool running;
    pthread_mutex_t lock; /* for all below */
    pthread_cond_t gone;
    User *users;
    Connection *connections;
    size_t users_n, connections_n;
    int64_t accepted, refused;
};

static User *user_free(User *u)
{
    free(u->name);
    free(u->initiator);
    strv_free(u->targets);
    free(u);
    return NULL;
}
DEFINE_CLEANUP(User *, user_free)

static User *find_user(Portal *p, const char *name)
{
    User *u;

    LIST_FOREACH (u, p->users)
        if (streq(u->name, name))
            return u;
    return NULL;
}

int portal_answer(char *const *targets, bool blocked, bool not_ready, char ***ret)
{
    const char *suffix = blocked ? "-blocked" : not_ready ? "-notready" : "";
    _cleanup_strv_free_ char **names = NULL;
    char *const *t;
    int r;

    STRV_FOREACH (t, targets) {
        r = strv_extendf(&names, "%s%s", *t, suffix);
        if (r < 0)
            return r;
    }
    *ret = TAKE_PTR(names);
    return 0;
}

/* The filter asks for the names of a discovery that has just logged in. */
static int user_targets(void *userdata, const char *name, const char *initiator, char ***ret)
{
    Connection *c = userdata;
    Portal *p = c->portal;
    int r = 0;

    pthread_mutex_lock(&p->lock);
    User *u = find_user(p, name);
    if (u && (!u->initiator || streq(u->initiator, initiator))) {
        bool not_ready = u->discoveries < u->faults.not_ready_times;

        u->discoveries++;
        r = portal_answer(u->targets, u->faults.blocked, not_ready, ret);
    }
    pthread_mutex_unlock(&p->lock);
    return r;
}

/* Once it is known who logged in: remember it, so that removing the user ends this connection. -EPERM:
 * nobody. */
static int connection_identify(Connection *c)
{
    Portal *p = c->portal;
    int r = -EPERM;

    pthread_mutex_lock(&p->lock);
    User *u = c->filter.user ? find_user(p, c->filter.user) : NULL;
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

/* Waits for events on a descriptor. 1: something came; 0: deadline; -ECANCELED: the portal stops. */
static int wait_for(Portal *p, int fd, short events, uint64_t deadline_usec)
{
    struct pollfd fds[2] = {{.fd = p->stop, .events = POLLIN}, {.fd = fd, .events = events}};
    uint64_t now = now_usec(CLOCK_MONOTONIC);
    int n;

    do
        n = poll(fds, 2,
                 deadline_usec <= now ? 0 : (int)MIN((deadline_usec - now) / 1000 + 1, UINT64_C(3600000)));
    while (n < 0 && errno == EINTR);
    if (n < 0)
        return -errno;
    if (fds[0].revents)
        return -ECANCELED;
    return n > 0;
}

static int pause_usec(Portal *p, uint64_t usec)
{
    return usec > 0 ? wait_for(p, -1, 0, now_usec(CLOCK_MONOTONIC) + usec) : 0;
}

static int handshake(Connection *c)
{
    uint64_t deadline = now_usec(CLOCK_MONOTONIC) + HANDSHAKE_USEC;

    for (;;) {
        int n = SSL_accept(c->ssl), e, r;

        if (n == 1)
            return 0;
        e = SSL_get_error(c->ssl, n);
        if (e != SSL_ERROR_WANT_READ && e != SSL_ERROR_WANT_WRITE)
            return -EPROTO;
        r = wait_for(c->portal, c->client, e == SSL_ERROR_WANT_READ ? POLLIN : POLLOUT, deadline);
        if (r <= 0)
            return r < 0 ? r : -ETIMEDOUT;
    }
}

static int connect_target(Connection *c)
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
    r = wait_for(p, c->target, POLLOUT, now_usec(CLOCK_MONOTONIC) + HANDSHAKE_USEC);
    if (r <= 0)
        return r < 0 ? r : -ETIMEDOUT;
    if (getsockopt(c->target, SOL_SOCKET, SO_ERROR, &error, &size) < 0)
        return -errno;
    return -error;
}

/* The result of an SSL call that moved nothing: 0 if it is only waiting, otherwise the end. */
static int tls_result(Connection *c, int n)
{
    int e = SSL_get_error(c->ssl, n);

    if (e == SSL_ERROR_WANT_WRITE)
        c->want_write = true;
    if (e == SSL_ERROR_WANT_READ || e == SSL_ERROR_WANT_WRITE)
        return 0;
    return e == SSL_ERROR_ZERO_RETURN ? -ECONNRESET : -EPIPE;
}

/* Each of the four moves what it can at once. 1: something moved; 0: it would wait; negative: the end. */
static int read_client(Connection *c)
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

static int write_target(Connection *c)
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

static int read_target(Connection *c)
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
    r = pause_usec(c->portal, c->faults.delay_usec);
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

static int write_client(Connection *c)
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

static bool fault_due(const Connection *c, int64_t after)
{
    return after > 0 && c->bytes_to_client >= after;
}

/* Until one end closes, an error, the portal's stop or a fault. */
static void relay(Connection *c)
{
    int (*const steps[])(Connection *) = {read_client, write_target, read_target, write_client};
    uint64_t login_deadline = now_usec(CLOCK_MONOTONIC) + LOGIN_USEC;

    for (;;) {
        struct pollfd fds[3] = {
            {.fd = c->portal->stop, .events = POLLIN}, {.fd = c->client}, {.fd = c->target}};
        bool login = c->filter.phase == ISCSI_PHASE_LOGIN, moved = false;

        if (fault_due(c, c->faults.close_after_bytes))
            return;
        if (fault_due(c, c->faults.stall_after_bytes)) {
            (void)wait_for(c->portal, c->client, POLLRDHUP, USEC_INFINITY);
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

/* What every connection suffers as long as nobody has logged in: the union of all users' faults. */
static PortalFaults early_faults(Portal *p)
{
    PortalFaults f = {};
    User *u;

    pthread_mutex_lock(&p->lock);
    LIST_FOREACH (u, p->users) {
        f.refuse |= u->faults.refuse;
        f.wrong_certificate |= u->faults.wrong_certificate;
        f.hang_handshake |= u->faults.hang_handshake;
        f.handshake_delay_usec = MAX(f.handshake_delay_usec, u->faults.handshake_delay_usec);
    }
    pthread_mutex_unlock(&p->lock);
    return f;
}

static int connection_run(Connection *c)
{
    Portal *p = c->portal;
    int r;

    c->faults = early_faults(p);
    if (c->faults.refuse) {
        struct linger reset = {.l_onoff = 1};

        (void)setsockopt(c->client, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
        return -ECONNREFUSED;
    }
    r = pause_usec(p, c->faults.handshake_delay_usec);
    if (r >= 0 && c->faults.hang_handshake)
        r = wait_for(p, c->client, POLLRDHUP, USEC_INFINITY);
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

static void connection_free(Connection *c)
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
    Connection *c = userdata;
    Portal *p = c->portal;
    int r = connection_run(c);

    if (r < 0 && r != -ECANCELED)
        log_debug("portal: a connection ended before its login: %s", strerror(-r));
    if (c->filter.cut)
        log_warning("portal: %s: the list of targets is longer than its initiator takes, cut",
                    c->user ? c->user : "?");
    pthread_mutex_lock(&p->lock);
    User *u = c->user ? find_user(p, c->user) : NULL;
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

/* Takes the descriptor in every case. */
static int connection_start(Portal *p, int fd)
{
    Connection *c = calloc(1, sizeof(*c));
    pthread_attr_t attr;
    pthread_t thread;
    int one = 1, r;

    if (!c) {
        safe_close(fd);
        return -ENOMEM;
    }
    *c = (Connection){.portal = p, .client = fd, .target = -EBADF};
    iscsi_filter_init(&c->filter, user_targets, c);
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

static void *listen_thread(void *userdata)
{
    Portal *p = userdata;

    for (;;) {
        int r = wait_for(p, p->listener, POLLIN, USEC_INFINITY), fd;
        bool full;

        if (r == -ECANCELED)
            return NULL;
        fd = r > 0 ? accept4(p->listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK) : -EBADF;
        if (fd < 0) { /* out of descriptors: do not spin */
            if (r < 0 || (r > 0 && errno != EAGAIN && errno != ECONNABORTED && errno != EINTR))
                (void)pause_usec(p, 100 * USEC_PER_MSEC);
            continue;
        }
        pthread_mutex_lock(&p->lock);
        full = p->connections_n >= PORTAL_CONNECTIONS_MAX;
        p->accepted += !full;
        p->refused += full;
        pthread_mutex_unlock(&p->lock);
        if (full)
            safe_close(fd);
        else {
            r = connection_start(p, fd);
            if (r < 0)
                log_warning_errno(r, "portal: cannot serve a connection");
        }
    }
}

/* "ADDRESS:PORT", "[ADDRESS]:PORT". */
static int address_parse(const char *s, int flags, struct sockaddr_storage *ret, socklen_t *ret_size)
{
    struct addrinfo hints = {.ai_flags = AI_NUMERICHOST | AI_NUMERICSERV | flags, .ai_socktype = SOCK_STREAM},
                    *ai;
    const char *colon = strrchr(s, ':'), *end = colon;

    if (!colon)
        return -EINVAL;
    if (*s == '[') {
        s++;
        end--;
        if (end < s || *end != ']')
            return -EINVAL;
    }
    _cleanup_free_ char *host = strndup(s, end - s);
    if (!host)
        return -ENOMEM;
    if (getaddrinfo(host, colon + 1, &hints, &ai) != 0)
        return -EINVAL;
    memcpy(ret, ai->ai_addr, ai->ai_addrlen);
    *ret_size = ai->ai_addrlen;
    freeaddrinfo(ai);
    return 0;
}

static int portal_listen(Portal *p, const char *address)
{
    struct sockaddr_storage sa = {};
    socklen_t size;
    int one = 1, r;

    r = address_parse(address, AI_PASSIVE, &sa, &size);
    if (r < 0)
        return r;
    p->listener = socket(sa.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (p->listener < 0)
        return -errno;
    (void)setsockopt(p->listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
    if (bind(p->listener, (struct sockaddr *)&sa, size) < 0 || listen(p->listener, 64) < 0 ||
        getsockname(p->listener, (struct sockaddr *)&sa, &size) < 0)
        return -errno;
    p->port = ntohs(sa.ss_family == AF_INET6 ? ((struct sockaddr_in6 *)&sa)->sin6_port
                                             : ((struct sockaddr_in *)&sa)->sin_port);
    return 0;
}

uint16_t portal_port(const Portal *p)
{
    return p->port;
}

int portal_start(const PortalOptions *options, Portal **ret, char **ret_error)
{
    Portal *p = calloc(1, sizeof(*p));
    const char *what = NULL;
    int r;

    *ret_error = NULL;
    if (!p)
        return -ENOMEM;
    *p = (Portal){.listener = -EBADF, .stop = eventfd(0, EFD_CLOEXEC)};
    (void)signal(SIGPIPE, SIG_IGN); /* OpenSSL writes without MSG_NOSIGNAL */
    pthread_mutex_init(&p->lock, NULL);
    pthread_cond_init(&p->gone, NULL);
    r = p->stop < 0 ? -errno : 0;
    if (r >= 0)
        r = tls_server_context(options->certificate, options->key, &p->tls, ret_error);
    if (r >= 0)
        r = tls_wrong_context(&p->wrong_tls);
    if (r >= 0 && (r = address_parse(options->target, 0, &p->target, &p->target_size)) < 0)
        what = options->target;
    if (r >= 0 && (r = portal_listen(p, options->listen)) < 0)
        what = options->listen;
    if (r >= 0) {
        r = -pthread_create(&p->thread, NULL, listen_thread, p);
        p->running = r >= 0;
    }
    if (r < 0) {
        if (!*ret_error &&
            asprintf(ret_error, "portal%s%s: %s", what ? " " : "", what ? what : "", strerror(-r)) < 0)
            *ret_error = NULL;
        portal_stop(p);
        return r;
    }
    *ret = p;
    return 0;
}

Portal *portal_stop(Portal *p)
{
    User *u, *next;

    if (!p)
        return NULL;
    if (p->stop >= 0)
        (void)eventfd_write(p->stop, 1);
    if (p->running)
        pthread_join(p->thread, NULL);
    pthread_mutex_lock(&p->lock);
    while (p->connections_n > 0)
        pthread_cond_wait(&p->gone, &p->lock);
    pthread_mutex_unlock(&p->lock);
    LIST_FOREACH_SAFE (u, next, p->users)
        user_free(u);
    SSL_CTX_free(p->tls);
    SSL_CTX_free(p->wrong_tls);
    safe_close(p->listener);
    safe_close(p->stop);
    pthread_cond_destroy(&p->gone);
    pthread_mutex_destroy(&p->lock);
    free(p);
    return NULL;
}

int portal_set_user(Portal *p, const PortalUser *user)
{
    _cleanup_(user_freep) User *u = calloc(1, sizeof(*u));
    User *old;
    int r;

    if (!u)
        return -ENOMEM;
    u->faults = user->faults;
    u->name = strdup(user->name);
    u->initiator = user->initiator ? strdup(user->initiator) : NULL;
    if (!u->name || (user->initiator && !u->initiator))
        return -ENOMEM;
    r = strv_copy(user->targets, &u->targets);
    if (r < 0)
        return r;
    pthread_mutex_lock(&p->lock);
    old = find_user(p, user->name);
    if (old) {
        /* A new wish for targets that are not ready counts from now on. */
        u->discoveries = old->faults.not_ready_times == u->faults.not_ready_times ? old->discoveries : 0;
        u->logins = old->logins;
        u->bytes_to_client = old->bytes_to_client;
        LIST_REMOVE(p->users, old);
        user_free(old);
        p->users_n--;
    }
    if (p->users_n >= USERS_MAX)
        r = -EMFILE;
    else {
        User *added = TAKE_PTR(u);

        LIST_PREPEND(p->users, added);
        p->users_n++;
    }
    pthread_mutex_unlock(&p->lock);
    return r;
}

void portal_remove_user(Portal *p, const char *name)
{
    Connection *c;
    User *u;

    pthread_mutex_lock(&p->lock);
    u = find_user(p, name);
    if (u) {
        LIST_REMOVE(p->users, u);
        user_free(u);
        p->users_n--;
    }
    /* The thread wakes up from that and ends by itself; descriptors are closed only after it left the list.
     */
    LIST_FOREACH (c, p->connections)
        if (c->user && streq(c->user, name)) {
            (void)shutdown(c->client, SHUT_RDWR);
            if (c->target >= 0)
                (void)shutdown(c->target, SHUT_RDWR);
        }
    pthread_mutex_unlock(&p->lock);
}

json_object *portal_describe(Portal *p)
{
    json_object *o = json_object_new_object(), *users = json_object_new_array();
    Connection *c;
    User *u;

    if (!o || !users) {
        json_object_put(o);
        json_object_put(users);
        return NULL;
    }
    pthread_mutex_lock(&p->lock);
    (void)json_add_int64(o, "connections", p->connections_n);
    (void)json_add_int64(o, "accepted", p->accepted);
    (void)json_add_int64(o, "refused", p->refused);
    LIST_FOREACH (u, p->users) {
        json_object *v = json_object_new_object();
        int64_t connections = 0, bytes = u->bytes_to_client;

        LIST_FOREACH (c, p->connections)
            if (c->user && streq(c->user, u->name)) {
                connections++;
                bytes += c->bytes_to_client;
            }
        (void)json_add_string(v, "user", u->name);
        (void)json_add_int64(v, "connections", connections);
        (void)json_add_int64(v, "discoveries", u->discoveries);
        (void)json_add_int64(v, "logins", u->logins);
        (void)json_add_int64(v, "bytesToClient", bytes);
        json_object_array_add(users, v);
    }
    pthread_mutex_unlock(&p->lock);
    (void)json_add(o, "users", users);
    return o;
}
