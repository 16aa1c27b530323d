/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The Azure conversation when it does not go well: the failure's name for each answer. */
#include "azure-world.h"

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
    {"put off, then refused",
     TABLE(LOOKUP, {"POST", "/provisionInstantItemRecovery", NULL, 503, "Retry-After: 0\n", "{}"},
           {"POST", "/provisionInstantItemRecovery", NULL, 403, NULL, "{\"Code\":\"Forbidden\"}"}),
     FAILURE_PERMISSION_MISSING, "may have done it all the same", false, "Forbidden"},
    {"put off, then throttled beyond the deadline",
     TABLE(LOOKUP, {"POST", "/provisionInstantItemRecovery", NULL, 503, "Retry-After: 0\n", "{}"},
           {"POST", "/provisionInstantItemRecovery", NULL, 429, "Retry-After: 3600\n", "{}"}),
     FAILURE_AZURE_THROTTLED, "may have done it all the same", false},
    {"put off beyond the deadline",
     TABLE(LOOKUP, {"POST", "/provisionInstantItemRecovery", NULL, 503, "Retry-After: 3600\n", "{}"}),
     FAILURE_AZURE_REFUSED, "may have done it all the same", false},
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
    {"no permission to follow", TABLE(LOOKUP, POSTED, POLL(403, "{}")), FAILURE_PERMISSION_MISSING,
     "protectedItems/operationsStatus/read)", false},
    {"no permission to follow by Location",
     TABLE(LOOKUP,
           {"POST", "/provisionInstantItemRecovery", NULL, 202,
            "Location: @/subscriptions/s/vaults/vault1/operationResults/" OP "?api-version=2021-10-01\n",
            NULL},
           {"GET", "/operationResults/" OP, NULL, 403, NULL, "{}"}),
     FAILURE_PERMISSION_MISSING, "protectedItems/operationResults/read)", false},
    {"no permission at the vault",
     TABLE(LOOKUP, POSTED, POLL(404, "{}"),
           {"GET", "/vaults/vault1/backupOperations/" OP, NULL, 403, NULL, "{}"}),
     FAILURE_PERMISSION_MISSING, "Microsoft.RecoveryServices/Vaults/backupOperations/read)", false},
    {"half a script",
     TABLE(LOOKUP, POSTED, POLL(200, DONE_PLAIN),
           {"POST", LIST_URL, OP, 200, NULL, "\"s3cret TargetPassword="}),
     FAILURE_AZURE_ANSWER_INVALID, "is no JSON object", false},
    {"status without status", TABLE(LOOKUP, POSTED, POLL(200, "{\"name\":\"x\"}")),
     FAILURE_AZURE_ANSWER_INVALID, "no status", false},
    {"HTML as status", TABLE(LOOKUP, POSTED, POLL(200, html)), FAILURE_AZURE_ANSWER_INVALID,
     "is a page of HTML", false},
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
    assert_failure(&w, FAILURE_AZURE_ANSWER_INVALID, "is a page of HTML");
    assert_null(strstr(w.failure->message, "Blocked"));

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
    /* With an ACL for the unit's user, as systemd has it on a tmpfs, the mask stands in the group's bits. */
    assert_int_equal(fchmod(fd, 0440), 0);
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_faults),     cmocka_unit_test(test_recommendations),
        cmocka_unit_test(test_never_ends), cmocka_unit_test(test_silent),
        cmocka_unit_test(test_credential), cmocka_unit_test(test_credentials_directory),
    };

    log_open("test-azure", LOG_ERR);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
