/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Finding a recovery point against recorded exchanges: what is asked, what is chosen, what a list that lies
 * comes to. */
#include "azure-world.h"
#include "utf8.h"

#define VAULT "/subscriptions/1/resourceGroups/my-rg/providers/Microsoft.RecoveryServices/vaults/vault1"
#define VM "/subscriptions/1/resourceGroups/My-RG/providers/Microsoft.Compute/virtualMachines/my-vm"
#define NAMES                                                                                                \
    "/protectionContainers/IaasVMContainer;iaasvmcontainerv2;my-rg;my-vm/protectedItems/"                    \
    "VM;iaasvmcontainerv2;my-rg;my-vm"
#define ITEM(id, name)                                                                                       \
    "{\"id\":\"" id "\",\"properties\":{\"friendlyName\":\"" name "\",\"containerName\":"                    \
    "\"iaasvmcontainerv2;my-rg;my-vm\",\"virtualMachineId\":\"" VM "\"}}"
#define POINTS_PATH                                                                                          \
    "/backupFabrics/Azure/protectionContainers/IaasVMContainer%3Biaasvmcontainerv2%3Bmy-rg%3Bmy-vm/"         \
    "protectedItems/VM%3Biaasvmcontainerv2%3Bmy-rg%3Bmy-vm/recoveryPoints"
#define FILTERED                                                                                             \
    "?api-version=2026-08-01&$filter=startDate%20eq%20%272010-01-01%2012:00:00%20AM%27%20and%20endDate"
#define ITEMS_URL                                                                                            \
    "/vaults/vault1/backupProtectedItems?api-version=2026-08-01&$filter=backupManagementType%20eq%20"        \
    "%27AzureIaasVM%27%20and%20itemType%20eq%20%27VM%27"
#define RP(id, time, more) "{\"name\":\"" id "\",\"properties\":{\"recoveryPointTime\":\"" time "\"" more "}}"
#define ARCHIVED ",\"recoveryPointTierDetails\":[{\"type\":\"ArchivedRP\",\"status\":\"Valid\"}]"
#define ACTIVE ",\"isInstantIlrSessionActive\":true"

typedef struct Finding {
    World w;
    AzureFind *find;
    unsigned pages, entries;
} Finding;

static void finding_init(Finding *s, const Exchange *exchanges, char **vaults, char **locations)
{
    *s = (Finding){};
    world_init(&s->w, exchanges);
    s->w.config.vaults = vaults;
    s->w.config.locations = locations;
    s->w.point = azure_point_free(s->w.point); /* it is to be found */
}

static void finding_done(Finding *s)
{
    azure_find_free(s->find);
    world_done(&s->w);
}

static void on_page(json_object *entries, const AzureItem *item, void *userdata)
{
    Finding *s = userdata;

    s->pages++;
    s->entries += (unsigned)json_object_array_length(entries);
}

static void on_done(bool ok, AzurePoint *point, Failure *failure, void *userdata)
{
    Finding *s = userdata;

    s->w.done++;
    s->w.ok = ok;
    s->w.point = point;
    s->w.failure = failure;
    s->find = azure_find_free(s->find); /* may be done in here */
}

static const AzureFindCallbacks callbacks = {.page = on_page, .done = on_done};

static void finding_run(Finding *s)
{
    const char *complaint;
    int i;

    run(&s->w);
    for (i = 0; i < 3; i++)
        assert_true(sd_event_run(s->w.event, 0) >= 0);
    assert_int_equal(s->w.done, 1);
    complaint = server_complaint(s->w.server);
    if (complaint)
        fail_msg("%s", complaint);
}

static char *vaults[] = {(char *)VAULT, NULL};

static void start_point(Finding *s, const char *vm, AzureRule rule, const char *id, const char *time)
{
    AzureChoice choice = {.rule = rule, .id = id};
    Failure *f = NULL;

    if (time)
        assert_int_equal(timestamp_parse(time, &choice.usec), 0);
    assert_int_equal(azure_find_point(s->w.azure, &(AzureSelector){.vm = vm}, &choice, AZURE_UID_HOST,
                                      &callbacks, s, &s->find, &f),
                     0);
}

/* By name; the id lacks the fabric, the service does not like the span and is asked without. */
static void test_by_name(void **state)
{
    static const Exchange exchanges[] = {
        {"GET", ITEMS_URL, NULL, 200, NULL,
         "{\"value\":[7,{}," ITEM("/nonsense", "my-vm") "," ITEM(VAULT NAMES,
                                                                 "MY-VM") "],\"nextLink\":\"\"}"},
        {"GET", POINTS_PATH FILTERED "%20eq%20%272026-11-21%2010:00:01%20PM%27", NULL, 400, NULL,
         "{\"error\":{\"code\":\"BMSUserErrorInvalidInput\",\"message\":\"no\"}}"},
        {"GET", POINTS_PATH "?api-version=2026-08-01", NULL, 200, NULL,
         "{\"value\":[" RP("11", "2026-11-20T22:00:00",
                           "") "," RP("12", "2026-11-21T22:00:00.0000000Z",
                                      ACTIVE) "," RP("13", "2026-11-21T22:00:00.001Z",
                                                     "") ",{\"name\":\"../14\",\"properties\":{}},7]}"},
        {},
    };
    Finding s;

    finding_init(&s, exchanges, vaults, NULL);
    start_point(&s, "my-Vm", AZURE_RULE_AT, NULL, "2026-11-21T22:00:00Z");
    finding_run(&s);
    assert_true(s.w.ok);
    assert_string_equal(s.w.point->recovery_point, "12");
    assert_string_equal(s.w.point->virtual_machine_id, VM);
    assert_true(s.w.point->judged && s.w.point->session_active);
    finding_done(&s);
}

static void test_by_region(void **state)
{
    static const Exchange exchanges[] = {
        {"POST", "/locations/westus/backupStatus?api-version=2026-08-01", "\"resourceType\":\"VM\"", 404,
         NULL, "{}"},
        {"POST", "/Subscriptions/1/providers/Microsoft.RecoveryServices/locations/eastus/backupStatus", VM,
         200, NULL,
         "{\"protectionStatus\":\"Protected\",\"vaultId\":\"" VAULT "\",\"containerName\":"
         "\"IaasVMContainer;iaasvmcontainerv2;my-rg;my-vm\",\"protectedItemName\":"
         "\"VM;iaasvmcontainerv2;my-rg;my-vm\"}"},
        {"GET", POINTS_PATH "/11?api-version=", NULL, 200, NULL, RP("11", "2026-11-20T22:00:00Z", ARCHIVED)},
        {"GET", POINTS_PATH "?api-version=", NULL, 200, NULL,
         "{\"value\":[" RP("10", "2026-11-01T22:00:00Z", "") "," RP(
             "11", "2026-11-20T22:00:00Z", ARCHIVED) "," RP("12", "2026-11-22T22:00:00Z", "") "]}"},
        {},
    };
    static char *regions[] = {(char *)"westus", (char *)"eastus", NULL};
    Finding s;

    finding_init(&s, exchanges, NULL, regions);
    start_point(&s, VM, AZURE_RULE_ID, "11", NULL);
    finding_run(&s);
    assert_false(s.w.ok);
    assert_int_equal(s.w.failure->name, FAILURE_POINT_UNUSABLE);
    assert_non_null(strstr(s.w.failure->message, "archive tier"));
    assert_non_null(strstr(failure_hint(s.w.failure), "--point=12"));
    finding_done(&s);
}

/* Lists that lie: each ends, with its failure. */
static void test_bad_lists(void **state)
{
    static const struct {
        const char *body;
        const char *problem;
    } cases[] = {
        {"{\"value\":[],\"nextLink\":7}", "nextLink that is no text"},
        {"{\"value\":[],\"nextLink\":\"https://elsewhere.example/x\"}", "not the management host"},
        {"{\"value\":[],\"nextLink\":\"/relative\"}", "not the management host"},
        {"{\"value\":[],\"nextLink\":\"https://a\\u0001\"}", "no address"},
        {"{\"value\":{}}", "is no list"},
        {"{\"values\":[]}", "has no \"value\""},
        {"[]", "no JSON object"},
    };
    size_t i;

    for (i = 0; i < ELEMENTSOF(cases); i++) {
        const Exchange exchanges[] = {{"GET", ITEMS_URL, NULL, 200, NULL, cases[i].body}, {}};
        Failure *f = NULL;
        Finding s;

        finding_init(&s, exchanges, vaults, NULL);
        assert_int_equal(
            azure_find_items(s.w.azure, &(AzureSelector){}, AZURE_UID_HOST, &callbacks, &s, &s.find, &f), 0);
        finding_run(&s);
        assert_false(s.w.ok);
        assert_int_equal(s.w.failure->name, FAILURE_AZURE_ANSWER_INVALID);
        if (!strstr(s.w.failure->message, cases[i].problem))
            fail_msg("%s: %s", cases[i].body, s.w.failure->message);
        finding_done(&s);
    }
}

static void test_refused_at_once(void **state)
{
    static const struct {
        AzureSelector selector;
        FailureName name;
        const char *words;
    } cases[] = {
        {{.vm = NULL}, FAILURE_INVALID_REQUEST, "vm is missing"},
        {{.vm = "/subscriptions/1/x"}, FAILURE_INVALID_REQUEST, "virtualMachines"},
        {{.vm = "a", .vault = "/subscriptions/1"}, FAILURE_INVALID_REQUEST, "vaults"},
        {{.vm = "a", .vault = "vault2"}, FAILURE_INVALID_REQUEST, "vault1"},
        {{.container = "c"}, FAILURE_INVALID_REQUEST, "belong together"},
        {{.container = "c/..", .item = "i"}, FAILURE_INVALID_REQUEST, "container"},
        {{.container = "c", .item = "\xff"}, FAILURE_INVALID_REQUEST, "UTF-8"},
    };
    static const Exchange none[] = {{}};
    AzureFind *find = NULL;
    Failure *f = NULL;
    size_t i;
    Finding s;

    finding_init(&s, none, vaults, NULL);
    for (i = 0; i < ELEMENTSOF(cases); i++) {
        assert_int_equal(
            azure_find_points(s.w.azure, &cases[i].selector, 0, 0, AZURE_UID_HOST, &callbacks, &s, &find, &f),
            -EINVAL);
        assert_int_equal(f->name, cases[i].name);
        if (!strstr(f->message, cases[i].words))
            fail_msg("%zu: %s", i, f->message);
        f = failure_free(f);
    }
    s.w.config.vaults = NULL;
    assert_int_equal(
        azure_find_items(s.w.azure, &(AzureSelector){}, AZURE_UID_HOST, &callbacks, &s, &find, &f), -EINVAL);
    assert_int_equal(f->name, FAILURE_NOT_CONFIGURED);
    failure_free(f);
    finding_done(&s);
}

static void test_free_while_running(void **state)
{
    static const Exchange exchanges[] = {
        {"GET", ITEMS_URL, NULL, 200, NULL, "{\"value\":[" ITEM(VAULT NAMES, "my-vm") "]}"},
        {"GET", POINTS_PATH "?api-version=", NULL, 200, NULL,
         "{\"value\":[" RP("1", "2026-11-20T22:00:00Z", "") "]}"},
        {},
    };
    int turns, finished = 0;

    for (turns = 0; finished < 2; turns++) {
        Finding s;
        int i;

        assert_true(turns < 5000);
        finding_init(&s, exchanges, vaults, NULL);
        start_point(&s, "my-vm", AZURE_RULE_LATEST, NULL, NULL);
        for (i = 0; i < turns && !s.w.done; i++)
            assert_true(sd_event_run(s.w.event, 2 * USEC_PER_SEC) >= 0);
        finished += s.w.done;
        s.find = azure_find_free(s.find);
        for (i = 0; i < 5; i++)
            assert_true(sd_event_run(s.w.event, 0) >= 0);
        finding_done(&s);
    }
}

static void test_tiers(void **state)
{
    static const struct {
        const char *details;
        bool usable;
    } cases[] = {
        {"[]", true},
        {"[{\"type\":1,\"status\":1}]", true},
        {"[{\"type\":\"hardenedrp\",\"status\":\"VALID\"},{\"type\":3,\"status\":1}]", true},
        {"[{\"type\":3,\"status\":1}]", false},
        {"[{\"type\":\"3\",\"status\":\"1\"}]", false},
        {"[{\"type\":\"ArchivedRP\",\"status\":\"Rehydrated\"}]", true},
        {"[{\"type\":3,\"status\":4}]", true},
        {"[{\"type\":1,\"status\":3},{\"type\":2,\"status\":\"Disabled\"}]", false},
        {"[{\"type\":3,\"status\":1},{\"type\":4,\"status\":1}]", true}, /* a tier that is not known yet */
        {"[{\"type\":3,\"status\":1},7]", true},
        {"7", true},
    };
    size_t i;

    for (i = 0; i < ELEMENTSOF(cases); i++) {
        _cleanup_azure_point_info_ AzurePointInfo info = {};
        _cleanup_json_ json_object *o = NULL;
        char text[256];

        snprintf(text, sizeof(text), "{\"NAME\":\"9\",\"Properties\":{\"recoveryPointTierDetails\":%s}}",
                 cases[i].details);
        assert_int_equal(json_parse(text, strlen(text), &o), 0);
        assert_int_equal(azure_point_read_properties(o, &info, NULL), 0);
        assert_string_equal(info.id, "9");
        if (!azure_point_unusable(&info) != cases[i].usable)
            fail_msg("%s", cases[i].details);
    }
}

static void test_utf8(void **state)
{
    assert_true(utf8_equal_nocase("MÜLLER-größe", "müller-GRÖßE"));
    assert_true(utf8_equal_nocase("ВЕБ1", "веб1"));
    assert_false(utf8_equal_nocase("web1", "web"));
    assert_false(utf8_equal_nocase("\xff", "\xfe"));
    assert_true(utf8_valid("größe"));
    assert_false(utf8_valid("\xc0\xaf"));
    assert_false(utf8_valid("\xed\xa0\x80"));
    assert_false(utf8_valid("a\xc3"));
    assert_int_equal(utf8_distance("wbe1", "WEB1", 9), 2);
    assert_int_equal(utf8_distance("größe", "grösse", 9), 2);
    assert_int_equal(utf8_distance("", "abc", 2), 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_by_name),
        cmocka_unit_test(test_by_region),
        cmocka_unit_test(test_bad_lists),
        cmocka_unit_test(test_refused_at_once),
        cmocka_unit_test(test_free_while_running),
        cmocka_unit_test(test_tiers),
        cmocka_unit_test(test_utf8),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
