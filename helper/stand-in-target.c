/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "stand-in-target.h"

#include "files.h"
#include "listener.h"
#include "paths.h"
#include "timeutil.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>

#define HEADER_SIZE 48
#define OPCODE_MASK 0x3f
#define LOGIN_REQUEST 0x03
#define LOGIN_RESPONSE 0x23
#define TRANSIT 0x80
#define CONTINUES 0x40
#define STAGES 0x0f /* the current one, the next one */
#define OPERATIONAL 1
#define FULL_FEATURE 3

#define REQUESTS_MAX 8 /* of one login; iscsid needs two */
#define LOGIN_USEC (1 * USEC_PER_SEC)
#define CLOSE_USEC (1 * USEC_PER_SEC)
#define HELD_MAX 64
#define PEERS_MAX 256 /* looked for in one reading of the table */

#define TABLE_SIZE_MAX (32 * MIB)
#define OLD_MAX 64
#define STATE_TIME_WAIT 0x06
#define STATE_LISTEN 0x0A

static struct sockaddr_in local(int port)
{
    return (struct sockaddr_in){
        .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK), .sin_port = htons((uint16_t)port)};
}

static int bound_socket(int port)
{
    _cleanup_close_ int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    struct sockaddr_in sa = local(port);
    const int on = 1;

    if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) < 0 ||
        bind(fd, (struct sockaddr *)&sa, sizeof(sa)) < 0)
        return -errno;
    return TAKE_FD(fd);
}

/* From the text of /proc/net/tcp: the other ends of connections to 127.0.0.1:port that only wait for their
 * time to pass. None if somebody listens at the port. */
static size_t old_connections(const char *text, unsigned port, int ret[static OLD_MAX])
{
    char line[TCP_LINE_MAX];
    size_t n = 0;

    while (tcp_table_line(&text, line)) {
        unsigned address, local_port, peer, peer_port, state;

        if (sscanf(line, " %*u: %8x:%4x %8x:%4x %2x", &address, &local_port, &peer, &peer_port, &state) != 5)
            return 0;
        if (local_port != port || (address != htonl(INADDR_LOOPBACK) && address != 0))
            continue;
        if (state == STATE_LISTEN)
            return 0;
        if (state == STATE_TIME_WAIT && peer == htonl(INADDR_LOOPBACK) && n < OLD_MAX)
            ret[n++] = (int)peer_port;
    }
    return n;
}

/* A tunnel that did not set SO_REUSEADDR and was killed leaves its port taken for the minute that its ends of
 * the connections are in TIME-WAIT, and all that time iscsid would not log out. Who connects from the same
 * port as before gets an old acknowledgment for an answer and resets what sent it (RFC 1337). */
static void end_old_connections(int port)
{
    _cleanup_free_ char *path = NULL, *text = NULL;
    struct sockaddr_in sa = local(port);
    int ports[OLD_MAX];
    size_t n, i;

    if (asprintf(&path, "%s/net/tcp", paths.proc) < 0) {
        path = NULL;
        return;
    }
    if (file_read(AT_FDCWD, path, TABLE_SIZE_MAX, &text, NULL) < 0)
        return;
    n = old_connections(text, (unsigned)port, ports);
    for (i = 0; i < n; i++) {
        _cleanup_close_ int fd = bound_socket(ports[i]);

        if (fd >= 0)
            (void)connect(fd, (struct sockaddr *)&sa, sizeof(sa));
    }
}

int stand_in_target_listen(int port)
{
    _cleanup_close_ int fd = bound_socket(port);

    if (fd == -EADDRINUSE) {
        end_old_connections(port);
        fd = bound_socket(port);
    }
    if (fd < 0)
        return fd;
    if (listen(fd, SOMAXCONN) < 0)
        return -errno;
    return TAKE_FD(fd);
}

static size_t text_length(const uint8_t *header)
{
    return (size_t)header[5] << 16 | (size_t)header[6] << 8 | header[7];
}

int stand_in_target_rest(const uint8_t header[static 48])
{
    size_t length = text_length(header);

    /* An additional header is nothing that a login has. */
    if ((header[0] & OPCODE_MASK) != LOGIN_REQUEST || header[4] || length > STAND_IN_TEXT_MAX)
        return -EBADMSG;
    return (int)((length + 3) / 4 * 4);
}

static void add(uint8_t *ret, size_t *n, const char *s, size_t length)
{
    memcpy(ret + *n, s, length);
    *n += length;
}

/* These are told, not negotiated. */
static bool declared(const char *pair)
{
    return startswith(pair, "InitiatorName=") || startswith(pair, "InitiatorAlias=") ||
           startswith(pair, "TargetName=") || startswith(pair, "SessionType=");
}

static bool offers_none(const char *methods)
{
    while (*methods) {
        size_t length = strcspn(methods, ",");

        if (length == strlen("None") && memcmp(methods, "None", length) == 0)
            return true;
        methods += length + (methods[length] == ',');
    }
    return false;
}

/* One key with its value. What is offered is taken, of a list the first (RFC 7143, 6.2): no command will come
 * that it would mean something to. Only CHAP is not: its secret is not known here. */
static bool answer_pair(StandInLogin *l, const char *pair, uint8_t *ret, size_t *n)
{
    const char *value = strchr(pair, '=');

    if (!value)
        return false;
    value++;
    if (startswith(pair, "TargetName=")) {
        if (*l->name || !startswith(value, l->prefix) || strlen(value) > ISCSI_NAME_MAX)
            return false;
        strcpy(l->name, value);
        return true;
    }
    if (startswith(pair, "AuthMethod=")) {
        if (!offers_none(value))
            return false;
        add(ret, n, "AuthMethod=None", sizeof("AuthMethod=None"));
    } else if (!declared(pair)) {
        add(ret, n, pair, (size_t)(value - pair) + strcspn(value, ","));
        ret[(*n)++] = '\0';
    }
    return true;
}

/* Keys with their values, each ended by a NUL (RFC 7143, 6.1). The answer is no longer than they are, but for
 * the portal group: each of them is answered with as much at most. */
static bool answer_text(StandInLogin *l, const char *text, size_t size, uint8_t *ret, size_t *n)
{
    static const char group[] = "TargetPortalGroupTag=1";
    bool first = !*l->name;
    size_t i;

    for (i = 0; i < size; i += strlen(text + i) + 1)
        if (strnlen(text + i, size - i) == size - i || !answer_pair(l, text + i, ret, n))
            return false;
    if (first) /* belongs to the first answer (RFC 7143, 13.9) */
        add(ret, n, group, sizeof(group));
    return *l->name;
}

int stand_in_target_answer(StandInLogin *l, const uint8_t *request, size_t size,
                           uint8_t ret[static STAND_IN_ANSWER_MAX])
{
    uint8_t stage, next, *window = ret + 32;
    size_t n = HEADER_SIZE, length;
    bool transit;
    int i;

    if (size < HEADER_SIZE || stand_in_target_rest(request) < 0)
        return -EBADMSG;
    length = text_length(request);
    transit = request[1] & TRANSIT;
    stage = request[1] >> 2 & 3;
    next = request[1] & 3;
    /* Of version 0, in one piece, and on its way to the end. */
    if (length > size - HEADER_SIZE || request[3] != 0 || request[1] & CONTINUES || stage > OPERATIONAL ||
        (transit && (next <= stage || next == 2)))
        return -EBADMSG;

    memset(ret, 0, HEADER_SIZE);
    if (!answer_text(l, (const char *)request + HEADER_SIZE, length, ret, &n))
        return -EBADMSG;
    l->done = transit && next == FULL_FEATURE;

    ret[0] = LOGIN_RESPONSE;
    ret[1] = transit ? request[1] & (TRANSIT | STAGES) : stage << 2;
    length = n - HEADER_SIZE;
    ret[5] = (uint8_t)(length >> 16);
    ret[6] = (uint8_t)(length >> 8);
    ret[7] = (uint8_t)length;
    memcpy(ret + 8, request + 8, 12); /* ISID, TSIH, initiator task tag */
    if (l->done && !ret[14] && !ret[15])
        ret[15] = 1; /* a session has a handle, and its target gives it in the last answer (11.13.3) */
    memcpy(ret + 24, request + 28, 4); /* StatSN: the one it expects */
    memcpy(ret + 28, request + 24, 4); /* ExpCmdSN: its CmdSN, which a login does not count */
    memcpy(window, request + 24, 4);   /* MaxCmdSN: one less, which asks for no command (4.2.2.1) */
    for (i = 3; i >= 0 && window[i]-- == 0; i--)
        ;
    while (n % 4)
        ret[n++] = 0;
    return (int)n;
}

static bool receive(int fd, uint8_t *buf, size_t size, uint64_t end)
{
    size_t n = 0;

    while (n < size) {
        struct pollfd p = {.fd = fd, .events = POLLIN};
        uint64_t now = now_usec(CLOCK_MONOTONIC);
        ssize_t k;

        if (now >= end || poll(&p, 1, (int)((end - now) / USEC_PER_MSEC) + 1) <= 0)
            return false;
        k = recv(fd, buf + n, size - n, MSG_DONTWAIT);
        if (k <= 0)
            return false;
        n += (size_t)k;
    }
    return true;
}

typedef struct Peer {
    int fd;
    struct sockaddr_in here, there;
    bool ours; /* the other end is held by our own user, who is root, as iscsid is */
} Peer;

static void peers_look(Peer *peers, size_t n)
{
    _cleanup_free_ char *path = NULL, *table = NULL;
    char line[TCP_LINE_MAX];
    const char *text;
    size_t i;

    if (asprintf(&path, "%s/net/tcp", paths.proc) < 0) {
        path = NULL;
        return;
    }
    if (file_read(AT_FDCWD, path, TABLE_SIZE_MAX, &table, NULL) < 0)
        return;
    for (text = table; tcp_table_line(&text, line);) {
        unsigned from, from_port, to, to_port, uid;
        unsigned long inode;

        if (sscanf(line, " %*u: %8x:%4x %8x:%4x %*x %*x:%*x %*x:%*x %*x %u %*u %lu", &from, &from_port, &to,
                   &to_port, &uid, &inode) != 6)
            return;
        for (i = 0; i < n; i++) /* of what no process holds any more the table says root, and no inode */
            if (from == peers[i].there.sin_addr.s_addr && from_port == ntohs(peers[i].there.sin_port) &&
                to == peers[i].here.sin_addr.s_addr && to_port == ntohs(peers[i].here.sin_port))
                peers[i].ours = inode != 0 && uid == geteuid();
    }
}

/* All that wait, so that many of others' cost iscsid little time; theirs are closed. Returns how many are
 * left. */
static size_t accept_ours(int listener, Peer peers[static PEERS_MAX])
{
    size_t n = 0, n_ours = 0, i;

    while (n < PEERS_MAX) {
        socklen_t here_size = sizeof(peers->here), there_size = sizeof(peers->there);
        Peer p = {.fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC)};

        if (p.fd < 0)
            break;
        if (getsockname(p.fd, (struct sockaddr *)&p.here, &here_size) < 0 ||
            getpeername(p.fd, (struct sockaddr *)&p.there, &there_size) < 0)
            safe_close(p.fd);
        else
            peers[n++] = p;
    }
    if (n > 0)
        peers_look(peers, n);
    for (i = 0; i < n; i++)
        if (peers[i].ours)
            peers[n_ours++] = peers[i];
        else
            safe_close(peers[i].fd);
    return n_ours;
}

static bool log_in(int fd, StandInLogin *l, uint64_t end)
{
    uint8_t request[HEADER_SIZE + STAND_IN_TEXT_MAX], answer[STAND_IN_ANSWER_MAX];
    int i, n;

    end = MIN(end, now_usec(CLOCK_MONOTONIC) + LOGIN_USEC);
    for (i = 0; !l->done; i++) {
        if (i == REQUESTS_MAX || !receive(fd, request, HEADER_SIZE, end))
            return false;
        n = stand_in_target_rest(request);
        if (n < 0 || !receive(fd, request + HEADER_SIZE, (size_t)n, end))
            return false;
        n = stand_in_target_answer(l, request, HEADER_SIZE + (size_t)n, answer);
        if (n < 0 || send(fd, answer, (size_t)n, MSG_NOSIGNAL | MSG_DONTWAIT) != n)
            return false;
    }
    return true;
}

/* Who has logged in, until iscsid had the time for it: closed on before, it takes it for a login that failed.
 * An unset fd is -1, for poll() as for us. */
typedef struct Held {
    struct pollfd fds[1 + HELD_MAX]; /* the listener first */
    uint64_t until[1 + HELD_MAX];
    size_t n, own; /* own: where the target is that it is all about; 0: not yet */
} Held;

static void hold(Held *h, int fd, bool own)
{
    h->until[h->n] = now_usec(CLOCK_MONOTONIC) + CLOSE_USEC;
    if (own && h->own == 0)
        h->own = h->n;
    h->fds[h->n++] = (struct pollfd){.fd = fd, .events = POLLIN};
}

static void close_held(Held *h, uint64_t now)
{
    size_t i;

    for (i = 1; i < h->n; i++)
        if (h->fds[i].fd >= 0 && (h->fds[i].revents || h->until[i] <= now))
            h->fds[i].fd = safe_close(h->fds[i].fd);
}

bool stand_in_target_serve(int listener, const char *prefix, const char *target, uint64_t timeout_usec)
{
    Held h = {.fds = {{.fd = listener, .events = POLLIN}}, .n = 1};
    uint64_t now = now_usec(CLOCK_MONOTONIC), end = now + timeout_usec;
    Peer peers[PEERS_MAX];
    bool done = false;

    while (now < end && !done && h.n < ELEMENTSOF(h.fds)) {
        uint64_t next = h.n > 1 ? MIN(end, now + CLOSE_USEC / 10) : end;
        size_t n = 0, i;

        if (poll(h.fds, h.n, (int)((next - now) / USEC_PER_MSEC) + 1) > 0 && h.fds[0].revents)
            n = accept_ours(listener, peers);
        for (i = 0; i < n; i++) {
            StandInLogin l = {.prefix = prefix};

            if (h.n < ELEMENTSOF(h.fds) && log_in(peers[i].fd, &l, end))
                hold(&h, peers[i].fd, streq(l.name, target));
            else
                safe_close(peers[i].fd);
        }
        now = now_usec(CLOCK_MONOTONIC);
        close_held(&h, now);
        done = h.own > 0 && h.fds[h.own].fd < 0;
    }
    close_held(&h, UINT64_MAX);
    return h.own > 0;
}
