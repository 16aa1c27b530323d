/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What misbehaves, and how long things take: for the whole server and for single recovery points. A scenario
 * is a JSON object; see ilr-sim(1) for its keys. Not locked: the caller holds the state's lock. */

#include "document.h"
#include "route.h"

typedef enum FaultKind {
    /* of one answer */
    FAULT_HTML,
    FAULT_EMPTY,
    FAULT_TRUNCATED,
    FAULT_HUGE,
    FAULT_REDIRECT,
    FAULT_ANSWER,
    FAULT_TOKEN_REFUSED,
    FAULT_UNAUTHORIZED,
    FAULT_FORBIDDEN,
    FAULT_NOT_FOUND,
    FAULT_GONE,
    FAULT_CHALLENGE,
    FAULT_CONFLICT,
    FAULT_THROTTLED,
    FAULT_SERVER_ERROR,
    FAULT_UNAVAILABLE,
    FAULT_BAD_API_VERSION,
    FAULT_RESET,
    FAULT_LOST,
    FAULT_SLOW,
    FAULT_DELAY,
    /* of the operation that a provision or revoke starts */
    FAULT_NEVER,
    FAULT_FAILED,
    FAULT_CANCELED,
    FAULT_NO_SCRIPTS,
    FAULT_NO_PROPERTIES,
    /* of the scripts that a provision hands out */
    FAULT_NOT_BASE64,
    FAULT_PLAIN_SCRIPT,
    FAULT_NO_TARGET,
    FAULT_CRLF_SCRIPT,
    FAULT_BIG_SCRIPT,
    FAULT_EMPTY_SCRIPT,
    FAULT_NO_SUFFIX,
    FAULT_WINDOWS,
    FAULT_UNKNOWN_OS,
    FAULT_KIND_MAX,
    FAULT_KIND_INVALID = -EINVAL,
} FaultKind;

typedef enum FaultClass {
    FAULT_CLASS_ANSWER,
    FAULT_CLASS_OPERATION,
    FAULT_CLASS_SCRIPT,
    FAULT_CLASS_MAX,
    FAULT_CLASS_INVALID = -EINVAL,
} FaultClass;

typedef struct Fault {
    unsigned refs; /* atomic: answers and operations outlive the scenario */
    FaultKind kind;
    RequestKind on;      /* REQUEST_KIND_MAX: any */
    unsigned skip;       /* that many matching requests are served well first */
    unsigned times;      /* left; UINT_MAX: always */
    uint64_t until_usec; /* CLOCK_BOOTTIME; USEC_INFINITY: does not end by itself */
    bool acts;           /* the request is carried out although the answer is bad */
    unsigned status;     /* HTTP status of the answer; 0: the fault's own */
    double seconds;      /* between two bytes, or before the answer */
    uint64_t bytes;
    char *retry_after; /* header, seconds or a date; NULL: none */
    char *url, *code, *message, *body;
    char **recommendations;
} Fault;

typedef struct Scenario {
    json_object *source;
    double provision_seconds, revoke_seconds, retry_after_seconds; /* negative: not set */
    Fault **faults;
    size_t fault_count;
    json_object *script, *portal; /* for the backend, or NULL */
} Scenario;

const char *fault_kind_to_string(FaultKind kind);

/* path is where o stands, for errors. 0; -EINVAL with *ret_error (malloc'ed, may be NULL); -ENOMEM. */
int scenario_parse(json_object *o, const char *path, Scenario **ret, char **ret_error);
Scenario *scenario_free(Scenario *s);
DEFINE_CLEANUP(Scenario *, scenario_free)
#define _cleanup_scenario_ _cleanup_(scenario_freep)

/* The first fault of that class that hits this request, counted; a reference, or NULL. s may be NULL. */
Fault *scenario_take(Scenario *s, RequestKind kind, FaultClass c);
Fault *fault_unref(Fault *f);
DEFINE_CLEANUP(Fault *, fault_unref)
#define _cleanup_fault_ _cleanup_(fault_unrefp)
