/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* An asynchronous operation of Azure: the POST that begins it, and its status asked for until it ends or the
 * deadline is over. It asks at the addresses that the answer named, which must be of the management host.
 * done is called exactly once, never from inside azure_long_start(); freeing cancels at once. */

#include "azure-client.h"

typedef struct AzureLong AzureLong;

typedef struct AzureLongOptions {
    const char *url;
    json_object *body;   /* or NULL */
    uid_t uid;           /* for whom, (uid_t) -1: the host itself */
    const char *session; /* for the journal's field, copied; or NULL */
    const char
        *vault_path; /* escaped, copied: where the operation is asked for if the named address is refused */
    AzureSubject subject;   /* its strings are copied */
    size_t status_max;      /* bytes of a status answer */
    bool once;              /* the POST must not be sent twice */
    bool secret;            /* none of the status' words in a message */
    bool host_too;          /* if the person is refused, by the host's own right */
    uint64_t deadline_usec; /* CLOCK_BOOTTIME */
    void (*progress)(const char *detail, void *userdata);
    void (*posted)(const char *operation_id, void *userdata); /* accepted */
} AzureLongOptions;

typedef struct AzureLongResult {
    bool ok;                    /* it succeeded */
    bool nothing_done;          /* on failure: the POST surely had no effect */
    int post_status;            /* of the POST's answer, 0: none */
    const char *operation_id;   /* or NULL */
    json_object *status;        /* last body of a success, or NULL: it had none */
    uint64_t started_usec;      /* by Azure's clock, when the POST that was answered went out */
    uint64_t started_boot_usec; /* the same moment on CLOCK_BOOTTIME */
} AzureLongResult;

/* result is borrowed until the operation is freed; failure (of !ok; NULL: out of memory) is the callee's. */
typedef void (*AzureLongDone)(const AzureLongResult *result, Failure *failure, void *userdata);

int azure_long_start(AzureClient *c, const AzureLongOptions *options, AzureLongDone done, void *userdata,
                     AzureLong **ret);
AzureLong *azure_long_free(AzureLong *l);
DEFINE_CLEANUP(AzureLong *, azure_long_free)

/* What a status body says. */
typedef enum AzureStatus {
    AZURE_STATUS_RUNNING,
    AZURE_STATUS_SUCCEEDED,
    AZURE_STATUS_FAILED,  /* failed, cancelled, invalid */
    AZURE_STATUS_UNKNOWN, /* there is none */
} AzureStatus;
AzureStatus azure_status_read(json_object *o, const char **ret_text);

/* The permission that asking at this address of a status needs, or NULL: not known. */
const char *azure_status_action(const char *url);

/* The last piece of the path of a status address, if it is fit for a record and a URL. The caller's, or NULL.
 */
char *azure_operation_id_of(const char *url);
