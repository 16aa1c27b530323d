/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* A Varlink server on sd-event and json-c: NUL-terminated JSON over stream sockets, any number of interfaces,
 * answers now or later, streams, and the standard interface org.varlink.service. It knows no recovery; of the
 * project it knows lib/ only.
 *
 * What it promises: a caller can make it neither block nor grow without bound; calls of one connection are
 * worked on one after the other in their order, whatever arrived meanwhile waits; a client that only
 * half-closes still gets its answers; no callback from inside varlink_server_free() or after it.
 *
 * Who owns a call: the server. A handler borrows it, and may keep the pointer ("park" the call) by returning
 * 0 without a final answer. The pointer is dead after the first of these: varlink_call_reply(),
 * varlink_call_error() or varlink_call_fail() (whatever they return), the return of the gone callback,
 * varlink_server_free(). */

#include "failure.h"
#include "json.h"

#include <sys/types.h>
#include <systemd/sd-event.h>

typedef struct VarlinkServer VarlinkServer;
typedef struct VarlinkCall VarlinkCall;

typedef struct VarlinkLimits {
    size_t message_max_bytes; /* one message from a caller */
    size_t output_max_bytes;  /* answers that a caller has not read yet; more: the connection is dropped */
    size_t output_per_uid_max_bytes;  /* the same for all connections of one user */
    unsigned connections_max;         /* overall; root may use connections_per_uid_max more */
    unsigned connections_per_uid_max; /* of one user; not for root */
    uint64_t message_timeout_usec;    /* from the first byte of a message to its NUL; CLOCK_MONOTONIC */
} VarlinkLimits;

#define VARLINK_LIMITS_DEFAULT                                                                               \
    ((VarlinkLimits){                                                                                        \
        .message_max_bytes = 1 * MIB,                                                                        \
        .output_max_bytes = 4 * MIB,                                                                         \
        .output_per_uid_max_bytes = 32 * MIB,                                                                \
        .connections_max = 256,                                                                              \
        .connections_per_uid_max = 64,                                                                       \
        .message_timeout_usec = 30 * USEC_PER_SEC,                                                           \
    })

/* Who is at the other end, as the kernel saw it when the connection was made. */
typedef struct VarlinkPeer {
    uid_t uid;
    gid_t gid;
    pid_t pid;
    gid_t *groups; /* SO_PEERGROUPS: the supplementary ones */
    size_t n_groups;
} VarlinkPeer;

/* Descriptors that a message may bring (SCM_RIGHTS), sent with its first byte or behind it. */
#define VARLINK_FDS_MAX 8

typedef struct VarlinkMethod {
    const char *name; /* "io.ilrd.Recovery.Provision" */
    /* parameters is an object (an empty one if the caller gave none), borrowed during the handler. Answer
     * with varlink_call_reply(), _error() or _fail() and return what they returned, or park the call and
     * return 0. A negative return without an answer is answered with the error InternalFailed. */
    int (*handler)(VarlinkCall *call, json_object *parameters, void *userdata);
    bool needs_more; /* callers without "more" get org.varlink.service.ExpectedMore */
    const char *const
        *parameters;  /* the known ones, NULL-terminated; another one gets InvalidParameter. NULL: none */
    unsigned fds_max; /* descriptors that a call may bring, at most VARLINK_FDS_MAX; more are refused */
} VarlinkMethod;

typedef struct VarlinkIdentity { /* for org.varlink.service.GetInfo */
    const char *vendor, *product, *version, *url;
} VarlinkIdentity;

/* domain ("io.ilrd.Recovery") is put before the errors that the server itself raises:
 * PermissionDenied(reason), and the classes of lib/failure.h (RequestRefused, LimitReached, InternalFailed)
 * with a failure. limits NULL: the default ones. Copies what it is given. */
int varlink_server_new(VarlinkServer **ret, sd_event *event, const char *domain,
                       const VarlinkIdentity *identity, const VarlinkLimits *limits);
/* Closes all connections and listeners and frees all calls, without a gone callback: who kept a call forgets
 * it before. May be called from a handler. Returns NULL. */
VarlinkServer *varlink_server_free(VarlinkServer *s);
DEFINE_CLEANUP(VarlinkServer *, varlink_server_free)

/* description: the interface's text. methods: ended by an entry without a name; both are borrowed for the
 * server's life. -EEXIST: there already. */
int varlink_server_add_interface(VarlinkServer *s, const char *name, const char *description,
                                 const VarlinkMethod *methods, void *userdata);

/* Decides at the beginning of each connection. > 0: allowed; 0 or a negative errno: each call gets
 * PermissionDenied(reason), the first answer is the last one. Not called for nobody: the default is to allow.
 */
typedef int (*VarlinkAuthorize)(const VarlinkPeer *peer, void *userdata);
int varlink_server_set_authorize(VarlinkServer *s, VarlinkAuthorize authorize, const char *reason,
                                 void *userdata);

/* Takes over a listening socket (socket activation), or one connected socket (tests). The descriptor is the
 * server's after success. */
int varlink_server_listen_fd(VarlinkServer *s, int fd);
int varlink_server_add_connection_fd(VarlinkServer *s, int fd);

/* How many connections are open: for tests. */
unsigned varlink_server_n_connections(const VarlinkServer *s);
/* Bytes of answers that this user has not read yet, on all his connections. */
size_t varlink_unread(const VarlinkServer *s, uid_t uid);

/* The final answer; the call is gone afterwards, in every case. parameters is borrowed (NULL: {}). If the
 * answer can not be sent, the connection is closed and a negative errno returned: to be logged at most. */
int varlink_call_reply(VarlinkCall *c, json_object *parameters);
/* error is the full name. */
int varlink_call_error(VarlinkCall *c, const char *error, json_object *parameters);
/* The error DOMAIN.CLASS of the failure. parameters (may be NULL, borrowed) are what is added to "failure".
 */
int varlink_call_fail(VarlinkCall *c, const Failure *f, json_object *parameters);
/* org.varlink.service.InvalidParameter. */
int varlink_call_invalid_parameter(VarlinkCall *c, const char *parameter);

/* A parameter that is a text of at most max bytes. 1: there, borrowed from parameters; 0: absent, *ret
 * untouched; negative: the call has been answered, with InvalidParameter or, if it is too long, a failure. */
int varlink_call_get_text(VarlinkCall *c, json_object *parameters, const char *key, size_t max,
                          const char **ret);

/* What came with the call, for its handler: the rest is closed when that returns. */
size_t varlink_call_n_fds(const VarlinkCall *c);
/* The one with this number (from 0), the caller's from now on; -EBADF: there is none, or it was taken. Whose
 * file it is and what it does when it is read or closed is up to the sender: it may hang. varlink_fd_close()
 * never does. */
int varlink_call_take_fd(VarlinkCall *c, size_t number);
/* Returns -EBADF. */
int varlink_fd_close(int fd);

/* Something of the handler's that goes with the call. It is freed when the call is, or is replaced. */
void varlink_call_set_data(VarlinkCall *c, void *data, void (*free_data)(void *data));
void *varlink_call_data(const VarlinkCall *c);

/* One answer of several ("continues"). Nothing is sent, and 0 returned, if the caller did not say "more". A
 * negative errno: the caller does not read or is gone; the gone callback follows later, never from inside. */
int varlink_call_notify(VarlinkCall *c, json_object *parameters);

bool varlink_call_wants_more(const VarlinkCall *c);
uid_t varlink_call_uid(const VarlinkCall *c);
pid_t varlink_call_pid(const VarlinkCall *c);

/* For who parks calls: gone is called once, from the event loop, when the client has closed the connection
 * (or does not read) before the final answer. It must not answer; the call is freed when it returns. NULL:
 * forget it. */
typedef void (*VarlinkGone)(VarlinkCall *c, void *userdata);
void varlink_call_set_gone(VarlinkCall *c, VarlinkGone gone, void *userdata);
