/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What the files of a session share among themselves. */

#include "session.h"
#include <systemd/sd-id128.h>

/* A session without id, data and step. caller and reason are copied. Returns 0 or -ENOMEM. */
int session_make(Session **ret, const SessionContext *context, const SessionKind *kind, uid_t uid,
                 const char *caller, const char *reason);

/* Tells that it is ready now, or closed. */
void session_milestone(Session *s);
/* Tells the hooks. */
void session_tell_hooks(Session *s, const char *event);
/* The work of a step has ended well. */
void session_count_step(Session *s, SessionState step);

/* Azure's end, and the boot, in the record. 0; -ENOMEM; load: -EINVAL, it is damaged. */
int session_expiry_save(const Session *s, json_object *record);
int session_expiry_load(Session *s, json_object *record);
