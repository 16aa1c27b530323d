/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What of recoveries is left on this host and belongs to no session: asks the helper for a list, leaves out
 * what belongs to sessions that are known, and, if that is wanted, has it taken down and looks again. What is
 * removed is what the second list does not have any more.
 *
 * Which sessions are known is asked after each list has come, so that one that began meanwhile is known. */

#include "failure.h"
#include "strv.h"
#include <systemd/sd-event.h>

typedef enum SweepWhat {
    SWEEP_LOOK,     /* only look */
    SWEEP_SESSIONS, /* take down the sessions that nobody knows */
    SWEEP_OURS,     /* and what else is ours */
    SWEEP_ALL,      /* and what others made */
} SweepWhat;

typedef struct Sweep Sweep;

typedef enum SweepResult {
    SWEEP_RESULT_LEFT, /* nothing was tried */
    SWEEP_RESULT_REMOVED,
    SWEEP_RESULT_FAILED,
    SWEEP_RESULT_KEPT, /* it was not asked for */
} SweepResult;

typedef struct SweepItem {
    char *kind, *name, *detail; /* as the helper tells it */
    char *session;              /* or NULL */
    bool ours;
    SweepResult result;
    char *reason; /* why it is not removed; or NULL */
} SweepItem;

typedef struct SweepOptions {
    const char *helper_socket; /* borrowed */
    SweepWhat what;
    /* The ids of all sessions that are known now, those under way among them; the caller's. */
    int (*known)(char ***ret, void *known_userdata);
    void *known_userdata;
    /* Once, last; the sweep may be freed inside. failure (borrowed): there is no list; else NULL. */
    void (*done)(Sweep *s, const Failure *failure, void *userdata);
    void *userdata;
} SweepOptions;

int sweep_new(Sweep **ret, sd_event *event, const SweepOptions *options);
/* Ends it; what the helper is at it ends by itself. done does not come any more. Returns NULL. */
Sweep *sweep_free(Sweep *s);

/* When it is done: what was found, and what became of it. Borrowed. */
const SweepItem *sweep_items(const Sweep *s, size_t *ret_n);
/* There was more than the helper lists at a time. */
bool sweep_cut(const Sweep *s);
