/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What was recorded of the real service (a Windows VM, api-version 2021-10-01): fields, values, order and
 * line ends as they came; only what was secret is made up. */
#include "azure-points.h"
#include "azure-world.h"

#define OPERATION "0e13115c-5a1b-4c2d-8e3f-0123456789ab"
#define RECORDED_ITEM                                                                                        \
    "/subscriptions/38304e13-357e-405e-9e9a-220351dcce8c/resourceGroups/pstestrg/providers/"                 \
    "Microsoft.RecoveryServices/vaults/pstestrsv/backupFabrics/Azure/protectionContainers/"                  \
    "IaasVMContainer;iaasvmcontainerv2;pstestrg;pstestvmdb29b0/protectedItems/"                              \
    "VM;iaasvmcontainerv2;pstestrg;pstestvmdb29b0"
#define RECORDED_POINT RECORDED_ITEM "/recoveryPoints/182457315790203"
#define RECORDED_VM                                                                                          \
    "/subscriptions/38304e13-357e-405e-9e9a-220351dcce8c/resourceGroups/pstestrg/providers/"                 \
    "Microsoft.Compute/virtualMachines/pstestvmdb29b0"
/* As it is asked, and as the service answers: with ";" as such. */
#define ASKED_POINT                                                                                          \
    "/protectionContainers/IaasVMContainer%3Biaasvmcontainerv2%3Bpstestrg%3Bpstestvmdb29b0/protectedItems/"  \
    "VM%3Biaasvmcontainerv2%3Bpstestrg%3Bpstestvmdb29b0/recoveryPoints/182457315790203"
#define STATUS_PATH RECORDED_ITEM "/operationsStatus/" OPERATION "?api-version=2021-10-01"
#define RECORDED_202                                                                                         \
    "Location: @" RECORDED_ITEM "/operationResults/" OPERATION "?api-version=2021-10-01\n"                   \
    "Azure-AsyncOperation: @" STATUS_PATH "\nRetry-After: 60\n"                                              \
    "x-ms-ratelimit-remaining-subscription-writes: 1198\n"

#define RECORDED_RUNNING                                                                                     \
    "{\r\n  \"id\": \"" OPERATION "\",\r\n  \"name\": \"" OPERATION                                          \
    "\",\r\n  \"status\": \"InProgress\",\r\n"                                                               \
    "  \"startTime\": \"2022-02-24T22:32:21.8396329Z\",\r\n  \"endTime\": \"0001-01-01T00:00:00\"\r\n}"
#define RECORDED_DONE                                                                                        \
    "{\r\n  \"id\": \"" OPERATION "\",\r\n  \"name\": \"" OPERATION                                          \
    "\",\r\n  \"status\": \"Succeeded\",\r\n"                                                                \
    "  \"startTime\": \"2022-02-24T22:32:21.8396329Z\",\r\n"                                                 \
    "  \"endTime\": \"2022-02-24T22:32:21.8396329Z\""
/* "User - OWNER-GUID , Target - Owner=OWNER,Name=OWNER-...-182457315790203-0,Expiry=2/25/2022 10:32:21 AM,
 * Sequence = 637813387693329644" */
#define TXT_CONTENT                                                                                          \
    "VXNlciAtIDgxODc5NzU0NzIwNzc5Mjc5NDAtYWIyZDlhNzgtZDQ2NC00YmNiLWExNjAtNDkxNTRlNWJhMGEwICwgVGFy"           \
    "Z2V0IC0gT3duZXI9ODE4Nzk3NTQ3MjA3NzkyNzk0MCxOYW1lPTgxODc5NzU0NzIwNzc5Mjc5NDAtNjI1NDU2LTcwMzY5"           \
    "NzUwMTY4NjkyLTE4MjQ1NzMxNTc5MDIwMy0wLEV4cGlyeT0yLzI1LzIwMjIgMTA6MzI6MjEgQU0sIFNlcXVlbmNlID0g"           \
    "NjM3ODEzMzg3NjkzMzI5NjQ0"
#define PASSWORD "0f1e2d3c4b5a697"
/* name, 1, region, owner, digits of the ticks, and as one piece: GUID of the user, password, the other
 * password */
#define SUFFIX                                                                                               \
    "pstestvmdb29b0_1_sea_8187975472077927940_813387693329_ab2d9a78d4644bcba16049154e5ba0a0" PASSWORD        \
    "a1b2c3d4e5f607"
#define EXE_URL                                                                                              \
    "https://download.microsoft.com/download/E/5/7/E57F36A9-4AA6-4D06-94DB-014198D6E775/"                    \
    "IaaSVMILRExeForWindows.exe"
#define RECORDED_SCRIPTS                                                                                     \
    RECORDED_DONE                                                                                            \
    ",\r\n  \"properties\": {\r\n    \"objectType\": \"OperationStatusProvisionILRExtendedInfo\",\r\n"       \
    "    \"recoveryTarget\": {\r\n      \"clientScripts\": [\r\n        {\r\n"                               \
    "          \"scriptContent\": \"" TXT_CONTENT "\",\r\n          \"scriptExtension\": \".txt\",\r\n"      \
    "          \"osType\": \"Windows\",\r\n          \"scriptNameSuffix\": \"" SUFFIX "\"\r\n        },\r\n" \
    "        {\r\n          \"scriptContent\": \"TkE=\",\r\n          \"scriptExtension\": \".exe\",\r\n"    \
    "          \"osType\": \"Windows\",\r\n          \"url\": \"" EXE_URL "\",\r\n"                          \
    "          \"scriptNameSuffix\": \"" SUFFIX "\"\r\n        }\r\n      ]\r\n    }\r\n  }\r\n}"

#define RECORDED_POINT_BODY                                                                                  \
    "{\r\n  \"id\": \"" RECORDED_POINT "\",\r\n  \"name\": \"182457315790203\",\r\n"                         \
    "  \"type\": \"Microsoft.RecoveryServices/vaults/backupFabrics/protectionContainers/protectedItems/"     \
    "recoveryPoints\",\r\n  \"properties\": {\r\n    \"objectType\": \"IaasVMRecoveryPoint\",\r\n"           \
    "    \"recoveryPointType\": \"AppConsistent\",\r\n"                                                      \
    "    \"recoveryPointTime\": \"2022-02-24T21:31:07.3906534Z\",\r\n"                                       \
    "    \"recoveryPointAdditionalInfo\": \"\",\r\n    \"sourceVMStorageType\": \"NormalStorage\",\r\n"      \
    "    \"isSourceVMEncrypted\": false,\r\n    \"isInstantIlrSessionActive\": false,\r\n"                   \
    "    \"recoveryPointTierDetails\": [\r\n      {\r\n        \"type\": 1,\r\n        \"status\": 1\r\n"    \
    "      },\r\n      {\r\n        \"type\": 2,\r\n        \"status\": 1\r\n      }\r\n    ],\r\n"          \
    "    \"isManagedVirtualMachine\": true,\r\n    \"virtualMachineSize\": \"Standard_D1_v2\",\r\n"          \
    "    \"originalStorageAccountOption\": false,\r\n    \"osType\": \"Windows\",\r\n"                       \
    "    \"recoveryPointMoveReadinessInfo\": {\r\n      \"ArchivedRP\": {\r\n"                               \
    "        \"isReadyForMove\": false,\r\n        \"additionalInfo\": \"\"\r\n      }\r\n    }\r\n  }\r\n}"

static void at_the_recorded_point(World *w)
{
    Failure *f = NULL;

    azure_point_free(w->point);
    assert_int_equal(azure_point_parse(RECORDED_POINT, &w->point, &f), 0);
    assert_int_equal(azure_point_set_virtual_machine(w->point, RECORDED_VM, &f), 0);
    w->config.api_version = (char *)"2021-10-01";
}

static void on_posted(const char *operation_id, void *userdata)
{
    assert_string_equal(operation_id, OPERATION);
    ((World *)userdata)->posted++;
}

/* Provision and revoke as they went; the answer for a Windows VM is told for what it is, and none of its
 * secrets. */
static void test_whole_conversation(void **state)
{
    static const Exchange exchanges[] = {
        {"GET", ASKED_POINT "?api-version=2021-10-01", NULL, 200, NULL, RECORDED_POINT_BODY},
        {"POST", ASKED_POINT "/provisionInstantItemRecovery?api-version=2021-10-01",
         "{\"properties\":{\"objectType\":\"IaasVMILRRegistrationRequest\",\"recoveryPointId\":"
         "\"182457315790203\","
         "\"virtualMachineId\":\"" RECORDED_VM "\",\"renewExistingRegistration\":false}}",
         202, RECORDED_202, NULL},
        {"GET", STATUS_PATH, NULL, 200, NULL, RECORDED_RUNNING},
        {"GET", STATUS_PATH, NULL, 200, NULL, RECORDED_RUNNING},
        {"GET", STATUS_PATH, NULL, 200, NULL, RECORDED_RUNNING},
        {"GET", STATUS_PATH, NULL, 200, NULL, RECORDED_SCRIPTS},
        {"POST", ASKED_POINT "/revokeInstantItemRecovery?api-version=2021-10-01", NULL, 202, RECORDED_202,
         NULL},
        {"GET", STATUS_PATH, NULL, 200, NULL, RECORDED_RUNNING},
        {"GET", STATUS_PATH, NULL, 200, NULL, RECORDED_DONE "\r\n}"},
        {},
    };
    AzureProvisionCallbacks callbacks = provision_callbacks;
    World w;

    world_init(&w, exchanges);
    at_the_recorded_point(&w);
    callbacks.posted = on_posted;
    assert_int_equal(azure_provision(w.azure, w.point, &(AzureProvisionOptions){.uid = AZURE_UID_HOST},
                                     &callbacks, &w, &w.operation),
                     0);
    run(&w);
    assert_failure(&w, FAILURE_WINDOWS_POINT, "Windows");
    assert_false(w.nothing_sent);
    assert_int_equal(w.posted, 1);
    assert_null(strstr(w.failure->message, PASSWORD));
    w.failure = failure_free(w.failure);
    w.done = 0;
    do_revoke(&w);
    assert_true(w.ok);
    assert_played(&w, 9);
    world_done(&w);
}

static void test_recovery_point(void **state)
{
    _cleanup_azure_point_info_ AzurePointInfo i = {};
    _cleanup_json_ json_object *o = NULL;
    const char *problem = NULL;

    assert_int_equal(json_parse(RECORDED_POINT_BODY, strlen(RECORDED_POINT_BODY), &o), 0);
    assert_int_equal(azure_point_read_properties(o, &i, &problem), 0);
    assert_string_equal(i.id, "182457315790203");
    assert_string_equal(i.object_type, "IaasVMRecoveryPoint");
    assert_string_equal(i.type, "AppConsistent");
    assert_string_equal(i.os_type, "Windows");
    assert_int_equal(i.time_usec, UINT64_C(1645738267390653));
    assert_false(i.encrypted);
    assert_false(i.session_active);
    assert_true(i.tiers_known);
    assert_int_equal(i.tiers[AZURE_TIER_INSTANT], AZURE_TIER_STATUS_VALID);
    assert_int_equal(i.tiers[AZURE_TIER_HARDENED], AZURE_TIER_STATUS_VALID);
    assert_int_equal(i.tiers[AZURE_TIER_ARCHIVED], AZURE_TIER_STATUS_NONE);
    assert_null(azure_point_unusable(&i));
}

/* The gateway's own 404, before the Backup service is asked at all. */
static void test_gateway_says_no(void **state)
{
    static const Exchange exchanges[] = {
        {"GET", ASKED_POINT, NULL, 404, "x-ms-failure-cause: gateway\n",
         "{\"error\":{\"code\":\"ResourceGroupNotFound\",\"message\":\"Resource group 'pstestrg' could not "
         "be "
         "found.\"}}"},
        {},
    };
    World w;

    world_init(&w, exchanges);
    at_the_recorded_point(&w);
    provision(&w);
    assert_failure(&w, FAILURE_POINT_NOT_FOUND, "Resource group 'pstestrg' could not be found.");
    assert_string_equal(w.failure->code, "ResourceGroupNotFound");
    assert_string_equal(w.failure->request_id, "req-1");
    assert_string_equal(w.failure->correlation_id, "corr-1");
    assert_true(w.nothing_sent);
    assert_played(&w, 1);
    world_done(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_whole_conversation),
        cmocka_unit_test(test_recovery_point),
        cmocka_unit_test(test_gateway_says_no),
    };

    log_open("test-azure", LOG_ERR);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
