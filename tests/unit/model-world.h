/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The world of the session's model: a kind whose steps are taken and released in memory, the record in a real
 * store, and the events that can come from outside. What a step may rely on when it is asked to acquire or to
 * release is asserted in here. One world at a time.
 */

#include "session.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#define STEPS 3

typedef enum Event {
    EVENT_GO,         /* the event loop runs; an operation that it starts is under way then */
    EVENT_GO_NOTHING, /* the operation has nothing to do */
    EVENT_GO_REFUSED, /* the operation does not even start */
    EVENT_DONE,       /* the operation under way ends well */
    EVENT_FAILED,     /* the operation under way fails */
    EVENT_RELEASE,    /* somebody asks for the release */
    EVENT_FORCE,      /* and by force */
    EVENT_LOST,       /* the world breaks under the session */
    EVENT_EXPIRY,     /* Azure's time is up */
    EVENT_RETRY,      /* the wait after a failed release is over */
    EVENT_CRASH,      /* the daemon is killed and finds the record */
    EVENT_STANDS,     /* reality was looked at: all is there */
    EVENT_FALLEN,     /* something is not */
    EVENT_DISK_FULL,  /* no record can be written from here on */
    EVENT_MAX,
} Event;

typedef struct World {
    char id[SESSION_ID_LENGTH + 1];
    sd_event *event;
    Config config;
    Store *store;
    SessionContext context;
    Session *session; /* NULL: killed before it had a record */

    bool taken[STEPS], complete[STEPS]; /* in the world; complete: its acquire ended well */
    unsigned acquired[STEPS], released[STEPS];
    int answer;     /* of the next acquire or release */
    bool running;   /* an operation is under way */
    bool must_fall; /* never again an acquire, never again ready */
    bool crashed, full;
} World;

typedef struct RecordSeen {
    bool exists, down, was_ready;
    int64_t step;
} RecordSeen;

/* One directory for all worlds; around all tests. */
int make_directory(void **unused);
int remove_directory(void **unused);

/* With a new session. */
void world_init(World *w);
void world_done(World *w);

void happen(World *w, Event event);
void set_disk_full(World *w, bool full);

/* ---- what can be seen ---- */

RecordSeen record_seen(World *w);
/* All steps are taken, each to its end. */
bool stands(const World *w);
/* The session goes on in the event loop. */
bool kicked(const Session *s);
bool is_ready(const World *w);
