/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* ilr-sim without its listeners: which request a path is, scenarios, the configuration, the names of a
 * registration. */

#include "identity.h"
#include "route.h"
#include "simconfig.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#define VAULT "/subscriptions/S/resourceGroups/G/providers/Microsoft.RecoveryServices/vaults/V"
#define ITEM VAULT "/backupFabrics/Azure/protectionContainers/C;x/protectedItems/I;y"

static RequestKind kind_of(const char *method, const char *path)
{
    Route route;
    int r = route_parse(method, path, &route);

    return r < 0 ? (RequestKind)r : route.kind;
}

static void test_route_kinds(void **state)
{
    assert_int_equal(kind_of("POST", "/T/oauth2/v2.0/token"), REQUEST_TOKEN);
    assert_int_equal(kind_of("GET", "/T/v2.0/.well-known/openid-configuration"), REQUEST_OPENID);
    assert_int_equal(kind_of("GET", "/adfs/.well-known/openid-configuration"), REQUEST_OPENID);
    assert_int_equal(kind_of("GET", "/subscriptions"), REQUEST_SUBSCRIPTIONS);
    assert_int_equal(kind_of("GET", VAULT "/backupProtectedItems"), REQUEST_ITEMS);
    assert_int_equal(kind_of("GET", VAULT "/backupProtectionContainers"), REQUEST_CONTAINERS);
    assert_int_equal(kind_of("GET", ITEM), REQUEST_ITEM);
    assert_int_equal(kind_of("GET", ITEM "/recoveryPoints"), REQUEST_POINTS);
    assert_int_equal(kind_of("GET", ITEM "/recoveryPoints/1"), REQUEST_POINT);
    assert_int_equal(kind_of("POST", ITEM "/recoveryPoints/1/provisionInstantItemRecovery"),
                     REQUEST_PROVISION);
    assert_int_equal(kind_of("POST", ITEM "/recoveryPoints/1/revokeInstantItemRecovery"), REQUEST_REVOKE);
    assert_int_equal(kind_of("POST", ITEM "/recoveryPoints/1/listInstantItemRecoveryOperationResult"),
                     REQUEST_LIST_SCRIPTS);
    assert_int_equal(kind_of("GET", ITEM "/operationsStatus/o"), REQUEST_STATUS);
    assert_int_equal(kind_of("GET", ITEM "/operationResults/o"), REQUEST_RESULT);
    assert_int_equal(kind_of("GET", VAULT "/backupOperations/o"), REQUEST_STATUS);
    assert_int_equal(kind_of("GET", VAULT "/backupOperationResults/o"), REQUEST_RESULT);
    assert_int_equal(kind_of("DELETE", "/sim/points/1/scenario"), REQUEST_SIM_POINT_SCENARIO);
}

static void test_route_fields(void **state)
{
    Route r;

    /* Fixed parts in any case, the others as they came. */
    assert_int_equal(
        route_parse("GET",
                    "/SUBSCRIPTIONS/s1/resourcegroups/Grp/PROVIDERS/microsoft.recoveryservices/Vaults/Vlt/"
                    "backupfabrics/azure/protectioncontainers/IaasVMContainer;a;b;c/PROTECTEDITEMS/VM;a;b;c/"
                    "recoverypoints/18245",
                    &r),
        0);
    assert_string_equal(r.field[FIELD_SUBSCRIPTION], "s1");
    assert_string_equal(r.field[FIELD_GROUP], "Grp");
    assert_string_equal(r.field[FIELD_VAULT], "Vlt");
    assert_string_equal(r.field[FIELD_CONTAINER], "IaasVMContainer;a;b;c");
    assert_string_equal(r.field[FIELD_ITEM], "VM;a;b;c");
    assert_string_equal(r.field[FIELD_POINT], "18245");
    assert_string_equal(r.field[FIELD_OPERATION], "");
}

static void test_route_refused(void **state)
{
    char path[2000] = "/";

    assert_int_equal(kind_of("GET", ""), -ENOENT);
    assert_int_equal(kind_of("GET", "/"), -ENOENT);
    assert_int_equal(kind_of("GET", "subscriptions"), -ENOENT);
    assert_int_equal(kind_of("GET", "/subscriptions/"), -ENOENT);
    assert_int_equal(kind_of("GET", "/subscriptions/x/y"), -ENOENT);
    assert_int_equal(kind_of("GET", "//v2.0/.well-known/openid-configuration"), -ENOENT);
    assert_int_equal(kind_of("GET", ITEM "/"), -ENOENT);
    assert_int_equal(kind_of("POST", ITEM), -EOPNOTSUPP);
    assert_int_equal(kind_of("GET", ITEM "/recoveryPoints/1/revokeInstantItemRecovery"), -EOPNOTSUPP);
    /* A part may have 260 bytes. */
    memset(path + 1, 'a', ROUTE_SEGMENT_MAX);
    strcpy(path + 1 + ROUTE_SEGMENT_MAX, "/oauth2/v2.0/token");
    assert_int_equal(kind_of("POST", path), REQUEST_TOKEN);
    memset(path + 1, 'a', ROUTE_SEGMENT_MAX + 1);
    strcpy(path + 2 + ROUTE_SEGMENT_MAX, "/oauth2/v2.0/token");
    assert_int_equal(kind_of("POST", path), -ENOENT);
}

static Scenario *scenario(const char *text, char **ret_error)
{
    _cleanup_json_ json_object *o = NULL;
    Scenario *s = NULL;

    assert_int_equal(json_parse(text, strlen(text), &o), 0);
    *ret_error = NULL;
    if (scenario_parse(o, "p", &s, ret_error) < 0)
        assert_null(s);
    return s;
}

static void test_scenario_counts(void **state)
{
    _cleanup_free_ char *error = NULL;
    _cleanup_scenario_ Scenario *s =
        scenario("{\"provisionSeconds\":2,\"faults\":["
                 "{\"on\":\"status\",\"fault\":\"html\",\"skip\":1,\"times\":2},"
                 "{\"fault\":\"failed\",\"recommendations\":[\"wait\"]},"
                 "{\"fault\":\"throttled\",\"on\":\"any\",\"retryAfter\":7,\"times\":1}]}",
                 &error);
    Fault *f;

    assert_non_null(s);
    assert_true(s->provision_seconds == 2 && s->revoke_seconds < 0);
    /* The first one is let through by the first fault, so that the third one hits it. */
    f = scenario_take(s, REQUEST_STATUS, FAULT_CLASS_ANSWER);
    assert_int_equal(f->kind, FAULT_THROTTLED);
    assert_string_equal(f->retry_after, "7");
    fault_unref(f);
    for (int i = 0; i < 2; i++) {
        f = scenario_take(s, REQUEST_STATUS, FAULT_CLASS_ANSWER);
        assert_int_equal(f->kind, FAULT_HTML);
        fault_unref(f);
    }
    assert_null(scenario_take(s, REQUEST_STATUS, FAULT_CLASS_ANSWER));
    /* Another class is another matter, and no "times" means always. */
    for (int i = 0; i < 3; i++) {
        f = scenario_take(s, REQUEST_PROVISION, FAULT_CLASS_OPERATION);
        assert_int_equal(f->kind, FAULT_FAILED);
        assert_string_equal(f->recommendations[0], "wait");
        fault_unref(f);
    }
    assert_null(scenario_take(s, REQUEST_REVOKE, FAULT_CLASS_OPERATION));
    assert_null(scenario_take(NULL, REQUEST_REVOKE, FAULT_CLASS_OPERATION));
}

static void test_scenario_refused(void **state)
{
    static const struct {
        const char *text, *error;
    } cases[] = {
        {"[]", "p: is array, an object is expected"},
        {"{\"fault\":[]}", "p.fault: unknown key"},
        {"{\"faults\":{}}", "p.faults: is {}, array is expected"},
        {"{\"provisionSeconds\":-1}", "p.provisionSeconds: is -1, a number from 0 to 86400 is expected"},
        {"{\"provisionSeconds\":\"1\"}", "p.provisionSeconds: is \"1\", a number is expected"},
        {"{\"faults\":[{\"fault\":\"html\"},{\"fault\":\"htm\"}]}",
         "p.faults[1].fault: is \"htm\", the name of a fault is expected: see ilr-sim(1)"},
        {"{\"faults\":[{}]}", "p.faults[0].fault: missing, a string is expected"},
        {"{\"faults\":[{\"fault\":\"html\",\"on\":\"sim-state\"}]}",
         "p.faults[0].on: is \"sim-state\", a kind of request is expected: see ilr-sim(1)"},
        {"{\"faults\":[{\"fault\":\"never\",\"on\":\"status\"}]}",
         "p.faults[0].on: is \"status\", the fault \"never\" is one of \"provision\" or \"revoke\""},
        {"{\"faults\":[{\"fault\":\"windows\",\"on\":\"revoke\"}]}",
         "p.faults[0].on: is \"revoke\", the fault \"windows\" is one of \"provision\""},
        {"{\"faults\":[{\"fault\":\"reset\",\"seconds\":1}]}",
         "p.faults[0].seconds: means nothing to the fault \"reset\""},
        {"{\"faults\":[{\"fault\":\"redirect\",\"url\":\"a\\r\\nb\"}]}",
         "p.faults[0].url: holds a line break"},
        {"{\"faults\":[{\"fault\":\"html\",\"times\":0}]}",
         "p.faults[0].times: is 0, a number from 1 to 4.29497e+09 is expected"},
        {"{\"faults\":[{\"fault\":\"big-script\",\"bytes\":100000000}]}",
         "p.faults[0].bytes: is more than 64 MiB, which is the most for a script"},
    };

    for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
        _cleanup_free_ char *error = NULL;

        assert_null(scenario(cases[i].text, &error));
        assert_string_equal(error, cases[i].error);
    }
}

static void test_fault_names(void **state)
{
    /* Every fault can be asked for, so every one is in the table. */
    for (FaultKind k = 0; k < FAULT_KIND_MAX; k++) {
        _cleanup_free_ char *error = NULL, *text = NULL;
        _cleanup_scenario_ Scenario *s = NULL;

        assert_non_null(fault_kind_to_string(k));
        assert_true(asprintf(&text, "{\"faults\":[{\"fault\":\"%s\"}]}", fault_kind_to_string(k)) > 0);
        s = scenario(text, &error);
        assert_non_null(s);
        assert_int_equal(s->faults[0]->kind, k);
    }
}

#define HEAD                                                                                                 \
    "{\"listen\":[\"127.0.0.1:0\"],\"certificate\":\"/c\",\"key\":\"/"                                       \
    "k\",\"tenant\":\"T\",\"clientId\":\"i\","                                                               \
    "\"clientSecret\":\"s\",\"subscription\":\"S\","
#define POINT(id) "{\"id\":\"" id "\",\"time\":\"2026-11-21T22:00:00Z\"}"
#define VAULTS(points)                                                                                       \
    "\"vaults\":[{\"resourceGroup\":\"G\",\"name\":\"V\",\"items\":[{\"vm\":\"My-VM\",\"resourceGroup\":"    \
    "\"RG\","                                                                                                \
    "\"points\":[" points "]}]}]"

static SimConfig *config(const char *text, char **ret_error)
{
    _cleanup_json_ json_object *o = NULL;
    SimConfig *c = NULL;

    assert_int_equal(json_parse(text, strlen(text), &o), 0);
    *ret_error = NULL;
    if (sim_config_parse(o, &c, ret_error) < 0)
        assert_null(c);
    return c;
}

static void test_config(void **state)
{
    _cleanup_free_ char *error = NULL;
    _cleanup_sim_config_ SimConfig *c = config(HEAD VAULTS(POINT("1") "," POINT("2")) "}", &error);
    Vault *v;
    Item *i;

    assert_non_null(c);
    v = sim_config_vault(c, "s", "g", "v");
    assert_non_null(v);
    assert_null(sim_config_vault(c, "s", "g", "w"));
    assert_null(sim_config_vault(c, "t", "g", "v"));
    i = vault_item(v, "iaasvmcontainer;IAASVMCONTAINERV2;rg;my-vm", "vm;iaasvmcontainerv2;rg;MY-vm");
    assert_non_null(i);
    assert_string_equal(
        i->vm_id, "/subscriptions/S/resourceGroups/RG/providers/Microsoft.Compute/virtualMachines/My-VM");
    assert_ptr_equal(item_point(i, "2"), sim_config_point(c, "2"));
    assert_null(item_point(i, "3"));
    assert_int_equal(c->backend_config.portal_port, 3260);
}

static void test_config_refused(void **state)
{
    static const struct {
        const char *text, *error;
    } cases[] = {
        {"1", "document: is int, an object is expected"},
        {"{}", "listen: missing, an array of at least one \"ADDRESS:PORT\" is expected"},
        {HEAD "\"lister\":1}", "lister: unknown key"},
        {HEAD "\"control\":\"0.0.0.0:1\"}",
         "control: is \"0.0.0.0:1\", an absolute path or 127.0.0.1:PORT is expected"},
        {HEAD "\"publicUrl\":\"http://x\"}",
         "publicUrl: is \"http://x\", https:// and no slash at the end are expected"},
        {HEAD "\"backend\":\"lio\"}", "backend: is \"lio\", \"none\" or \"tgt\" is expected"},
        {HEAD "\"portal\":{\"listen\":\"x\"}}", "portal.listen: is \"x\", ADDRESS:PORT is expected"},
        {HEAD "\"portal\":{\"host\":\"a b\"}}", "portal.host: is \"a b\", a host name is expected"},
        {HEAD "\"pageSize\":0}", "pageSize: is 0, a number from 1 to 10000 is expected"},
        {HEAD "\"scenario\":{\"faults\":[{\"fault\":\"x\"}]}}",
         "scenario.faults[0].fault: is \"x\", the name of a fault is expected: see ilr-sim(1)"},
        {HEAD "\"vaults\":[{\"resourceGroup\":\"a/b\",\"name\":\"V\"}]}",
         "vaults[0].resourceGroup: is \"a/b\", a name of at most 90 bytes without /;?%#\" is expected"},
        {HEAD VAULTS(POINT("1x")) "}",
         "vaults[0].items[0].points[0].id: is \"1x\", decimal digits are expected"},
        {HEAD VAULTS(POINT("1") "," POINT("1")) "}", "vaults[0].items[0].points[1].id: \"1\" is there twice"},
        {HEAD VAULTS("{\"id\":\"1\",\"time\":\"yesterday\"}") "}",
         "vaults[0].items[0].points[0].time: is \"yesterday\", a time like 2026-11-21T22:00:00Z is expected"},
        {HEAD VAULTS("{\"id\":\"1\",\"time\":\"2026-11-21T22:00:00Z\",\"disks\":[\"a\"]}") "}",
         "vaults[0].items[0].points[0].disks: [0] is \"a\", an absolute path is expected"},
        {HEAD VAULTS("{\"id\":\"1\",\"time\":\"2026-11-21T22:00:00Z\",\"scenario\":{\"x\":1}}") "}",
         "vaults[0].items[0].points[0].scenario.x: unknown key"},
    };

    for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
        _cleanup_free_ char *error = NULL;

        assert_null(config(cases[i].text, &error));
        assert_string_equal(error, cases[i].error);
    }
}

static void test_identity(void **state)
{
    Registration r = {
        .recovery_point = (char *)"182457315790203", .vm_name = (char *)"a_b", .expires_usec = 0};
    _cleanup_free_ char *suffix = NULL, *text = NULL;
    const char *last, *guid;

    /* 2022-02-24T22:32:49Z */
    assert_int_equal(identity_make(&r, UINT64_C(1645741969) * USEC_PER_SEC), 0);
    assert_true(endswith(r.target_name, "-182457315790203-0.637813387690000000"));
    suffix = identity_suffix(&r);
    assert_non_null(startswith(suffix, "a_b_1_sea_"));
    assert_non_null(strstr(suffix, "_813387690000_"));
    /* The last part: GUID of the user without dashes, password, password of the initiator. Clients cut it by
     * place. */
    last = strrchr(suffix, '_') + 1;
    guid = strchr(r.user_name, '-') + 1;
    assert_int_equal(strlen(last), 61);
    assert_memory_equal(last, guid, 8);
    assert_memory_equal(last + 20, guid + 24, 12);
    assert_memory_equal(last + 32, r.password, 15);
    assert_string_equal(last + 47, r.initiator_password);
    text = identity_windows_text(&r);
    assert_non_null(strstr(text, "Expiry=1/1/1970 12:00:00 AM, Sequence = 637813387690000000"));
    free(r.target_name);
    free(r.user_name);
    free(r.password);
    free(r.initiator_password);
    free(r.script_id);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_route_kinds),      cmocka_unit_test(test_route_fields),
        cmocka_unit_test(test_route_refused),    cmocka_unit_test(test_scenario_counts),
        cmocka_unit_test(test_scenario_refused), cmocka_unit_test(test_fault_names),
        cmocka_unit_test(test_config),           cmocka_unit_test(test_config_refused),
        cmocka_unit_test(test_identity),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
