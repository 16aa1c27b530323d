/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The whole Azure conversation against recorded exchanges: what comes out when all is well. */
#include "azure-world.h"

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

/* A counter of the subscription that is nearly used up slows down before there is a 429; reads only, if it is
 * theirs; what is no number does nothing. */
static void test_counter_runs_low(void **state)
{
    static const Exchange exchanges[] = {
        LOOKUP,
        POSTED,
        {"GET", ASYNC_PATH, NULL, 200, "x-ms-ratelimit-remaining-subscription-reads: 10\n", RUNNING},
        {"GET", ASYNC_PATH, NULL, 200, "x-ms-ratelimit-remaining-subscription-reads: none\n", RUNNING},
        {"GET", ASYNC_PATH, NULL, 200, "x-ms-ratelimit-remaining-subscription-reads: 9\n", RUNNING},
        POLL(200, DONE_WITH(ENTRY(SCRIPT))),
        {},
    };
    uint64_t begin = now_usec(CLOCK_MONOTONIC), took;
    World w;

    world_init(&w, exchanges);
    provision(&w);
    took = now_usec(CLOCK_MONOTONIC) - begin;
    assert_played(&w, 6);
    assert_script(&w);
    assert_in_range(took, USEC_PER_SEC, 9 * USEC_PER_SEC);
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
         "{\"code\":\"CloudInternalError\",\"message\":\"m\"}"},
        {"GET", POINT_URL "?", NULL, 200, NULL, "{\"properties\":{\"isInstantIlrSessionActive\":true}}"},
        /* Something else is under way, its provision perhaps: what the point says now is not the answer. */
        {"POST", "/revokeInstantItemRecovery", NULL, 400, NULL,
         "{\"code\":\"BMSUserErrorObjectLocked\",\"message\":\"m\"}"},
        {"POST", "/revokeInstantItemRecovery", NULL, 409, NULL, "{\"code\":\"Conflict\",\"message\":\"m\"}"},
        {"POST", "/revokeInstantItemRecovery", NULL, 202, ACCEPTED, NULL},
        POLL(200, "{\"status\":\"Failed\",\"error\":{\"code\":\"OperationInProgress\",\"message\":\"m\"}}"),
        {},
    };
    static const char *const codes[] = {"CloudInternalError", "BMSUserErrorObjectLocked", "Conflict",
                                        "OperationInProgress"};
    size_t i;
    World w;

    world_init(&w, exchanges);
    do_revoke(&w);
    assert_true(w.ok);
    w.done = 0;
    do_revoke(&w);
    assert_false(w.ok); /* a 200 that means nothing */
    assert_failure(&w, FAILURE_AZURE_ANSWER_INVALID, "still has an active recovery");
    w.failure = failure_free(w.failure);
    w.done = 0;
    do_revoke(&w);
    assert_true(w.ok);
    for (i = 0; i < ELEMENTSOF(codes); i++) {
        w.failure = failure_free(w.failure);
        w.done = 0;
        do_revoke(&w);
        assert_false(w.ok);
        assert_failure(&w, i == 3 ? FAILURE_OPERATION_FAILED : FAILURE_AZURE_REFUSED, codes[i]);
        assert_string_equal(w.failure->code, codes[i]);
    }
    assert_played(&w, 13);
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

/* The point is read first, and what it says decides. */
static void test_point_is_read(void **state)
{
    static const Exchange exchanges[] = {
        {"GET", POINT_URL "?api-version=2026-08-01", NULL, 200, NULL,
         "{\"name\":\"182457315790203\",\"properties\":{\"objectType\":\"IaasVMRecoveryPoint\","
         "\"isSourceVMEncrypted\":true}}"},
        {"GET", POINT_URL "?api-version=2026-08-01", NULL, 200, NULL, "{\"properties\":7}"},
        {"GET", POINT_URL "?api-version=2026-08-01", NULL, 200, NULL,
         "{\"name\":\"182457315790203\",\"properties\":{\"isInstantIlrSessionActive\":true,"
         "\"isSourceVMEncrypted\":false,\"recoveryPointTierDetails\":[{\"type\":1,\"status\":1}]}}"},
        LOOKUP,
        {"POST", POINT_URL "/provisionInstantItemRecovery", "\"renewExistingRegistration\":true", 202,
         ACCEPTED, NULL},
        POLL(200, DONE_WITH(ENTRY(SCRIPT))),
        {},
    };
    World w;

    world_init(&w, exchanges);
    w.point->judged = false;
    provision(&w);
    assert_failure(&w, FAILURE_POINT_UNUSABLE, "encrypted");
    assert_true(w.nothing_sent);
    w.failure = failure_free(w.failure);
    w.done = 0;
    provision(&w);
    assert_failure(&w, FAILURE_AZURE_ANSWER_INVALID, "no properties");
    w.failure = failure_free(w.failure);
    w.done = 0;
    provision(&w);
    assert_played(&w, 6);
    assert_script(&w);
    assert_true(w.provision->renewed);
    world_done(&w);
}

/* The address that Azure named is refused: the vault knows the operation as well. */
static void test_status_at_the_vault(void **state)
{
    static const Exchange exchanges[] = {
        LOOKUP,
        POSTED,
        POLL(400, "{\"error\":{\"code\":\"NoRegisteredProviderFound\"}}"),
        {"GET", "/vaults/vault1/backupOperations/" OP "?api-version=2026-08-01", NULL, 200, NULL, RUNNING},
        {"GET", "/vaults/vault1/backupOperations/" OP "?api-version=2026-08-01", NULL, 200, NULL,
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
        cmocka_unit_test(test_counter_runs_low),
        cmocka_unit_test(test_token_rejected_once),
        cmocka_unit_test(test_one_token),
        cmocka_unit_test(test_revoke),
        cmocka_unit_test(test_revoke_nothing_there),
        cmocka_unit_test(test_idle),
        cmocka_unit_test(test_point_is_read),
        cmocka_unit_test(test_status_at_the_vault),
    };

    log_open("test-azure", LOG_ERR);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
