/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* connection/iscsi-words: the stand-in's command line, configuration and output. */

#include "iscsi-words.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#include "strv.h"

#define NAME "iqn.2016-01.microsoft.azure.backup:1-2.3"

static int parse(const char *line, IscsiCommand *ret, char ***ret_argv)
{
    assert_int_equal(strv_split(line, " ", ret_argv), 0);
    return iscsi_command_parse((int)strv_length(*ret_argv), *ret_argv, ret);
}

static void test_forms(void **state)
{
    static const struct {
        const char *line;
        IscsiForm form;
        const char *portal, *target;
    } cases[] = {
        {"iscsiadm -m session", ISCSI_SESSION, NULL, NULL},
        {"iscsiadm --mode=session -o show", ISCSI_SESSION, NULL, NULL},
        {"iscsiadm -m discovery -t sendtargets -p 127.0.0.1:5365", ISCSI_DISCOVER, "127.0.0.1:5365", NULL},
        {"iscsiadm -m discovery -t st -p127.0.0.1:5365 -D", ISCSI_DISCOVER, "127.0.0.1:5365", NULL},
        {"iscsiadm --mode discovery --type sendtargets --portal 127.0.0.1:5365", ISCSI_DISCOVER,
         "127.0.0.1:5365", NULL},
        {"iscsiadm -m discoverydb -t st -p 127.0.0.1:5365 --discover", ISCSI_DISCOVER, "127.0.0.1:5365",
         NULL},
        {"iscsiadm -m node -T " NAME " -p 127.0.0.1:5365 --login", ISCSI_LOGIN, "127.0.0.1:5365", NAME},
        {"iscsiadm -m node --targetname=" NAME " --portal=127.0.0.1:5365 -l", ISCSI_LOGIN, "127.0.0.1:5365",
         NAME},
        {"iscsiadm -m node -T " NAME " -p 127.0.0.1:5365 --op=login", ISCSI_LOGIN, "127.0.0.1:5365", NAME},
        {"iscsiadm -m node -T " NAME " --logout", ISCSI_LOGOUT, NULL, NAME},
        {"iscsiadm -u -m node -T " NAME " -p 127.0.0.1:3260", ISCSI_LOGOUT, "127.0.0.1:3260", NAME},
    };
    size_t i;

    for (i = 0; i < ELEMENTSOF(cases); i++) {
        _cleanup_strv_free_ char **v = NULL;
        IscsiCommand c;

        if (parse(cases[i].line, &c, &v) != 0)
            fail_msg("refused: %s", cases[i].line);
        assert_int_equal(c.form, cases[i].form);
        assert_true(streq_ptr(c.portal, cases[i].portal));
        assert_true(streq_ptr(c.target, cases[i].target));
    }
}

static void test_refused(void **state)
{
    static const char *const cases[] = {
        "iscsiadm",
        "iscsiadm -m",
        "iscsiadm -m node",
        "iscsiadm -m session -u",
        "iscsiadm -m session -r 3 -u",
        "iscsiadm -m node -l",
        "iscsiadm -m node -T " NAME " --login",
        "iscsiadm -m node -T " NAME " -p 127.0.0.1:5365",
        "iscsiadm -m node -T " NAME " -p 127.0.0.1:5365 --login --logout",
        "iscsiadm -m node -T " NAME " -T " NAME " -p 127.0.0.1:5365 --login",
        "iscsiadm -m node -T " NAME " -o update -n node.startup -v automatic",
        "iscsiadm -m node -T " NAME " -o delete",
        "iscsiadm -m discovery -t isns -p 127.0.0.1:5365",
        "iscsiadm -m discovery -t st",
        "iscsiadm -m iface",
        "iscsiadm -m fw -l",
        "iscsiadm --killiscsid=9",
        "iscsiadm -m node -T -p 127.0.0.1:5365 --login extra",
        "iscsiadm -m session extra",
    };
    size_t i;

    for (i = 0; i < ELEMENTSOF(cases); i++) {
        _cleanup_strv_free_ char **v = NULL;
        IscsiCommand c;

        if (parse(cases[i], &c, &v) != -EINVAL)
            fail_msg("accepted: %s", cases[i]);
    }
}

static void test_chap(void **state)
{
    static const char conf[] = "# node.session.auth.authmethod = CHAP\n"
                               "discovery.sendtargets.auth.authmethod = CHAP\r\n"
                               "discovery.sendtargets.auth.username = Debian;12;u\r\n"
                               "discovery.sendtargets.auth.password = a = b \n"
                               "discovery.sendtargets.auth.username_in = no\n"
                               "  node.session.auth.authmethod=CHAP\n"
                               "node.session.auth.username=first\n"
                               "node.session.auth.password=p\n"
                               "node.session.auth.username=second";
    IscsiChap c = {};

    assert_int_equal(iscsi_chap_parse(conf, "discovery.sendtargets", &c), 1);
    assert_string_equal(c.username, "Debian;12;u");
    assert_string_equal(c.password, "a = b");
    iscsi_chap_done(&c);
    assert_int_equal(iscsi_chap_parse(conf, "node.session", &c), 1);
    assert_string_equal(c.username, "second");
    iscsi_chap_done(&c);
    assert_int_equal(
        iscsi_chap_parse("node.session.auth.username=a\nnode.session.auth.password=b", "node.session", &c),
        0);
    assert_int_equal(iscsi_chap_parse("node.session.auth.authmethod = CHAP\nnode.session.auth.username=a",
                                      "node.session", &c),
                     0);
    assert_int_equal(iscsi_chap_parse("node.session.auth.authmethod = None\nnode.session.auth.username=a\n"
                                      "node.session.auth.password=b",
                                      "node.session", &c),
                     0);
    assert_int_equal(iscsi_chap_parse("", "node.session", &c), 0);
}

typedef struct Printed {
    char *out, *err;
    int status;
} Printed;

static void print(const IscsiCommand *c, const char *answer, Printed *ret)
{
    _cleanup_json_ json_object *o = NULL;
    size_t a, b;
    FILE *out, *err;

    if (answer)
        assert_int_equal(json_parse(answer, strlen(answer), &o), 0);
    out = open_memstream(&ret->out, &a);
    err = open_memstream(&ret->err, &b);
    assert_true(out && err);
    ret->status = iscsi_answer_print(c, o, out, err);
    fclose(out);
    fclose(err);
}

static void assert_printed(const IscsiCommand *c, const char *answer, int status, const char *out,
                           const char *err)
{
    Printed p;

    print(c, answer, &p);
    assert_int_equal(p.status, status);
    assert_string_equal(p.out, out);
    assert_string_equal(p.err, err);
    free(p.out);
    free(p.err);
}

/* These are the words that scripts look for. */
static void test_output(void **state)
{
    const IscsiCommand session = {.form = ISCSI_SESSION};
    const IscsiCommand discover = {.form = ISCSI_DISCOVER, .portal = "127.0.0.1:5365"};
    const IscsiCommand login = {.form = ISCSI_LOGIN, .portal = "127.0.0.1:5365", .target = NAME};
    const IscsiCommand logout = {.form = ISCSI_LOGOUT, .target = NAME};

    assert_printed(&session, "{\"sessions\":[]}", 21, "", "iscsiadm: No active sessions.\n");
    assert_printed(
        &session, "{\"sessions\":[{\"name\":\"" NAME "\",\"portal\":\"127.0.0.1:5365\",\"iscsiSession\":4}]}",
        0, "tcp: [4] 127.0.0.1:5365,-1 " NAME " (non-flash)\n", "");
    assert_printed(&discover,
                   "{\"targets\":[{\"name\":\"" NAME "\",\"portal\":\"127.0.0.1:5365\",\"tpgt\":-1}]}", 0,
                   "127.0.0.1:5365,-1 " NAME "\n", "");
    assert_printed(
        &discover, "{\"targets\":[]}", 21, "",
        "iscsiadm: No portals found\niscsiadm: Could not perform SendTargets discovery: no records found\n");
    assert_printed(&login, "{\"iscsiSession\":4}", 0,
                   "Logging in to [iface: default, target: " NAME ", portal: 127.0.0.1,5365]\n"
                   "Login to [iface: default, target: " NAME ", portal: 127.0.0.1,5365] successful.\n",
                   "");
    assert_printed(
        &login, "{\"error\":24}", 24,
        "Logging in to [iface: default, target: " NAME ", portal: 127.0.0.1,5365]\n",
        "iscsiadm: Could not login to [iface: default, target: " NAME ", portal: 127.0.0.1,5365].\n"
        "iscsiadm: initiator reported error (24 - iSCSI login failed due to authorization failure)\n"
        "iscsiadm: Could not log into all portals\n");
    assert_printed(&login, "{\"error\":15}", 15, "",
                   "iscsiadm: default: 1 session requested, but 1 already present.\n"
                   "iscsiadm: Could not log into all portals\n");
    assert_printed(&logout, "{\"iscsiSession\":4,\"portal\":\"127.0.0.1:5365\"}", 0,
                   "Logging out of session [sid: 4, target: " NAME ", portal: 127.0.0.1,5365]\n"
                   "Logout of [sid: 4, target: " NAME ", portal: 127.0.0.1,5365] successful.\n",
                   "");
    assert_printed(&logout, "{\"error\":21}", 21, "", "iscsiadm: No matching sessions found\n");
}

/* Whatever the answer is, the script must not read success out of a failure. */
static void test_bad_answers(void **state)
{
    static const char *const answers[] = {
        NULL, "[]", "{\"error\":\"x\"}", "{\"error\":0}", "{\"error\":99999}", "{\"error\":-1}"};
    const IscsiCommand login = {.form = ISCSI_LOGIN, .portal = "127.0.0.1:5365", .target = NAME};
    const IscsiCommand discover = {.form = ISCSI_DISCOVER, .portal = "127.0.0.1:5365"};
    size_t i;

    for (i = 0; i < ELEMENTSOF(answers); i++) {
        Printed p;

        print(&login, answers[i], &p);
        assert_true(p.status != 0);
        assert_null(strstr(p.out, "successful"));
        free(p.out);
        free(p.err);
    }
    assert_printed(
        &discover, "{\"targets\":[1,{\"name\":3},{}]}", 21, "",
        "iscsiadm: No portals found\niscsiadm: Could not perform SendTargets discovery: no records found\n");
}

static void test_request(void **state)
{
    const IscsiCommand login = {.form = ISCSI_LOGIN, .portal = "127.0.0.1:5365", .target = NAME};
    const IscsiCommand logout = {.form = ISCSI_LOGOUT, .portal = "127.0.0.1:5365", .target = NAME};
    const IscsiChap chap = {.username = (char *)"u", .password = (char *)"p"};
    _cleanup_json_ json_object *a = iscsi_request_make(&login, &chap), *b = iscsi_request_make(&logout, NULL);

    assert_string_equal(json_text(a), "{\"verb\":\"login\",\"portal\":\"127.0.0.1:5365\",\"target\":\"" NAME
                                      "\",\"chap\":{\"username\":\"u\",\"password\":\"p\"}}");
    assert_string_equal(json_text(b), "{\"verb\":\"logout\",\"target\":\"" NAME "\"}");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_forms),  cmocka_unit_test(test_refused),     cmocka_unit_test(test_chap),
        cmocka_unit_test(test_output), cmocka_unit_test(test_bad_answers), cmocka_unit_test(test_request),
    };

    return cmocka_run_group_tests_name("iscsi-words", tests, NULL, NULL);
}
