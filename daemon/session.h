/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* A session: one recovery point on its way up or down. This file knows the order, nothing else does: a
 * session climbs the steps of its kind to ready and descends them to closed.
 *
 *  - A step is counted and the record saved before its acquire touches the world; a started step counts as
 * taken. Failure, cancel, crash and close are one path: down. Every release accepts that there is nothing to
 * release.
 *  - A failed release stays on its step and is tried again, later and later, and says who is in the way.
 *  - What an operation meant is judged by what was under way when it finished.
 *  - The first failure is kept and shown; later ones are logged.
 *  - Force is for a release that somebody is in the way of: the steps that heed it then leave behind what is
 * in use, and the session stays closing until that is gone, too.
 *  - States are for people; code decides on step and direction. */

#include "expiry.h"
#include "hooks.h"
#include "metrics.h"
#include "session-holder.h"
#include "session-keys.h"
#include "session-use.h"
#include "store.h"
#include "validate.h"

#include "list.h"
#include <systemd/sd-event.h>

typedef enum SessionState {
    SESSION_PROVISIONING,
    SESSION_CONNECTING,
    SESSION_ATTACHING,
    SESSION_READY,
    SESSION_DETACHING,
    SESSION_DISCONNECTING,
    SESSION_REVOKING,
    SESSION_CLOSING, /* everything is given back, but somebody still has a part of it open */
    SESSION_CLOSED,
    SESSION_STATE_MAX,
    SESSION_STATE_INVALID = -EINVAL,
} SessionState;

/* Why a session ended. */
typedef enum SessionEnd {
    SESSION_END_NONE,     /* it did not */
    SESSION_END_RELEASED, /* who held it gave it back */
    SESSION_END_EXPIRED,  /* before Azure's end */
    SESSION_END_IDLE,     /* nobody used it */
    SESSION_END_REBOOTED, /* the host went down with it */
    SESSION_END_FAILED,
    SESSION_END_MAX,
    SESSION_END_INVALID = -EINVAL,
} SessionEnd;

typedef struct Session Session;

/* One step of a kind. acquire and release start work and return 0; the work ends in session_step_done(),
 * never from inside. 1: there was nothing to do. A negative errno is a failure to start, the same as an
 * INTERNAL failure told later. cancel stops what acquire or release started: no session_step_done() comes
 * after it. */
typedef struct SessionStep {
    SessionState climbing, descending;
    int (*acquire)(Session *s);
    int (*release)(Session *s);
    bool heeds_force; /* release does otherwise if s->forced: it is begun anew when that is asked for */
} SessionStep;

/* The end of an unlock; failure (borrowed) or NULL. */
typedef void (*SessionUnlockDone)(Session *s, const Failure *failure, void *userdata);

/* A kind of session owns its table of steps and what they need to remember (s->data). */
typedef struct SessionKind {
    const char *name;
    const SessionStep *steps;
    size_t n_steps;
    void (*cancel)(Session *s); /* what is under way */
    int (*ready)(Session *s);   /* all steps are taken, also after adopting: start watching */
    void (*free)(Session *s);   /* s->data */
    int (*save)(Session *s, json_object *record);          /* adds the kind's own fields */
    int (*load)(Session *s, json_object *record);          /* reads them; -EINVAL: damaged */
    int (*describe)(Session *s, json_object *description); /* the kind's fields of the API's Session */
    void (*subject)(const Session *s, char *buf,
                    size_t size); /* "VM my-vm, recovery point 182457315790203" */
    /* All steps are released: waits until what others still have open is gone, as a step does (1: nothing
     * is). NULL: there is no such thing. */
    int (*close)(Session *s);
    /* The rest may be NULL: there is nothing to say. What was read from the backup so far: */
    uint64_t (*bytes_read)(Session *s);
    /* Is what the helper sees of it enough to be ready? iSCSI sessions and mounts. */
    bool (*stands)(Session *s, int64_t iscsi_sessions, int64_t mounts);
    /* Looks who has files open, and calls session_users_known(), not from inside; not after it went down. */
    int (*users)(Session *s);
    void (*names)(const Session *s, const char **ret_vm, const char **ret_point);
    /* Of a ready session: opens a locked volume, one at a time. 0: done is called once, not from inside; also
     * when the session goes down before. Otherwise *ret_failure says why it is not begun. */
    int (*unlock)(Session *s, const char *volume, Secret *key, SessionUnlockDone done, void *userdata,
                  Failure **ret_failure);
    /* Who asked is gone: it goes on, done is not called. */
    void (*unlock_forget)(Session *s, void *userdata);
    /* Keys (copied) for what is locked when all is up, or now. Those that open nothing are a warning. */
    int (*add_keys)(Session *s, const SessionKeys *keys);
} SessionKind;

typedef enum SessionWork {
    WORK_NONE,
    WORK_ACQUIRE,
    WORK_RELEASE,
    WORK_CLOSE,
} SessionWork;

/* What a session needs around it; borrowed, outlives all sessions. */
typedef struct SessionContext {
    sd_event *event;
    const Config *config;
    Store *store;
    /* Something that callers can see has changed, or (closed) the session is over: the receiver frees it,
     * later. The session must not be freed inside. */
    void (*changed)(Session *s, void *userdata);
    void *userdata;
    void *services;   /* for the kinds: whatever manager.c gives them */
    Metrics *metrics; /* or NULL */
    Hooks *hooks;     /* or NULL */
} SessionContext;

struct Session {
    char id[SESSION_ID_LENGTH + 1];
    const SessionKind *kind;
    const SessionContext *context;
    void *data;

    uid_t uid;              /* who asked first: Azure is asked in his name */
    char *caller;           /* name of that user, or its number */
    char *reason;           /* his, or NULL */
    SessionHolders holders; /* who holds it; on its way down: who held it last */

    size_t step;    /* steps started, 0..kind->n_steps */
    bool down;      /* direction */
    bool was_ready; /* has been ready once */
    bool pending;   /* ready, but what a joining caller wants of it is under way */
    bool forced;    /* down without waiting for those who use it */
    bool closing;   /* its state is SESSION_CLOSING */
    bool closed;    /* nothing is held any more, the record is gone */
    bool adopting;  /* came from a record and waits for session_adopt() */
    bool rebooted;  /* that record is of another boot */
    SessionWork work;
    SessionEnd end;
    SessionUse use;
    uint64_t work_usec; /* when work began; CLOCK_MONOTONIC */

    uint64_t created_usec, ready_usec; /* since 1970; 0: not yet */
    uint64_t expires_usec;             /* since 1970, by Azure's clock; 0: unknown */
    uint64_t expires_boot_usec;        /* the same moment on CLOCK_BOOTTIME of this boot */
    ExpiryStage expiry_stage;          /* what was done about it */
    const char *warning;               /* while it is told of, inside changed(); or NULL */
    char *detail;                      /* what is being waited for, for people; or NULL */
    Failure *failure;                  /* the first one */
    Failure *release_failure;          /* of the latest attempt to release */
    unsigned release_attempts;
    sd_event_source *retry;   /* the next attempt to release */
    sd_event_source *expiry;  /* the next stage on the way to Azure's end */
    sd_event_source *unsaved; /* the record could not be saved, it is tried again */
    sd_event_source *kick;    /* goes on from the event loop, never from inside a caller's call */

    LIST_FIELDS(Session);
};

/* A new session at its foot. It starts when the event loop runs. caller and reason are copied. */
int session_new(Session **ret, const SessionContext *context, const SessionKind *kind, void *data, uid_t uid,
                const char *caller, const char *reason);

/* The session of a record. It does nothing until session_adopt() says whether it still stands. data as for
 * session_new, filled by kind->load. -EINVAL: the record is damaged. */
int session_load(Session **ret, const SessionContext *context, const SessionKind *kind, void *data,
                 const char *id, json_object *record);
/* stands: all of it is up in reality. A ready session that stands stays ready; everything else goes down. */
void session_adopt(Session *s, bool stands);

/* It is not known yet, and why (copied): for those who wait for the session. */
void session_adopt_later(Session *s, const Failure *why);

/* Drops it from memory with all that is under way; the world and the record stay as they are. Returns NULL.
 */
Session *session_free(Session *s);

/* Gives everything back, whatever state it is in. Safe to call again: a waiting retry is tried at once.
 * why: a failure to keep if it is the first one, copied; NULL: it was asked for. */
void session_release(Session *s, const Failure *why);
/* The same, and why it ends. */
void session_release_as(Session *s, SessionEnd end);
/* The same as session_release(), and whoever uses it is not waited for. */
void session_force(Session *s);

/* One more user, or the same one again. idle_usec: for him it may be unused for so long (0: for ever); of two
 * that the same one asks for, and of all holders', the longest counts. 1: he is new, 0: he holds it already.
 * -E2BIG: SESSION_HOLDERS_MAX; otherwise the record could not be saved: then he does not hold it. */
int session_hold(Session *s, uid_t uid, const char *caller, const char *reason, uint64_t idle_usec);
/* He holds it no more, and what he asked for counts no more. Nothing else happens: the last one's is for
 * session_release(). */
void session_let_go(Session *s, uid_t uid);

/* For kinds: the step under way has ended. failure (copied) or NULL. */
void session_step_done(Session *s, const Failure *failure);
/* For kinds: what is being waited for. */
void session_set_detail(Session *s, const char *format, ...) _printf_(2, 3);
/* For kinds: saves the record (a value that must not be lost has come). */
int session_save(Session *s);
/* For kinds: when Azure ends it, by Azure's clock and on CLOCK_BOOTTIME; 0: unknown. What must happen before
 * happens from the event loop, see expiry.h. */
int session_set_expiry(Session *s, uint64_t usec, uint64_t boot_usec);
/* A time of day as CLOCK_BOOTTIME, as the host's clocks are now. */
uint64_t session_boot_time_of(uint64_t usec);
/* Until Azure ends it; USEC_INFINITY: unknown. */
uint64_t session_time_left(const Session *s);

SessionState session_state(const Session *s);
const char *session_state_to_string(SessionState state);
const char *session_end_to_string(SessionEnd end);
SessionEnd session_end_from_string(const char *s);

/* The API's Session, see io.ilrd.Recovery.varlink. */
int session_describe(Session *s, json_object **ret);
