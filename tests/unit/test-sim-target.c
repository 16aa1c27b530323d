/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* What stands behind the simulator's recovery points: iSCSI on its way through the portal, target names, the
 * text of the connection script. */

#include "iscsi-filter.h"
#include "portal.h"
#include "script.h"
#include "target.h"
#include "validate.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#define NAME "iqn.2016-01.microsoft.azure.backup:1-2-3-4-0.637813387693329644"

typedef struct Given {
    char *names[70]; /* what discovery is to answer */
    char user[64], initiator[64];
} Given;

static int given_targets(void *userdata, const char *user, const char *initiator, char ***ret)
{
    Given *g = userdata;

    snprintf(g->user, sizeof(g->user), "%s", user);
    snprintf(g->initiator, sizeof(g->initiator), "%s", initiator);
    return strv_copy(g->names, ret);
}

/* A PDU with that opcode, flags and data. Returns its size. */
static size_t pdu(char *buf, int opcode, int flags, const char *data, size_t size)
{
    size_t padded = (size + 3) & ~(size_t)3;

    memset(buf, 0, 48 + padded);
    buf[0] = (char)opcode;
    buf[1] = (char)flags;
    buf[5] = (char)(size >> 16);
    buf[6] = (char)(size >> 8);
    buf[7] = (char)size;
    memcpy(buf + 16, "\1\2\3\4", 4);  /* initiator task tag */
    memcpy(buf + 24, "\0\0\0\11", 4); /* StatSN */
    memcpy(buf + 48, data, size);
    return 48 + padded;
}

#define TEXT(s) (s), sizeof(s) - 1 /* with NUL bytes inside */

#define LOGIN_TEXT(type, user)                                                                               \
    TEXT("InitiatorName=iqn.2005-03.org.example:me\0SessionType=" type "\0CHAP_N=" user "\0CHAP_R=0x12\0")

static void feed(IscsiFilter *f, IscsiDirection d, const char *bytes, size_t size, Bytes *out)
{
    assert_int_equal(iscsi_filter_feed(f, d, bytes, size, out), 0);
}

/* Brings a filter through the login of a session. */
static void log_in(IscsiFilter *f, bool discovery)
{
    char buf[1024];
    _cleanup_(bytes_done) Bytes out = {};
    size_t n = discovery ? pdu(buf, 0x43, 0x87, LOGIN_TEXT("Discovery", "Debian;12;77-aa"))
                         : pdu(buf, 0x43, 0x87, LOGIN_TEXT("Normal", "Debian;12;77-aa"));

    feed(f, ISCSI_TO_TARGET, buf, n, &out);
    n = pdu(buf, 0x23, 0x87, "", 0);
    feed(f, ISCSI_TO_CLIENT, buf, n, &out);
}

static void test_chap_name(void **state)
{
    static const char expected[] = "InitiatorName=iqn.2005-03.org.example:me\0SessionType=Normal\0"
                                   "CHAP_N=77-aa\0CHAP_R=0x12\0";
    char buf[1024];
    size_t n = pdu(buf, 0x43, 0x81, LOGIN_TEXT("Normal", "Debian;12;77-aa")), length = sizeof(expected) - 1,
           i;

    /* At once, and byte by byte. */
    for (size_t step = n; step > 0; step = step == n ? 1 : 0) {
        _cleanup_(bytes_done) Bytes out = {};
        IscsiFilter f;

        iscsi_filter_init(&f, given_targets, NULL, NULL);
        for (i = 0; i < n; i += step)
            feed(&f, ISCSI_TO_TARGET, buf + i, step, &out);
        assert_int_equal(bytes_size(&out), 48 + ((length + 3) & ~(size_t)3));
        assert_int_equal((unsigned char)out.data[6] << 8 | (unsigned char)out.data[7], length);
        assert_memory_equal(out.data + 48, expected, length);
        assert_memory_equal(out.data + 16, "\1\2\3\4", 4);
        for (i = 48 + length; i < bytes_size(&out); i++)
            assert_int_equal(out.data[i], 0);
        assert_string_equal(f.user, "77-aa");
        assert_string_equal(f.initiator, "iqn.2005-03.org.example:me");
        iscsi_filter_done(&f);
    }
}

static int given_password(void *userdata, const char *user, char **ret)
{
    if (!streq(user, "77-aa"))
        return -ENOENT;
    *ret = strdup("abcdefghijklmno");
    return *ret ? 0 : -ENOMEM;
}

/* What a target gets to see of that answer to its challenge, in a session of that type. The caller's. */
static char *answered(const char *type, const char *challenge, const char *name, const char *response)
{
    static const IscsiDiscovery accounts = {"sim", "0123456789abcdef", given_password};
    char buf[1024], text[512];
    _cleanup_(bytes_done) Bytes out = {};
    IscsiFilter f;
    char *seen, *p;
    size_t n;

    iscsi_filter_init(&f, given_targets, &accounts, NULL);
    snprintf(text, sizeof(text), "SessionType=%s", type);
    n = pdu(buf, 0x43, 0x81, text, strlen(text) + 1);
    feed(&f, ISCSI_TO_TARGET, buf, n, &out);
    snprintf(text, sizeof(text), "%s", challenge);
    for (p = text; (p = strchr(p, ' ')); p++)
        *p = '\0';
    n = pdu(buf, 0x23, 0x01, text, strlen(challenge) + 1);
    feed(&f, ISCSI_TO_CLIENT, buf, n, &out);
    bytes_done(&out);
    n = (size_t)snprintf(text, sizeof(text), "CHAP_N=%s CHAP_R=%s", name, response) + 1;
    *strchr(text, ' ') = '\0';
    n = pdu(buf, 0x43, 0x87, text, n);
    feed(&f, ISCSI_TO_TARGET, buf, n, &out);
    iscsi_filter_done(&f);
    n = (size_t)(unsigned char)out.data[6] << 8 | (unsigned char)out.data[7];
    seen = malloc(n + 1);
    assert_non_null(seen);
    memcpy(seen, out.data + 48, n);
    seen[n] = '\0';
    for (p = seen; p < seen + n - 1; p++)
        if (!*p)
            *p = ' ';
    return seen;
}

static void answer_is(const char *type, const char *challenge, const char *name, const char *response,
                      const char *expected)
{
    _cleanup_free_ char *seen = answered(type, challenge, name, response);

    assert_string_equal(seen, expected);
}

/* The numbers are from another program: the digest of the byte 39, the password and the bytes 0 to 15. */
static void test_discovery_account(void **state)
{
    static const char md5[] = "CHAP_A=5 CHAP_I=39 CHAP_C=0x000102030405060708090a0b0c0d0e0f",
                      sha1[] = "CHAP_A=7 CHAP_I=39 CHAP_C=0bAAECAwQFBgcICQoLDA0ODw==",
                      right[] = "0xdb6dd3c4dd1091cbe5983d9ea5995a58";

    /* Who has his own password is let in as the one that the target knows. */
    answer_is("Discovery", md5, "Debian;12;77-aa", right,
              "CHAP_N=sim CHAP_R=0x927e84b353ab26b3ee3e4ff6af34b98c");
    answer_is("Discovery", sha1, "77-aa", "0X8C4FDF05F10A2AE98A55A3D44D6EE01B5890845D",
              "CHAP_N=sim CHAP_R=0x3655ef9f38c205a263ebf140bac600fbe43b599a");
    /* Whoever has not is not. */
    answer_is("Discovery", md5, "Debian;12;77-aa", "0x927e84b353ab26b3ee3e4ff6af34b98c",
              "CHAP_N=77-aa CHAP_R=0x927e84b353ab26b3ee3e4ff6af34b98c");
    answer_is("Discovery", sha1, "77-aa", right, "CHAP_N=77-aa CHAP_R=0xdb6dd3c4dd1091cbe5983d9ea5995a58");
    answer_is("Discovery", md5, "Debian;12;78-bb", right,
              "CHAP_N=78-bb CHAP_R=0xdb6dd3c4dd1091cbe5983d9ea5995a58");
    answer_is("Discovery", "CHAP_A=5", "77-aa", right,
              "CHAP_N=77-aa CHAP_R=0xdb6dd3c4dd1091cbe5983d9ea5995a58");
    answer_is("Discovery", md5, "sim", right, "CHAP_N=sim CHAP_R=0xdb6dd3c4dd1091cbe5983d9ea5995a58");
    answer_is("Discovery", md5, "77-aa", "0xzz", "CHAP_N=77-aa CHAP_R=0xzz");
    /* The sessions of the targets are the target's own to judge. */
    answer_is("Normal", md5, "Debian;12;77-aa", right,
              "CHAP_N=77-aa CHAP_R=0xdb6dd3c4dd1091cbe5983d9ea5995a58");
}

static void test_name_without_system(void **state)
{
    _cleanup_(bytes_done) Bytes out = {};
    char buf[1024];
    IscsiFilter f;
    size_t n = pdu(buf, 0x43, 0x81, LOGIN_TEXT("Normal", "77-aa"));

    iscsi_filter_init(&f, given_targets, NULL, NULL);
    feed(&f, ISCSI_TO_TARGET, buf, n, &out);
    assert_int_equal(bytes_size(&out), n);
    assert_memory_equal(out.data, buf, n);
    iscsi_filter_done(&f);
}

static void test_normal_session(void **state)
{
    _cleanup_(bytes_done) Bytes out = {};
    char buf[1024];
    IscsiFilter f;
    size_t n;

    iscsi_filter_init(&f, given_targets, NULL, NULL);
    assert_false(iscsi_filter_transparent(&f, ISCSI_TO_CLIENT));
    n = pdu(buf, 0x23, 0x87, "", 0);
    buf[36] = 2; /* login refused: nothing has begun */
    feed(&f, ISCSI_TO_CLIENT, buf, n, &out);
    assert_int_equal(f.phase, ISCSI_PHASE_LOGIN);
    log_in(&f, false);
    assert_int_equal(f.phase, ISCSI_PHASE_NORMAL);
    assert_true(iscsi_filter_transparent(&f, ISCSI_TO_CLIENT));
    assert_true(iscsi_filter_transparent(&f, ISCSI_TO_TARGET));
    /* From now on anything passes, a SendTargets answer as well. */
    bytes_done(&out);
    n = pdu(buf, 0x24, 0x80, TEXT("TargetName=x\0TargetAddress=127.0.0.1:3261,1\0"));
    feed(&f, ISCSI_TO_CLIENT, buf, n, &out);
    assert_int_equal(bytes_size(&out), n);
    assert_memory_equal(out.data, buf, n);
    iscsi_filter_done(&f);
}

static void test_early_bytes(void **state)
{
    _cleanup_(bytes_done) Bytes up = {}, down = {};
    char buf[1024];
    IscsiFilter f;
    size_t n;

    /* Half a command before the target has answered the login, the rest after. */
    iscsi_filter_init(&f, given_targets, NULL, NULL);
    n = pdu(buf, 0x43, 0x87, LOGIN_TEXT("Normal", "77-aa"));
    feed(&f, ISCSI_TO_TARGET, buf, n, &up);
    bytes_done(&up);
    feed(&f, ISCSI_TO_TARGET, "half a ", 7, &up);
    assert_int_equal(bytes_size(&up), 0);
    n = pdu(buf, 0x23, 0x87, "", 0);
    feed(&f, ISCSI_TO_CLIENT, buf, n, &down);
    assert_false(iscsi_filter_transparent(&f, ISCSI_TO_TARGET));
    feed(&f, ISCSI_TO_TARGET, "command", 7, &up);
    assert_int_equal(bytes_size(&up), 14);
    assert_memory_equal(up.data, "half a command", 14);
    assert_true(iscsi_filter_transparent(&f, ISCSI_TO_TARGET));
    iscsi_filter_done(&f);
}

static void test_discovery(void **state)
{
    static const char expected[] = "TargetName=" NAME "\0TargetName=iqn.2016-01.microsoft.azure.backup:b\0";
    Given g = {.names = {(char *)NAME, (char *)"iqn.2016-01.microsoft.azure.backup:b"}};
    _cleanup_(bytes_done) Bytes out = {};
    char buf[1024];
    IscsiFilter f;
    size_t n, i;

    iscsi_filter_init(&f, given_targets, NULL, &g);
    log_in(&f, true);
    assert_int_equal(f.phase, ISCSI_PHASE_DISCOVERY);
    assert_false(iscsi_filter_transparent(&f, ISCSI_TO_CLIENT));
    n = pdu(buf, 0x24, 0x40, TEXT("TargetName=iqn.x:other\0TargetAddress=127.0.0.1:3261,1\0"));
    for (i = 0; i < n; i++)
        feed(&f, ISCSI_TO_CLIENT, buf + i, 1, &out);
    assert_string_equal(g.user, "77-aa");
    assert_string_equal(g.initiator, "iqn.2005-03.org.example:me");
    assert_int_equal((unsigned char)out.data[6] << 8 | (unsigned char)out.data[7], sizeof(expected) - 1);
    assert_memory_equal(out.data + 48, expected, sizeof(expected) - 1);
    assert_int_equal((unsigned char)out.data[1], 0x80); /* final, whatever the target thought */
    assert_memory_equal(out.data + 16, "\1\2\3\4\xff\xff\xff\xff\0\0\0\11", 12);
    assert_null(memmem(out.data, bytes_size(&out), "TargetAddress", 13));
    /* Other PDUs, a logout response, pass. */
    bytes_done(&out);
    n = pdu(buf, 0x26, 0x80, "", 0);
    feed(&f, ISCSI_TO_CLIENT, buf, n, &out);
    assert_int_equal(bytes_size(&out), n);
    iscsi_filter_done(&f);
}

static void test_discovery_limit(void **state)
{
    _cleanup_(bytes_done) Bytes out = {};
    char buf[1024], long_name[200] = "iqn.2016-01.microsoft.azure.backup:";
    Given g = {};
    IscsiFilter f;
    size_t n, i, data;

    memset(long_name + strlen(long_name), 'a', sizeof(long_name) - 1 - strlen(long_name));
    for (i = 0; i < 64; i++)
        g.names[i] = long_name;
    iscsi_filter_init(&f, given_targets, NULL, &g);
    log_in(&f, true);
    n = pdu(buf, 0x24, 0x80, "", 0);
    feed(&f, ISCSI_TO_CLIENT, buf, n, &out);
    data = (size_t)(unsigned char)out.data[6] << 8 | (unsigned char)out.data[7];
    assert_true(f.cut);
    assert_true(data <= 8192 && data > 8192 - 256);
    assert_int_equal(data % (strlen("TargetName=") + strlen(long_name) + 1), 0); /* no name is cut */
    iscsi_filter_done(&f);
}

/* Into a fresh filter, a first PDU (may be NULL) and a second one. */
static int feed_two(const char *first, size_t first_size, IscsiDirection d, int opcode, int flags,
                    const char *data, size_t size)
{
    _cleanup_(bytes_done) Bytes out = {};
    char buf[2048];
    IscsiFilter f;
    size_t n;
    int r;

    iscsi_filter_init(&f, given_targets, NULL, NULL);
    if (first) {
        n = pdu(buf, 0x43, 0x80, first, first_size);
        feed(&f, ISCSI_TO_TARGET, buf, n, &out);
    }
    n = pdu(buf, opcode, flags, data, size);
    r = iscsi_filter_feed(&f, d, buf, n, &out);
    iscsi_filter_done(&f);
    return r;
}

static int feed_one(int opcode, int flags, const char *data, size_t size)
{
    return feed_two(NULL, 0, ISCSI_TO_TARGET, opcode, flags, data, size);
}

static void test_hostile(void **state)
{
    char big[48] = {0x43}, name[700];
    _cleanup_(bytes_done) Bytes out = {};
    IscsiFilter f;

    iscsi_filter_init(&f, given_targets, NULL, NULL);
    assert_int_equal(iscsi_filter_feed(&f, ISCSI_TO_TARGET,
                                       TEXT("GET / HTTP/1.1\r\nHost: x\r\n\r\n........................."),
                                       &out),
                     -EPROTO);
    iscsi_filter_done(&f);
    iscsi_filter_init(&f, given_targets, NULL, NULL);
    big[5] = 2; /* 128 KiB */
    assert_int_equal(iscsi_filter_feed(&f, ISCSI_TO_TARGET, big, sizeof(big), &out), -EPROTO);
    iscsi_filter_done(&f);
    assert_int_equal(feed_one(0x43, 0x40, TEXT("CHAP_N=a")), -EPROTO); /* continued */
    assert_int_equal(feed_one(0x01, 0x80, "", 0), -EPROTO);            /* a SCSI command */
    assert_int_equal(feed_one(0x43, 0x80, TEXT("\0\0=\0CHAP_N=\0CHAP_N")), 0);
    memset(name, 'x', sizeof(name));
    memcpy(name, "CHAP_N=", 7);
    assert_int_equal(feed_one(0x43, 0x80, name, sizeof(name)), -EPROTO);
    memcpy(name, "InitiatorName=", 14);
    assert_int_equal(feed_one(0x43, 0x80, name, sizeof(name)), -EPROTO);
    /* Digests would hide what is to be rewritten. */
    assert_int_equal(feed_two(TEXT("SessionType=Discovery\0"), ISCSI_TO_CLIENT, 0x23, 0x87,
                              TEXT("HeaderDigest=None\0DataDigest=CRC32C\0")),
                     -EPROTO);
    assert_int_equal(feed_two(TEXT("SessionType=Normal\0"), ISCSI_TO_CLIENT, 0x23, 0x87,
                              TEXT("HeaderDigest=None\0DataDigest=CRC32C\0")),
                     0);
}

static void test_answer(void **state)
{
    char *targets[] = {(char *)NAME, NULL};
    _cleanup_strv_free_ char **plain = NULL, **blocked = NULL, **not_ready = NULL;

    assert_int_equal(portal_answer(targets, false, false, &plain), 0);
    assert_string_equal(plain[0], NAME);
    assert_int_equal(portal_answer(targets, true, true, &blocked), 0);
    assert_non_null(strstr(blocked[0], "blocked"));
    assert_int_equal(portal_answer(targets, false, true, &not_ready), 0);
    assert_string_equal(not_ready[0], NAME "-notready");
    assert_true(target_name_valid(not_ready[0]));
}

static Registration registration(json_object *faults)
{
    return (Registration){
        .vm_name = (char *)"my-vm",
        .resource_group = (char *)"my-rg",
        .target_name = (char *)NAME,
        .user_name = (char *)"77-aa",
        .password = (char *)"abcdefghijklmno",
        .initiator_password = (char *)"0123456789abcd",
        .script_id = (char *)"11111111-2222-3333-4444-555555555555",
        .portal_host = (char *)"pod01-rec2.sim.example",
        .portal_port = 3260,
        .script_faults = faults,
    };
}

static void test_target_names(void **state)
{
    char *disks[] = {(char *)"/a", (char *)"/b", NULL};
    Registration r = registration(NULL);
    char *name;

    r.disks = disks;
    assert_int_equal(target_count(&r), 1);
    assert_int_equal(target_name_make(&r, 0, &name), 0);
    assert_string_equal(name, NAME);
    free(name);
    r.multi_target = true;
    assert_int_equal(target_count(&r), 2);
    assert_int_equal(target_name_make(&r, 12, &name), 0);
    assert_string_equal(name, "iqn.2016-01.microsoft.azure.backup:1-2-3-4-12.637813387693329644");
    free(name);
    r.target_name = (char *)"iqn-without";
    assert_int_equal(target_name_make(&r, 0, &name), -EINVAL);
    r.target_name = (char *)"iqn.x";
    assert_int_equal(target_name_make(&r, 0, &name), -EINVAL);
}

static void test_parse_show(void **state)
{
    static const char output[] =
        "Target 3: iqn.a:b\n    System information:\nTarget 12: iqn.a:bc\nTarget x: y\n"
        "Target 99999999: iqn.z\nTarget 4: iqn.c";
    unsigned highest;

    assert_int_equal(target_parse_show(output, "iqn.a:bc", &highest), 12);
    assert_int_equal(highest, 12);
    assert_int_equal(target_parse_show(output, "iqn.a:b", NULL), 3);
    assert_int_equal(target_parse_show(output, "iqn.c", NULL), 4);
    assert_int_equal(target_parse_show(output, "iqn.a", NULL), 0);
    assert_int_equal(target_parse_show("", NULL, &highest), 0);
    assert_int_equal(highest, 0);
}

static void test_script(void **state)
{
    _cleanup_secret_ Secret *s = NULL;
    Registration r = registration(NULL);
    char *error = NULL;

    assert_int_equal(script_make(&r, &s, &error), 0);
    assert_non_null(strstr(secret_text(s), "STAND-IN"));
    assert_non_null(strstr(secret_text(s), "\n    VMName=\"iaasvmcontainerv2;my-rg;my-vm\"\n"));
    assert_non_null(strstr(secret_text(s), "\n    TargetNodeAddress=\"" NAME "\"\n"));
    assert_non_null(strstr(secret_text(s), "\n    TargetPassword=\"abcdefghijklmno\"\n"));
    assert_non_null(strstr(secret_text(s), "json.loads('{}')"));
    assert_null(strstr(secret_text(s), "@@"));
    assert_null(strchr(secret_text(s), '\r'));
}

static void test_script_scenario(void **state)
{
    _cleanup_json_ json_object *o = NULL;
    _cleanup_secret_ Secret *s = NULL;
    static const char wish[] = "{\"prompt\":\"a'\\\"\\\\\",\"crlf\":true,\"noTargetNodeAddress\":true,"
                               "\"sizeBytes\":200000,\"placeholderPassword\":true}";
    char *error = NULL;

    assert_int_equal(json_parse(wish, strlen(wish), &o), 0);
    assert_int_equal(script_check(o, &error), 0);
    Registration r = registration(o);
    assert_int_equal(script_make(&r, &s, &error), 0);
    assert_non_null(strstr(secret_text(s), "    TargetPassword=\"UserInput012345\"\r\n"));
    assert_null(strstr(secret_text(s), "TargetNodeAddress=\""));
    assert_non_null(strstr(secret_text(s), "\\x22prompt\\x22:\\x22a\\x27\\x5c\\x22\\x5c\\x5c\\x22"));
    assert_true(secret_size(s) >= 200000);
}

static void test_script_values(void **state)
{
    Registration r = registration(NULL);
    Secret *s = NULL;
    char *error = NULL;

    r.vm_name = (char *)"a\"; import os";
    assert_int_equal(script_make(&r, &s, &error), -EINVAL);
    assert_non_null(strstr(error, "VMName"));
    free(error);
}

static void check(const char *text, const char *expected)
{
    _cleanup_json_ json_object *o = NULL;
    _cleanup_free_ char *error = NULL;

    assert_int_equal(json_parse(text, strlen(text), &o), 0);
    assert_int_equal(backend_tgt.check(o, NULL, &error), expected ? -EINVAL : 0);
    if (expected)
        assert_string_equal(error, expected);
}

static void test_check(void **state)
{
    _cleanup_json_ json_object *o = json_object_new_object();
    char *error = NULL;

    check("{}", NULL);
    check("{\"hang\":\"start\",\"notReadySec\":0.5,\"printMegabytes\":100,\"hostile\":true,\"prompt\":null}",
          NULL);
    check("{\"hangs\":true}", "script.hangs: no such key");
    check("{\"hostile\":1}", "script.hostile: 1: expected true or false");
    check("{\"hang\":\"never\"}", "script.hang: never: expected start or after-login");
    check("{\"notReadySec\":-1}", "script.notReadySec: -1: expected a number from 0 to 86400");
    check("{\"sizeBytes\":\"8\"}", "script.sizeBytes: \"8\": expected a number from 0 to 67108864");
    check("[]", "script: expected an object");
    json_add_int64(o, "blockBytes", 1024);
    assert_int_equal(backend_tgt.check(NULL, o, &error), -EINVAL);
    assert_string_equal(error, "portal.blockBytes: 1024: expected 512 or 4096");
    free(error);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_chap_name),
        cmocka_unit_test(test_name_without_system),
        cmocka_unit_test(test_normal_session),
        cmocka_unit_test(test_early_bytes),
        cmocka_unit_test(test_discovery),
        cmocka_unit_test(test_discovery_limit),
        cmocka_unit_test(test_hostile),
        cmocka_unit_test(test_answer),
        cmocka_unit_test(test_discovery_account),
        cmocka_unit_test(test_target_names),
        cmocka_unit_test(test_parse_show),
        cmocka_unit_test(test_script),
        cmocka_unit_test(test_script_scenario),
        cmocka_unit_test(test_script_values),
        cmocka_unit_test(test_check),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
