/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Sessions and failures for people. Everything from elsewhere is escaped. */

#include "failure.h"
#include "timeutil.h"

/* Fields of an object; "-" for what is not there. Borrowed. */
const char *session_text(json_object *session, const char *key);
/* A time among them as text. */
const char *session_time(json_object *session, const char *key, char buf[static TIMESTAMP_MAX]);

void show_list(json_object *sessions, FILE *f);
/* All that is known about one. */
void show_session(json_object *session, FILE *f);
/* "alice (restore of mail), bob": who holds it, escaped; the caller's to free. */
char *holders_text(json_object *session);
/* A line, if Azure renewed what was active on the point already. */
void show_renewed(json_object *session, FILE *f);
/* name, type, size, path or reason of each. */
void show_volumes(json_object *session, FILE *f);
/* What is locked, and how to open it; what did not go as asked for. */
void show_locked(json_object *session, FILE *f);
/* What happened, to which VM and point, the service's own words, and what to do. name: instead of the
 * failure's own, or NULL. session may be NULL. */
void show_failure(const char *name, const Failure *failure, json_object *session, FILE *f);
