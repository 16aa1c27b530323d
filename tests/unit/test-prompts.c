/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* connection/prompts, system-name, sandbox's pure parts: which question is it, and what is typed. The
 * sentences are made up; the words that decide are in them. */

#include "prompts.h"
#include "sandbox.h"
#include "system-name.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static PromptDecision ask(const char *before, const char *line)
{
    static const PromptSystem system = {.name = "Debian", .version = "12"};
    _cleanup_strv_free_ char **lines = NULL;

    assert_int_equal(strv_split(before, "\n", &lines), 0);
    return prompt_decide(lines, line, &system);
}

static void assert_answer(const char *before, const char *line, const char *answer)
{
    PromptDecision d = ask(before, line);

    if (d.kind != PROMPT_ANSWER || !streq(d.answer, answer))
        fail_msg("\"%s\": kind %d (%s), answer %s instead of %s", line, d.kind, d.name ? d.name : "-",
                 d.answer ? d.answer : "none", answer);
}

static void assert_failure(const char *before, const char *line, const char *answer, FailureName failure)
{
    PromptDecision d = ask(before, line);

    if (d.kind != PROMPT_FAIL || d.failure != failure || !streq_ptr(d.answer, answer))
        fail_msg("\"%s\": kind %d, failure %s", line, d.kind, failure_name_to_string(d.failure));
}

static void test_answers(void **state)
{
    assert_answer("", "Enter the name of the os: ", "Debian");
    assert_answer("Name not recognised.", "Enter OS name: ", "Debian");
    assert_answer("Enter OS name: Debian", "Enter the os version : ", "12");
    assert_answer("You run an unsupported OS.\nUbuntu from 12.04\nDebian from 7",
                  "Press 'Y' to continue, 'N' to stop: ", "Y");
    assert_answer("The VM has large disks. On the same machine this is not recommended.",
                  "'N' to abort, 'Y' to continue: ", "Y");
    assert_answer("Volumes from RAID arrays or LVM:\n1) /dev/sda\nIt may corrupt data.",
                  "Mount the recovery point on this machine? ('Y'/'N') ", "Y");
    assert_answer("A session is already connected to a recovery point.\nWe need to unmount it.",
                  "'Y' or 'N' to abort...", "N");
    assert_answer("Found a disk which has no volumes: /dev/sdb",
                  "'Y' to mount this disk without volume, 'N' not: ", "N");
    assert_answer("Connected.", "Mount LVMs as well? ('Y'/'N') ", "N");
}

static void test_failures(void **state)
{
    assert_failure("The script requires 'lshw' to run\nInstall it on this machine?",
                   "'Y' to continue, 'N' to abort: ", "N", FAILURE_PACKAGES_MISSING);
    assert_failure("python3-pyasyncore is needed (asyncore). Install?", "'Y'/'N': ", "N",
                   FAILURE_PYTHON_UNSUPPORTED);
    assert_failure("No access to 'pod' (outbound), request timed out.",
                   "'N' to abort, 'Y' if you still want to continue: ", "N", FAILURE_PORTAL_UNREACHABLE);
    assert_failure("Required cipher suite is missing.", "'N' to abort, 'Y' to continue: ", "N",
                   FAILURE_CIPHER_MISSING);
    assert_failure("", "Please type the password shown: ", NULL, FAILURE_PASSWORD_WANTED);
}

/* What was found in order must not be taken for the reason of the next question. */
static void test_reports_do_not_mislead(void **state)
{
    assert_answer("You run an unsupported OS.\nChecking whether python3 is installed: DONE",
                  "Press 'Y' to continue, 'N' to stop: ", "Y");
    assert_failure("Checking for network connectivity: DONE\nRequired cipher suite is missing.",
                   "'N' to abort, 'Y' to continue: ", "N", FAILURE_CIPHER_MISSING);
    assert_failure(
        "Checking for large disks: DONE\r\nChecking for LVMs: DONE\nNo access to 'pod' (outbound).",
        "'N' to abort, 'Y' to continue: ", "N", FAILURE_PORTAL_UNREACHABLE);
}

static void test_end_and_unknown(void **state)
{
    assert_int_equal(ask("", "Enter 'q/Q' to exit...").kind, PROMPT_END);
    assert_int_equal(ask("Install it?\npassword", "press Q to QUIT ").kind, PROMPT_END);
    assert_int_equal(ask("", "Please enter 'q").kind, PROMPT_NONE);
    assert_int_equal(ask("", "").kind, PROMPT_NONE);
    assert_int_equal(ask("password:", "   ").kind, PROMPT_NONE);
    assert_int_equal(ask("", "Format /dev/sda? (y/n) ").kind, PROMPT_NONE);
    assert_int_equal(ask("install\ncipher missing", "Downloading... 12%").kind, PROMPT_NONE);
    assert_int_equal(ask("", "Which colour? ").kind, PROMPT_NONE);
}

static void test_ends(void **state)
{
    static const struct {
        const char *line;
        FailureName failure;
    } cases[] = {
        {"The vault has a Private Endpoint, run this in its network.", FAILURE_TARGET_BLOCKED},
        {"The target is still not ready. Try later.", FAILURE_TARGET_NOT_READY},
        {"ModuleNotFoundError: No module named 'asyncore'", FAILURE_PYTHON_UNSUPPORTED},
        {"The password is invalid, or disks were unmounted.", FAILURE_LOGIN_REJECTED},
        {"initiator failed authorization", FAILURE_LOGIN_REJECTED},
        {"Please install lshw first.", FAILURE_PACKAGES_MISSING},
        {"iscsid is not running", FAILURE_DISCOVERY_FAILED},
        {"Unable to access the vault, check proxy and firewall", FAILURE_PORTAL_UNREACHABLE},
        {"OpenSSL with TLS 1.2 ciphers is missing", FAILURE_CIPHER_MISSING},
        {"Traceback (most recent call last):", FAILURE_NAME_INVALID},
    };
    size_t i;

    for (i = 0; i < ELEMENTSOF(cases); i++) {
        char *lines[] = {(char *)"Connecting...", (char *)cases[i].line, NULL};

        if (prompt_failure(lines) != cases[i].failure)
            fail_msg("\"%s\": %s", cases[i].line, failure_name_to_string(prompt_failure(lines)));
    }
    assert_int_equal(prompt_failure(NULL), FAILURE_NAME_INVALID);
}

static void test_long_text(void **state)
{
    _cleanup_strv_free_ char **lines = NULL;
    _cleanup_free_ char *line = malloc(100001);
    const PromptSystem system = {.name = "Debian", .version = "12"};
    size_t i;

    assert_non_null(line);
    memset(line, 'y', 100000);
    line[100000] = '\0';
    for (i = 0; i < 200; i++)
        assert_int_equal(strv_extendf(&lines, "line %zu \xff\x01", i), 0);
    assert_int_equal(prompt_decide(lines, line, &system).kind, PROMPT_NONE);
    assert_int_equal(prompt_failure(lines), FAILURE_NAME_INVALID);
}

static void assert_system(const char *text, const char *name, const char *version)
{
    SystemName s;

    system_name_parse(text, &s);
    assert_string_equal(s.name, name);
    assert_string_equal(s.version, version);
}

static void test_system_name(void **state)
{
    assert_system("PRETTY_NAME=\"x\"\nVERSION_ID=\"12\"\nID=debian\n", "Debian", "12");
    assert_system("ID=ubuntu\nID_LIKE=debian\nVERSION_ID=\"22.04\"\n", "Ubuntu", "22.04");
    assert_system("ID=\"rocky\"\nID_LIKE=\"rhel centos fedora\"\nVERSION_ID='9.3'\n", "RHEL", "9.3");
    assert_system("ID=\"centos\"\nVERSION_ID=\"7\"", "CentOS", "7");
    assert_system("ID=ol\nID_LIKE=fedora\nVERSION_ID=8.8\n", "Oracle", "8.8");
    assert_system("ID=sles\nVERSION_ID=15.5\n", "SLES", "15.5");
    assert_system("ID=opensuse-leap\nID_LIKE=\"suse opensuse\"\nVERSION_ID=15.5\n", "OpenSUSE", "15.5");
    assert_system("ID=mint\nID_LIKE=\"ubuntu debian\"\nVERSION_ID=\"21.2.1\"\n", "Ubuntu", "21.2");
    assert_system("ID=debian\nVERSION_CODENAME=sid\n", "Debian", "12");
    assert_system("ID=arch\n", "Debian", "12");
    assert_system("", "Debian", "12");
    assert_system("ID=\nVERSION_ID=x\nID=debian", "Debian", "12");
}

static void test_interpreter(void **state)
{
    static const struct {
        const char *text, *interpreter;
    } cases[] = {
        {"#!/bin/bash\n", "bash"},
        {"#!/bin/sh\r\n", "bash"},
        {"#!/usr/bin/env python\n", "python3"},
        {"#!/usr/bin/python2.7\r\n", "python3"},
        {"import os\n", "python3"},
        {"\xef\xbb\xbf#!/bin/bash\n", "bash"},
        {"#", "python3"},
        {"", "python3"},
    };
    size_t i;

    for (i = 0; i < ELEMENTSOF(cases); i++)
        assert_string_equal(sandbox_interpreter(cases[i].text, strlen(cases[i].text)), cases[i].interpreter);
}

static void test_hosts(void **state)
{
    char *addresses[] = {(char *)"203.0.113.7", (char *)"2001:db8::7", NULL};
    SandboxOptions o = {.session = "abcd2345", .portal_host = "pod.example", .portal_addresses = addresses};
    _cleanup_free_ char *text = sandbox_hosts(&o), *bare = NULL;

    assert_string_equal(text, "127.0.0.1 localhost ilr-abcd2345\n::1 localhost\n203.0.113.7 pod.example\n"
                              "2001:db8::7 pod.example\n");
    o.portal_host = NULL;
    bare = sandbox_hosts(&o);
    assert_string_equal(bare, "127.0.0.1 localhost ilr-abcd2345\n::1 localhost\n");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_answers),
        cmocka_unit_test(test_failures),
        cmocka_unit_test(test_reports_do_not_mislead),
        cmocka_unit_test(test_end_and_unknown),
        cmocka_unit_test(test_ends),
        cmocka_unit_test(test_long_text),
        cmocka_unit_test(test_system_name),
        cmocka_unit_test(test_interpreter),
        cmocka_unit_test(test_hosts),
    };

    return cmocka_run_group_tests_name("prompts", tests, NULL, NULL);
}
