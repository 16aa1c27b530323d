/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The end point that scripts connect to: TLS 1.2, behind it the target on this host. One thread per
 * connection, at most PORTAL_CONNECTIONS_MAX. Who logs in to a target is proven by the target's CHAP, who
 * looks for targets by the portal (iscsi-filter.h), which answers that, and misbehaves where a scenario wants
 * it. */

#include "json.h"
#include "strv.h"

#define PORTAL_CONNECTIONS_MAX 256

/* What a scenario can ask for. Faults before the login hit every connection while a user with them exists:
 * nobody has said yet who is calling. */
typedef struct PortalFaults {
    bool refuse;                   /* reset each connection */
    bool wrong_certificate;        /* self-signed, for another name */
    bool hang_handshake;           /* accept and say nothing */
    uint64_t handshake_delay_usec; /* before TLS begins */
    uint64_t delay_usec;           /* before each piece of the target's answer */
    bool blocked;                  /* discovery tells of a private end point's refusal */
    int64_t not_ready_times;       /* so many discoveries tell of targets that are not ready yet */
    int64_t close_after_bytes;     /* to the client in a normal session; 0: never */
    int64_t stall_after_bytes;     /* the same, but nothing moves any more and nothing is closed */
} PortalFaults;

/* A user's view of the portal. Copied by portal_set_user. */
typedef struct PortalUser {
    const char *name, *password;
    const char *initiator; /* the only one that is told of the targets; NULL: any */
    char *const *targets;
    PortalFaults faults;
} PortalUser;

typedef struct PortalOptions {
    const char *listen;                              /* "ADDRESS:PORT" */
    const char *certificate;                         /* PEM chain */
    const char *key;                                 /* PEM */
    const char *target;                              /* "ADDRESS:PORT" of the target behind */
    const char *discovery_user, *discovery_password; /* what that asks discovery sessions for */
} PortalOptions;

typedef struct Portal Portal;

/* On failure *ret_error says what was wrong, for the user. */
int portal_start(const PortalOptions *options, Portal **ret, char **ret_error);
/* Ends all connections and waits until they are gone. Returns NULL. */
Portal *portal_stop(Portal *p);
/* Adds the user or replaces what was known of it; connections that exist keep the faults they began with. */
int portal_set_user(Portal *p, const PortalUser *user);
/* Ends the user's connections. Unknown: nothing to do. */
void portal_remove_user(Portal *p, const char *name);
/* {"connections","accepted","refused","users":[{"user","discoveries","logins","bytesToClient"}]}; NULL: no
 * memory. */
json_object *portal_describe(Portal *p);
/* The port that is really listened on (for ":0" in tests). */
uint16_t portal_port(const Portal *p);

/* The names that a discovery answers with, given what the scenario wants. */
int portal_answer(char *const *targets, bool blocked, bool not_ready, char ***ret);
