/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The listener: who may come in, and its start and end. */

#include "portal-internal.h"

#include "log.h"
#include "timeutil.h"
#include "tls.h"

#include <netdb.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <sys/eventfd.h>

int portal_wait(Portal *p, int fd, short events, uint64_t deadline_usec)
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

int portal_pause(Portal *p, uint64_t usec)
{
    return usec > 0 ? portal_wait(p, -1, 0, now_usec(CLOCK_MONOTONIC) + usec) : 0;
}

static void *listen_thread(void *userdata)
{
    Portal *p = userdata;

    for (;;) {
        int r = portal_wait(p, p->listener, POLLIN, USEC_INFINITY), fd;
        bool full;

        if (r == -ECANCELED)
            return NULL;
        fd = r > 0 ? accept4(p->listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK) : -EBADF;
        if (fd < 0) { /* out of descriptors: do not spin */
            if (r < 0 || (r > 0 && errno != EAGAIN && errno != ECONNABORTED && errno != EINTR))
                (void)portal_pause(p, 100 * USEC_PER_MSEC);
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
            r = portal_connection_start(p, fd);
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
    p->discovery_user = strdup(options->discovery_user);
    p->discovery_password = strdup(options->discovery_password);
    p->accounts = (IscsiDiscovery){
        .user = p->discovery_user, .password = p->discovery_password, .password_of = portal_password_of};
    if (!p->discovery_user || !p->discovery_password)
        r = -ENOMEM;
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
    PortalKnown *u, *next;

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
        portal_known_free(u);
    SSL_CTX_free(p->tls);
    SSL_CTX_free(p->wrong_tls);
    safe_close(p->listener);
    safe_close(p->stop);
    free(p->discovery_user);
    free(p->discovery_password);
    pthread_cond_destroy(&p->gone);
    pthread_mutex_destroy(&p->lock);
    free(p);
    return NULL;
}
