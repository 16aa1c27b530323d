/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The whole Azure conversation against recorded exchanges: what comes out when all is well, and the failure's
 * name for each way in which it is not. */
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

static void world_azure(World *w)
{
    Failure *f = NULL;

    assert_int_equal(azure_new(&w->azure, w->event, &w->config, &f), 0);
}

static void world_init(World *w, const Exchange *exchanges)
{
    Failure *f = NULL;
    int fd;

    *w = (World){};
    assert_true(sd_event_new(&w->event) >= 0);
    w->server = server_start(exchanges);
    strcpy(w->secret_file, "/tmp/ilr-test-secret-XXXXXX");
    fd = mkstemp(w->secret_file);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, "s3cret&=\n", 9), 9);
    close(fd);
    w->config = (Config){
        .credential = CREDENTIAL_CLIENT_SECRET,
        .management_url = (char *)server_url(w->server),
        .login_url = (char *)server_url(w->server),
        .ca_file = (char *)server_ca_file(),
        .api_version = (char *)"2026-08-01",
        .fallback_api_version = (char *)"2025-08-01",
        .tenant_id = (char *)"tenant-1",
        .client_id = (char *)"client-1",
        .client_secret_file = w->secret_file,
        .poll_interval_usec = 5 * USEC_PER_MSEC,
        .operation_timeout_usec = 20 * USEC_PER_SEC,
        .request_timeout_usec = 10 * USEC_PER_SEC,
    };
    world_azure(w);
    assert_int_equal(azure_point_parse(POINT, &w->point, &f), 0);
    w->point->judged = true;
}

static void world_done(World *w)
{
    azure_operation_free(w->operation);
    azure_free(w->azure);
    azure_provision_free(w->provision);
    failure_free(w->failure);
    azure_point_free(w->point);
    sd_event_unref(w->event);
    server_stop(w->server);
    unlink(w->secret_file);
}

static void on_progress(const char *detail, void *userdata)
{
    World *w = userdata;

    assert_int_equal(w->done, 0);
    assert_non_null(detail);
    w->progress++;
}

static void on_posted(const char *operation_id, void *userdata)
{
    World *w = userdata;

    assert_string_equal(operation_id, OP);
    w->posted++;
}

static void on_provisioned(AzureProvision *provision, Failure *failure, bool nothing_sent, void *userdata)
{
    World *w = userdata;

    assert_int_equal(w->done++, 0);
    assert_true(!provision != !failure);
    w->provision = provision;
    w->failure = failure;
    w->nothing_sent = nothing_sent;
    w->operation = azure_operation_free(w->operation); /* as the session does */
}

static void on_revoked(bool ok, Failure *failure, void *userdata)
{
    World *w = userdata;

    assert_int_equal(w->done++, 0);
    assert_true(ok == !failure);
    w->ok = ok;
    w->failure = failure;
    w->operation = azure_operation_free(w->operation);
}

static const AzureProvisionCallbacks provision_callbacks = {
    .progress = on_progress, .posted = on_posted, .done = on_provisioned};
static const AzureRevokeCallbacks revoke_callbacks = {on_progress, on_revoked};

static void run(World *w)
{
    uint64_t end = now_usec(CLOCK_MONOTONIC) + 60 * USEC_PER_SEC;

    assert_int_equal(w->done, 0);
    while (!w->done) {
        assert_true(now_usec(CLOCK_MONOTONIC) < end);
        assert_true(sd_event_run(w->event, 5 * USEC_PER_SEC) >= 0);
    }
}

static void provision(World *w)
{
    assert_int_equal(
        azure_provision(
            w->azure, w->point,
            &(AzureProvisionOptions){.uid = AZURE_UID_HOST, .initiator_name = "iqn.2026-01.com.example:host"},
            &provision_callbacks, w, &w->operation),
        0);
    run(w);
}

static void assert_played(World *w, unsigned n)
{
    if (server_complaint(w->server))
        fail_msg("%s", server_complaint(w->server));
    assert_int_equal(server_played(w->server), n);
}

static void assert_script(World *w)
{
    if (w->failure)
        fail_msg("%s: %s", failure_name_to_string(w->failure->name), w->failure->message);
    assert_non_null(w->provision);
    assert_non_null(strstr(secret_text(w->provision->script), "TargetPassword=\"ab12cd34ef56ab7\""));
    assert_string_equal(w->provision->info->portal_host, "pod01-rec2.wus2.backup.windowsazure.com");
    assert_int_equal(w->provision->info->portal_port, 3260);
    assert_string_equal(w->provision->info->target,
                        "iqn.2016-01.microsoft.azure.backup:8187-1-2-182457315790203.637813387693329644");
    assert_true(w->provision->info->multi_target);
    assert_string_equal(w->provision->info->vm, "my-vm");
    assert_string_equal(w->provision->info->machine_name, "my-vm");
    assert_string_equal(w->provision->vm_name, "my-vm");
    assert_string_equal(w->provision->operation_id, OP);
    assert_string_equal(w->provision->virtual_machine_id, VM_ID);
    assert_true(w->provision->expires_usec - w->provision->started_usec == 12 * USEC_PER_HOUR);
    assert_in_range(now_usec(CLOCK_REALTIME) - w->provision->started_usec, 0, 60 * USEC_PER_SEC);
    assert_int_equal(w->posted, 1);
}

/* The end of a provision that must fail. */
static void assert_failure_at(World *w, FailureName name, const char *text, const char *file, int line)
{
    if (!w->failure || w->failure->name != name || (text && !strstr(w->failure->message, text)))
        fail_msg("%s:%d: %s: %s, expected %s with \"%s\"; server: %s", file, line,
                 w->failure ? failure_name_to_string(w->failure->name) : "success",
                 w->failure ? w->failure->message : "", failure_name_to_string(name), text ? text : "",
                 server_complaint(w->server) ? server_complaint(w->server) : "content");
    /* Nothing secret in any message. */
    assert_null(strstr(w->failure->message, "tok-en"));
    assert_null(strstr(w->failure->message, "s3cret"));
}
#define assert_failure(w, name, text) assert_failure_at(w, name, text, __FILE__, __LINE__)

/* ---- what works ---- */

static void test_script_in_status(void **state)
{
    static const Exchange exchanges[] = {
        LOOKUP, POSTED, POLL(200, RUNNING), POLL(200, RUNNING), POLL(200, DONE_WITH(ENTRY(SCRIPT))), {},
    };
    World w;

    world_init(&w, exchanges);
    provision(&w);
    assert_played(&w, 5);
    assert_script(&w);
    assert_int_equal(server_tokens(w.server), 1);
    assert_true(w.progress >= 3);
    assert_non_null(strstr(server_last_headers(w.server), "x-ms-client-request-id: "));
    assert_non_null(strstr(server_last_headers(w.server), "User-Agent: ilrd/"));
    world_done(&w);
}

static void test_request_body(void **state)
{
    static const Exchange exchanges[] = {
        {"POST", POINT_URL "/provisionInstantItemRecovery?api-version=2026-08-01",
         "{\"properties\":{\"objectType\":\"IaasVMILRRegistrationRequest\",\"recoveryPointId\":"
         "\"182457315790203\","
         "\"virtualMachineId\":\"" VM_ID "\",\"renewExistingRegistration\":true,"
         "\"initiatorName\":\"iqn.2026-01.com.example:host\"}}",
         202, ACCEPTED, NULL},
        POLL(200, DONE_WITH(ENTRY(SCRIPT))),
        {"POST", POINT_URL "/provisionInstantItemRecovery", "\"renewExistingRegistration\":false}}", 202,
         ACCEPTED, NULL},
        POLL(200, DONE_WITH(ENTRY(SCRIPT))),
        {},
    };
    World w;

    world_init(&w, exchanges);
    assert_int_equal(azure_point_set_virtual_machine(w.point, VM_ID, NULL), 0);
    w.point->session_active = true;
    assert_int_equal(
        azure_provision(
            w.azure, w.point,
            &(AzureProvisionOptions){.uid = AZURE_UID_HOST, .initiator_name = "iqn.2026-01.com.example:host"},
            &provision_callbacks, &w, &w.operation),
        0);
    run(&w);
    assert_script(&w);
    assert_true(w.provision->renewed);
    w.point->session_active = false;
    w.done = w.posted = 0;
    w.provision = azure_provision_free(w.provision);
    assert_int_equal(azure_provision(w.azure, w.point,
                                     &(AzureProvisionOptions){.uid = AZURE_UID_HOST, .initiator_name = NULL},
                                     &provision_callbacks, &w, &w.operation),
                     0);
    run(&w);
    assert_played(&w, 4);
    assert_script(&w);
    world_done(&w);
}

static void test_script_from_list(void **state)
{
    static const Exchange exchanges[] = {
        LOOKUP,
        POSTED,
        POLL(200, RUNNING),
        POLL(200, DONE_HEAD ",\"properties\":{\"objectType\":\"OperationStatusProvisionILRExtendedInfo\","
                            "\"recoveryTarget\":null}}"),
        {"POST", LIST_URL, "{\"provisionInstantItemRecoveryOperationId\":\"" OP "\"}", 200, NULL,
         "{\"clientScripts\":[" ENTRY(SCRIPT) "]}"},
        {},
    };
    World w;

    world_init(&w, exchanges);
    provision(&w);
    assert_played(&w, 5);
    assert_script(&w);
    world_done(&w);
}

/* Provisioned at an old version, and yet no script in the status: the list is asked at the version that has
 * it. */
static void test_old_version_redacted(void **state)
{
    static const Exchange exchanges[] = {
        LOOKUP,
        POSTED,
        POLL(200, DONE_WITH(ENTRY("REDACTED"))),
        {"POST", LIST_URL, OP, 200, NULL, "{\"clientScripts\":[" ENTRY(SCRIPT) "]}"},
        {},
    };
    World w;

    world_init(&w, exchanges);
    w.config.api_version = (char *)"2025-08-01";
    provision(&w);
    assert_played(&w, 4);
    assert_script(&w);
    world_done(&w);
}

/* A cloud that does not know the list yet: once more the status, at the older version. */
static void test_list_unknown(void **state)
{
    static const Exchange exchanges[] = {
        LOOKUP,
        POSTED,
        POLL(200, DONE_PLAIN),
        {"POST", LIST_URL, OP, 404, NULL,
         "{\"error\":{\"code\":\"InvalidResourceType\",\"message\":\"no\"}}"},
        {"GET", "/vaults/vault1/backupOperations/" OP "?api-version=2025-08-01", NULL, 200, NULL,
         DONE_WITH(ENTRY(SCRIPT))},
        {},
    };
    World w;

    world_init(&w, exchanges);
    provision(&w);
    assert_played(&w, 5);
    assert_script(&w);
    world_done(&w);
}

static void test_location_only(void **state)
{
    static const Exchange exchanges[] = {
        LOOKUP,
        {"POST", POINT_URL "/provisionInstantItemRecovery", NULL, 202,
         "Location: @/a/operationResults/" OP "?v=1\n", NULL},
        {"GET", "/a/operationResults/" OP "?v=1", NULL, 202, "Location: @/b/operationResults/" OP "?v=1\n",
         NULL},
        {"GET", "/b/operationResults/" OP "?v=1", NULL, 204, NULL, NULL},
        {"POST", LIST_URL, OP, 200, NULL, "{\"clientScripts\":[" ENTRY(SCRIPT) "]}"},
        {},
    };
    World w;

    world_init(&w, exchanges);
    provision(&w);
    assert_played(&w, 5);
    assert_script(&w);
    world_done(&w);
}

/* Trouble while polling and while looking up is got over. */
static void test_transient(void **state)
{
    static const Exchange exchanges[] = {
        {"GET", ITEM_URL, NULL, 500, NULL, "<html>Sorry</html>"},
        {"GET", ITEM_URL, NULL, 429, "Retry-After: 0\n", "{}"},
        LOOKUP,
        {"POST", POINT_URL "/provisionInstantItemRecovery", NULL, 429, "Retry-After: 1\n", NULL},
        POSTED,
        POLL(503, ""),
        POLL(408, ""),
        {"GET", ASYNC_PATH, NULL, 200, NULL, NULL, TRICK_RESET},
        {"GET", ASYNC_PATH, NULL, 200, NULL, RUNNING, TRICK_TRUNCATE},
        POLL(504, "<html>"),
        POLL(500, "{}"),
        POLL(200, DONE_WITH(ENTRY(SCRIPT))),
        {},
    };
    uint64_t begin = now_usec(CLOCK_MONOTONIC);
    World w;

    world_init(&w, exchanges);
    provision(&w);
    assert_played(&w, 12);
    assert_script(&w);
    assert_true(now_usec(CLOCK_MONOTONIC) - begin >= USEC_PER_SEC); /* Retry-After binds */
    world_done(&w);
}

static void test_token_rejected_once(void **state)
{
    static const Exchange exchanges[] = {
        {"GET", ITEM_URL, NULL, 401, NULL, "{\"error\":{\"code\":\"ExpiredAuthenticationToken\"}}"},
        LOOKUP,
        POSTED,
        POLL(200, DONE_WITH(ENTRY(SCRIPT))),
        {},
    };
    World w;

    world_init(&w, exchanges);
    provision(&w);
    assert_script(&w);
    assert_int_equal(server_tokens(w.server), 2);
    world_done(&w);
}

/* Many that wait for a token cause one fetch. */
static void test_one_token(void **state)
{
    static const Exchange exchanges[] = {
        {"POST", "/revokeInstantItemRecovery", NULL, 204, NULL, NULL, 0, true}, {}};
    World worlds[8] = {}, *w = &worlds[0];
    unsigned i, left;

    world_init(w, exchanges);
    for (i = 0; i < ELEMENTSOF(worlds); i++)
        assert_int_equal(azure_revoke(w->azure, w->point, AZURE_UID_HOST, NULL, &revoke_callbacks, &worlds[i],
                                      &worlds[i].operation),
                         0);
    do {
        assert_true(sd_event_run(w->event, 5 * USEC_PER_SEC) >= 0);
        for (i = left = 0; i < ELEMENTSOF(worlds); i++)
            left += !worlds[i].done;
    } while (left);
    for (i = 0; i < ELEMENTSOF(worlds); i++)
        assert_true(worlds[i].ok);
    assert_int_equal(server_tokens(w->server), 1);
    assert_played(w, 8);
    world_done(w);
}

static void do_revoke(World *w)
{
    assert_int_equal(
        azure_revoke(w->azure, w->point, AZURE_UID_HOST, NULL, &revoke_callbacks, w, &w->operation), 0);
    run(w);
}

static void test_revoke(void **state)
{
    static const Exchange exchanges[] = {
        {"POST", POINT_URL "/revokeInstantItemRecovery?api-version=2026-08-01", NULL, 202, ACCEPTED, NULL},
        POLL(200, RUNNING),
        POLL(200, DONE_PLAIN),
        {},
    };
    World w;

    world_init(&w, exchanges);
    do_revoke(&w);
    assert_played(&w, 3);
    assert_true(w.ok);
    world_done(&w);
}

static void test_revoke_nothing_there(void **state)
{
    static const Exchange exchanges[] = {
        {"POST", "/revokeInstantItemRecovery", NULL, 404, NULL, "{\"error\":{\"code\":\"NotFound\"}}"},
        {"GET", POINT_URL "?", NULL, 404, NULL, "{}"},
        {"POST", "/revokeInstantItemRecovery", NULL, 200, NULL, "{}"},
        {"GET", POINT_URL "?", NULL, 200, NULL, "{\"properties\":{\"isInstantIlrSessionActive\":true}}"},
        {"POST", "/revokeInstantItemRecovery", NULL, 202, ACCEPTED, NULL},
        POLL(200, "{\"status\":\"Failed\",\"error\":{\"code\":\"NoSession\",\"message\":\"m\"}}"),
        {"GET", POINT_URL "?", NULL, 200, NULL, "{\"properties\":{\"isInstantIlrSessionActive\":false}}"},
        {"POST", "/revokeInstantItemRecovery", NULL, 400, NULL,
         "{\"code\":\"BMSUserErrorObjectLocked\",\"message\":\"m\"}"},
        {"GET", POINT_URL "?", NULL, 200, NULL, "{\"properties\":{\"isInstantIlrSessionActive\":true}}"},
        {},
    };
    World w;

    world_init(&w, exchanges);
    do_revoke(&w);
    assert_true(w.ok);
    w.done = 0;
    do_revoke(&w);
    assert_false(w.ok); /* a 200 that means nothing */
    assert_failure(&w, FAILURE_AZURE_ANSWER_INVALID, "still has its session");
    w.failure = failure_free(w.failure);
    w.done = 0;
    do_revoke(&w);
    assert_true(w.ok);
    w.done = 0;
    do_revoke(&w);
    assert_false(w.ok);
    assert_failure(&w, FAILURE_AZURE_REFUSED, "BMSUserErrorObjectLocked");
    assert_string_equal(w.failure->code, "BMSUserErrorObjectLocked");
    assert_played(&w, 9);
    world_done(&w);
}

/* When nothing is under way, nothing wakes the daemon up. */
static void test_idle(void **state)
{
    static const Exchange exchanges[] = {LOOKUP, POSTED, POLL(200, DONE_WITH(ENTRY(SCRIPT))), {}};
    World w;
    int i;

    world_init(&w, exchanges);
    provision(&w);
    assert_script(&w);
    for (i = 0; i < 20 && sd_event_run(w.event, 0) > 0; i++)
        ;
    assert_int_equal(sd_event_run(w.event, 1500 * USEC_PER_MSEC), 0);
    world_done(&w);
}

/* ---- what does not: one exchange table, the failure's name, some of its text ---- */

typedef struct Fault {
    const char *title;
    const Exchange *exchanges;
    FailureName name;
    const char *text;
    bool nothing_sent;
    const char *code;
} Fault;

#define TABLE(...)                                                                                           \
    (const Exchange[])                                                                                       \
    {                                                                                                        \
        __VA_ARGS__,                                                                                         \
        {                                                                                                    \
        }                                                                                                    \
    }
#define FIRST(status, headers, body) TABLE({"GET", ITEM_URL, NULL, status, headers, body})
#define POST_ANSWER(status, headers, body)                                                                   \
    TABLE(LOOKUP, {"POST", POINT_URL "/provisionInstantItemRecovery", NULL, status, headers, body})

static const char html[] =
    "<!DOCTYPE html>\n<html><head><title>Blocked</title></head><body>by the proxy</body></html>";

static const Fault faults[] = {
    {"HTML instead of JSON", FIRST(200, NULL, html), FAILURE_AZURE_ANSWER_INVALID, "Blocked by the proxy",
     true},
    {"empty body", FIRST(200, NULL, ""), FAILURE_AZURE_ANSWER_INVALID, "empty", true},
    {"truncated body", TABLE({"GET", ITEM_URL, NULL, 200, NULL, RUNNING, TRICK_TRUNCATE, true}),
     FAILURE_AZURE_ANSWER_INVALID, "broke off", true},
    {"500 MB body", TABLE({"GET", ITEM_URL, NULL, 200, NULL, NULL, TRICK_HUGE}), FAILURE_AZURE_ANSWER_INVALID,
     "too big", true},
    {"redirect", FIRST(302, "Location: https://evil.example.com/x\n", NULL), FAILURE_AZURE_ANSWER_INVALID,
     "evil.example.com", true},
    {"half a JSON", FIRST(200, NULL, "{\"properties\":{"), FAILURE_AZURE_ANSWER_INVALID, "no JSON object",
     true},
    {"depth bomb", FIRST(200, NULL, "[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[["),
     FAILURE_AZURE_ANSWER_INVALID, "no JSON object", true},
    {"no virtual machine", FIRST(200, NULL, "{\"properties\":{\"virtualMachineId\":17}}"),
     FAILURE_AZURE_ANSWER_INVALID, "which virtual machine", true},
    {"virtual machine with a query",
     FIRST(200, NULL, "{\"properties\":{\"virtualMachineId\":\"" VM_ID "?x\"}}"),
     FAILURE_AZURE_ANSWER_INVALID, "which virtual machine", true},
    {"no permission to read",
     FIRST(403, NULL, "{\"error\":{\"code\":\"AuthorizationFailed\",\"message\":\"no\"}}"),
     FAILURE_PERMISSION_MISSING, "protectedItems/read", true, "AuthorizationFailed"},
    {"no such item",
     FIRST(404, NULL, "{\"error\":{\"code\":\"ResourceGroupNotFound\",\"message\":\"gone\"}}"),
     FAILURE_POINT_NOT_FOUND, "gone", true, "ResourceGroupNotFound"},
    {"token rejected twice", TABLE({"GET", ITEM_URL, NULL, 401, NULL, "{}", TRICK_NONE, true}),
     FAILURE_CREDENTIAL_REJECTED, "401", true},
    {"throttled beyond the deadline", FIRST(429, "Retry-After: 3600\n", "{}"), FAILURE_AZURE_THROTTLED,
     "try again in 3600 s", true},
    {"no permission to provision", POST_ANSWER(403, NULL, "{\"Code\":\"Forbidden\",\"Message\":\"m\"}"),
     FAILURE_PERMISSION_MISSING, "provisionInstantItemRecovery/action", true, "Forbidden"},
    {"no such point", POST_ANSWER(404, NULL, NULL), FAILURE_POINT_NOT_FOUND, NULL, true},
    {"refused with details",
     POST_ANSWER(409, NULL,
                 "{\"error\":{\"details\":[{\"code\":\"BMSUserErrorObjectLocked\",\"message\":\"busy\","
                 "\"recommendations\":[\"Wait\"]}]}}"),
     FAILURE_AZURE_REFUSED, "busy", true, "BMSUserErrorObjectLocked"},
    {"503 of the POST", POST_ANSWER(503, NULL, "x"), FAILURE_AZURE_REFUSED, "may have done it all the same",
     false},
    {"lost answer of the POST",
     TABLE(LOOKUP, {"POST", "/provisionInstantItemRecovery", NULL, 0, NULL, NULL, TRICK_RESET}),
     FAILURE_AZURE_UNREACHABLE, "may have done it all the same", false},
    {"202 without addresses", POST_ANSWER(202, NULL, NULL), FAILURE_AZURE_ANSWER_INVALID,
     "neither Azure-AsyncOperation nor Location", false},
    {"202 with a foreign address",
     POST_ANSWER(202, "Azure-AsyncOperation: https://evil.example.com/op/" OP "\n", NULL),
     FAILURE_AZURE_ANSWER_INVALID, "evil.example.com", false},
    {"202 with an address without TLS", POST_ANSWER(202, "Location: http://localhost/op/" OP "\n", NULL),
     FAILURE_AZURE_ANSWER_INVALID, "not the management host", false},
    {"202 without an operation id", POST_ANSWER(202, "Location: @/op/..?x\n", NULL),
     FAILURE_AZURE_ANSWER_INVALID, "no operation id", false},
    {"status without status", TABLE(LOOKUP, POSTED, POLL(200, "{\"name\":\"x\"}")),
     FAILURE_AZURE_ANSWER_INVALID, "no status", false},
    {"HTML as status", TABLE(LOOKUP, POSTED, POLL(200, html)), FAILURE_AZURE_ANSWER_INVALID, "Blocked",
     false},
    {"operation forgotten",
     TABLE(LOOKUP, POSTED, POLL(404, "{}"),
           {"GET", "/vaults/vault1/backupOperations/" OP, NULL, 404, NULL, "{}"}),
     FAILURE_OPERATION_FAILED, "404", false},
    {"operation failed",
     TABLE(LOOKUP, POSTED,
           POLL(200,
                "{\"status\":\"Failed\",\"error\":{\"code\":\"CloudInternalError\",\"message\":\"Oh\\ndear\","
                "\"recommendations\":[\"Wait a few minutes\",\"Ask support\"]}}")),
     FAILURE_OPERATION_FAILED, "Oh dear", false, "CloudInternalError"},
    {"operation cancelled", TABLE(LOOKUP, POSTED, POLL(200, "{\"Status\":\"Canceled\"}")),
     FAILURE_OPERATION_FAILED, "Canceled", false},
    {"no script anywhere",
     TABLE(LOOKUP, POSTED, POLL(200, DONE_PLAIN),
           {"POST", LIST_URL, OP, 200, NULL, "{\"clientScripts\":[]}"}),
     FAILURE_NO_SCRIPT, "no connection script", false},
    {"no script, no list, no fallback",
     TABLE(LOOKUP, POSTED, POLL(200, DONE_PLAIN),
           {"POST", LIST_URL, OP, 400, NULL, "{\"error\":{\"code\":\"InvalidApiVersionParameter\"}}"},
           {"GET", "backupOperations/" OP, NULL, 200, NULL, DONE_PLAIN}),
     FAILURE_NO_SCRIPT, "InvalidApiVersionParameter", false, "InvalidApiVersionParameter"},
    {"no permission to list",
     TABLE(LOOKUP, POSTED, POLL(200, DONE_PLAIN), {"POST", LIST_URL, OP, 403, NULL, "{}"}),
     FAILURE_PERMISSION_MISSING, "recoveryPoints/listInstantItemRecoveryOperationResult/action", false},
    {"Windows",
     TABLE(LOOKUP, POSTED,
           POLL(200,
                DONE_WITH("{\"scriptContent\":\"QUFB\",\"scriptExtension\":\".txt\",\"osType\":\"Windows\"},"
                          "{\"scriptContent\":\"TkE=\",\"scriptExtension\":\".exe\",\"osType\":\"Windows\","
                          "\"url\":\"https://download.microsoft.com/x.exe\"}"))),
     FAILURE_WINDOWS_POINT, "Windows", false},
    {"content is no base64",
     TABLE(LOOKUP, POSTED, POLL(200, DONE_PLAIN),
           {"POST", LIST_URL, OP, 200, NULL, "{\"clientScripts\":[" ENTRY("!!not base64!!") "]}"}),
     FAILURE_SCRIPT_INVALID, "neither base64 nor a script", false},
    {"content decodes to nonsense",
     TABLE(LOOKUP, POSTED, POLL(200, DONE_WITH(ENTRY("TkE="))), {"POST", LIST_URL, OP, 404, NULL, "{}"},
           {"GET", "backupOperations/" OP, NULL, 404, NULL, "{}"}),
     FAILURE_SCRIPT_INVALID, "no script", false},
    {"script without a target",
     TABLE(LOOKUP, POSTED,
           POLL(200,
                DONE_WITH(ENTRY(
                    "#!/bin/sh\\nTargetPortalAddress=\\\"a.example\\\"\\nTargetPortalPortNumber=3260\\n")))),
     FAILURE_SCRIPT_INVALID, "TargetNodeAddress", false},
    {"script with a bad target",
     TABLE(
         LOOKUP, POSTED,
         POLL(200, DONE_WITH(ENTRY("#!/bin/"
                                   "sh\\nTargetPortalAddress=\\\"a.example\\\"\\nTargetPortalPortNumber="
                                   "3260\\nTargetNodeAddress=\\\"iqn.2001-04.com.example:production\\\"")))),
     FAILURE_SCRIPT_INVALID, "TargetNodeAddress=\"iqn.2001-04.com.example:production\"", false},
};

static void test_faults(void **state)
{
    size_t i;

    for (i = 0; i < ELEMENTSOF(faults); i++) {
        const Fault *f = &faults[i];
        World w;

        world_init(&w, f->exchanges);
        provision(&w);
        print_message("           %s: %s\n", f->title, w.failure ? w.failure->message : "no failure");
        assert_failure(&w, f->name, f->text);
        assert_int_equal(w.nothing_sent, f->nothing_sent);
        if (server_complaint(w.server))
            fail_msg("%s: %s", f->title, server_complaint(w.server));
        if (f->code)
            assert_string_equal(w.failure->code, f->code);
        world_done(&w);
    }
}

static void test_recommendations(void **state)
{
    static const Exchange exchanges[] = {
        LOOKUP,
        POSTED,
        POLL(200, "{\"status\":\"Failed\",\"error\":{\"code\":\"C\",\"message\":\"M\",\"recommendations\":["
                  "\"Wait\","
                  "\"Ask\"]}}"),
        {},
    };
    World w;

    world_init(&w, exchanges);
    provision(&w);
    assert_failure(&w, FAILURE_OPERATION_FAILED, "M");
    assert_int_equal(strv_length(w.failure->recommendations), 2);
    assert_string_equal(w.failure->recommendations[0], "Wait");
    assert_string_equal(w.failure->request_id, "req-1");
    assert_string_equal(w.failure->correlation_id, "corr-1");
    world_done(&w);
}

static void test_never_ends(void **state)
{
    static const Exchange exchanges[] = {
        LOOKUP, POSTED, {"GET", ASYNC_PATH, NULL, 200, NULL, RUNNING, TRICK_NONE, true}};
    World w;

    world_init(&w, exchanges);
    w.config.operation_timeout_usec = 300 * USEC_PER_MSEC;
    provision(&w);
    assert_failure(&w, FAILURE_OPERATION_TIMEOUT, "InProgress");
    assert_false(w.nothing_sent);
    world_done(&w);
}

static void test_silent(void **state)
{
    static const Exchange exchanges[] = {{"GET", ITEM_URL, NULL, 200, NULL, NULL, TRICK_STALL, true}};
    World w;

    world_init(&w, exchanges);
    azure_free(w.azure);
    w.config.request_timeout_usec = 200 * USEC_PER_MSEC;
    world_azure(&w);
    provision(&w);
    assert_failure(&w, FAILURE_AZURE_UNREACHABLE, "did not answer in time");
    world_done(&w);
}

static void test_wrong_name(void **state)
{
    static const Exchange exchanges[] = {{}};
    char url[64];
    World w;

    world_init(&w, exchanges);
    snprintf(url, sizeof(url), "https://127.0.0.1:%u", server_port(w.server));
    w.config.login_url = url;
    provision(&w);
    assert_failure(&w, FAILURE_AZURE_UNTRUSTED, "127.0.0.1");
    assert_true(w.nothing_sent);
    assert_int_equal(server_tokens(w.server), 0);
    world_done(&w);
}

static void test_unknown_authority(void **state)
{
    static const Exchange exchanges[] = {{}};
    World w;

    world_init(&w, exchanges);
    azure_free(w.azure);
    w.config.ca_file = NULL;
    world_azure(&w);
    provision(&w);
    assert_failure(&w, FAILURE_AZURE_UNTRUSTED, "localhost");
    world_done(&w);
}

static void test_no_connection(void **state)
{
    static const Exchange exchanges[] = {{}};
    World w;

    world_init(&w, exchanges);
    w.config.login_url = (char *)"https://localhost:1";
    provision(&w);
    assert_failure(&w, FAILURE_AZURE_UNREACHABLE, "localhost");
    assert_true(w.nothing_sent);
    failure_free(TAKE_PTR(w.failure));
    w.done = 0;
    w.config.login_url = (char *)"https://nowhere.invalid";
    provision(&w);
    assert_failure(&w, FAILURE_AZURE_UNREACHABLE, "nowhere.invalid");
    world_done(&w);
}

/* ---- the credential ---- */

static void test_credential(void **state)
{
    static const Exchange exchanges[] = {{}};
    World w;

    world_init(&w, exchanges);
    server_set_token_answer(
        w.server, 401,
        "{\"error\":\"invalid_client\",\"error_description\":\"AADSTS7000215: Invalid client "
        "secret provided.\\r\\nTrace ID: 1\",\"error_codes\":[7000215]}");
    provision(&w);
    assert_failure(&w, FAILURE_CREDENTIAL_REJECTED, "AADSTS7000215: Invalid client secret provided.");
    assert_string_equal(w.failure->code, "AADSTS7000215");
    assert_int_equal(server_tokens(w.server), 1);

    failure_free(TAKE_PTR(w.failure));
    w.done = 0;
    server_set_token_answer(w.server, 200, html);
    provision(&w);
    assert_failure(&w, FAILURE_AZURE_ANSWER_INVALID, "Blocked");

    failure_free(TAKE_PTR(w.failure));
    w.done = 0;
    server_set_token_answer(w.server, 200, "{\"access_token\":\"a\\r\\nX: y\",\"expires_in\":1}");
    provision(&w);
    assert_failure(&w, FAILURE_AZURE_ANSWER_INVALID, "access_token");

    failure_free(TAKE_PTR(w.failure));
    w.done = 0;
    assert_int_equal(chmod(w.secret_file, 0644), 0);
    provision(&w);
    assert_failure(&w, FAILURE_NOT_CONFIGURED, "0600");

    failure_free(TAKE_PTR(w.failure));
    w.done = 0;
    unlink(w.secret_file);
    provision(&w);
    assert_failure(&w, FAILURE_NOT_CONFIGURED, w.secret_file);

    failure_free(TAKE_PTR(w.failure));
    w.done = 0;
    w.config.client_secret_file = NULL;
    provision(&w);
    assert_failure(&w, FAILURE_NOT_CONFIGURED, "ClientSecretFile=");

    failure_free(TAKE_PTR(w.failure));
    w.done = 0;
    w.config.tenant_id = NULL;
    provision(&w);
    assert_failure(&w, FAILURE_NOT_CONFIGURED, "TenantId=");
    assert_true(w.nothing_sent);
    world_done(&w);
}

/* systemd's credential goes before the file. */
static void test_credentials_directory(void **state)
{
    static const Exchange exchanges[] = {LOOKUP, POSTED, POLL(200, DONE_WITH(ENTRY(SCRIPT))), {}};
    char dir[] = "/tmp/ilr-test-cred-XXXXXX", path[64];
    World w;
    int fd;

    world_init(&w, exchanges);
    assert_non_null(mkdtemp(dir));
    snprintf(path, sizeof(path), "%s/azure-client-secret", dir);
    fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0400);
    assert_int_equal(write(fd, "s3cret&=", 8), 8);
    close(fd);
    w.config.client_secret_file = (char *)"/nonexistent";
    setenv("CREDENTIALS_DIRECTORY", dir, 1);
    provision(&w);
    unsetenv("CREDENTIALS_DIRECTORY");
    unlink(path);
    rmdir(dir);
    assert_script(&w);
    world_done(&w);
}

/* ---- size ---- */

static char *big_list(size_t script_bytes)
{
    static const char head[] = "{\"clientScripts\":[{\"osType\":\"linux\",\"scriptContent\":\"" SCRIPT "#",
                      tail[] = "\"}]}";
    char *s = malloc(script_bytes + sizeof(head) + sizeof(tail));

    assert_non_null(s);
    strcpy(s, head);
    memset(s + strlen(head), 'x', script_bytes);
    strcpy(s + strlen(head) + script_bytes, tail);
    return s;
}

static void test_big_script(void **state)
{
    _cleanup_free_ char *fits = big_list(8 * MIB - 1024), *too_big = big_list(9 * MIB),
                        *huge = big_list(33 * MIB);
    Exchange exchanges[] = {
        LOOKUP, POSTED, POLL(200, DONE_PLAIN), {"POST", LIST_URL, OP, 200, NULL, fits},
        LOOKUP, POSTED, POLL(200, DONE_PLAIN), {"POST", LIST_URL, OP, 200, NULL, too_big},
        LOOKUP, POSTED, POLL(200, DONE_PLAIN), {"POST", LIST_URL, OP, 200, NULL, huge},
        {},
    };
    World w;

    world_init(&w, exchanges);
    provision(&w);
    assert_script(&w);
    assert_true(secret_size(w.provision->script) > 8 * MIB - 1024);
    w.provision = azure_provision_free(w.provision);
    w.done = 0;
    provision(&w);
    assert_failure(&w, FAILURE_SCRIPT_INVALID, "bigger than 8 MiB");
    failure_free(TAKE_PTR(w.failure));
    w.done = 0;
    provision(&w);
    assert_failure(&w, FAILURE_AZURE_ANSWER_INVALID, "too big");
    world_done(&w);
}

/* ---- the portal ---- */

static void on_probed(char *const *addresses, Failure *failure, void *userdata)
{
    World *w = userdata;

    w->done++;
    w->failure = failure;
    if (addresses)
        snprintf(w->address, sizeof(w->address), "%s", addresses[0]);
    w->operation = azure_operation_free(w->operation);
}

static void test_probe(void **state)
{
    static const Exchange exchanges[] = {{}};
    World w;

    world_init(&w, exchanges);
    assert_int_equal(
        azure_probe_portal(w.azure, "127.0.0.1", server_port(w.server), on_probed, &w, &w.operation), 0);
    run(&w);
    assert_null(w.failure);
    assert_string_equal(w.address, "127.0.0.1");
    w.done = 0;
    assert_int_equal(azure_probe_portal(w.azure, "127.0.0.1", 1, on_probed, &w, &w.operation), 0);
    run(&w);
    assert_failure(&w, FAILURE_PORTAL_UNREACHABLE, "127.0.0.1:1");
    world_done(&w);
}

/* ---- freed while running ---- */

static void test_free_while_running(void **state)
{
    static const Exchange exchanges[] = {
        LOOKUP,
        POSTED,
        POLL(200, RUNNING),
        POLL(200, DONE_PLAIN),
        {"POST", LIST_URL, OP, 200, NULL, "{\"clientScripts\":[" ENTRY(SCRIPT) "]}"},
        {},
    };
    int turns, finished = 0;

    for (turns = 0; finished < 3; turns += turns < 20 ? 1 : 7) {
        World w;
        int i;

        assert_true(turns < 5000);
        world_init(&w, exchanges);
        assert_int_equal(
            azure_provision(w.azure, w.point,
                            &(AzureProvisionOptions){.uid = AZURE_UID_HOST, .initiator_name = NULL},
                            &provision_callbacks, &w, &w.operation),
            0);
        for (i = 0; i < turns && !w.done; i++)
            assert_true(sd_event_run(w.event, 2 * USEC_PER_SEC) >= 0);
        finished += w.done;
        w.operation = azure_operation_free(w.operation);
        /* What was under way must not come back. */
        for (i = 0; i < 5; i++)
            assert_true(sd_event_run(w.event, 0) >= 0);
        world_done(&w);
    }
}

static void test_free_revoke_and_probe(void **state)
{
    static const Exchange exchanges[] = {
        {"POST", "/revokeInstantItemRecovery", NULL, 202, ACCEPTED, NULL},
        {"GET", ASYNC_PATH, NULL, 200, NULL, RUNNING, TRICK_NONE, true},
    };
    int turns, i;

    for (turns = 0; turns < 24; turns++) {
        AzureOperation *probe = NULL;
        World w, other = {};

        world_init(&w, exchanges);
        assert_int_equal(
            azure_revoke(w.azure, w.point, AZURE_UID_HOST, NULL, &revoke_callbacks, &w, &w.operation), 0);
        assert_int_equal(
            azure_probe_portal(w.azure, "localhost", server_port(w.server), on_probed, &other, &probe), 0);
        other.operation = probe;
        for (i = 0; i < turns; i++)
            assert_true(sd_event_run(w.event, 20 * USEC_PER_MSEC) >= 0);
        w.operation = azure_operation_free(w.operation);
        other.operation = azure_operation_free(other.operation);
        failure_free(other.failure);
        for (i = 0; i < 5; i++)
            assert_true(sd_event_run(w.event, 0) >= 0);
        assert_int_equal(w.done, 0);
        world_done(&w);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_script_in_status),
        cmocka_unit_test(test_request_body),
        cmocka_unit_test(test_script_from_list),
        cmocka_unit_test(test_old_version_redacted),
        cmocka_unit_test(test_list_unknown),
        cmocka_unit_test(test_location_only),
        cmocka_unit_test(test_transient),
        cmocka_unit_test(test_token_rejected_once),
        cmocka_unit_test(test_one_token),
        cmocka_unit_test(test_revoke),
        cmocka_unit_test(test_revoke_nothing_there),
        cmocka_unit_test(test_idle),
        cmocka_unit_test(test_faults),
        cmocka_unit_test(test_recommendations),
        cmocka_unit_test(test_never_ends),
        cmocka_unit_test(test_silent),
        cmocka_unit_test(test_wrong_name),
        cmocka_unit_test(test_unknown_authority),
        cmocka_unit_test(test_no_connection),
        cmocka_unit_test(test_credential),
        cmocka_unit_test(test_credentials_directory),
        cmocka_unit_test(test_big_script),
        cmocka_unit_test(test_probe),
        cmocka_unit_test(test_free_while_running),
        cmocka_unit_test(test_free_revoke_and_probe),
    };

    log_open("test-azure", LOG_ERR);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
