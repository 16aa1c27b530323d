/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What Azure says when it says no: code, message and recommendations out of every shape that is known, as a
 * Failure. All text is foreign: cut to size, one line, no control characters. */

#include "failure.h"
#include "http.h"

typedef struct AzureError {
    char *code;             /* or NULL */
    char *message;          /* or NULL */
    char **recommendations; /* or NULL */
} AzureError;

/* Reads {"error":{...,"details":[...]}}, the same at top level, and both with capital letters, and an OAuth
 * answer's
 * {"error":"...","error_description":"..."}. o may be anything, NULL too. Returns 0 or -ENOMEM. */
int azure_error_read(json_object *o, AzureError *ret);
void azure_error_done(AzureError *e);

/* Puts code and recommendations of e into f (moves them). NULL f is survived. */
void azure_error_move(AzureError *e, Failure *f);

/* The first words of a body that should have been JSON, for a message; tags are left out. */
char *azure_excerpt(const char *body, size_t size);

/* The same where the body may hold a secret: only what kind of thing it is. */
const char *azure_shape(const char *body, size_t size);

/* What to ask for, and what is known about it: for messages. */
typedef struct AzureSubject {
    const char *what;      /* "provision recovery point 182457315790203 of my-vm" */
    const char *action;    /* permission that is needed, or NULL */
    FailureName not_found; /* what a 404 means: FAILURE_POINT_NOT_FOUND or another */
} AzureSubject;

/* The failure for an answer that is none of the expected ones. json may be NULL. The ids are taken from its
 * headers. */
Failure *azure_failure(const AzureSubject *subject, const char *host, const HttpAnswer *answer,
                       json_object *json);
/* The same for an answer with the right status that cannot be understood. */
Failure *azure_failure_invalid(const AzureSubject *subject, const char *host, const HttpAnswer *answer,
                               const char *problem);

/* "Sun, 06 Nov 1994 08:49:37 GMT" (RFC 9110, 5.6.7) as microseconds since 1970. Returns 0 or -EINVAL. */
int http_date_parse(const char *s, uint64_t *ret_usec);

/* Retry-After: seconds or an HTTP date. Microseconds from now (CLOCK_REALTIME), at most 24 h; 0 for a date
 * that is over. Returns 0 or -EINVAL. */
int azure_retry_after_parse(const char *s, uint64_t now_usec, uint64_t *ret_usec);

/* Is it worth asking again: no connection, connection lost, timeout, 408, 429, 5xx? */
bool azure_answer_transient(const HttpAnswer *a);

/* Wipes all strings below o and drops the reference: for answers that carry secrets. For _cleanup_. */
void json_erasep(json_object **o);
#define _cleanup_json_erase_ _cleanup_(json_erasep)
