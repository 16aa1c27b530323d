/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What went wrong, for people and for scripts. A failure of the domain has a name from one table; the table
 * gives its class (which decides the Varlink error and the exit code of ilrctl) and what an administrator can
 * do about it. Failures of the machine below stay negative errnos until they reach a layer that can name
 * them. */

#include "json.h"
#include "strv.h"

typedef enum FailureClass {
    FAILURE_CLASS_REQUEST,    /* the caller asked for something that cannot be */
    FAILURE_CLASS_NOT_FOUND,  /* no such session, recovery point, item */
    FAILURE_CLASS_LIMIT,      /* too many */
    FAILURE_CLASS_AZURE,      /* Azure refused, failed or could not be understood */
    FAILURE_CLASS_CONNECTION, /* the connection script, the tunnel or the target */
    FAILURE_CLASS_STORAGE,    /* disks, overlays, volumes */
    FAILURE_CLASS_BUSY,       /* somebody uses what is to be released */
    FAILURE_CLASS_CANCELLED,  /* the caller gave up */
    FAILURE_CLASS_INTERNAL,   /* this program or this host */
    FAILURE_CLASS_MAX,
    FAILURE_CLASS_INVALID = -EINVAL,
} FailureClass;

typedef enum FailureName {
    /* request */
    FAILURE_INVALID_REQUEST,
    FAILURE_NOT_CONFIGURED,
    FAILURE_PERMISSION_DENIED,
    FAILURE_AMBIGUOUS,
    FAILURE_NOT_SUPPORTED,
    /* not found */
    FAILURE_NO_SUCH_SESSION,
    FAILURE_NO_SUCH_VOLUME,
    FAILURE_POINT_NOT_FOUND,
    FAILURE_ITEM_NOT_FOUND,
    /* limit */
    FAILURE_LIMIT_REACHED,
    /* Azure */
    FAILURE_CREDENTIAL_REJECTED,
    FAILURE_PERMISSION_MISSING,
    FAILURE_AZURE_UNREACHABLE,
    FAILURE_AZURE_UNTRUSTED,
    FAILURE_AZURE_THROTTLED,
    FAILURE_AZURE_REFUSED,
    FAILURE_AZURE_ANSWER_INVALID,
    FAILURE_OPERATION_FAILED,
    FAILURE_OPERATION_TIMEOUT,
    FAILURE_NO_SCRIPT,
    FAILURE_WINDOWS_POINT,
    FAILURE_POINT_UNUSABLE,
    /* connection */
    FAILURE_SCRIPT_INVALID,
    FAILURE_PORTAL_UNREACHABLE,
    FAILURE_PACKAGES_MISSING,
    FAILURE_PYTHON_UNSUPPORTED,
    FAILURE_CIPHER_MISSING,
    FAILURE_PASSWORD_WANTED,
    FAILURE_SCRIPT_REPORTED,
    FAILURE_UNKNOWN_PROMPT,
    FAILURE_SCRIPT_SILENT,
    FAILURE_SCRIPT_EXITED,
    FAILURE_CONNECT_TIMEOUT,
    FAILURE_TARGET_BLOCKED,
    FAILURE_TARGET_NOT_READY,
    FAILURE_DISCOVERY_FAILED,
    FAILURE_LOGIN_FAILED,
    FAILURE_LOGIN_REJECTED,
    FAILURE_CONNECTION_LOST,
    /* storage */
    FAILURE_DISKS_MISSING,
    FAILURE_DISK_NOT_PROTECTED,
    FAILURE_OVERLAY_FAILED,
    FAILURE_NOTHING_TO_MOUNT,
    FAILURE_WRONG_KEY,
    FAILURE_UNLOCK_FAILED,
    /* busy */
    FAILURE_BUSY,
    /* cancelled */
    FAILURE_CANCELLED,
    /* internal */
    FAILURE_HELPER_FAILED,
    FAILURE_INTERNAL,
    FAILURE_NAME_MAX,
    FAILURE_NAME_INVALID = -EINVAL,
} FailureName;

typedef struct Failure {
    FailureName name;
    char *message;          /* one sentence: what happened, to which VM, point, target or disk */
    char *code;             /* the service's or a tool's own code, or NULL */
    char *hint;             /* what to do; NULL: the table's hint */
    char *request_id;       /* x-ms-request-id, or NULL */
    char *correlation_id;   /* x-ms-correlation-request-id, or NULL */
    char **recommendations; /* the service's own */
    char **lines;           /* the last lines of the connection script, masked */
    json_object *holders;   /* busy: array of {pid, command, uid, path}; or NULL */
} Failure;

/* "LoginRejected" and back. */
const char *failure_name_to_string(FailureName name);
FailureName failure_name_from_string(const char *s);
FailureClass failure_name_class(FailureName name);
/* What to do about it in general; never NULL. */
const char *failure_name_hint(FailureName name);
/* "AzureFailed": the Varlink error without "io.ilrd.Recovery.". */
const char *failure_class_to_string(FailureClass c);
FailureClass failure_class_from_string(const char *s);
/* The exit code of ilrctl, 1..125, see ilrctl(1). */
int failure_class_exit_code(FailureClass c);

/* A new failure with a formatted message. NULL: out of memory; callers go on without the text. */
Failure *failure_new(FailureName name, const char *format, ...) _printf_(2, 3);
Failure *failure_free(Failure *f);
DEFINE_CLEANUP(Failure *, failure_free)
#define _cleanup_failure_ _cleanup_(failure_freep)
/* A deep copy, or NULL. */
Failure *failure_copy(const Failure *f);
/* What to do about this very failure, where the table's hint would mislead. Returns f, which may be NULL. */
Failure *failure_advise(Failure *f, const char *hint);
/* The failure's hint or the table's. */
const char *failure_hint(const Failure *f);

/* For a failure that somebody without privileges wrote down: texts are cut at 1 KiB and lose what a terminal
 * would obey, of lines and recommendations the last 50 stay, holders go. */
void failure_clean(Failure *f);
/* The same for one vector of texts. */
void failure_clean_lines(char **lines);

/* {"name","message","hint","code"?,"requestId"?,"correlationId"?,"recommendations"?,"lines"?,"holders"?} */
int failure_to_json(const Failure *f, json_object **ret);
/* Back. Unknown names become FAILURE_INTERNAL, missing text is survived. -EINVAL: not an object; -ENOMEM. */
int failure_from_json(json_object *o, Failure **ret);
