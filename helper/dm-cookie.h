/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The semaphores that device-mapper and udev wait for each other with (cookies) stay in the kernel when the
 * helper that made one is killed before it has waited. So each is noted with its session when it is made, and
 * removed with the session's directories. */

#include "validate.h"

/* A new cookie for a device of that name; of other names than ours nothing is kept. */
void dm_cookie_note(const char *device, uint32_t cookie);
/* Whose is it, by the notes? False, and "" in buf: nobody's that we know, as the host's own. */
bool dm_cookie_session(int sem, uint32_t cookie, char buf[static SESSION_ID_LENGTH + 1]);
/* Removes those of the session that still exist. Nobody works on it any more. */
void dm_cookies_drop(const char *id);
