/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What a verb of the helper's protocol is given and gives back. */

#include "config.h"
#include "record.h"

typedef enum CallerKind {
    CALLER_DAEMON,     /* ilrd.service, user ilrd */
    CALLER_CONNECTION, /* ilr-connection@ID.service, user ilr-connect: only for its own ID */
    CALLER_ROOT,       /* root from anywhere: for repair by hand */
    CALLER_KIND_MAX,
    CALLER_KIND_INVALID = -EINVAL,
} CallerKind;

typedef struct Request {
    CallerKind caller;
    const char *verb;
    const char *session;     /* a valid id, or NULL where the verb needs none */
    json_object *parameters; /* the whole request; unknown keys were refused before the verb is called */
    bool needs_config;       /* false for what goes down: that works with a broken configuration, too */
    const Config *config;    /* NULL only if the verb needs none and it cannot be read */
    int fd; /* the caller's socket; readable (end of file) once the caller hung up. -EBADF: none */
} Request;

/* Returns 0 with *ret_answer (an object, the caller's; NULL means {}), or a negative errno with *ret_failure
 * set where there is something to tell; without a failure the errno becomes HelperFailed. */
typedef int (*VerbFunction)(Request *request, json_object **ret_answer, Failure **ret_failure);

int verb_initiator_name(Request *request, json_object **ret_answer, Failure **ret_failure);
int verb_check(Request *request, json_object **ret_answer, Failure **ret_failure);
int verb_connect(Request *request, json_object **ret_answer, Failure **ret_failure);
int verb_disconnect(Request *request, json_object **ret_answer, Failure **ret_failure);
int verb_discover(Request *request, json_object **ret_answer, Failure **ret_failure);
int verb_login(Request *request, json_object **ret_answer, Failure **ret_failure);
int verb_logout(Request *request, json_object **ret_answer, Failure **ret_failure);
int verb_hook(Request *request, json_object **ret_answer, Failure **ret_failure);
int verb_status(Request *request, json_object **ret_answer, Failure **ret_failure);
int verb_leftovers(Request *request, json_object **ret_answer, Failure **ret_failure);
/* Start ilr-session@ID and answer with what it left in the record; take the lock and call storage_down(). */
int verb_up(Request *request, json_object **ret_answer, Failure **ret_failure);
int verb_unlock(Request *request, json_object **ret_answer, Failure **ret_failure);
int verb_down(Request *request, json_object **ret_answer, Failure **ret_failure);

int verb_sweep(Request *request, json_object **ret_answer, Failure **ret_failure);

/* What disconnect does. thorough: also takes apart what stands under the session's name without its record or
 * its unit knowing of it. */
int session_disconnect(const char *id, bool thorough, Failure **ret_failure);

/* Sets *ret_failure (if it is not NULL and still empty) and returns r, so that one line can fail. */
int verb_fail(Failure **ret_failure, int r, FailureName name, const char *format, ...) _printf_(4, 5);
/* The same with a hint of its own, where that of the name would mislead. */
int verb_fail_hint(Failure **ret_failure, int r, FailureName name, const char *hint, const char *format, ...)
    _printf_(5, 6);
