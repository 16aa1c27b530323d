/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* lib/: what is made of foreign text: JSON, frames, times, names, failures. */

#include "failure.h"
#include "framing.h"
#include "json.h"
#include "log.h"
#include "timeutil.h"
#include "validate.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <sys/socket.h>

#include <cmocka.h>

static int parse(const char *text)
{
    json_object *o = NULL;
    int r = json_parse(text, strlen(text), &o);

    json_object_put(o);
    return r;
}

static void test_json_parse(void **state)
{
    char deep[2 * JSON_DEPTH_MAX + 16] = "";
    _cleanup_free_ char *wide = NULL;
    size_t i;

    assert_int_equal(parse("{\"a\":[1,2,{\"b\":null}]}\r\n"), 0);
    assert_int_equal(parse("17"), 0);
    assert_int_equal(parse(""), -EBADMSG);
    assert_int_equal(parse("{"), -EBADMSG);
    assert_int_equal(parse("{} x"), -EBADMSG);
    assert_int_equal(parse("{}{}"), -EBADMSG);
    assert_int_equal(parse("{'a':1}"), -EBADMSG);
    assert_int_equal(parse("<html>"), -EBADMSG);
    assert_int_equal(parse("{\"a\":\"\xff\"}"), -EBADMSG);
    assert_int_equal(json_parse("{}\0", 3, &(json_object *){NULL}), -EBADMSG);
    for (i = 0; i < JSON_DEPTH_MAX + 2; i++)
        strcat(deep, "[");
    assert_int_equal(parse(deep), -E2BIG);
    /* A few bytes of text, hundreds of memory. */
    wide = malloc(3 * (JSON_PARTS_MAX + 1) + 1);
    assert_non_null(wide);
    wide[0] = '[';
    for (i = 0; i < JSON_PARTS_MAX; i++)
        memcpy(wide + 1 + 3 * i, "{},", 3);
    strcpy(wide + 3 * i, "]");
    assert_int_equal(parse(wide), -E2BIG);
    strcpy(wide + 3 * (i - 1), "]");
    assert_int_equal(parse(wide), 0);
    assert_int_equal(parse("[\"{{{[[[\"]"), 0);
}

/* What is written can be read, whatever somebody called his process or his disk. */
static void test_json_of_bytes(void **state)
{
    static const char *const texts[][2] = {
        {"caf\xc3\xa9 \xf0\x9f\x92\xbe", "caf\xc3\xa9 \xf0\x9f\x92\xbe"},
        {"a\xff", "a?"},
        {"\xc3", "?"},
        {"\xc3(\x80\xc3\xa9", "?(?\xc3\xa9"},
        {"\xed\xa0\x80", "???"},
    };
    size_t i;

    for (i = 0; i < ELEMENTSOF(texts); i++) {
        _cleanup_json_ json_object *o = json_object_new_object(), *again = NULL;
        const char *s = NULL;
        json_object *list;

        assert_int_equal(json_add_string(o, "a", texts[i][0]), 0);
        assert_int_equal(json_add_strv(o, "b", (char *[]){(char *)texts[i][0], NULL}), 0);
        assert_int_equal(json_parse(json_text(o), strlen(json_text(o)), &again), 0);
        assert_int_equal(json_get_string(again, "a", &s), 1);
        assert_string_equal(s, texts[i][1]);
        assert_int_equal(json_get_array(again, "b", &list), 1);
        assert_string_equal(json_object_get_string(json_object_array_get_idx(list, 0)), texts[i][1]);
    }
}

static void test_json_types_are_not_coerced(void **state)
{
    static const char text[] = "{\"s\":\"1\",\"i\":1,\"n\":null,\"z\":\"a\\u0000b\",\"o\":{},\"B\":true}";
    static const char *const known[] = {"s", "i", "n", "z", "o", NULL};
    const char *s = "untouched";
    json_object *o, *sub;
    int64_t i = 7;
    bool b;

    assert_int_equal(json_parse(text, strlen(text), &o), 0);
    assert_int_equal(json_get_string(o, "s", &s), 1);
    assert_string_equal(s, "1");
    assert_int_equal(json_get_int64(o, "s", &i), -EINVAL);
    assert_int_equal(json_get_string(o, "i", &s), -EINVAL);
    assert_int_equal(json_get_string(o, "n", &s), 0);
    assert_int_equal(json_get_string(o, "absent", &s), 0);
    assert_int_equal(json_get_string(o, "z", &s), -EINVAL);
    assert_int_equal(json_get_object(o, "o", &sub), 1);
    assert_int_equal(json_get_array(o, "o", &sub), -EINVAL);
    assert_int_equal(json_get_bool(o, "i", &b), -EINVAL);
    assert_int_equal(json_get_int64(NULL, "i", &i), -EINVAL);
    assert_int_equal(i, 7);
    assert_non_null(json_get_nocase(o, "b"));
    assert_string_equal(json_unknown_key(o, known), "B");
    json_object_put(o);
}

static void test_framing(void **state)
{
    const char *text;
    size_t size;
    Framing f;
    int fds[2];

    framing_init(&f, 10);
    assert_int_equal(framing_feed(&f, "ab", 2), 0);
    assert_int_equal(framing_next(&f, &text, &size), 0);
    assert_int_equal(framing_feed(&f, "c\0de\0", 5), 0);
    assert_int_equal(framing_next(&f, &text, &size), 1);
    assert_string_equal(text, "abc");
    assert_int_equal(framing_next(&f, &text, &size), 1);
    assert_string_equal(text, "de");
    assert_int_equal(size, 2);
    assert_int_equal(framing_next(&f, &text, &size), 0);
    assert_int_equal(framing_feed(&f, "0123456789", 10), 0); /* exactly max */
    assert_int_equal(framing_next(&f, &text, &size), 0);
    assert_int_equal(framing_feed(&f, "0", 1), 0);
    assert_int_equal(framing_next(&f, &text, &size), -EMSGSIZE);
    assert_int_equal(framing_feed(&f, "0", 1), -EMSGSIZE);
    framing_done(&f);

    framing_init(&f, 100);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
    assert_int_equal(framing_write(fds[0], "{\"x\":1}"), 0);
    assert_int_equal(framing_read(&f, fds[1]), 8);
    assert_int_equal(framing_next(&f, &text, &size), 1);
    assert_string_equal(text, "{\"x\":1}");
    close(fds[0]);
    assert_int_equal(framing_read(&f, fds[1]), 0);
    assert_int_equal(framing_write(fds[1], "x"), -EPIPE);
    close(fds[1]);
    framing_done(&f);
}

/* From a socket, as from elsewhere: one byte more than the longest message is read, never more. */
static void test_framing_read(void **state)
{
    char bytes[64];
    int pair[2];
    Framing f;

    memset(bytes, 'x', sizeof(bytes));
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
    assert_int_equal(write(pair[0], bytes, sizeof(bytes)), sizeof(bytes));
    framing_init(&f, 10);
    assert_int_equal(framing_read(&f, pair[1]), 11);
    assert_int_equal(framing_read(&f, pair[1]), -EMSGSIZE);
    assert_int_equal(f.used, 11);
    framing_done(&f);
    close(pair[0]);
    close(pair[1]);
}

static void test_timespan(void **state)
{
    static const struct {
        const char *text;
        uint64_t usec;
        int r;
    } cases[] = {
        {"90", 90 * USEC_PER_SEC, 0},
        {"500ms", 500 * USEC_PER_MSEC, 0},
        {"1h 30min", 90 * USEC_PER_MINUTE, 0},
        {" 5 min ", 5 * USEC_PER_MINUTE, 0},
        {"", 0, -EINVAL},
        {"5 lightyears", 0, -EINVAL},
        {"-5", 0, -EINVAL},
        {"99999999999999999999", 0, -ERANGE},
        {"400d", 0, -ERANGE},
        {"18446744073709552ms", 0, -ERANGE}, /* 384 us, were it not for the overflow */
        {"200d 200d", 0, -ERANGE},
    };
    size_t i;

    for (i = 0; i < ELEMENTSOF(cases); i++) {
        uint64_t usec = 0;

        assert_int_equal(timespan_parse(cases[i].text, &usec), cases[i].r);
        if (cases[i].r == 0)
            assert_int_equal(usec, cases[i].usec);
    }
}

static void test_timestamp(void **state)
{
    static const struct {
        const char *text;
        uint64_t usec;
        int r;
    } cases[] = {
        {"1970-01-01T00:00:01Z", USEC_PER_SEC, 0},
        {"2022-02-24T21:31:07.3906534Z", 1645738267390653, 0},
        {"2022-02-24T21:31:07", 1645738267000000, 0},
        {"2022-02-24T22:31:07+01:00", 1645738267000000, 0},
        {"0001-01-01T00:00:00", 0, -ERANGE}, /* "not yet" of a running operation */
        {"2022-13-01T00:00:00Z", 0, -EINVAL},
        {"2022-02-24", 0, -EINVAL},
        {"2022-02-24T21:31:07.Z", 0, -EINVAL},
        {"2022-02-24T21:31:07Zx", 0, -EINVAL},
        {"", 0, -EINVAL},
    };
    char buf[TIMESTAMP_MAX];
    size_t i;

    for (i = 0; i < ELEMENTSOF(cases); i++) {
        uint64_t usec = 0;

        assert_int_equal(timestamp_parse(cases[i].text, &usec), cases[i].r);
        if (cases[i].r == 0)
            assert_int_equal(usec, cases[i].usec);
    }
    assert_string_equal(timestamp_format(1645738267390653, buf), "2022-02-24T21:31:07Z");
}

static void test_names(void **state)
{
    char id[SESSION_ID_LENGTH + 1], name[ISCSI_NAME_MAX + 2];

    session_id_make(id);
    assert_true(session_id_valid(id));
    assert_false(session_id_valid("abcdefg"));
    assert_false(session_id_valid("abcdefghi"));
    assert_false(session_id_valid("abcdef/."));
    assert_false(session_id_valid("ABCDEFGH"));
    assert_false(session_id_valid(NULL));

    assert_true(iscsi_name_valid("iqn.1993-08.org.debian:01:abc"));
    assert_false(iscsi_name_valid("iqn."));
    assert_false(iscsi_name_valid("iqn.1993-08.org.debian:01:abc\n"));
    assert_false(iscsi_name_valid("IQN.1993-08.org.debian:01"));
    memset(name, 'a', sizeof(name) - 1);
    memcpy(name, "iqn.", 4);
    name[sizeof(name) - 1] = '\0';
    assert_false(iscsi_name_valid(name));

    assert_true(target_name_valid(TARGET_PREFIX "123-456-789.637813387693329644"));
    assert_false(target_name_valid(TARGET_PREFIX));
    assert_false(target_name_valid("iqn.2001-05.com.production:lun1"));
    assert_false(target_name_valid(TARGET_PREFIX "a b"));

    assert_int_equal(portal_parse_local("127.0.0.1:5365"), 5365);
    assert_int_equal(portal_parse_local("127.0.0.1:22"), -EINVAL);
    assert_int_equal(portal_parse_local("127.0.0.1:05365"), -EINVAL);
    assert_int_equal(portal_parse_local("127.0.0.1:65536"), -EINVAL);
    assert_int_equal(portal_parse_local("127.0.0.1:5365,1"), -EINVAL);
    assert_int_equal(portal_parse_local("10.0.0.1:3260"), -EINVAL);
    assert_int_equal(portal_parse_local(NULL), -EINVAL);

    assert_true(host_name_valid("pod01-rec2.wus2.backup.windowsazure.com"));
    assert_false(host_name_valid("10.0.0.1"));
    assert_false(host_name_valid("-a.example"));
    assert_false(host_name_valid("a-.example"));
    assert_false(host_name_valid("a..b"));
    assert_false(host_name_valid("a."));
    assert_false(host_name_valid("a/b"));
    assert_false(host_name_valid(""));

    assert_true(address_valid("10.99.0.2"));
    assert_true(address_valid("fd00::1"));
    assert_false(address_valid("0.0.0.0"));
    assert_false(address_valid("0.0.0.0/0"));
    assert_false(address_valid("224.0.0.1"));
    assert_false(address_valid("255.255.255.255"));
    assert_false(address_valid("::"));
    assert_false(address_valid("any"));
}

/* Every name has its text, goes through JSON and back, and has a class with an exit code of its own. */
static void test_failures(void **state)
{
    int i, j;

    for (i = 0; i < FAILURE_NAME_MAX; i++) {
        _cleanup_failure_ Failure *f = failure_new(i, "number %d", i), *copy = NULL;

        assert_non_null(failure_name_to_string(i));
        assert_int_equal(failure_name_from_string(failure_name_to_string(i)), i);
        assert_true(strlen(failure_name_hint(i)) > 10);
        assert_int_equal(strv_extend(&f->lines, "last line"), 0);
        f->code = strdup("24");
        copy = failure_copy(f);
        assert_non_null(copy);
        assert_int_equal(copy->name, i);
        assert_string_equal(copy->message, f->message);
        assert_string_equal(copy->code, "24");
        assert_string_equal(copy->lines[0], "last line");
        assert_string_equal(failure_hint(copy), failure_name_hint(i));
    }
    for (i = 0; i < FAILURE_CLASS_MAX; i++) {
        assert_int_equal(failure_class_from_string(failure_class_to_string(i)), i);
        for (j = 0; j < i; j++)
            assert_int_not_equal(failure_class_exit_code(i), failure_class_exit_code(j));
    }
    assert_int_equal(failure_name_from_string("Nonsense"), FAILURE_NAME_INVALID);
}

static void test_failure_from_hostile_json(void **state)
{
    static const char *const texts[] = {
        "{}",
        "{\"name\":7,\"message\":[],\"lines\":{},\"recommendations\":[1,null,\"x\"],\"holders\":\"y\"}",
        "{\"name\":\"Nonsense\"}",
    };
    size_t i;

    for (i = 0; i < ELEMENTSOF(texts); i++) {
        _cleanup_json_ json_object *o = NULL;
        _cleanup_failure_ Failure *f = NULL;

        assert_int_equal(json_parse(texts[i], strlen(texts[i]), &o), 0);
        assert_int_equal(failure_from_json(o, &f), 0);
        assert_int_equal(f->name, FAILURE_INTERNAL);
    }
    assert_int_equal(failure_from_json(NULL, &(Failure *){NULL}), -EINVAL);
}

/* What somebody called his machine is told, and nothing of it is obeyed. */
static void test_log_is_one_line(void **state)
{
    char buf[256] = "";
    int p[2], saved = dup(STDERR_FILENO);
    ssize_t n;

    assert_true(saved >= 0 && pipe2(p, O_CLOEXEC) >= 0);
    log_open("test", LOG_INFO);
    assert_true(dup2(p[1], STDERR_FILENO) >= 0);
    log_full(LOG_ERR, "abcd1234", "a%sb caf%s",
             "\n\x1b[2J\xc2\x9b"
             "31m\x7f\r",
             "\xc3\xa9");
    assert_true(dup2(saved, STDERR_FILENO) >= 0);
    n = read(p[0], buf, sizeof(buf) - 1);
    assert_true(n > 0);
    assert_string_equal(buf, "test: abcd1234: a??[2J??31m??b caf\xc3\xa9\n");
    close(p[0]);
    close(p[1]);
    close(saved);
}

/* Cut between characters, and nothing of it is obeyed. */
static void test_failure_is_cleaned(void **state)
{
    _cleanup_failure_ Failure *f = failure_new(FAILURE_BUSY, "%01023d\xc3\xa9 and more", 0);
    size_t i;

    f->hint = strdup("a\x1b[2J\xc2\x9b"
                     "31m\n");
    failure_clean(f);
    assert_int_equal(strlen(f->message), 1023);
    for (i = 0; f->message[i]; i++)
        assert_int_equal(f->message[i], '0');
    assert_string_equal(f->hint, "a [2J  31m ");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_framing_read),
        cmocka_unit_test(test_json_parse),
        cmocka_unit_test(test_json_of_bytes),
        cmocka_unit_test(test_log_is_one_line),
        cmocka_unit_test(test_failure_is_cleaned),
        cmocka_unit_test(test_json_types_are_not_coerced),
        cmocka_unit_test(test_framing),
        cmocka_unit_test(test_timespan),
        cmocka_unit_test(test_timestamp),
        cmocka_unit_test(test_names),
        cmocka_unit_test(test_failures),
        cmocka_unit_test(test_failure_from_hostile_json),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
