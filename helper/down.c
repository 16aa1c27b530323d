/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "storage.h"

#include "iscsi.h"
#include "iscsid-conf.h"
#include "log.h"
#include "timeutil.h"

#include <poll.h>

/* Forced: twice this, the wait for the lock and the log-outs fit into TimeoutStopSec= of
 * ilr-session@.service. */
#define DISMANTLE_USEC (120 * USEC_PER_SEC)
#define DISMANTLE_FORCED_USEC (25 * USEC_PER_SEC)

static uint64_t deadline(bool forced)
{
    return now_usec(CLOCK_MONOTONIC) + (forced ? DISMANTLE_FORCED_USEC : DISMANTLE_USEC);
}

#define RECOVERY_POLL_MSEC 100

typedef enum TargetsState {
    TARGETS_ANSWER,
    TARGETS_RECOVER,
    TARGETS_DEAD
} TargetsState;

static TargetsState targets_state(const Record *record)
{
    TargetsState state = TARGETS_ANSWER;
    IscsiSession *sessions = NULL;
    size_t n = 0, i;

    if (iscsi_sessions_find(record, &sessions, &n) < 0)
        return state;
    for (i = 0; i < n; i++)
        if (!iscsi_session_logged_in(&sessions[i]))
            state = MAX(state, streq(sessions[i].state, "FAILED") ? TARGETS_RECOVER : TARGETS_DEAD);
    iscsi_sessions_free(sessions, n);
    return state;
}

/* Is one of the sessions there and not usable? Then every access to its disk hangs until it is logged out.
 * Before the kernel gives one up it may only be disturbed, and whoever reads there is not to hear an error
 * from a release that would have found it busy. By force that is not waited for. */
static bool target_dead(const Record *record, bool forced)
{
    uint64_t end = now_usec(CLOCK_MONOTONIC) + (strtoull(REPLACEMENT_TIMEOUT, NULL, 10) + 1) * USEC_PER_SEC;
    TargetsState state;

    while ((state = targets_state(record)) == TARGETS_RECOVER && !forced && now_usec(CLOCK_MONOTONIC) < end)
        (void)poll(NULL, 0, RECOVERY_POLL_MSEC);
    return state != TARGETS_ANSWER;
}

static int forget_disks(Record *record)
{
    json_object_put(record->disks);
    json_object_put(record->volumes);
    json_object_put(record->roots);
    json_object_put(record->parts);
    record->parts = NULL;
    record->disks = json_object_new_array();
    record->volumes = json_object_new_array();
    record->roots = json_object_new_array();
    if (!record->disks || !record->volumes || !record->roots)
        return -ENOMEM;
    record_save_on_way_down(record);
    return 0;
}

int storage_down(const char *id, bool forced, StorageLeft *left, Failure **ret_failure)
{
    _cleanup_(record_freep) Record *record = NULL;
    bool logged_out = false;
    int r, k;

    r = record_load(id, &record);
    if (r < 0 && r != -ENOENT)
        log_errno_full(LOG_WARNING, id, r, "The session's record cannot be used, going by what is there");

    if (record && target_dead(record, forced)) {
        log_full(LOG_WARNING, id, "A target does not answer, logging out first");
        r = iscsi_targets_logout(record, ISCSI_LOGOUT_TIMEOUT_USEC, ret_failure);
        if (r < 0 && !forced)
            return r;
        logged_out = r >= 0;
    }
    r = storage_dismantle(id, forced, deadline(forced), left, ret_failure);
    if (r == -ETIMEDOUT && record && !logged_out) {
        log_full(LOG_WARNING, id, "The kernel waits for a disk, logging out");
        (void)iscsi_targets_logout(record, ISCSI_LOGOUT_TIMEOUT_USEC, ret_failure);
        r = storage_dismantle(id, forced, deadline(forced), left, ret_failure);
    }
    if (r < 0 && !forced)
        return r;
    if (!record)
        return r;
    /* Forced: the sessions go also if something else could not. */
    k = iscsi_targets_logout(record, ISCSI_LOGOUT_TIMEOUT_USEC, ret_failure);
    if (r < 0)
        return r;
    return k < 0 ? k : forget_disks(record);
}
