/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* One request to ilr-helper: a connection, a NUL-terminated object each way, a deadline. */

#include "failure.h"
#include <systemd/sd-event.h>

typedef struct HelperCall HelperCall;

/* Exactly one of answer and failure is not NULL, both borrowed. Called once, never from inside
 * helper_call_start() and never after helper_call_free(). The callee may free the call. */
typedef void (*HelperDone)(void *userdata, json_object *answer, const Failure *failure);

/* Returns 0, or a negative errno if there was no memory. A helper that cannot be reached is told through
 * done. */
int helper_call_start(HelperCall **ret, sd_event *event, const char *socket_path, json_object *request,
                      uint64_t timeout_usec, HelperDone done, void *userdata);
/* Cancels if it still runs. Returns NULL. */
HelperCall *helper_call_free(HelperCall *c);
DEFINE_CLEANUP(HelperCall *, helper_call_free)
