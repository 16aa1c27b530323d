/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What varlink.c (server, interfaces, dispatch), varlink-connection.c (bytes) and varlink-call.c (answers)
 * know of each other. For nobody else. */

#include "framing.h"
#include "list.h"
#include "varlink.h"

typedef struct VarlinkConnection VarlinkConnection;
typedef struct VarlinkInterface VarlinkInterface;
typedef struct VarlinkListener VarlinkListener;

struct VarlinkInterface {
    LIST_FIELDS(VarlinkInterface);
    char *name;
    const char *description;
    const VarlinkMethod *methods;
    void *userdata;
};

struct VarlinkListener {
    LIST_FIELDS(VarlinkListener);
    VarlinkServer *server;
    int fd;
    sd_event_source *io;
};

struct VarlinkServer {
    sd_event *event;
    char *domain;
    char *vendor, *product, *version, *url;
    VarlinkLimits limits;
    VarlinkInterface *interfaces;
    VarlinkListener *listeners;
    VarlinkConnection *connections;
    unsigned n_connections;
    sd_event_source
        *accept_again; /* made beforehand: when it is needed there may be no descriptor for a timer */
    bool paused;       /* for want of descriptors or memory */
    VarlinkAuthorize authorize;
    void *authorize_userdata;
    char *denied_reason;
};

/* Descriptors of one message. */
typedef struct VarlinkFds {
    int fds[VARLINK_FDS_MAX]; /* -EBADF: taken */
    size_t n;
} VarlinkFds;

struct VarlinkConnection {
    LIST_FIELDS(VarlinkConnection);
    VarlinkServer *server;
    VarlinkPeer peer;
    int fd;
    sd_event_source *io;
    sd_event_source
        *work; /* one-shot: there is something to do that must not be done from inside an answer */
    sd_event_source *deadline; /* of half a message, of a denied caller, of the last answers */
    Framing in;
    VarlinkFds fds; /* of the message that is being read */
    char *out;
    size_t out_used, out_sent, out_allocated; /* bytes */
    VarlinkCall *call;                        /* being worked on, or parked */
    bool *freed; /* set to true when the connection is freed: for who calls a handler */
    bool denied;
    bool reading; /* no complete message is buffered */
    bool deadline_set;
    bool eof;     /* the client will send nothing more; it may still read */
    bool hup;     /* the client is gone */
    bool broken;  /* it cannot go on; closed at the next opportunity */
    bool closing; /* what is queued is still sent, nothing more is read */
};

struct VarlinkCall {
    VarlinkConnection *connection;
    const VarlinkMethod *method;
    bool more, oneway;
    VarlinkFds fds;
    void *data;
    void (*free_data)(void *data);
    bool over; /* gone is being called: no answer is possible any more */
    VarlinkGone gone;
    void *gone_userdata;
};

/* varlink-connection.c */
/* The descriptor is the connection's after success. */
int varlink_connection_new(VarlinkServer *s, int fd, const VarlinkPeer *peer, bool denied);
/* Without callbacks. */
void varlink_connection_free(VarlinkConnection *c);
/* Queues a message and sends what can be sent now. */
int varlink_connection_send(VarlinkConnection *c, json_object *message);
/* Tells the caller what is wrong with the bytes it sends, as the last thing that it hears: what follows them
 * cannot be trusted either. */
void varlink_connection_refuse(VarlinkConnection *c, const char *format, ...) _printf_(2, 3);
/* Sets events, deadline and work from the state. Frees nothing, calls nobody. */
void varlink_connection_update(VarlinkConnection *c);

/* varlink-fds.c */
/* Reads from the socket into in and fds. Returns what framing_read() does; -E2BIG: more descriptors came than
 * a message may have, or they could not be had. */
ssize_t varlink_fds_receive(VarlinkConnection *c);
void varlink_fds_close(VarlinkFds *f);

/* varlink.c */
/* Takes one complete message apart and calls its method. false: the connection is gone. */
bool varlink_connection_dispatch(VarlinkConnection *c, const char *text, size_t size);
void varlink_server_resume(VarlinkServer *s);

/* varlink-call.c */
/* With all that it owns; the connection has it no more. */
void varlink_call_free(VarlinkCall *c);
int varlink_message_new(json_object **ret, const char *error, json_object *parameters);
int varlink_failure_message_new(VarlinkServer *s, json_object **ret, const Failure *f,
                                json_object *parameters);
/* An error that names one thing: {"KEY": VALUE}. Final. */
int varlink_call_error_string(VarlinkCall *c, const char *error, const char *key, const char *value);
