/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What foreign text is taken for: resource ids, the script's assignments, error bodies, Retry-After,
 * addresses of operations. */
#include "azure-error.h"
#include "azure-geo.h"
#include "azure-operation.h"
#include "azure-point.h"
#include "azure-script.h"

#include <setjmp.h>
#include <stdarg.h>
/* after the above */
#include <cmocka.h>

#define VAULT "/subscriptions/1111/resourceGroups/My-RG/providers/Microsoft.RecoveryServices/vaults/vault 1"
#define REST                                                                                                 \
    "/protectionContainers/IaasVMContainer;iaasvmcontainerv2;my-rg;vm_ä/protectedItems/"                    \
    "VM;iaasvmcontainerv2;my-rg;vm_ä"

static void test_same_point(void **state)
{
    static const char other[] =
        "/subscriptions/1111/resourceGroups/MY-RG/providers/microsoft.recoveryservices/"
        "VAULTS/vault 1/protectionContainers/IAASVMContainer;iaasvmcontainerv2;my-rg;vm_Ä/"
        "protectedItems/VM;iaasvmcontainerv2;my-rg;VM_Ä/recoveryPoints/182457315790203";
    _cleanup_(azure_point_freep) AzurePoint *a = NULL, *b = NULL;
    _cleanup_failure_ Failure *f = NULL;

    assert_int_equal(azure_point_parse(VAULT REST "/recoveryPoints/182457315790203", &a, &f), 0);
    assert_int_equal(azure_point_parse(other, &b, &f), 0);
    assert_true(azure_point_same(a, b));
}

static void test_geo(void **state)
{
    static const struct {
        const char *region;
        CloudName cloud;
        const char *host; /* NULL: not known */
    } cases[] = {
        {"westeurope", CLOUD_PUBLIC, "pod01-rec2.we.backup.windowsazure.com"},
        {"Southeast Asia", CLOUD_PUBLIC, "pod01-rec2.sea.backup.windowsazure.com"},
        {"UK South", CLOUD_PUBLIC, "pod01-rec2.uks.backup.windowsazure.com"},
        {"eastus2", CLOUD_PUBLIC, "pod01-rec2.eus2.backup.windowsazure.com"},
        {"chinanorth2", CLOUD_CHINA, "pod01-rec2.bjb2.backup.windowsazure.cn"},
        {"usgovvirginia", CLOUD_USGOVERNMENT, "pod01-rec2.ugv.backup.windowsazure.us"},
        {"eastus22", CLOUD_PUBLIC, NULL},
        {"eastu", CLOUD_PUBLIC, NULL},
        {"atlantis", CLOUD_PUBLIC, NULL},
        {"", CLOUD_PUBLIC, NULL},
    };
    size_t i;

    for (i = 0; i < ELEMENTSOF(cases); i++) {
        _cleanup_free_ char *host = azure_geo_portal(cases[i].region, cases[i].cloud);

        if (!streq_ptr(host, cases[i].host))
            fail_msg("%s: %s", cases[i].region, host ? host : "not known");
    }
}

/* ---- resource ids ---- */

static void test_point(void **state)
{
    static const char *const same[] = {
        VAULT "/backupFabrics/Azure" REST "/recoveryPoints/182457315790203",
        VAULT "/backupFabrics/Azure" REST "/recoveryPoints/182457315790203/",
        VAULT REST "/recoveryPoints/182457315790203",
        "/subscriptions/1111/resourceGroups/My-RG/providers/Microsoft.RecoveryServices/vaults/vault%201/"
        "backupfabrics/azure"
        "/PROTECTIONCONTAINERS/IaasVMContainer%3Biaasvmcontainerv2%3bmy-rg%3Bvm_%C3%A4/protecteditems/"
        "VM%3Biaasvmcontainerv2%3Bmy-rg%3Bvm_ä/recoverypoints/182457315790203",
    };
    size_t i;

    for (i = 0; i < ELEMENTSOF(same); i++) {
        _cleanup_(azure_point_freep) AzurePoint *p = NULL;
        _cleanup_failure_ Failure *f = NULL;
        _cleanup_free_ char *path = NULL, *vault = NULL, *item = NULL;

        if (azure_point_parse(same[i], &p, &f) < 0)
            fail_msg("%s: %s", same[i], f->message);
        assert_string_equal(p->vault, VAULT);
        assert_string_equal(p->container, "IaasVMContainer;iaasvmcontainerv2;my-rg;vm_ä");
        assert_string_equal(p->item, "VM;iaasvmcontainerv2;my-rg;vm_ä");
        assert_string_equal(p->recovery_point, "182457315790203");
        assert_string_equal(p->vm_name, "vm_ä");
        vault = azure_point_vault_path(p);
        assert_string_equal(
            vault, "/subscriptions/1111/resourceGroups/My-RG/providers/Microsoft.RecoveryServices/vaults/"
                   "vault%201");
        path = azure_point_path(p, false);
        item = azure_point_path(p, true);
        assert_non_null(
            strstr(path, "/backupFabrics/Azure/protectionContainers/IaasVMContainer%3Biaasvmcontainerv2%3B"
                         "my-rg%3Bvm_%C3%A4/protectedItems/VM%3Biaasvmcontainerv2%3Bmy-rg%3Bvm_%C3%A4/"
                         "recoveryPoints/182457315790203"));
        assert_memory_equal(path, item, strlen(item));
        assert_true(endswith(item, "vm_%C3%A4"));
    }
}

static void test_point_refused(void **state)
{
    static const char *const bad[] = {
        "",
        "182457315790203",
        "https://management.azure.com" VAULT REST "/recoveryPoints/1",
        VAULT,
        VAULT REST,
        VAULT REST "/recoveryPoints/",
        VAULT REST "/recoveryPoints/1/more",
        VAULT "/backupFabrics/Other" REST "/recoveryPoints/1",
        VAULT REST "/recoveryPoints/1?api-version=1",
        VAULT REST "/recoveryPoints/1#x",
        VAULT REST "/recoveryPoints/..",
        VAULT REST "/recoveryPoints/%2e%2e",
        VAULT REST "/recoveryPoints/%2E",
        VAULT "/protectionContainers/../protectedItems/x/recoveryPoints/1",
        VAULT "/protectionContainers/a%2Fb/protectedItems/x/recoveryPoints/1",
        VAULT "/protectionContainers/a%00/protectedItems/x/recoveryPoints/1",
        VAULT "/protectionContainers/a%0d%0aX: y/protectedItems/x/recoveryPoints/1",
        VAULT "/protectionContainers/a\x01/protectedItems/x/recoveryPoints/1",
        VAULT "/protectionContainers/a%3Fb/protectedItems/x/recoveryPoints/1",
        VAULT "/protectionContainers/a%253Fb/protectedItems/x/recoveryPoints/1",
        VAULT "/protectionContainers/a%/protectedItems/x/recoveryPoints/1",
        VAULT "/protectionContainers/a%zz/protectedItems/x/recoveryPoints/1",
        VAULT "/protectionContainers//protectedItems/x/recoveryPoints/1",
        VAULT "/protectionContainers/a/b/protectedItems/x/recoveryPoints/1",
        "/subscriptions/1/resourceGroups/r/providers/Microsoft.Compute/vaults/v" REST "/recoveryPoints/1",
        "/a/b/c/d/e/f/g/h/i/j/k/l/m/n/o/p/q/r/s/t/u/v/w/x/y/z",
        "/",
        "//////////////////////////",
    };
    char longest[3000];
    size_t i;

    for (i = 0; i < ELEMENTSOF(bad); i++) {
        _cleanup_(azure_point_freep) AzurePoint *p = NULL;
        _cleanup_failure_ Failure *f = NULL;

        if (azure_point_parse(bad[i], &p, &f) != -EINVAL)
            fail_msg("accepted: %s", bad[i]);
        assert_int_equal(f->name, FAILURE_INVALID_REQUEST);
        assert_int_equal(azure_point_parse(bad[i], &p, NULL), -EINVAL);
    }
    memset(longest, 'a', sizeof(longest) - 1);
    longest[0] = '/';
    longest[sizeof(longest) - 1] = '\0';
    assert_int_equal(azure_point_parse(longest, &(AzurePoint *){NULL}, NULL), -EINVAL);
    assert_int_equal(azure_point_parse(NULL, &(AzurePoint *){NULL}, NULL), -EINVAL);
}

static void test_point_make(void **state)
{
    _cleanup_(azure_point_freep) AzurePoint *p = NULL, *copy = NULL, *no = NULL;
    _cleanup_failure_ Failure *f = NULL, *g = NULL;

    assert_int_equal(azure_point_make(VAULT, "IaasVMContainer;c", "VM;x;my-vm", "17", &p, &f), 0);
    assert_string_equal(
        p->resource_id,
        VAULT "/backupFabrics/Azure/protectionContainers/IaasVMContainer;c/protectedItems/VM;x;my-vm/"
              "recoveryPoints/17");
    assert_string_equal(p->vm_name, "my-vm");
    assert_int_equal(
        azure_point_set_virtual_machine(
            p, "/subscriptions/1/resourceGroups/r/providers/Microsoft.ClassicCompute/virtualMachines/Real",
            &f),
        0);
    assert_string_equal(p->vm_name, "Real");
    copy = azure_point_copy(p);
    assert_string_equal(copy->virtual_machine_id, p->virtual_machine_id);
    assert_int_equal(azure_point_make(VAULT "/x", "c", "i", "17", &no, &f), -EINVAL);
    assert_non_null(strstr(f->message, "vault"));
    assert_int_equal(azure_point_make(VAULT, "c/d", "i", "17", &no, &g), -EINVAL);
    assert_non_null(strstr(g->message, "container"));
    assert_int_equal(azure_point_make(VAULT, "c", "i", "a b", &no, NULL), -EINVAL);
    assert_int_equal(azure_point_make(VAULT, NULL, "i", "1", &no, NULL), -EINVAL);
    assert_int_equal(azure_point_set_virtual_machine(p, "/subscriptions/1/x", NULL), -EINVAL);
    assert_string_equal(p->vm_name, "Real");
}

/* ---- the script's assignments ---- */

#define HOST "TargetPortalAddress=\"pod01-rec2.wus2.backup.windowsazure.com\"\n"
#define PORT "TargetPortalPortNumber=\"3260\"\n"
#define TARGET "TargetNodeAddress=\"iqn.2016-01.microsoft.azure.backup:1-2-3.637\"\n"

static ScriptInfo *info_of(const char *text)
{
    ScriptInfo *info = NULL;
    _cleanup_failure_ Failure *f = NULL;

    if (script_info_parse(text, strlen(text), &info, &f) < 0)
        fail_msg("%s", f->message);
    assert_string_equal(info->portal_host, "pod01-rec2.wus2.backup.windowsazure.com");
    assert_int_equal(info->portal_port, 3260);
    assert_string_equal(info->target, "iqn.2016-01.microsoft.azure.backup:1-2-3.637");
    return info;
}

static void test_script(void **state)
{
    static const char *const texts[] = {
        "#!/usr/bin/env python3\n" HOST PORT TARGET,
        /* bash: at the start of the line, numbers without quotes */
        "#!/bin/"
        "bash\nTargetPortalAddress=\"pod01-rec2.wus2.backup.windowsazure.com\"\nTargetPortalPortNumber="
        "3260\n" TARGET,
        "\tTargetPortalAddress = 'pod01-rec2.wus2.backup.windowsazure.com'\r\n   "
        "TargetPortalPortNumber\t=\t3260 # x\r\n" TARGET "\r\n",
        /* an expression, a comparison, a variable and an empty default are no plain assignments */
        "    TargetPortalAddress = \"\"\n    if TargetPortalPortNumber == 17:\n" HOST PORT TARGET
        "    TargetNodeAddress = Name + \".\" + Sequence\n    TargetPortalAddress = Address\n"
        "    TargetPortalPortNumber = int(sys.argv[1])\n    TargetNodeAddress = args[3]",
        HOST PORT "TargetNodeAddress=\"iqn.2016-01.microsoft.azure.backup:1-2-3.637\"",
    };
    _cleanup_(script_info_freep) ScriptInfo *info = NULL;
    size_t i;

    for (i = 0; i < ELEMENTSOF(texts); i++) {
        info = script_info_free(info);
        info = info_of(texts[i]);
        assert_false(info->multi_target);
        assert_null(info->vm);
    }
    info = script_info_free(info);
    info = info_of(HOST PORT TARGET
                   "IsMultiTarget = \"1\"\nVMName=\"iaasvmcontainerv2;rg;vm\"\nMachineName=\"m\"\n");
    assert_true(info->multi_target);
    assert_string_equal(info->vm, "vm");
    assert_string_equal(info->machine_name, "m");
}

static void test_script_refused(void **state)
{
    static const struct {
        const char *text, *message;
    } bad[] = {
        {"", "TargetPortalAddress: expected a host name"},
        {PORT TARGET, "does not say TargetPortalAddress"},
        {HOST TARGET, "does not say TargetPortalPortNumber"},
        {HOST PORT, "does not say TargetNodeAddress"},
        {"TargetPortalAddress=\"10.0.0.1\"\n" PORT TARGET, "TargetPortalAddress=\"10.0.0.1\""},
        {"TargetPortalAddress=\"a;reboot\"\n" PORT TARGET, "TargetPortalAddress=\"a;reboot\""},
        {HOST "TargetPortalPortNumber=0\n" TARGET, "TargetPortalPortNumber=\"0\""},
        {HOST "TargetPortalPortNumber=65536\n" TARGET, "from 1 to 65535"},
        {HOST "TargetPortalPortNumber=99999999999999999999\n" TARGET, "from 1 to 65535"},
        {HOST PORT "TargetNodeAddress=\"iqn.2003-01.org.example:prod\"\n", "begins with iqn.2016-01"},
        {HOST PORT "TargetNodeAddress=\"unfinished\n", "does not say TargetNodeAddress"},
    };
    size_t i;

    for (i = 0; i < ELEMENTSOF(bad); i++) {
        _cleanup_(script_info_freep) ScriptInfo *info = NULL;
        _cleanup_failure_ Failure *f = NULL;

        assert_int_equal(script_info_parse(bad[i].text, strlen(bad[i].text), &info, &f), -EBADMSG);
        assert_int_equal(f->name, FAILURE_SCRIPT_INVALID);
        if (!strstr(f->message, bad[i].message))
            fail_msg("%s: without \"%s\"", f->message, bad[i].message);
    }
}

/* ---- clientScripts ---- */

static void test_choose(void **state)
{
    /* IyEvYmluL3NoCg== is "#!/bin/sh\n" */
    static const struct {
        const char *json;
        FailureName name; /* FAILURE_NAME_MAX: a script */
    } cases[] = {
        {"[{\"osType\":\"Linux\",\"scriptContent\":\"IyEvYmluL3NoCg==\"}]", FAILURE_NAME_MAX},
        {"[{\"osType\":\"linux\",\"scriptContent\":\"IyEv\\r\\nYmluL3NoCg ==\"}]", FAILURE_NAME_MAX},
        {"[{\"OsType\":\"Linux\",\"ScriptContent\":\"#!/bin/sh\\n\",\"url\":null}]", FAILURE_NAME_MAX},
        {"[{\"osType\":\"Windows\",\"scriptContent\":\"QUFB\"},{\"osType\":\"Linux\",\"scriptContent\":"
         "\"IyEvYmluL3NoCg==\"}]",
         FAILURE_NAME_MAX},
        {"[{\"scriptContent\":\"TkE=\"},{\"scriptContent\":\"IyEvYmluL3NoCg==\"}]", FAILURE_NAME_MAX},
        {"[{\"osType\":\"Windows\",\"scriptContent\":\"IyEvYmluL3NoCg==\"}]", FAILURE_WINDOWS_POINT},
        {"[]", FAILURE_NO_SCRIPT},
        {"{}", FAILURE_NO_SCRIPT},
        {"[17,null,\"x\",[]]", FAILURE_NO_SCRIPT},
        {"[{\"osType\":\"Linux\",\"scriptContent\":\"\"}]", FAILURE_NO_SCRIPT},
        {"[{\"osType\":\"Linux\",\"scriptContent\":17}]", FAILURE_NO_SCRIPT},
        {"[{\"osType\":\"Linux\",\"scriptContent\":\"IyEvYmluL3NoCg=\"}]", FAILURE_SCRIPT_INVALID},
        {"[{\"osType\":\"Linux\",\"scriptContent\":\"IyEv=YmluL3NoCg==\"}]", FAILURE_SCRIPT_INVALID},
        {"[{\"osType\":\"Linux\",\"scriptContent\":\"====\"}]", FAILURE_SCRIPT_INVALID},
        {"[{\"osType\":\"Linux\",\"scriptContent\":\"IyEvAGJpbi9zaAo=\"}]",
         FAILURE_SCRIPT_INVALID}, /* a NUL in it */
        {"[{\"osType\":\"Linux\",\"url\":\"https://x/\",\"scriptContent\":\"TkE=\"}]",
         FAILURE_SCRIPT_INVALID},
    };
    size_t i;

    for (i = 0; i < ELEMENTSOF(cases); i++) {
        _cleanup_json_ json_object *o = NULL;
        _cleanup_secret_ Secret *s = NULL;
        _cleanup_failure_ Failure *f = NULL;
        int r;

        assert_int_equal(json_parse(cases[i].json, strlen(cases[i].json), &o), 0);
        r = script_choose(o, &s, &f);
        if ((r == 0) != (cases[i].name == FAILURE_NAME_MAX) || (r < 0 && f->name != cases[i].name))
            fail_msg("%s: %s", cases[i].json, f ? f->message : "accepted");
        if (r == 0)
            assert_string_equal(secret_text(s), "#!/bin/sh\n");
    }
    {
        _cleanup_secret_ Secret *s = NULL;
        _cleanup_failure_ Failure *f = NULL;

        assert_int_equal(script_choose(NULL, &s, &f), -EBADMSG);
        assert_int_equal(f->name, FAILURE_NO_SCRIPT);
    }
}

/* ---- errors ---- */

static void test_error_shapes(void **state)
{
    static const struct {
        const char *json, *code, *message;
        size_t recommendations;
    } cases[] = {
        {"{\"error\":{\"code\":\"C\",\"message\":\"M\",\"recommendations\":[\"a\",\"b\",17]}}", "C", "M", 2},
        {"{\"error\":{\"code\":\"C\",\"message\":\"M\",\"target\":null,\"details\":[{\"code\":\"D\","
         "\"recommendations\":[\"a\"]}]}}",
         "C", "M", 1},
        {"{\"error\":{\"details\":[null,17,{\"code\":\"D\",\"message\":\"N\"}]}}", "D", "N", 0},
        {"{\"Error\":{\"Code\":\"C\",\"Message\":\"M\",\"Recommendations\":[\"a\",\"a\"]}}", "C", "M", 1},
        {"{\"code\":\"C\",\"message\":\"M\"}", "C", "M", 0},
        {"{\"Code\":17,\"Message\":\"M\"}", "17", "M", 0},
        {"{\"status\":\"Failed\",\"error\":{\"code\":\"C\",\"message\":\"two\\r\\n\\tlines \"}}", "C",
         "two lines", 0},
        {"{\"error\":\"invalid_client\",\"error_description\":\"AADSTS1: x\"}", "invalid_client",
         "AADSTS1: x", 0},
        {"{\"error\":{\"code\":{},\"message\":[]}}", NULL, NULL, 0},
        {"{\"error\":null}", NULL, NULL, 0},
        {"[1]", NULL, NULL, 0},
        {"\"x\"", NULL, NULL, 0},
    };
    size_t i;

    for (i = 0; i < ELEMENTSOF(cases); i++) {
        _cleanup_json_ json_object *o = NULL;
        AzureError e = {};

        assert_int_equal(json_parse(cases[i].json, strlen(cases[i].json), &o), 0);
        assert_int_equal(azure_error_read(o, &e), 0);
        if (!streq_ptr(e.code, cases[i].code) || !streq_ptr(e.message, cases[i].message))
            fail_msg("%s: %s, %s", cases[i].json, e.code, e.message);
        assert_int_equal(strv_length(e.recommendations), cases[i].recommendations);
        azure_error_done(&e);
    }
}

static void test_error_cut(void **state)
{
    _cleanup_json_ json_object *o = json_object_new_object();
    char *text = malloc(100001);
    AzureError e = {};
    size_t i;

    for (i = 0; i < 100000; i += 2)
        memcpy(text + i, "ä", 2);
    text[100000] = '\0';
    json_add_string(o, "message", text);
    free(text);
    assert_int_equal(azure_error_read(o, &e), 0);
    assert_in_range(strlen(e.message), 900, 1000);
    assert_int_equal(strlen(e.message) % 2, 0); /* no half character */
    azure_error_done(&e);
}

static void test_retry_after(void **state)
{
    /* Sun, 06 Nov 1994 08:49:37 GMT */
    const uint64_t now = UINT64_C(784111777) * USEC_PER_SEC;
    uint64_t t;

    assert_int_equal(azure_retry_after_parse("60", now, &t), 0);
    assert_true(t == 60 * USEC_PER_SEC);
    assert_int_equal(azure_retry_after_parse(" 0 ", now, &t), 0);
    assert_true(t == 0);
    assert_int_equal(azure_retry_after_parse("99999999999999999999999", now, &t), 0);
    assert_true(t == 24 * USEC_PER_HOUR);
    assert_int_equal(azure_retry_after_parse("Sun, 06 Nov 1994 08:50:37 GMT", now, &t), 0);
    assert_true(t == 60 * USEC_PER_SEC);
    assert_int_equal(azure_retry_after_parse("Sun, 06 Nov 1994 08:00:00 GMT", now, &t), 0);
    assert_true(t == 0);
    assert_int_equal(azure_retry_after_parse("Fri, 31 Dec 2399 23:59:59 GMT", now, &t), 0);
    assert_true(t == 24 * USEC_PER_HOUR);
    assert_int_equal(azure_retry_after_parse("", now, &t), -EINVAL);
    assert_int_equal(azure_retry_after_parse("-1", now, &t), -EINVAL);
    assert_int_equal(azure_retry_after_parse("5 minutes", now, &t), -EINVAL);
    assert_int_equal(azure_retry_after_parse("soon", now, &t), -EINVAL);
}

static void test_operation_id(void **state)
{
    static const struct {
        const char *url, *id;
    } cases[] = {
        {"https://h/a/operationsStatus/0e13115c-aaaa?api-version=1", "0e13115c-aaaa"},
        {"https://h/a/operationsStatus/0e13115c", "0e13115c"},
        {"https://h/a/operationsStatus/?x", NULL},
        {"https://h/a/operationsStatus/..", NULL},
        {"https://h/a/a%2Fb", NULL},
        {"x", NULL},
        {"", NULL},
        {"https://h/0123456789012345678901234567890123456789012345678901234567890123456789", NULL},
    };
    size_t i;

    for (i = 0; i < ELEMENTSOF(cases); i++) {
        _cleanup_free_ char *id = azure_operation_id_of(cases[i].url);

        assert_true(streq_ptr(id, cases[i].id));
    }
}

static void test_same_origin(void **state)
{
    const char *home = "https://management.azure.com";

    assert_true(http_url_same_origin("https://management.azure.com/x?y", home));
    assert_true(http_url_same_origin("HTTPS://Management.Azure.COM:443/x", home));
    assert_false(http_url_same_origin("http://management.azure.com/x", home));
    assert_false(http_url_same_origin("https://management.azure.com:8443/x", home));
    assert_false(http_url_same_origin("https://management.azure.com.evil.example/x", home));
    assert_false(http_url_same_origin("https://management.azure.com@evil.example/x", home));
    assert_false(http_url_same_origin("https://user@management.azure.com/x", home));
    assert_false(http_url_same_origin("https://evil.example/management.azure.com", home));
    assert_false(http_url_same_origin("https://evil.example\\@management.azure.com/", home));
    assert_false(http_url_same_origin("//management.azure.com/x", home));
    assert_false(http_url_same_origin("/x", home));
    assert_false(http_url_same_origin("", home));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_geo),
        cmocka_unit_test(test_same_point),
        cmocka_unit_test(test_point),
        cmocka_unit_test(test_point_refused),
        cmocka_unit_test(test_point_make),
        cmocka_unit_test(test_script),
        cmocka_unit_test(test_script_refused),
        cmocka_unit_test(test_choose),
        cmocka_unit_test(test_error_shapes),
        cmocka_unit_test(test_error_cut),
        cmocka_unit_test(test_retry_after),
        cmocka_unit_test(test_operation_id),
        cmocka_unit_test(test_same_origin),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
