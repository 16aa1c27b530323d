/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Takes down the sessions that stand on this host although nobody knows them: no session of the manager's, no
 * record, not even one that is only kept. One line in the journal for each; what cannot go is tried again.
 * Nothing of those that are known is touched. */

#include "util.h"
#include <systemd/sd-event.h>

typedef struct Orphans Orphans;

typedef struct OrphansOptions {
    const char *helper_socket; /* borrowed */
    uint64_t retry_usec;
    int (*known)(char ***ret, void *userdata); /* as SweepOptions.known */
    void *userdata;
} OrphansOptions;

int orphans_new(Orphans **ret, sd_event *event, const OrphansOptions *options);
/* What the helper is at it ends by itself. Returns NULL. */
Orphans *orphans_free(Orphans *o);

/* Looks now. */
void orphans_look(Orphans *o);
/* Looks later: something may have been left. Safe to call at any time; one look is enough for all of them. */
void orphans_look_later(Orphans *o);
