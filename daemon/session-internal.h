/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What the files of a session share among themselves. */

#include "session.h"

/* A session without id, data and step. caller and reason are copied. Returns 0 or -ENOMEM. */
int session_make(Session **ret, const SessionContext *context, const SessionKind *kind, uid_t uid,
                 const char *caller, const char *reason);
