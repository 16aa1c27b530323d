/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What portal.c (the listener), portal-connection.c (bytes) and portal-users.c (who may see what) know of
 * each other. For nobody else. */

#include "iscsi-filter.h"
#include "list.h"
#include "portal.h"

#include <openssl/ssl.h>
#include <pthread.h>
#include <sys/socket.h>

/* What is known of a user, and what became of him. */
typedef struct PortalKnown {
    char *name, *password, *initiator;
    char **targets;
    PortalFaults faults;
    int64_t discoveries, logins, bytes_to_client;
    LIST_FIELDS(struct PortalKnown);
} PortalKnown;

typedef struct PortalConnection {
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
    LIST_FIELDS(struct PortalConnection);
} PortalConnection;

struct Portal {
    SSL_CTX *tls, *wrong_tls;
    struct sockaddr_storage target;
    socklen_t target_size;
    int listener, stop; /* stop: an eventfd that turns readable once and for all */
    uint16_t port;
    char *discovery_user, *discovery_password;
    IscsiDiscovery accounts; /* these two, and whose passwords are asked for */
    pthread_t thread;
    bool running;
    pthread_mutex_t lock; /* for all below */
    pthread_cond_t gone;
    PortalKnown *users;
    PortalConnection *connections;
    size_t users_n, connections_n;
    int64_t accepted, refused;
};

/* portal.c */
/* Waits for events on a descriptor. 1: something came; 0: deadline; -ECANCELED: the portal stops. */
int portal_wait(Portal *p, int fd, short events, uint64_t deadline_usec);
int portal_pause(Portal *p, uint64_t usec);

/* portal-connection.c */
/* The filter's question (IscsiPassword); userdata: a connection. */
int portal_password_of(void *userdata, const char *name, char **ret);
/* Serves a client in a thread of its own. Takes the descriptor in every case. */
int portal_connection_start(Portal *p, int fd);

/* portal-users.c */
PortalKnown *portal_known_free(PortalKnown *u);
/* Under the portal's lock, as what it returns. */
PortalKnown *portal_find_user(Portal *p, const char *name);
/* What every connection suffers as long as nobody has logged in: the union of all users' faults. */
PortalFaults portal_early_faults(Portal *p);
