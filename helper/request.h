/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* From bytes to a request that may be carried out: one table says which verbs there are, who may ask for them
 * and which keys they take. What a key's value may be is judged by the verb. */

#include "verb.h"

#define REQUEST_SIZE_MAX (16 * MIB)       /* of ilrd: a script as base64 */
#define REQUEST_SIZE_SMALL_MAX (64 * KIB) /* of everybody else */

typedef struct Caller {
    uid_t uid;
    const char *unit;     /* of the calling process; NULL: none */
    uid_t daemon_uid;     /* of the user ilrd; (uid_t)-1: there is no such user */
    uid_t connection_uid; /* of the user ilr-connect, the same */
} Caller;

/* The id in "ilr-connection@ID.service" copied to buf, or false. */
bool connection_unit_session(const char *unit, char buf[static 9]);

/* How long a request of this caller may be, bytes. */
size_t request_size_max(const Caller *caller);

/* Parses and judges. On success *ret borrows from *ret_object, which is the caller's to put.
 * On failure a negative errno and *ret_failure (InvalidRequest, PermissionDenied), NULL only without memory.
 */
int request_parse(const char *text, size_t size, const Caller *caller, Request *ret,
                  VerbFunction *ret_function, json_object **ret_object, Failure **ret_failure);
