/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* One question to ilr-helper and its answer, without blocking: a connection, a message, a message back,
 * closed. Knows the transport only; what is asked, and what an
 * answer means, is its users' business. */

#include "failure.h"
#include "secret.h"
#include <systemd/sd-event.h>

typedef struct HelperCall HelperCall;

/* answer: borrowed, an object; NULL if failure is set. failure: borrowed; NULL if answer is set. Called once,
 * last, never from inside helper_call_new(); the call may be freed inside. */
typedef void (*HelperDone)(HelperCall *call, json_object *answer, Failure *failure, void *userdata);

/* socket_path: where the helper listens. request: an object, only read. secret_key/secret: a member that is
 * added to the message as base64 without ever being in a json_object, or NULL. timeout_usec: from now to the
 * answer. Returns 0 and the call, or a negative errno (then done is not called). */
int helper_call_new(HelperCall **ret, sd_event *event, const char *socket_path, json_object *request,
                    const char *secret_key, Secret *secret, uint64_t timeout_usec, HelperDone done,
                    void *userdata);

/* Closes the connection, which the helper takes as "no longer wanted". done is not called any more. Returns
 * NULL. */
HelperCall *helper_call_free(HelperCall *call);
DEFINE_CLEANUP(HelperCall *, helper_call_free)
