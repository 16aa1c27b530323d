/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The helper's front door: who may ask what, and what of a request is refused. */

#include "base64.h"
#include "connection-file.h"
#include "hook.h"
#include "request.h"
#include "serve.h"
#include "session-dirs.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
/* cmocka wants the four above. */
#include <cmocka.h>

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>

#define DAEMON_UID 901
#define CONNECTION_UID 902

static const Caller daemon_caller = {DAEMON_UID, "ilrd.service", DAEMON_UID, CONNECTION_UID};
static const Caller connection_caller = {CONNECTION_UID, "ilr-connection@abcd1234.service", DAEMON_UID,
                                         CONNECTION_UID};
static const Caller root_caller = {0, "user@0.service", DAEMON_UID, CONNECTION_UID};

/* Returns the failure's name, or "" if the request was taken. */
static const char *judge(const Caller *caller, const char *text)
{
    _cleanup_failure_ Failure *failure = NULL;
    _cleanup_json_ json_object *object = NULL;
    VerbFunction function;
    Request request;
    int r = request_parse(text, strlen(text), caller, &request, &function, &object, &failure);

    if (r >= 0) {
        assert_non_null(function);
        return "";
    }
    assert_non_null(failure);
    assert_non_null(failure->message);
    /* Whom it refuses is no person whom a group would help. */
    assert_int_equal(failure->name == FAILURE_PERMISSION_DENIED,
                     strstr(failure_hint(failure), "units") != NULL);
    return failure_name_to_string(failure->name);
}

static void test_authorise(void **state)
{
    static const struct {
        const char *verb;
        bool session, daemon, connection, root;
    } table[] = {
        {"initiator-name", false, true, false, false},
        {"connect", true, true, false, false},
        {"up", true, true, false, false},
        {"unlock", true, true, false, true},
        {"down", true, true, false, true},
        {"disconnect", true, true, false, true},
        {"status", true, true, false, true},
        {"hook", true, true, false, false},
        {"leftovers", false, true, false, true},
        {"sweep", true, true, false, true},
        {"discover", true, false, true, false},
        {"login", true, false, true, false},
        {"logout", true, false, true, false},
    };
    static const Caller nobodies[] = {
        {CONNECTION_UID, NULL, DAEMON_UID, CONNECTION_UID},
        {DAEMON_UID, NULL, DAEMON_UID, CONNECTION_UID},
        {DAEMON_UID, "ilr-connection@abcd1234.service", DAEMON_UID, CONNECTION_UID},
        {CONNECTION_UID, "ilrd.service", DAEMON_UID, CONNECTION_UID},
        {CONNECTION_UID, "ilr-connection@abcd123.service", DAEMON_UID, CONNECTION_UID},
        {CONNECTION_UID, "ilr-connection@abcd1234.service.d", DAEMON_UID, CONNECTION_UID},
        {CONNECTION_UID, "xilr-connection@abcd1234.service", DAEMON_UID, CONNECTION_UID},
        {1000, "ilrd.service", DAEMON_UID, CONNECTION_UID},
        /* a host without our users: nobody is them */
        {(uid_t)-1, "ilrd.service", (uid_t)-1, (uid_t)-1},
    };
    size_t i, k;

    for (i = 0; i < ELEMENTSOF(table); i++) {
        char text[128];

        snprintf(text, sizeof(text), "{\"verb\":\"%s\"%s}", table[i].verb,
                 table[i].session ? ",\"session\":\"abcd1234\"" : "");
        assert_string_equal(judge(&daemon_caller, text), table[i].daemon ? "" : "PermissionDenied");
        assert_string_equal(judge(&connection_caller, text), table[i].connection ? "" : "PermissionDenied");
        assert_string_equal(judge(&root_caller, text), table[i].root ? "" : "PermissionDenied");
        for (k = 0; k < ELEMENTSOF(nobodies); k++)
            assert_string_equal(judge(&nobodies[k], text), "PermissionDenied");
    }
    /* Only who brings a script may fill the memory with it. */
    assert_int_equal(request_size_max(&daemon_caller), REQUEST_SIZE_MAX);
    assert_int_equal(request_size_max(&connection_caller), REQUEST_SIZE_SMALL_MAX);
    assert_int_equal(request_size_max(&root_caller), REQUEST_SIZE_SMALL_MAX);
    for (k = 0; k < ELEMENTSOF(nobodies); k++)
        assert_int_equal(request_size_max(&nobodies[k]), REQUEST_SIZE_SMALL_MAX);
    assert_string_equal(judge(&connection_caller, "{\"verb\":\"logout\",\"session\":\"zzzz9999\"}"),
                        "PermissionDenied");
}

static void test_refused(void **state)
{
    static const char *const bad[] = {
        "",
        "x",
        "[]",
        "{}",
        "null",
        "{\"verb\":7}",
        "{\"verb\":\"nothing\"}",
        "{\"verb\":\"status\",\"more\":1}",
        "{\"verb\":\"status\",\"session\":1}",
        "{\"verb\":\"status\",\"session\":\"ABCD1234\"}",
        "{\"verb\":\"status\",\"session\":\"../../et\"}",
        "{\"verb\":\"up\"}",
        "{\"verb\":\"up\",\"session\":\"abcd12345\"}",
        "{\"verb\":\"up\",\"session\":\"abcd1234\",\"script\":\"\"}",
        "{\"verb\":\"status\"} {\"verb\":\"status\"}",
    };
    size_t i;

    for (i = 0; i < ELEMENTSOF(bad); i++)
        assert_string_equal(judge(&daemon_caller, bad[i]), "InvalidRequest");
    assert_string_equal(judge(&daemon_caller, "{\"verb\":\"status\"}"), "");
}

static void test_base64(void **state)
{
    static const struct {
        const char *text, *bytes;
    } good[] = {{"Zg==", "f"}, {"Zm8=", "fo"}, {"Zm9v", "foo"}, {"+/+/", "\xfb\xff\xbf"}};
    static const char *const bad[] = {"",     "Z",    "Zg",    "Zg=",    "Zg==Zg==", "Zh==", "Zm9=",
                                      "====", "Z===", "Zm 9v", "Zm9v\n", "Zm9-",     "=Zg=", "Zg==="};
    char text[BASE64_SIZE(10)];
    Secret *s;
    size_t i;

    for (i = 0; i < ELEMENTSOF(good); i++) {
        assert_int_equal(base64_decode(good[i].text, 10, &s), 0);
        assert_int_equal(secret_size(s), strlen(good[i].bytes));
        assert_memory_equal(secret_text(s), good[i].bytes, secret_size(s));
        assert_int_equal(base64_encode(secret_text(s), secret_size(s), text), BASE64_SIZE(secret_size(s)));
        assert_memory_equal(text, good[i].text, strlen(good[i].text));
        secret_unref(s);
    }
    for (i = 0; i < ELEMENTSOF(bad); i++)
        assert_int_equal(base64_decode(bad[i], 100, &s), -EBADMSG);
    assert_int_equal(base64_decode("Zm9v", 2, &s), -EFBIG);
}

static void test_portal(void **state)
{
    static const char *const bad[] = {
        "{}",
        "{\"portal\":\"host:3260\"}",
        "{\"portal\":{\"host\":\"a.example\",\"port\":3260,\"addresses\":[]}}",
        "{\"portal\":{\"host\":\"a.example\",\"port\":3260,\"addresses\":[\"10.0.0.1\\nExecStart=/bin/"
        "sh\"]}}",
        "{\"portal\":{\"host\":\"a.example\",\"port\":3260,\"addresses\":[\"0.0.0.0\"]}}",
        "{\"portal\":{\"host\":\"a.example\",\"port\":3260,\"addresses\":[\"10.0.0.0/8\"]}}",
        "{\"portal\":{\"host\":\"a.example\",\"port\":80,\"addresses\":[\"169.254.169.254\"]}}",
        "{\"portal\":{\"host\":\"a.example\",\"port\":80,\"addresses\":[\"10.0.0.1\",\"168.63.129.16\"]}}",
        "{\"portal\":{\"host\":\"a.example\",\"port\":80,\"addresses\":[\"fe80::1\"]}}",
        "{\"portal\":{\"host\":\"a.example\",\"port\":80,\"addresses\":[\"::ffff:169.254.169.254\"]}}",
        "{\"portal\":{\"host\":\"a.example\",\"port\":3260,\"addresses\":[7]}}",
        "{\"portal\":{\"host\":\"a.example\",\"port\":0,\"addresses\":[\"10.0.0.1\"]}}",
        "{\"portal\":{\"host\":\"a.example\",\"port\":\"3260\",\"addresses\":[\"10.0.0.1\"]}}",
        "{\"portal\":{\"host\":\"a\\nb\",\"port\":3260,\"addresses\":[\"10.0.0.1\"]}}",
        "{\"portal\":{\"host\":\"a.example\",\"port\":3260,\"addresses\":[\"10.0.0.1\"],\"x\":1}}",
    };
    static const char good[] =
        "{\"portal\":{\"host\":\"a.example\",\"port\":3260,\"addresses\":[\"10.0.0.1\",\"2001:db8::1\"]}}";
    json_object *o;
    SessionPortal portal;
    char *text;
    size_t i;

    for (i = 0; i < ELEMENTSOF(bad); i++) {
        _cleanup_failure_ Failure *failure = NULL;

        assert_int_equal(json_parse(bad[i], strlen(bad[i]), &o), 0);
        assert_int_equal(session_portal_from_json(o, &portal, &failure), -EINVAL);
        assert_non_null(strstr(failure->message, "portal"));
        json_object_put(o);
    }
    assert_int_equal(json_parse(good, strlen(good), &o), 0);
    assert_int_equal(session_portal_from_json(o, &portal, NULL), 0);
    text = session_drop_in(&portal, "# c\nnameserver 192.0.2.53\nnameserver\tfe80::1%eth0\nnameserver bogus\n"
                                    "nameserver 168.63.129.16\nnameserver\t2001:db8::53%eth0\n"
                                    "nameserver 0.0.0.0\nnameserverx 192.0.2.54\nsearch example\n");
    assert_string_equal(
        text, "[Service]\nIPAddressAllow=localhost\nIPAddressAllow=10.0.0.1\n"
              "IPAddressAllow=2001:db8::1\nIPAddressAllow=192.0.2.53\nIPAddressAllow=2001:db8::53\n");
    free(text);
    json_object_put(o);
}

static int parse(const char *text, ConnectionFile *ret)
{
    return connection_file_parse(text, strlen(text), "abcd1234", ret);
}

#define HEAD "{\"version\":1,\"session\":\"abcd1234\",\"state\":\"connected\""

static void test_connection_file(void **state)
{
    static const char *const bad[] = {
        "",
        "[]",
        "{}",
        "{\"version\":2,\"session\":\"abcd1234\",\"state\":\"connected\"}",
        "{\"version\":1,\"session\":\"zzzz9999\",\"state\":\"connected\"}",
        "{\"version\":1,\"session\":\"abcd1234\",\"state\":\"fine\"}",
        HEAD ",\"targets\":7}",
        HEAD ",\"targets\":[7]}",
        HEAD ",\"targets\":[{\"name\":\"iqn.2003-01.org.example:other\"}]}",
        HEAD ",\"portal\":\"10.0.0.1:3260\"}",
        HEAD ",\"tunnelPid\":\"1\"}",
        HEAD ",\"tunnelPid\":-1}",
        HEAD ",\"lastLines\":[1]}",
        HEAD ",\"failure\":\"x\"}",
    };
    ConnectionFile c = {};
    json_object *lines;
    size_t i;

    for (i = 0; i < ELEMENTSOF(bad); i++)
        assert_int_equal(parse(bad[i], &c), -EBADMSG);
    assert_int_equal(
        parse(HEAD
              ",\"portal\":\"127.0.0.1:5365\",\"unknown\":1,\"lastLines\":[\"a\\u001b[31mb\",\"\\u009bx\"],"
              "\"failure\":{\"name\":\"Busy\",\"message\":\"m\\nn\",\"holders\":[{\"pid\":1}]}}",
              &c),
        0);
    assert_true(c.connected);
    assert_int_equal(c.failure->name, FAILURE_BUSY);
    assert_string_equal(c.failure->message, "m n");
    assert_null(c.failure->holders);
    assert_int_equal(json_get_array(c.connection, "lastLines", &lines), 1);
    assert_string_equal(json_object_get_string(json_object_array_get_idx(lines, 0)), "a [31mb");
    assert_string_equal(json_object_get_string(json_object_array_get_idx(lines, 1)), "  x");
    assert_null(json_object_object_get(c.connection, "unknown"));
    connection_file_done(&c);
}

/* Many long lines: the last 50 stay, each cut between characters. */
static void test_connection_lines(void **state)
{
    char *text = NULL;
    ConnectionFile c;
    json_object *lines;
    const char *last;
    size_t size, i, k;
    FILE *f = open_memstream(&text, &size);

    fputs(HEAD ",\"lastLines\":[", f);
    for (i = 0; i < 60; i++) {
        fprintf(f, "%s\"%zu ", i ? "," : "", i);
        for (k = 0; k < 2000; k++)
            fputs("ä", f);
        fputs("\"", f);
    }
    fputs("]}", f);
    fclose(f);
    assert_int_equal(parse(text, &c), 0);
    assert_int_equal(json_get_array(c.connection, "lastLines", &lines), 1);
    assert_int_equal(json_object_array_length(lines), 50);
    last = json_object_get_string(json_object_array_get_idx(lines, 49));
    assert_true(startswith(last, "59 ") != NULL);
    assert_true(strlen(last) <= 1024 && strlen(last) >= 1022 && endswith(last, "ä"));
    connection_file_done(&c);
    free(text);
}

/* What a hook's environment may have, whoever chose the text. */
static void test_hook_environment(void **state)
{
    static const char *const bad[] = {
        "{\"vm\":\"x\"}",          "{\"\":\"x\"}",
        "{\"VM=1\\nPATH\":\"x\"}", "{\"VM\":1}",
        "{\"VM\":null}",           "{\"EVENT\":\"x\"}",
        "{\"SESSION\":\"x\"}",     "{\"A_VERY_LONG_NAME_WITH_MANY_LETTERS\":\"\"}",
    };
    _cleanup_json_ json_object *many = json_object_new_object();
    char name[3] = "AA", *text = NULL, *big;
    json_object *o;
    size_t i;

    o = json_tokener_parse("{\"VM\":\"web \\\"1\\\" $(id) `id` '\\\\\\n\\u007f\\u00e4\",\"PATH\":\"\"}");
    assert_int_equal(hook_environment("abcd1234", "closed", o, &text), 0);
    assert_string_equal(text, "ILR_EVENT=\"closed\"\nILR_SESSION=\"abcd1234\"\n"
                              "ILR_VM=\"web _1_ _(id) _id_ ____\xc3\xa4\"\nILR_PATH=\"\"\n");
    free(text);
    json_object_put(o);
    assert_int_equal(hook_environment("abcd1234", "ready", NULL, &text), 0);
    free(text);
    assert_int_equal(hook_environment("abcd1234", "", NULL, &text), -EINVAL);
    assert_int_equal(hook_environment("abcd1234", "ready/../x", NULL, &text), -EINVAL);
    for (i = 0; i < ELEMENTSOF(bad); i++) {
        o = json_tokener_parse(bad[i]);
        assert_non_null(o);
        assert_int_equal(hook_environment("abcd1234", "ready", o, &text), -EINVAL);
        json_object_put(o);
    }
    for (i = 0; i < 17; i++) {
        name[1] = (char)('A' + i);
        json_object_object_add(many, name, json_object_new_string("x"));
    }
    assert_int_equal(hook_environment("abcd1234", "ready", many, &text), -EINVAL);
    o = json_object_new_object();
    big = calloc(1, 1026);
    memset(big, 'x', 1025);
    json_object_object_add(o, "VM", json_object_new_string(big));
    assert_int_equal(hook_environment("abcd1234", "ready", o, &text), -EINVAL);
    free(big);
    json_object_put(o);
}

/* Serves what a process asked that is dead by then. Returns what serve() returned; ret gets what was logged.
 */
static int serve_dead(const char *text, size_t size, char ret[static 4096])
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    _cleanup_close_ int listener = -EBADF, peer = -EBADF, log = -EBADF, saved = -EBADF;
    socklen_t length = sizeof(address);
    ssize_t n;
    pid_t pid;
    int r, status;

    listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_return_code(bind(listener, (struct sockaddr *)&address, sizeof(address.sun_family)), errno);
    assert_return_code(listen(listener, 1), errno);
    assert_return_code(getsockname(listener, (struct sockaddr *)&address, &length), errno);
    pid = fork();
    if (pid == 0) {
        int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

        if (connect(fd, (struct sockaddr *)&address, length) < 0 ||
            send(fd, text, size, MSG_NOSIGNAL) != (ssize_t)size)
            _exit(1);
        _exit(0);
    }
    assert_true(pid > 0);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
    peer = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
    assert_return_code(peer, errno);
    log = memfd_create("log", MFD_CLOEXEC);
    saved = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 3);
    assert_return_code(saved, errno);
    assert_return_code(dup2(log, STDERR_FILENO), errno);
    r = serve(peer);
    assert_return_code(dup2(saved, STDERR_FILENO), errno);
    n = pread(log, ret, 4095, 0);
    assert_return_code(n, errno);
    ret[n] = '\0';
    return r;
}

/* ilrd was killed after it had asked, or while it asked: a closed connection, and neither a denial in the
 * journal nor a unit that failed. */
static void test_caller_dead(void **state)
{
    static const char whole[] = "{\"verb\":\"initiator-name\"}"; /* not for root, who may run this */
    char log[4096];

    assert_int_equal(serve_dead(whole, sizeof(whole), log), 0);
    assert_string_equal(log, "");
    assert_int_equal(serve_dead(whole, 5, log), 0);
    assert_string_equal(log, "");
    assert_int_equal(serve_dead("", 0, log), 0);
    assert_string_equal(log, "");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_hook_environment), cmocka_unit_test(test_authorise),
        cmocka_unit_test(test_refused),          cmocka_unit_test(test_base64),
        cmocka_unit_test(test_portal),           cmocka_unit_test(test_connection_file),
        cmocka_unit_test(test_connection_lines), cmocka_unit_test(test_caller_dead),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
