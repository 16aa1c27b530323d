/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The Azure conversation below its answers: TLS, connections, sizes, the portal, and being freed while
 * running. */
#include "azure-world.h"

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
        cmocka_unit_test(test_wrong_name),
        cmocka_unit_test(test_unknown_authority),
        cmocka_unit_test(test_no_connection),
        cmocka_unit_test(test_big_script),
        cmocka_unit_test(test_probe),
        cmocka_unit_test(test_free_while_running),
        cmocka_unit_test(test_free_revoke_and_probe),
    };

    log_open("test-azure", LOG_ERR);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
