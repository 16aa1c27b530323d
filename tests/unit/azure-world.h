/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What the tests of the Azure conversation share: recorded answers, and a client beside a server that plays
 * them.
 */

#include "azure-server.h"
#include "azure.h"
#include "log.h"
#include "timeutil.h"

#include <setjmp.h>
#include <stdarg.h>
/* after the above */
#include <cmocka.h>
#include <fcntl.h>
#include <sys/stat.h>

#define POINT                                                                                                \
    "/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/my-rg/providers/"                    \
    "Microsoft.RecoveryServices/vaults/vault1/backupFabrics/Azure/protectionContainers/"                     \
    "IaasVMContainer;iaasvmcontainerv2;my-rg;my-vm/protectedItems/VM;iaasvmcontainerv2;my-rg;my-vm/"         \
    "recoveryPoints/182457315790203"
#define VM_ID                                                                                                \
    "/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/my-rg/providers/Microsoft.Compute/"  \
    "virtualMachines/my-vm"
#define OP "0e13115c-2222-4444-8888-0123456789ab"
#define ITEM_URL "/protectedItems/VM%3Biaasvmcontainerv2%3Bmy-rg%3Bmy-vm"
#define POINT_URL ITEM_URL "/recoveryPoints/182457315790203"
#define ASYNC_PATH "/subscriptions/s/vaults/vault1/operationsStatus/" OP "?api-version=2021-10-01"
#define ACCEPTED                                                                                             \
    "Location: @/subscriptions/s/vaults/vault1/operationResults/" OP "?api-version=2021-10-01\n"             \
    "Azure-AsyncOperation: @" ASYNC_PATH "\nRetry-After: 60\n"
#define RUNNING                                                                                              \
    "{\r\n  \"id\": \"" OP "\",\r\n  \"name\": \"" OP "\",\r\n  \"status\": \"InProgress\",\r\n"             \
    "  \"startTime\": \"2022-02-24T22:32:21.8396329Z\",\r\n  \"endTime\": \"0001-01-01T00:00:00\"\r\n}"
#define DONE_HEAD                                                                                            \
    "{\r\n \"id\":\"" OP "\",\"name\":\"" OP "\",\"status\":\"Succeeded\","                                  \
    "\"startTime\":\"2022-02-24T22:32:21.8396329Z\",\"endTime\":\"2022-02-24T22:32:21.8396329Z\""
#define DONE_WITH(entries)                                                                                   \
    DONE_HEAD ",\"properties\":{\"objectType\":\"OperationStatusProvisionILRExtendedInfo\","                 \
              "\"recoveryTarget\":{\"clientScripts\":[" entries "]}}}"
#define DONE_PLAIN DONE_HEAD "}"
#define ENTRY(content)                                                                                       \
    "{\"scriptContent\":\"" content                                                                          \
    "\",\"scriptExtension\":\".sh\",\"osType\":\"Linux\",\"scriptNameSuffix\":\"x\"}"
/* #!/usr/bin/env python3 and the five assignments that matter */
#define SCRIPT                                                                                               \
    "#!/usr/bin/env python3\\n    VMName=\\\"iaasvmcontainerv2;my-rg;my-vm\\\"\\n    MachineName = "         \
    "\\\"my-vm\\\"\\n"                                                                                       \
    "    TargetPortalAddress=\\\"pod01-rec2.wus2.backup.windowsazure.com\\\"\\n"                             \
    "    TargetPortalPortNumber=\\\"3260\\\"\\n"                                                             \
    "    "                                                                                                   \
    "TargetNodeAddress=\\\"iqn.2016-01.microsoft.azure.backup:8187-1-2-182457315790203."                     \
    "637813387693329644\\\"\\n"                                                                              \
    "    TargetPassword=\\\"ab12cd34ef56ab7\\\"\\n    IsMultiTarget=\\\"1\\\"\\n"
#define LIST_URL POINT_URL "/listInstantItemRecoveryOperationResult?api-version=2026-08-01"

#define LOOKUP                                                                                               \
    {                                                                                                        \
        "GET", ITEM_URL "?api-version=", NULL, 200, NULL,                                                    \
            "{\"id\":\"x\",\"properties\":{\"protectedItemType\":\"Microsoft.Compute/virtualMachines\","     \
            "\"virtualMachineId\":\"" VM_ID "\"}}"                                                           \
    }
#define POSTED                                                                                               \
    {                                                                                                        \
        "POST",                                                                                              \
            POINT_URL "/provisionInstantItemRecovery?api-version=", "\"virtualMachineId\":\"" VM_ID "\"",    \
            202, ACCEPTED, NULL                                                                              \
    }
#define POLL(status, body)                                                                                   \
    {                                                                                                        \
        "GET", ASYNC_PATH, NULL, status, NULL, body                                                          \
    }

typedef struct World {
    sd_event *event;
    Server *server;
    Config config;
    Azure *azure;
    AzurePoint *point;
    char secret_file[64];
    AzureOperation *operation;
    /* what was told */
    unsigned done, posted, progress;
    AzureProvision *provision;
    Failure *failure;
    bool nothing_sent, ok;
    char address[64];
} World;

extern const AzureProvisionCallbacks provision_callbacks;
extern const AzureRevokeCallbacks revoke_callbacks;

/* A new client for w. */
void world_azure(World *w);
/* The server plays exchanges (borrowed); the point counts as just read. */
void world_init(World *w, const Exchange *exchanges);
void world_done(World *w);
/* Until done was called. */
void run(World *w);
/* A provision to its end; the same of a revoke. */
void provision(World *w);
/* So many exchanges were played, and nothing else was asked. */
void assert_played(World *w, unsigned n);
/* The provision gave the script. */
void assert_script(World *w);
/* The end of what must fail; text is in its message, nothing secret is. */
void assert_failure_at(World *w, FailureName name, const char *text, const char *file, int line);
void do_revoke(World *w);
#define assert_failure(w, name, text) assert_failure_at(w, name, text, __FILE__, __LINE__)
