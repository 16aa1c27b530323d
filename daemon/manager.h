/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Owns the sessions and what they stand on: the store, Azure, the way to the helper. At start it holds every
 * record against reality. Knows no API: callers are told of changes through one callback. */

#include "session-provision.h"

typedef struct Manager Manager;

typedef struct ManagerOptions {
    const char *state_dir;     /* for the records */
    const char *helper_socket; /* where the helper listens */
    const char *connect_dir;   /* /run/ilr-connect */
    const char *block_dir;     /* /sys/dev/block */
    const char *hooks_path;    /* HOOKS_PATH */
} ManagerOptions;

/* Something that callers can see has changed. The session is borrowed; a closed one is gone afterwards. */
typedef void (*ManagerChanged)(Session *s, void *userdata);

/* config and options' strings are borrowed. *ret_failure: what to tell an admin, if it is known. */
int manager_new(Manager **ret, sd_event *event, const Config *config, const ManagerOptions *options,
                Failure **ret_failure);
void manager_set_changed(Manager *m, ManagerChanged changed, void *userdata);
/* Loads the records and asks the helper what stands. */
int manager_start(Manager *m);
/* ilrd is about to end: what changes all the time is written down once more. */
void manager_stop(Manager *m);
/* Drops all from memory; the world stays as it is (a restart must not end sessions). Returns NULL. */
Manager *manager_free(Manager *m);
DEFINE_CLEANUP(Manager *, manager_free)

/* What a caller wants. Strings are copied; point and resource are taken, also on failure. */
typedef struct ManagerRequest {
    const char *kind; /* "vm", "file-share"; NULL: vm */
    AzurePoint *point;
    AzureResource *resource; /* or NULL */
    uid_t uid;
    const char *caller, *reason;
    const SessionKeys *keys; /* copied; or NULL */
    const char *replay;      /* "overlay", "none"; NULL: as configured, or as the session has it */
    bool idle_given;         /* else as configured, or as the session has it */
    uint64_t idle_usec;      /* release it when it was not used for so long; 0: never */
} ManagerRequest;

/* Is there such a kind of session (NULL: vm)? Returns 0, or -EINVAL with *ret_failure (InvalidRequest). */
int manager_check_kind(const char *kind, Failure **ret_failure);

/* The session of this recovery point, borrowed, or NULL. One that is closing is not meant: its point is free.
 */
Session *manager_find_point(Manager *m, const AzurePoint *point);

/* A session for the point. If one for the same recovery point is on its way up or ready, it is that one, and
 * the caller holds it, too; if it is on its way down, the answer is Busy. Returns 0, or a negative errno with
 * *ret_failure (LimitReached; Busy; InvalidRequest of the kind, or naming what the session that is there
 * cannot give). */
int manager_provision(Manager *m, const ManagerRequest *request, Session **ret, Failure **ret_failure);

/* What the sessions speak to Azure through, borrowed. */
Azure *manager_azure(Manager *m);
/* Borrowed: where the helper listens, where the records are, and the recovery target's portal of the latest
 * provision since the start (host name; NULL: there was none). */
const char *manager_helper_socket(const Manager *m);
const char *manager_state_dir(const Manager *m);
const char *manager_portal(const Manager *m);
/* Borrowed, or NULL. */
Session *manager_find(Manager *m, const char *id);
/* The ids of all sessions that are not closed, and of those whose records are kept: what this program cannot
 * read is perhaps a newer one's, and its session in use, so nothing of it goes. SweepOptions.known, userdata
 * is the manager. */
int manager_known(char ***ret, void *userdata);
/* The records that are kept although no session is made of them: another version, an unknown kind, damage. */
int manager_kept_records(Manager *m, void (*kept)(const char *file, const char *why, void *userdata),
                         void *userdata);
/* What was counted since the start; borrowed. */
const Metrics *manager_metrics(const Manager *m);
/* The head of the list. */
Session *manager_sessions(Manager *m);
