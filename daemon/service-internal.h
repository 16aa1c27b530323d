/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The inside of the service: calls that wait, and the methods that have files of their own. */

#include "service.h"

#include "doctor.h"
#include "finder.h"
#include "leftovers.h"
#include "log.h"
#include "sign-in.h"
#include "user-names.h"

typedef enum WaiterKind {
    WAIT_PROVISION, /* until ready, or an error */
    WAIT_TURN,      /* until the session of the same point is closed; then it becomes a provision */
    WAIT_RELEASE,   /* until closed, or no more can be done, or an error */
    WAIT_MONITOR,   /* for ever */
    WAIT_UNLOCK,    /* until the volume is open, or an error */
    WAIT_INHIBIT,   /* until it goes down; as long as the call waits, the session counts as used */
    WAIT_LEAVE,     /* answered, there is no call: the next turn takes the caller's hold from him */
} WaiterKind;

/* A call that is not answered finally yet. */
typedef struct Waiter {
    Service *service;
    VarlinkCall *call;
    WaiterKind kind;
    char session[SESSION_ID_LENGTH + 1]; /* "": all (monitor) */
    char *told;                          /* what was told last, so that nothing is said twice */
    uid_t uid;
    bool fresh;         /* provision: the caller holds the session only because of this call */
    uint64_t inhibitor; /* inhibit: its number */
    /* turn: */
    AzurePoint *point;
    json_object *parameters;
    sd_event_source *deadline;
    LIST_FIELDS(struct Waiter);
} Waiter;

struct Service {
    sd_event *event;
    sd_event_source *turns; /* somebody's may have come */
    Manager *manager;
    const Config *config;
    VarlinkServer *server;
    Waiter *waiters;
    Finder *finder;
    Doctor *doctor;
    LeftoverCalls *leftovers;
    SignIns *sign_ins;
    UserNames *users;
    gid_t group; /* ilr */
    bool has_group;
};

/* Finds the session that the parameter id names. Negative: the call is answered. */
int service_get_session(Service *s, VarlinkCall *call, json_object *parameters, Session **ret);
/* Answers with the session as it is; with InternalFailed if there is no memory for that. The call is gone
 * then, whatever is returned: what varlink_call_reply() says. */
int service_reply_session(VarlinkCall *call, Session *s);
/* Answers with an error, and the session's description if there is one. The same holds. */
int service_fail(VarlinkCall *call, const Failure *f, Session *s);

/* Keeps the call until the session (NULL: any; monitor) is what kind waits for, or the caller goes. Returns
 * the waiter, the service's, or NULL: out of memory. */
Waiter *service_wait(Service *s, VarlinkCall *call, WaiterKind kind, const char *session);
/* Ends a waiting call with what it waits for (then w is gone), or tells it about a change. */
void service_tell(Waiter *w, Session *s);
/* The manager's callback: tells all whom it concerns. */
void service_on_changed(Session *session, void *userdata);
/* The Provision of this user (but not except, may be NULL) that waits for the session, or NULL. */
Waiter *service_awaiting(Service *s, const char *session, uid_t uid, const Waiter *except);
void service_waiter_free(Waiter *w);

/* The user's hold ends. If he was the last one, the session goes down, with why (borrowed, may be NULL) as
 * its failure. */
void service_let_go(Session *session, uid_t uid, const Failure *why);

/* A session of the same point (old) is going down: the call waits for its end, and is a provision of point
 * (taken, also on failure) then. */
int service_wait_turn(Service *s, VarlinkCall *call, json_object *parameters, AzurePoint *point,
                      Session *old);
/* The event handler of Service.turns. */
int service_on_turns(sd_event_source *source, void *userdata);
/* The point is known: a session for it, and the call waits for that. point is taken. Negative: the call is
 * not answered. */
int service_provision_point(Service *s, VarlinkCall *call, json_object *parameters, AzurePoint *point);

int service_provision(VarlinkCall *call, json_object *parameters, void *userdata);
int service_release(VarlinkCall *call, json_object *parameters, void *userdata);
int service_metrics(VarlinkCall *call, json_object *parameters, void *userdata);
int service_inhibit(VarlinkCall *call, json_object *parameters, void *userdata);
/* The waiter of such a call is about to end. */
void service_uninhibit(Waiter *w);

int service_unlock(VarlinkCall *call, json_object *parameters, void *userdata);
/* The waiter of such a call is about to end. */
void service_unlock_forget(Waiter *w);
/* The keys that a Provision names and brings become the call's data, for as long as it lasts. 1: the call has
 * been answered; -EINVAL: *ret_failure says what is wrong. */
int service_take_keys(VarlinkCall *call, json_object *parameters, const char *kind, Failure **ret_failure);
