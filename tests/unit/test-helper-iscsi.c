/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* What the helper reads of and writes for open-iscsi: the session's record, sysfs (a false one), the private
 * iscsid.conf, the initiator's name, and discovery's answer. */

#include "discover.h"
#include "files.h"
#include "helper-host.h"
#include "initiator-name.h"
#include "iscsi.h"
#include "iscsid-conf.h"
#include "paths.h"
#include "validate.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#define ONE TARGET_PREFIX "one"
#define TWO TARGET_PREFIX "two"

static void test_record(void **state)
{
    static const char *const corrupt[] = {
        "",
        "{",
        "{}",
        "{\"version\":1,\"session\":\"zzzz9999\",\"targets\":[],\"disks\":[],\"volumes\":[]}",
        "{\"version\":999,\"session\":\"" ID "\",\"targets\":[],\"disks\":[],\"volumes\":[]}",
        "{\"version\":999,\"compatible\":998,\"session\":\"" ID
        "\",\"targets\":[],\"disks\":[],\"volumes\":[]}",
        "{\"version\":0,\"session\":\"" ID "\",\"targets\":[],\"disks\":[],\"volumes\":[]}",
        "{\"version\":1,\"session\":\"" ID "\",\"targets\":{},\"disks\":[],\"volumes\":[]}",
        "{\"version\":1,\"session\":\"" ID "\",\"targets\":[],\"disks\":[]}",
        "{\"version\":1,\"session\":\"" ID
        "\",\"targets\":[{\"name\":\"iqn.x:y\",\"portal\":\"127.0.0.1:5365\"}],"
        "\"disks\":[],\"volumes\":[]}",
        "{\"version\":1,\"session\":\"" ID "\",\"targets\":[],\"disks\":[],\"volumes\":[],\"failure\":7}",
    };
    _cleanup_strv_free_ char **ids = NULL;
    Record *r, *back;
    size_t i;

    assert_int_equal(record_load(ID, &r), -ENOENT);
    assert_int_equal(record_new("../../..", &r), -EINVAL);
    for (i = 0; i < ELEMENTSOF(corrupt); i++) {
        scratch_put("private/" ID "/session.json", corrupt[i]);
        assert_int_equal(record_load(ID, &r), -EBADMSG);
    }
    /* A newer program's, and it says that this one may use it. */
    scratch_put("private/" ID "/session.json",
                "{\"version\":999,\"compatible\":1,\"new\":{},\"session\":\"" ID
                "\",\"targets\":[],\"disks\":[],\"volumes\":[]}");
    assert_int_equal(record_load(ID, &r), 0);
    record_free(r);
    assert_int_equal(record_new(ID, &r), 0);
    assert_int_equal(record_target_add(r, ONE, "127.0.0.1:5365"), 0);
    assert_int_equal(record_target_add(r, TWO, "127.0.0.1:5365"), 0);
    record_target(r, TWO)->sid = 7;
    r->failure = failure_new(FAILURE_DISKS_MISSING, "none");
    assert_int_equal(record_save(r), 0);
    assert_int_equal(record_load(ID, &back), 0);
    assert_int_equal(back->n_targets, 2);
    assert_int_equal(record_target(back, ONE)->sid, -1);
    assert_int_equal(record_target(back, TWO)->sid, 7);
    assert_int_equal(back->failure->name, FAILURE_DISKS_MISSING);
    record_target_remove(back, ONE);
    record_target_remove(back, ONE);
    assert_int_equal(back->n_targets, 1);
    assert_string_equal(back->targets[0].name, TWO);
    record_free(back);
    for (i = r->n_targets; i < RECORD_TARGETS_MAX; i++) {
        char name[64];

        snprintf(name, sizeof(name), ONE "-%zu", i);
        assert_int_equal(record_target_add(r, name, "127.0.0.1:5365"), 0);
    }
    assert_int_equal(record_target_add(r, ONE "-more", "127.0.0.1:5365"), -E2BIG);
    record_free(r);
    assert_int_equal(record_list(&ids), 0);
    assert_int_equal(strv_length(ids), 1);
    assert_string_equal(ids[0], ID);
}

static void put_session(int sid, int host, const char *target, const char *port)
{
    char path[128], to[128], from[256];

    snprintf(path, sizeof(path), "sys/class/iscsi_session/session%d/targetname", sid);
    snprintf(to, sizeof(to), "%s\n", target);
    scratch_put(path, to);
    snprintf(path, sizeof(path), "sys/class/iscsi_session/session%d/state", sid);
    scratch_put(path, "LOGGED_IN\n");
    snprintf(path, sizeof(path), "sys/devices/platform/host%d/session%d/x", host, sid);
    scratch_put(path, "");
    if (port) {
        snprintf(path, sizeof(path), "sys/class/iscsi_connection/connection%d:0/persistent_address", sid);
        scratch_put(path, "127.0.0.1\n");
        snprintf(path, sizeof(path), "sys/class/iscsi_connection/connection%d:0/persistent_port", sid);
        scratch_put(path, port);
    }
    snprintf(to, sizeof(to), "../../../devices/platform/host%d/session%d", host, sid);
    snprintf(from, sizeof(from), "%s/class/iscsi_session/session%d/device", paths.sysfs, sid);
    assert_int_equal(symlink(to, from), 0);
}

/* /run is full, or worse: what is gone is gone, and nothing stays up because that cannot be written down. */
static void test_logout_without_room(void **state)
{
    _cleanup_failure_ Failure *f = NULL;
    char path[128];
    Record *r;

    scratch_put("private/full1234/x", "");
    snprintf(path, sizeof(path), "%s/full1234", paths.private_dir);
    assert_int_equal(record_new("full1234", &r), 0);
    assert_int_equal(record_target_add(r, ONE, "127.0.0.1:5365"), 0);
    assert_int_equal(record_save(r), 0);
    assert_int_equal(file_remove_tree(AT_FDCWD, path), 0);
    assert_true(record_save(r) < 0);
    assert_int_equal(iscsi_targets_logout(r, USEC_PER_SEC, &f), 0);
    assert_int_equal(r->n_targets, 0);
    record_free(r);
}

static void test_sessions(void **state)
{
    IscsiSession *s;
    char path[128], *line;
    Record *r;
    size_t n;

    assert_int_equal(record_new(ID, &r), 0);
    assert_int_equal(record_target_add(r, ONE, "127.0.0.1:5365"), 0);
    assert_int_equal(record_target_add(r, TWO, "127.0.0.1:5365"), 0);
    assert_int_equal(iscsi_sessions_find(r, &s, &n), 0);
    assert_int_equal(n, 0); /* no such class: the transport is not loaded */
    free(s);
    put_session(12, 5, TWO, "5365\n");
    put_session(3, 4, ONE, "5365\n");
    put_session(4, 6, ONE, "5366\n"); /* the same target of another session of ours */
    put_session(5, 7, "iqn.2003-01.org.example:x", "5365\n");
    put_session(6, 8, TWO, NULL); /* its connection goes or is not there yet, another number */
    scratch_put("sys/class/iscsi_session/sessionx/targetname", ONE);
    scratch_put("sys/class/iscsi_session/session99/other", ""); /* goes away under our eyes */
    assert_int_equal(iscsi_sessions_find(r, &s, &n), 0);
    assert_int_equal(n, 2);
    assert_int_equal(s[0].sid, 3);
    assert_int_equal(s[0].host, 4);
    assert_string_equal(s[0].target, ONE);
    assert_string_equal(s[0].portal, "127.0.0.1:5365");
    assert_true(iscsi_session_logged_in(&s[0]));
    assert_int_equal(s[1].sid, 12);
    assert_true(endswith(s[1].device, "/session12/device"));
    iscsi_sessions_free(s, n);
    record_target(r, TWO)->sid = 6; /* known by its number even without a connection */
    assert_int_equal(iscsi_sessions_find(r, &s, &n), 0);
    assert_int_equal(n, 3);
    iscsi_sessions_free(s, n);
    assert_int_equal(iscsi_session_find(ONE, "127.0.0.1:5366", &s), 0);
    assert_int_equal(s->sid, 4);
    iscsi_sessions_free(s, 1);
    assert_int_equal(iscsi_session_find(ONE, "127.0.0.1:5367", &s), -ENOENT);
    record_free(r);
    assert_int_equal(iscsi_session_set_recovery(4, REPLACEMENT_TIMEOUT), -ENOENT);
    scratch_put("sys/class/iscsi_session/session4/recovery_tmo", "");
    assert_int_equal(iscsi_session_set_recovery(4, REPLACEMENT_TIMEOUT), 0);
    snprintf(path, sizeof(path), "%s/class/iscsi_session/session4/recovery_tmo", paths.sysfs);
    assert_int_equal(file_read_line(path, &line), 0);
    assert_string_equal(line, "10");
    free(line);
    /* A number that is somebody else's session by now is not logged out; one that is gone is success. */
    assert_int_equal(iscsi_session_logout(ID, 5, USEC_PER_SEC, NULL), 0);
    assert_int_equal(iscsi_session_logout(ID, 77, USEC_PER_SEC, NULL), 0);
}

static int chap_of(const char *text, Chap *ret, json_object **ret_object, Failure **ret_failure)
{
    assert_int_equal(json_parse(text, strlen(text), ret_object), 0);
    return chap_from_json(*ret_object, ret, ret_failure);
}

static void test_chap(void **state)
{
    static const char *const bad[] = {
        "{\"chap\":\"x\"}",
        "{\"chap\":{}}",
        "{\"chap\":{\"username\":\"u\"}}",
        "{\"chap\":{\"username\":\"u\",\"password\":7}}",
        "{\"chap\":{\"username\":\"\",\"password\":\"p\"}}",
        "{\"chap\":{\"username\":\"u\\nx = y\",\"password\":\"SECRET\"}}",
        "{\"chap\":{\"username\":\"u\",\"password\":\"SECRET\\r\"}}",
        "{\"chap\":{\"username\":\"u\",\"password\":\" SECRET\"}}",
        "{\"chap\":{\"username\":\"u\",\"password\":\"SECRET\\u00e4\"}}",
        "{\"chap\":{\"username\":\"u\",\"password\":\"a\\u0000b\"}}",
        "{\"chap\":{\"username\":\"u\",\"password\":\"p\",\"more\":1}}",
    };
    _cleanup_json_ json_object *o = NULL;
    _cleanup_secret_ Secret *with = NULL, *without = NULL;
    Chap chap;
    size_t i;

    for (i = 0; i < ELEMENTSOF(bad); i++) {
        _cleanup_failure_ Failure *failure = NULL;
        _cleanup_json_ json_object *b = NULL;

        assert_int_equal(chap_of(bad[i], &chap, &b, &failure), -EINVAL);
        assert_non_null(strstr(failure->message, "chap"));
        assert_null(strstr(failure->message, "SECRET"));
    }
    assert_int_equal(
        chap_of("{\"chap\":{\"username\":\"Debian;12;u-1\",\"password\":\"a #=b\"}}", &chap, &o, NULL), 1);
    with = iscsid_conf_text(&chap);
    assert_non_null(strstr(secret_text(with), "\nnode.session.auth.authmethod = CHAP\n"));
    assert_non_null(strstr(secret_text(with), "\nnode.session.auth.username = Debian;12;u-1\n"));
    assert_non_null(strstr(secret_text(with), "\ndiscovery.sendtargets.auth.password = a #=b\n"));
    assert_non_null(strstr(secret_text(with), "\nnode.session.scan = manual\n"));
    assert_non_null(strstr(secret_text(with), "\nnode.session.timeo.replacement_timeout = 10\n"));
    without = iscsid_conf_text(NULL);
    assert_non_null(strstr(secret_text(without), "\nnode.session.auth.authmethod = None\n"));
    assert_null(strstr(secret_text(without), "password"));
}

static void test_initiator_name(void **state)
{
    static const char *const bad[] = {
        "",
        "# only\n",
        "GenerateName=yes\n",
        "InitiatorName=\n",
        "InitiatorName=iqn.1993-08.org.debian:01:UPPER\n",
        "InitiatorName=iqn.a:b\nInitiatorName=iqn.c:d\n",
        "Initiatorname=iqn.a:b\n",
        "InitiatorName\n",
        "garbage\n",
        "InitiatorName=iqn.a:b c\n",
    };
    char *name;
    size_t i;

    for (i = 0; i < ELEMENTSOF(bad); i++) {
        _cleanup_failure_ Failure *failure = NULL;

        assert_int_equal(initiator_name_parse(bad[i], &name, &failure), -EBADMSG);
        assert_int_equal(failure->name, FAILURE_NOT_CONFIGURED);
    }
    assert_int_equal(
        initiator_name_parse("## x\n\n InitiatorName = iqn.1993-08.org.debian:01:ab \r\nInitiatorAlias=me\n",
                             &name, NULL),
        0);
    assert_string_equal(name, "iqn.1993-08.org.debian:01:ab");
    free(name);
    {
        _cleanup_failure_ Failure *failure = NULL;

        assert_true(initiator_name_read(&name, &failure) < 0);
        assert_int_equal(failure->name, FAILURE_NOT_CONFIGURED);
        assert_non_null(strstr(failure_hint(failure), "iscsid"));
    }
    scratch_put("etc/iscsi/initiatorname.iscsi", "InitiatorName=iqn.1993-08.org.debian:01:cd");
    assert_int_equal(initiator_name_read(&name, NULL), 0);
    assert_string_equal(name, "iqn.1993-08.org.debian:01:cd");
    free(name);
}

static void test_discovery(void **state)
{
    static const char *const bad[] = {
        "127.0.0.1:5365 " ONE,    "127.0.0.1:5365,x " ONE,
        "127.0.0.1:5365,-2 " ONE, "127.0.0.1:5365,65536 " ONE,
        "127.0.0.1:5365,1",       "127.0.0.1:5365,1 ",
        "127.0.0.1:5365,1 a b",   ",1 " ONE,
        "127.0.0.1:5365,1 a\tb",  "127.0.0.1:5365,1x " ONE,
        "127.0.0.1:5365,+1 " ONE, "127.0.0.1:5365,1  " ONE,
    };
    char *many = NULL;
    json_object *a, *o;
    const char *name;
    size_t i, size;
    int64_t tpgt;
    FILE *f;

    for (i = 0; i < ELEMENTSOF(bad); i++)
        assert_int_equal(discovery_parse(bad[i], &a), -EBADMSG);
    assert_int_equal(discovery_parse("127.0.0.1:5365,-1 " ONE "\n[::1]:3260,1 notready\n", &a), 0);
    assert_int_equal(json_object_array_length(a), 2);
    o = json_object_array_get_idx(a, 0);
    assert_int_equal(json_get_string(o, "name", &name), 1);
    assert_string_equal(name, ONE);
    assert_int_equal(json_get_int64(o, "tpgt", &tpgt), 1);
    assert_int_equal(tpgt, -1);
    assert_int_equal(json_get_string(json_object_array_get_idx(a, 1), "name", &name), 1);
    assert_string_equal(name, "notready");
    json_object_put(a);
    f = open_memstream(&many, &size);
    for (i = 0; i <= DISCOVERED_MAX; i++)
        fprintf(f, "127.0.0.1:5365,1 " ONE "%zu\n", i);
    fclose(f);
    assert_int_equal(discovery_parse(many, &a), -E2BIG);
    free(many);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_record),    cmocka_unit_test(test_logout_without_room),
        cmocka_unit_test(test_sessions),  cmocka_unit_test(test_chap),
        cmocka_unit_test(test_discovery), cmocka_unit_test(test_initiator_name),
    };

    return cmocka_run_group_tests(tests, host_make, scratch_remove);
}
