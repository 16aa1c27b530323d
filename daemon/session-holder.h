/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Who holds a session: each user at most once, however often he asked. A list and how it is written down;
 * what follows from it is decided elsewhere. */

#include "json.h"
#include "util.h"
#include <sys/types.h>

/* Of one session. */
#define SESSION_HOLDERS_MAX 64

typedef struct SessionHolder {
    uid_t uid;
    char *caller;        /* name of the user, or its number */
    char *reason;        /* of his first request that gave one; or NULL */
    uint64_t since_usec; /* since 1970 */
    uint64_t idle_usec;  /* for him the session may be unused for so long; 0: for ever */
} SessionHolder;

typedef struct SessionHolders {
    SessionHolder *items;
    size_t n;
} SessionHolders;

void session_holders_done(SessionHolders *h);
/* Borrowed, or NULL. */
SessionHolder *session_holders_find(const SessionHolders *h, uid_t uid);
/* caller and reason (may be NULL) are copied. 1: he is new. 0: he holds it already; a reason is kept if he
 * had given none, and the longer one of two spans. -E2BIG: SESSION_HOLDERS_MAX, -ENOMEM. */
int session_holders_add(SessionHolders *h, uid_t uid, const char *caller, const char *reason,
                        uint64_t since_usec, uint64_t idle_usec);
/* False: he was none. */
bool session_holders_remove(SessionHolders *h, uid_t uid);
/* The longest that anybody wants it kept unused; 0: for ever, also if there is nobody. */
uint64_t session_holders_idle(const SessionHolders *h);
/* "alice, bob"; the caller's. NULL: out of memory. */
char *session_holders_text(const SessionHolders *h);
/* The same for a place that is too small for all who may hold it: at most so many bytes (5 or more), cut
 * between two names ("alice, bob, ..."). Empty: nobody holds it. */
char *session_holders_short_text(const SessionHolders *h, size_t max);

/* [{"uid","caller","reason"?,"sinceUsec","idleUsec"}]: in the record and in the API. Returns 0 or -ENOMEM. */
int session_holders_to_json(const SessionHolders *h, json_object **ret);
/* Back, into an empty list. idle_usec: of those without one, whose record is from when the session had one
 * for all. -EINVAL: it is damaged; -E2BIG, -ENOMEM. */
int session_holders_from_json(SessionHolders *h, json_object *array, uint64_t idle_usec);
