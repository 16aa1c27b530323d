/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The iSCSI sessions of one of our sessions: found in sysfs, made and ended through iscsiadm in a private
 * mount namespace (iscsiadm.h). A session is known by target name and portal together, never by a device. */

#include "record.h"

typedef struct IscsiSession {
    int64_t sid;  /* N of sessionN */
    char *target; /* its name */
    char *portal; /* "127.0.0.1:5365": address and port that we asked for */
    char *state;  /* "LOGGED_IN", "FAILED", "FREE", or "" */
    char
        *device; /* <sysfs>/class/iscsi_session/sessionN/device: targetH:B:T/H:B:T:L/block/sdX are below it */
    unsigned host; /* number of its SCSI host: /sys/class/scsi_host/hostN/scan */
} IscsiSession;

#define ISCSI_LOGOUT_TIMEOUT_USEC (15 * USEC_PER_SEC)

/* The sessions that exist now for the record's targets, sorted by sid. An empty list is success. */
int iscsi_sessions_find(const Record *record, IscsiSession **ret, size_t *ret_n);
/* All sessions to targets of the recovery service, whoever made them. */
int iscsi_sessions_all(IscsiSession **ret, size_t *ret_n);
void iscsi_sessions_free(IscsiSession *sessions, size_t n);
/* Is it this one? Its portal is not known while its connection is not there yet or not any more: then it is
 * told by its number. */
bool iscsi_session_is(const IscsiSession *s, const char *target, const char *portal, int64_t sid);
/* The one session of a target at a portal; -ENOENT: none. Done with iscsi_sessions_free(ret, 1) by the
 * caller. */
int iscsi_session_find(const char *target, const char *portal, IscsiSession **ret);
static inline bool iscsi_session_logged_in(const IscsiSession *s)
{
    return streq(s->state, "LOGGED_IN");
}

/* Made by a helper, whoever remembers it: its interface tells. */
bool iscsi_session_ours(int64_t sid);

/* The kernel keeps this recovery time, and takes no other from iscsid any more. */
int iscsi_session_set_recovery(int64_t sid, const char *seconds);

/* id: in whose private configuration iscsiadm runs; NULL: with the host's own. Logs out by session id; ends
 * blocked I/O with EIO also if the target is dead. Success is: the session is gone from sysfs. Gone before:
 * 0. -ETIMEDOUT: still there at the deadline, -EIO: iscsiadm failed and it is still there; both with a
 * failure that names target and code. */
int iscsi_session_logout(const char *id, int64_t sid, uint64_t timeout_usec, Failure **ret_failure);

/* The same for the sessions of one target; none: 0. */
int iscsi_target_logout(const char *id, const RecordTarget *t, Failure **ret_failure);

/* The same for several beside each other, which all have timeout_usec and half a second more for each: with
 * dead targets each takes its time. */
typedef struct IscsiLogout {
    int64_t sid;
    int result;       /* as iscsi_session_logout() returns it */
    Failure *failure; /* why it failed, the caller's; or NULL */
    const char *id;
    uint64_t timeout_usec;
} IscsiLogout;
int iscsi_sessions_logout(const char *id, IscsiLogout *logouts, size_t n, uint64_t timeout_usec);

/* The last step of a healthy down, the first of one with a dead target: logs out every session of the
 * record's targets, deletes the node and discovery records, takes the targets out of the record and saves it.
 * Goes on after a failure, and returns the first; what could not be logged out stays in the record. The lock
 * is held by the caller. */
int iscsi_targets_logout(Record *record, uint64_t timeout_usec, Failure **ret_failure);
