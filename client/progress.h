/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* How a session gets on: on a terminal a live line with the time that runs, and one line for each state that
 * is done; elsewhere one plain line for each change. On standard error, so that standard output is the result
 * alone. */

#include "json.h"

typedef struct Progress {
    bool terminal;
    bool quiet; /* --json: the stream says it all */
    bool named; /* the session's id was said */
    char *state, *detail;
    uint64_t start_usec;       /* CLOCK_MONOTONIC */
    uint64_t state_start_usec; /* the same */
} Progress;

/* What one waits for at most before progress_tick() (a timeout for link_next()). */
#define PROGRESS_TICK_MSEC 1000

void progress_init(Progress *p, bool quiet);
void progress_done(Progress *p);
/* Something is waited for before there is a session. */
void progress_note(Progress *p, const char *detail);
/* A session object came. */
void progress_update(Progress *p, json_object *session);
/* Draws the time anew. */
void progress_tick(Progress *p);
/* Ends the live line, so that other text can follow. */
void progress_end(Progress *p);
