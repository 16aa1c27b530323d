/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The Varlink server from a caller's side of a socket: what is answered, in which order, what is refused, and
 * that neither a caller who goes nor the end of the server leaves anything behind. */

#include "varlink-fixture.h"

#include <sys/socket.h>

static void test_service(void **state)
{
    Fixture *f = *state;
    int fd = connect_pair(f);

    say(f, fd, "{\"method\":\"org.varlink.service.GetInfo\"}");
    assert_hears(f, fd,
                 "{\"parameters\":{\"vendor\":\"Vendor\",\"product\":\"Product\",\"version\":\"1\","
                 "\"url\":\"https://example.com/\",\"interfaces\":[\"" DOMAIN
                 "\",\"org.varlink.service\"]}}");
    say(f, fd,
        "{\"method\":\"org.varlink.service.GetInterfaceDescription\",\"parameters\":{\"interface\":\"" DOMAIN
        "\"}}");
    assert_hears(f, fd, "{\"parameters\":{\"description\":\"interface " DOMAIN "\\n\"}}");
    say(f, fd,
        "{\"method\":\"org.varlink.service.GetInterfaceDescription\","
        "\"parameters\":{\"interface\":\"org.varlink.service\"}}");
    assert_hears_part(f, fd, "method GetInterfaceDescription(interface: string) -> (description: string)");
    say(f, fd,
        "{\"method\":\"org.varlink.service.GetInterfaceDescription\",\"parameters\":{\"interface\":\"no."
        "such\"}}");
    assert_hears(
        f, fd,
        "{\"error\":\"org.varlink.service.InterfaceNotFound\",\"parameters\":{\"interface\":\"no.such\"}}");
    say(f, fd,
        "{\"method\":\"org.varlink.service.GetInterfaceDescription\",\"parameters\":{\"interface\":7}}");
    assert_hears_part(f, fd, "InvalidParameter\",\"parameters\":{\"parameter\":\"interface\"}");
    close(fd);
    pump(f);
    assert_int_equal(varlink_server_n_connections(f->server), 0);
}

static void test_call_errors(void **state)
{
    static const struct {
        const char *call, *answer;
    } cases[] = {
        {"{\"method\":\"io.other.Thing\"}",
         "{\"error\":\"org.varlink.service.InterfaceNotFound\",\"parameters\":{\"interface\":\"io.other\"}}"},
        {CALL("Nothing"),
         "{\"error\":\"org.varlink.service.MethodNotFound\",\"parameters\":{\"method\":\"" DOMAIN
         ".Nothing\"}}"},
        {CALL("Later"),
         "{\"error\":\"org.varlink.service.MethodNotImplemented\",\"parameters\":{\"method\":\"" DOMAIN
         ".Later\"}}"},
        {"{\"method\":\"Echo\"}",
         "{\"error\":\"org.varlink.service.InvalidParameter\",\"parameters\":{\"parameter\":\"method\"}}"},
        {"{\"method\":\".Echo\"}",
         "{\"error\":\"org.varlink.service.InvalidParameter\",\"parameters\":{\"parameter\":\"method\"}}"},
        {"{\"method\":\"" DOMAIN ".Echo\",\"parameters\":{\"txt\":1}}",
         "{\"error\":\"org.varlink.service.InvalidParameter\",\"parameters\":{\"parameter\":\"txt\"}}"},
        {"{\"method\":\"" DOMAIN ".Park\",\"parameters\":{\"txt\":1}}",
         "{\"error\":\"org.varlink.service.InvalidParameter\",\"parameters\":{\"parameter\":\"txt\"}}"},
        {CALL("Stream"), "{\"error\":\"org.varlink.service.ExpectedMore\",\"parameters\":{}}"},
        {"{\"method\":\"" DOMAIN ".Echo\",\"parameters\":null}", "{\"parameters\":{}}"},
    };
    Fixture *f = *state;
    int fd = connect_pair(f);
    size_t i;

    for (i = 0; i < ELEMENTSOF(cases); i++) {
        say(f, fd, cases[i].call);
        assert_hears(f, fd, cases[i].answer);
    }
    say(f, fd, CALL("Broken"));
    assert_hears_part(f, fd, "\"error\":\"" DOMAIN ".InternalFailed\"");
    say(f, fd, ECHO("still here"));
    assert_hears(f, fd, ECHOED("still here"));
    close(fd);
}

static void test_not_varlink(void **state)
{
    static const struct {
        const char *bytes, *answer;
    } cases[] = {
        {"GET / HTTP/1.1\r\n\r\n", "not valid JSON"},
        {"", "not valid JSON"},
        {"{\"method\":\"a.B\"", "not valid JSON"},
        {"{\"method\":\"a.B\"}{}", "not valid JSON"},
        {"{\"method\":\"a.\xff\"}", "not valid JSON"},
        {"[]", "not a JSON object"},
        {"\"text\"", "not a JSON object"},
        {"{}", "has no method"},
        {"{\"method\":7}", "wants a string as method"},
        {"{\"method\":\"a.B\\u0000C\"}", "wants a string as method"},
        {"{\"method\":\"a.B\",\"parameters\":[]}", "wants an object as parameters"},
        {"{\"method\":\"a.B\",\"more\":1}", "wants true or false as more"},
        {"{\"method\":\"a.B\",\"oneway\":\"yes\"}", "wants true or false as oneway"},
        {"{\"method\":\"a.B\",\"upgrade\":{}}", "wants true or false as upgrade"},
        {"{\"method\":\"a.B\",\"upgrade\":true}", "upgrade"},
        {"{\"method\":\"a.B\",\"more\":true,\"oneway\":true}", "both more and oneway"},
        {"{\"method\":\"a.B\",\"color\":1}", "unknown field \\\"color\\\""},
    };
    Fixture *f = *state;
    int other = connect_pair(f);
    size_t i;

    for (i = 0; i < ELEMENTSOF(cases); i++) {
        int fd = connect_pair(f);

        say(f, fd, cases[i].bytes);
        say(f, fd, ECHO("never"));
        assert_hears_part(f, fd, cases[i].answer);
        assert_end(f, fd);
        close(fd);
    }
    assert_int_equal(f->handled, 0);
    say(f, other, ECHO("x"));
    assert_hears(f, other, ECHOED("x"));
    close(other);
}

static void test_byte_by_byte(void **state)
{
    static const char text[] = ECHO("slow");
    Fixture *f = *state;
    int fd = connect_pair(f);
    size_t i;

    for (i = 0; i < sizeof(text); i++) {
        assert_silence(f, fd);
        say_bytes(f, fd, text + i, 1);
    }
    assert_hears(f, fd, ECHOED("slow"));
    close(fd);
}

static void test_pipelined(void **state)
{
    static const char text[] =
        ECHO("1") "\0" CALL("Park") "\0" ECHO("2") "\0" ECHO("3") "\0" CALL("Park") "\0" ECHO("4");
    Fixture *f = *state;
    int fd = connect_pair(f);

    say_bytes(f, fd, text, sizeof(text));
    assert_hears(f, fd, ECHOED("1"));
    assert_silence(f, fd);
    assert_int_equal(f->handled, 2);
    assert_int_equal(varlink_call_reply(f->parked, NULL), 0);
    /* Nothing runs from inside the answer. */
    assert_int_equal(f->handled, 2);
    assert_hears(f, fd, "{\"parameters\":{}}");
    assert_hears(f, fd, ECHOED("2"));
    assert_hears(f, fd, ECHOED("3"));
    assert_silence(f, fd);
    assert_int_equal(varlink_call_error(f->parked, "a.B", NULL), 0);
    assert_hears(f, fd, "{\"error\":\"a.B\",\"parameters\":{}}");
    assert_hears(f, fd, ECHOED("4"));
    close(fd);
    pump(f);
    assert_int_equal(f->gone, 0);
}

static void test_many_pipelined(void **state)
{
    Fixture *f = *state;
    int fd = connect_pair(f), i;

    for (i = 0; i < 5000; i++)
        say(f, fd, "{\"method\":\"" DOMAIN ".Echo\",\"oneway\":true}");
    say(f, fd, ECHO("last"));
    assert_hears(f, fd, ECHOED("last"));
    assert_int_equal(f->handled, 5001);
    close(fd);
}

static void test_half_close(void **state)
{
    static const char text[] = ECHO("1") "\0" CALL("Park") "\0" ECHO("2") "\0{\"half";
    Fixture *f = *state;
    int fd = connect_pair(f);

    say_bytes(f, fd, text, sizeof(text) - 1);
    assert_int_equal(shutdown(fd, SHUT_WR), 0);
    assert_hears(f, fd, ECHOED("1"));
    assert_silence(f, fd);
    assert_int_equal(f->gone, 0);
    assert_int_equal(varlink_call_reply(f->parked, NULL), 0);
    assert_hears(f, fd, "{\"parameters\":{}}");
    assert_hears(f, fd, ECHOED("2"));
    assert_end(f, fd);
    assert_int_equal(varlink_server_n_connections(f->server), 0);
    close(fd);
}

static void test_stream(void **state)
{
    _cleanup_json_ json_object *o = json_object_new_object();
    Fixture *f = *state;
    int fd = connect_pair(f);

    json_object_object_add(o, "n", json_object_new_int(1));
    say(f, fd, "{\"method\":\"" DOMAIN ".Stream\",\"more\":true}");
    pump(f);
    assert_true(varlink_call_wants_more(f->parked));
    assert_int_equal(varlink_call_uid(f->parked), geteuid());
    assert_int_equal(varlink_call_pid(f->parked), getpid());
    assert_int_equal(varlink_call_notify(f->parked, o), 0);
    assert_hears(f, fd, "{\"parameters\":{\"n\":1},\"continues\":true}");
    assert_int_equal(varlink_call_notify(f->parked, o), 0);
    assert_int_equal(varlink_call_reply(f->parked, o), 0);
    assert_hears(f, fd, "{\"parameters\":{\"n\":1},\"continues\":true}");
    assert_hears(f, fd, "{\"parameters\":{\"n\":1}}");
    /* Who did not ask for more gets the last one only. */
    say(f, fd, CALL("Park"));
    pump(f);
    assert_int_equal(varlink_call_notify(f->parked, o), 0);
    assert_silence(f, fd);
    assert_int_equal(varlink_call_reply(f->parked, o), 0);
    assert_hears(f, fd, "{\"parameters\":{\"n\":1}}");
    close(fd);
}

static void test_failure(void **state)
{
    _cleanup_failure_ Failure *failure = failure_new(FAILURE_BUSY, "held");
    _cleanup_json_ json_object *o = json_object_new_object();
    Fixture *f = *state;
    int fd = connect_pair(f);

    json_object_object_add(o, "session", json_object_new_string("s"));
    json_object_object_add(o, "nothing", NULL);
    say(f, fd, CALL("Park"));
    pump(f);
    assert_int_equal(varlink_call_fail(f->parked, failure, o), 0);
    assert_hears_part(f, fd,
                      "{\"error\":\"" DOMAIN
                      ".Busy\",\"parameters\":{\"failure\":{\"name\":\"Busy\",\"message\":\"held\"");
    say(f, fd, CALL("Park"));
    pump(f);
    assert_int_equal(varlink_call_fail(f->parked, NULL, NULL), 0);
    assert_hears(f, fd, "{\"error\":\"" DOMAIN ".InternalFailed\",\"parameters\":{}}");
    close(fd);
}

static void test_gone(void **state)
{
    Fixture *f = *state;
    int fd = connect_pair(f);

    say(f, fd, CALL("Park"));
    pump(f);
    assert_int_equal(f->gone, 0);
    close(fd);
    pump(f);
    assert_int_equal(f->gone, 1);
    assert_int_equal(varlink_server_n_connections(f->server), 0);

    /* Gone before the call was even looked at. */
    fd = connect_pair(f);
    say(f, fd, CALL("Park"));
    close(fd);
    pump(f);
    assert_int_equal(f->gone, 2);
    assert_int_equal(varlink_server_n_connections(f->server), 0);

    /* Noticed by an answer that cannot be sent: told later, not from inside. */
    fd = connect_pair(f);
    say(f, fd, "{\"method\":\"" DOMAIN ".Park\",\"more\":true}");
    pump(f);
    close(fd);
    assert_int_equal(varlink_call_notify(f->parked, NULL), -ECONNRESET);
    assert_int_equal(f->gone, 2);
    pump(f);
    assert_int_equal(f->gone, 3);

    /* The final answer comes first: then there is nobody to tell. */
    fd = connect_pair(f);
    say(f, fd, CALL("Park"));
    pump(f);
    close(fd);
    assert_int_equal(varlink_call_reply(f->parked, NULL), -ECONNRESET);
    pump(f);
    assert_int_equal(f->gone, 3);
    assert_int_equal(varlink_server_n_connections(f->server), 0);
}

static void test_oneway(void **state)
{
    static const char text[] =
        "{\"method\":\"" DOMAIN ".Park\",\"oneway\":true}\0{\"method\":\"" DOMAIN
        ".Nothing\",\"oneway\":true}\0{\"method\":\"" DOMAIN ".Echo\",\"oneway\":true}";
    Fixture *f = *state;
    int fd = connect_pair(f);

    say_bytes(f, fd, text, sizeof(text));
    say(f, fd, ECHO("x"));
    pump(f);
    assert_int_equal(varlink_call_reply(f->parked, NULL), 0);
    assert_hears(f, fd, ECHOED("x"));
    assert_int_equal(f->handled, 3);
    close(fd);

    /* Said and left: all of it is done all the same. */
    fd = connect_pair(f);
    say_bytes(f, fd, text, sizeof(text));
    close(fd);
    pump(f);
    assert_int_equal(f->gone, 0);
    assert_int_equal(f->handled, 4);
    assert_int_equal(varlink_call_reply(f->parked, NULL), 0);
    pump(f);
    assert_int_equal(f->handled, 5);
    assert_int_equal(varlink_server_n_connections(f->server), 0);
}

static void test_server_free(void **state)
{
    Fixture *f = *state;
    int fd = connect_pair(f), other = connect_pair(f);

    /* With a parked call, buffered messages and unread answers. */
    say(f, other, ECHO("unread"));
    say(f, fd, CALL("Park"));
    say(f, fd, ECHO("waits"));
    pump(f);
    f->server = varlink_server_free(f->server);
    assert_int_equal(f->gone, 0);
    assert_hears(f, other, ECHOED("unread"));
    assert_end(f, other);
    close(fd);
    close(other);

    /* From a handler. */
    fixture_serve(f, NULL);
    fd = connect_pair(f);
    other = connect_pair(f);
    say(f, fd, CALL("End"));
    say(f, fd, ECHO("never"));
    pump(f);
    assert_null(f->server);
    close(fd);
    close(other);

    /* From the gone callback. */
    fixture_serve(f, NULL);
    fd = connect_pair(f);
    other = connect_pair(f);
    say(f, fd, CALL("Park"));
    pump(f);
    f->free_in_gone = true;
    close(fd);
    pump(f);
    assert_null(f->server);
    assert_int_equal(f->gone, 1);
    close(other);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        FIXTURE_TEST(test_service),      FIXTURE_TEST(test_call_errors), FIXTURE_TEST(test_not_varlink),
        FIXTURE_TEST(test_byte_by_byte), FIXTURE_TEST(test_pipelined),   FIXTURE_TEST(test_many_pipelined),
        FIXTURE_TEST(test_half_close),   FIXTURE_TEST(test_stream),      FIXTURE_TEST(test_failure),
        FIXTURE_TEST(test_gone),         FIXTURE_TEST(test_oneway),      FIXTURE_TEST(test_server_free),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
