/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Runs the host's iscsiadm for one session: in a mount namespace of its own, in which the session's private
 * directory lies over /etc/iscsi (and /var/lib/iscsi, where distributions keep the records) and an empty
 * tmpfs over the directory of its lock. So neither records nor CHAP reach the disk, and killing it leaves no
 * stale lock on the host. The caller holds the session's lock: one iscsiadm at a time for one session. */

#include "child.h"
#include "failure.h"

/* iscsiadm(8), exit status. Others are only shown. */
enum {
    ISCSIADM_OK = 0,
    ISCSIADM_SESSION_NOT_FOUND = 2,
    ISCSIADM_TRANSPORT = 4,
    ISCSIADM_TRANSPORT_TIMEOUT = 8,
    ISCSIADM_INTERNAL = 9,
    ISCSIADM_PDU_TIMEOUT = 11,
    ISCSIADM_SESSION_EXISTS = 15,
    ISCSIADM_CANNOT_REACH = 18,
    ISCSIADM_NO_DAEMON = 20,
    ISCSIADM_NOTHING_FOUND = 21,
    ISCSIADM_LOGIN_REJECTED = 24,
    ISCSIADM_NOT_CONNECTED = 32,
};

/* What iscsiadm means by its exit status, in a few words; never NULL. */
const char *iscsiadm_status_text(int status);

/* id NULL: in the host's own configuration; "": in one that has nothing but the interface of our sessions.
 * argv without argv[0]. Returns 0 whatever the exit status, or a negative errno if it could not be run. */
int iscsiadm_run(const char *id, char *const *arguments, uint64_t timeout_usec, ChildResult *ret);

/* Makes the private directory of a new session: iscsi/ with an iscsid.conf without CHAP, the host's
 * initiatorname.iscsi (if there is one) and the interface for all its connections, which presents
 * initiator_name, or the host's if that is NULL. */
int iscsiadm_prepare(const char *id, const char *initiator_name);
#define ISCSIADM_INTERFACE "ilr"
/* Deletes all node and discovery records of the session. */
int iscsiadm_forget_records(const char *id);

/* The failure of a status that is no success. what: "login to target X". */
FailureName iscsiadm_failure_name(int status, FailureName otherwise);
int iscsiadm_fail(Failure **ret_failure, FailureName name, const ChildResult *result, const char *what);
