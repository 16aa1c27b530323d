/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The names of users. A directory service may be slow or not answer at all, and there is no asking it without
 * waiting: so it is asked in a thread, which is waited for only so long, and while that one hangs nobody else
 * waits. Who cannot be named in time is his number. */

#include "util.h"
#include <sys/types.h>

typedef struct UserNames UserNames;

/* lookup: asks (in the thread) for the name, which is the caller's, NULL: there is none; or NULL for
 * getpwuid_r(3). wait_usec: the longest wait. */
int user_names_new(UserNames **ret, char *(*lookup)(uid_t uid), uint64_t wait_usec);
/* A question that hangs is left to its thread. Returns NULL. */
UserNames *user_names_free(UserNames *n);
DEFINE_CLEANUP(UserNames *, user_names_free)

/* The user's name, or his number. The caller's; NULL: out of memory. */
char *user_names_get(UserNames *n, uid_t uid);
