/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What the simulator remembers: active recoveries (sessions), operations, tokens and a log of requests, all
 * bounded. One lock over everything; a worker thread calls the backend without holding it. Functions take the
 * lock themselves unless they say otherwise. */

#include "assertion.h"
#include "identity.h"
#include "list.h"
#include "simconfig.h"
#include <pthread.h>

typedef enum SessionState {
    SESSION_CREATING,
    SESSION_ACTIVE,
    SESSION_FAILED,
    SESSION_REMOVING,
    SESSION_REMOVED,
    SESSION_STATE_MAX,
    SESSION_STATE_INVALID = -EINVAL,
} SessionState;

/* An active recovery of a point. */
typedef struct Session {
    unsigned refs; /* the list, the point, each operation and job */
    Point *point;
    SessionState state;
    Registration registration;
    char *error; /* of the backend, or NULL */
    bool listed;
    LIST_FIELDS(struct Session);
} Session;

typedef struct Operation {
    char id[GUID_SIZE];
    RequestKind kind; /* REQUEST_PROVISION or REQUEST_REVOKE */
    Point *point;
    Session *session;            /* or NULL */
    uint64_t started_usec;       /* CLOCK_REALTIME */
    uint64_t ready_usec;         /* CLOCK_BOOTTIME, not before */
    Fault *fault, *script_fault; /* or NULL */
    LIST_FIELDS(struct Operation);
} Operation;

typedef struct Job {
    Session *session;
    bool remove, update;
    LIST_FIELDS(struct Job);
} Job;

#define OPERATIONS_MAX 4096
#define TOKENS_MAX 1024
#define LOG_ENTRIES_MAX 2000
#define TOKEN_SIZE 1200
#define PRINCIPAL_SIZE 160
#define DEVICES_MAX 64
#define DEVICE_CODE_SIZE 65
#define USER_CODE_SIZE 10

/* Whom a token speaks for: "app:CLIENTID", "identity:CLIENTID", "person:NAME". */
typedef struct Token {
    char text[TOKEN_SIZE];
    char principal[PRINCIPAL_SIZE];
    bool refresh;          /* good for new tokens only */
    uint64_t expires_usec; /* CLOCK_BOOTTIME */
} Token;

typedef enum DeviceStatus {
    DEVICE_PENDING,
    DEVICE_APPROVED,
    DEVICE_DECLINED,
    DEVICE_USED,
    DEVICE_EXPIRED,
    DEVICE_SLOW_DOWN,
    DEVICE_UNKNOWN,
    DEVICE_STATUS_MAX,
    DEVICE_STATUS_INVALID = -EINVAL,
} DeviceStatus;

/* A person's sign in on another device that was begun. */
typedef struct Device {
    char code[DEVICE_CODE_SIZE], user_code[USER_CODE_SIZE];
    char principal[PRINCIPAL_SIZE]; /* once approved */
    char *client_id, *scope;
    DeviceStatus status;                              /* one of the first four */
    uint64_t expires_usec, interval_usec, asked_usec; /* CLOCK_BOOTTIME; asked: the last time */
} Device;

typedef struct State {
    SimConfig *config; /* scenarios and Point.session under the lock, the rest constant */
    Backend *backend;
    pthread_mutex_t lock;
    pthread_cond_t changed; /* CLOCK_MONOTONIC */
    bool stopping;          /* no new work; waits end */
    bool drain;             /* the worker ends when there are no jobs left */
    pthread_t worker;
    bool worker_started;
    Session *sessions;
    Operation *operations; /* newest first */
    size_t operation_count;
    Job *jobs; /* oldest first */
    Token tokens[TOKENS_MAX];
    size_t token_next;
    Device devices[DEVICES_MAX]; /* a ring, too */
    size_t device_next;
    Assertions *assertions;           /* under the lock */
    char *imds_address, *arc_address; /* with their real ports, or NULL */
    struct ArcKeys *arc_keys;
    json_object *log[LOG_ENTRIES_MAX];
    size_t log_count;       /* ever since the last clearing */
    char **listening;       /* addresses with their real ports, for /sim/state */
    unsigned reads, writes; /* made so far, for the rate limit headers */
} State;

/* Starts the backend and the worker. config is borrowed. */
int state_init(State *s, SimConfig *config, char **ret_error);
/* Waits of other threads end. */
void state_interrupt(State *s);
/* Removes all registrations, stops the worker and the backend. No other thread may be in here any more. */
void state_done(State *s);

/* Begins a recovery that was there before the simulator was. With the lock held, or before the first thread.
 */
int state_restore(State *s, Point *p, const char *initiator, uint64_t expires_usec);
/* The file that outlives the simulator, if one is configured. With the lock held. */
void state_file_save(const State *s);
int state_file_load(State *s, char **ret_error);

/* Sleeps, or until state_interrupt(): false. */
bool state_wait(State *s, double seconds);

static inline void state_lock(State *s)
{
    pthread_mutex_lock(&s->lock);
}
static inline void state_unlock(State *s)
{
    pthread_mutex_unlock(&s->lock);
}

/* A new token into buf. */
void state_token_new(State *s, const char *principal, bool refresh, char buf[static TOKEN_SIZE]);
/* Is it good? Then whom it speaks for. */
bool state_token_valid(State *s, const char *text, bool refresh, char principal[static PRINCIPAL_SIZE]);
/* No access token is good any more. With a principal, none of it is, those for renewing neither. */
void state_tokens_clear(State *s, const char *principal);

/* Begins a sign in; the codes are in *ret, whose texts are not the caller's. -ENOMEM. */
int state_device_new(State *s, const char *client_id, const char *scope, Device *ret);
/* A look at it. With DEVICE_APPROVED, which comes once, the principal is in principal and the scope, which is
 * the caller's, in *ret_scope. */
DeviceStatus state_device_poll(State *s, const char *code, const char *client_id,
                               char principal[static PRINCIPAL_SIZE], char **ret_scope);
/* What the person says to it; person NULL: no. -ENOENT: no such sign in is waiting. */
int state_device_decide(State *s, const char *user_code, const char *person);
/* With the lock held. */
json_object *state_devices_describe(const State *s);
void state_devices_done(State *s);

/* Entry is taken. */
void state_log(State *s, json_object *entry);
void state_log_clear(State *s);
/* The document of GET /sim/state as text. NULL: out of memory. */
char *state_describe(State *s);

/* The first fault that hits: of the point (may be NULL), then of the server. A reference. */
Fault *state_fault(State *s, const Point *p, RequestKind kind, FaultClass c);
/* Replaces the scenario of a point, or of the server with p NULL. Takes scenario, which may be NULL. */
void state_scenario(State *s, Point *p, Scenario *scenario);
/* Of the point or the server or the configuration, in seconds. */
double state_retry_after(State *s, const Point *p);

/* Start operations; id of the new one in buf. -EBUSY: too many unfinished ones. */
int state_provision(State *s, Point *p, const char *initiator, bool renew, char id[static GUID_SIZE]);
int state_revoke(State *s, Point *p, char id[static GUID_SIZE]);

typedef enum OperationStatus {
    OPERATION_IN_PROGRESS,
    OPERATION_SUCCEEDED,
    OPERATION_FAILED,
    OPERATION_CANCELED,
    OPERATION_STATUS_MAX,
    OPERATION_STATUS_INVALID = -EINVAL,
} OperationStatus;

const char *operation_status_to_string(OperationStatus status);
/* With the lock held; borrowed until it is given back. NULL: unknown. */
Operation *state_operation(State *s, const char *id);
OperationStatus operation_status(const Operation *o);
/* With the lock held: is a recovery of this point active? */
bool point_active(const Point *p);
