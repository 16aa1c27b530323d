/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What azure.c, azure-provision.c and azure-revoke.c share. Nobody else includes this. */

#include "azure-operation.h"
#include "azure.h"

/* The actions of a recovery point, as roles name them. */
#define POINT_ACTION                                                                                         \
    "Microsoft.RecoveryServices/Vaults/backupFabrics/protectionContainers/protectedItems/recoveryPoints/"

struct Azure {
    AzureClient client;
};

typedef enum OperationKind {
    OPERATION_PROVISION,
    OPERATION_REVOKE,
    OPERATION_PROBE
} OperationKind;

struct AzureOperation {
    Azure *azure;
    OperationKind kind;
    void *userdata;
    AzureProvisionCallbacks provision_callbacks;
    AzureRevokeCallbacks revoke_callbacks;
    void (*probed)(char *const *addresses, Failure *failure, void *userdata);

    uid_t uid; /* for whom, or AZURE_UID_HOST */
    AzurePoint *point;
    char *session;          /* for the journal, or NULL */
    uint64_t deadline_usec; /* CLOCK_BOOTTIME: of all its requests together */
    char *initiator_name;
    AzureResource *resource;
    bool file_share, renew;
    char *what; /* "provision recovery point 1 of my-vm" */

    AzureRequest *request;
    AzureLong *running;
    HttpRequest *probe;
    char *host;                /* probed */
    AzureProvision *provision; /* as far as it has got */
    bool nothing_sent;
    bool answered; /* a revoke: with success, but by what is not sure */
    Failure *kept; /* why the script of an earlier place would not do, for when there is none elsewhere */
};

int azure_operation_new(Azure *a, OperationKind kind, void *userdata, AzureOperation **ret);
/* To whoever waits: one line for people. */
void azure_tell(AzureOperation *o, const char *detail);
/* NULL for -ENOMEM. */
Failure *azure_errno_failure(AzureOperation *o, int r);

/* Starts a request that changes nothing, so that it may be sent as often as it takes; its answer is a JSON
 * object. */
int azure_read(AzureOperation *o, const char *method, const char *path, const char *verb,
               const char *api_version, json_object *body, const char *what, const char *action,
               AzureRequestDone done);
/* Starts an operation of the recovery point. once: its POST must not be sent twice. */
int azure_start_long(AzureOperation *o, const char *verb, json_object *body, const char *action, bool once,
                     void (*posted)(const char *operation_id, void *userdata), AzureLongDone done);
