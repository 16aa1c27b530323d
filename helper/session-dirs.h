/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The directories and the unit's address list of one session: made before its connection starts, taken away
 * after it. */

#include "secret.h"
#include "verb.h"
#include <sys/types.h>

#define PORTAL_ADDRESSES_MAX 16

typedef struct SessionPortal {
    const char *host; /* borrowed from the request, as everything here */
    int port;
    const char *addresses[PORTAL_ADDRESSES_MAX];
    size_t n_addresses;
} SessionPortal;

/* The object "portal" of a request. -EINVAL with a failure that names the field. */
int session_portal_from_json(json_object *parameters, SessionPortal *ret, Failure **ret_failure);

/* The text of the connection unit's drop-in: localhost, the portal's addresses and the resolvers that
 * resolv_conf (the text of /etc/resolv.conf) names. NULL: no memory. */
char *session_drop_in(const SessionPortal *portal, const char *resolv_conf);

typedef struct SessionOwner {
    uid_t uid;    /* ilr-connect */
    gid_t gid;    /* its group */
    gid_t daemon; /* group ilrd, which reads connection.json */
} SessionOwner;

/* -ESRCH: the users are not there. */
int session_owner_get(SessionOwner *ret);

/* Makes the private directory if there is none and takes the session's lock on it. As session_lock(). */
int session_dirs_lock(const char *id, uint64_t timeout_usec, int *ret);
/* In the private directory, which is there, record and iscsi configuration; the script's directory with
 * script, request.json and the work tmpfs; the drop-in. On failure session_dirs_clear() cleans up. */
int session_dirs_make(const char *id, const SessionOwner *owner, const SessionPortal *portal, Secret *script,
                      const Config *config, const char *initiator_name);
/* All of it, the private directory last. What is not there is success. -EBUSY: something is still mounted
 * below. */
int session_dirs_remove(const char *id);
/* The same, but the private directory stays, empty: it carries the lock. */
int session_dirs_clear(const char *id);
