/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What becomes of a request when the way to the other side is no good: a proxy, garbage, silence. What
 * matters is whether the other side may have acted on it. */
#include "http.h"

#include "azure-world.h"
#include "raw-server.h"

#include <arpa/inet.h>
#include <sys/socket.h>

typedef struct Asked {
    unsigned done;
    HttpOutcome outcome;
    bool sent;
    int status;
    char detail[256];
} Asked;

static void on_answer(const HttpAnswer *a, void *userdata)
{
    Asked *asked = userdata;

    asked->done++;
    asked->outcome = a->outcome;
    asked->sent = a->sent;
    asked->status = a->status;
    snprintf(asked->detail, sizeof(asked->detail), "%s", a->detail);
}

static void ask(World *w, Http *h, const HttpOptions *o, Asked *asked)
{
    HttpRequest *q = NULL;

    *asked = (Asked){};
    assert_int_equal(http_start(h, o, on_answer, asked, &q), 0);
    while (!asked->done)
        assert_true(sd_event_run(w->event, 20 * USEC_PER_SEC) >= 0);
    http_request_free(q);
}

/* ---- by a proxy ---- */

typedef struct Proxy {
    const char *answer; /* to CONNECT; NULL: closes at once */
    uint16_t to;        /* then passes all on to this port; 0: closes */
} Proxy;

static void serve_proxy(int fd, unsigned number, const char *head, void *userdata)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    Proxy *p = userdata;
    int other;

    if (strncmp(head, "CONNECT ", 8) != 0 || !p->answer)
        return;
    raw_send(fd, p->answer);
    if (!p->to)
        return;
    address.sin_port = htons(p->to);
    other = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (other >= 0 && connect(other, (struct sockaddr *)&address, sizeof(address)) == 0)
        raw_pump(fd, other);
    close(other);
}

static void test_proxy(void **state)
{
    static const char connected[] = "HTTP/1.1 200 Connection established\r\n\r\n";
    static const Exchange exchanges[] = {
        {"POST", "/there", NULL, 200, NULL, "{}"},
        {"POST", "/there", NULL, 0, NULL, NULL, TRICK_RESET},
        {},
    };
    static const struct {
        const char *answer;
        bool tunnel;
        HttpOutcome outcome;
        bool sent;
    } cases[] = {
        {NULL, false, HTTP_BROKEN, false}, /* CONNECT is all that was sent */
        {"HTTP/1.1 502 No\r\nContent-Length: 0\r\n\r\n", false, HTTP_BROKEN, false},
        {connected, false, HTTP_HANDSHAKE, false}, /* closes instead of TLS */
        {connected, true, HTTP_ANSWERED, true},
        {connected, true, HTTP_BROKEN, true}, /* the other side resets after it read */
    };
    _cleanup_secret_ Secret *bearer = secret_new("tok-en.1", 8);
    char url[128], proxy[64];
    RawServer *server;
    Proxy p = {};
    Asked asked;
    size_t i;
    World w;
    Http *h;

    world_init(&w, exchanges);
    snprintf(url, sizeof(url), "%s/there", server_url(w.server));
    server = raw_server_start(serve_proxy, &p);
    snprintf(proxy, sizeof(proxy), "http://127.0.0.1:%u", raw_server_port(server));
    /* What the environment excepts is not excepted. */
    setenv("no_proxy", "*", 1);
    for (i = 0; i < ELEMENTSOF(cases); i++) {
        p = (Proxy){cases[i].answer, cases[i].tunnel ? server_port(w.server) : 0};
        assert_int_equal(http_new(&h, w.event, server_ca_file(), 10 * USEC_PER_SEC), 0);
        assert_int_equal(http_set_proxy(h, proxy), 0);
        ask(&w, h,
            &(HttpOptions){.method = "POST", .url = url, .bearer = bearer, .body_max = 1024, .once = true},
            &asked);
        if (asked.outcome != cases[i].outcome || asked.sent != cases[i].sent)
            fail_msg("case %zu: outcome %d (%s), sent %d", i, asked.outcome, asked.detail, asked.sent);
        http_free(h);
    }
    unsetenv("no_proxy");
    assert_played(&w, 2);
    assert_int_equal(http_new(&h, w.event, server_ca_file(), 10 * USEC_PER_SEC), 0);
    assert_int_equal(http_set_proxy(h, "http://nowhere.invalid:3128"), 0);
    ask(&w, h, &(HttpOptions){.method = "POST", .url = url, .body_max = 1024}, &asked);
    assert_int_equal(asked.outcome, HTTP_UNREACHABLE);
    assert_false(asked.sent);
    http_free(h);
    raw_server_stop(server);
    world_done(&w);
}

/* ---- what is no answer ---- */

static void serve_text(int fd, unsigned number, const char *head, void *userdata)
{
    raw_send(fd, userdata);
}

static void serve_and_wait(int fd, unsigned number, const char *head, void *userdata)
{
    raw_send(fd, userdata);
    raw_wait_closed(fd);
}

static void test_garbage(void **state)
{
    static char *const texts[] = {
        (char *)"SSH-2.0-OpenSSH_9.2p1 Debian-2\r\n",
        (char *)"HTTP/1.1 abc\r\n\r\n",
        (char *)"HTTP/1.1 200 OK\r\nContent-Length: x1\r\n\r\n",
    };
    static const Exchange none[] = {{}};
    char url[64];
    Asked asked;
    size_t i;
    World w;
    Http *h;

    world_init(&w, none);
    assert_int_equal(http_new(&h, w.event, NULL, 10 * USEC_PER_SEC), 0);
    for (i = 0; i < ELEMENTSOF(texts); i++) {
        RawServer *server = raw_server_start(serve_text, texts[i]);

        snprintf(url, sizeof(url), "http://127.0.0.1:%u/", raw_server_port(server));
        ask(&w, h, &(HttpOptions){.method = "GET", .url = url, .local = true, .body_max = 1024}, &asked);
        if (asked.outcome != HTTP_BROKEN || !asked.sent)
            fail_msg("%s: outcome %d (%s), sent %d", texts[i], asked.outcome, asked.detail, asked.sent);
        raw_server_stop(server);
    }
    /* Not even asked. */
    ask(&w, h, &(HttpOptions){.method = "GET", .url = "gopher://127.0.0.1/", .body_max = 1024}, &asked);
    assert_int_equal(asked.outcome, HTTP_BAD_URL);
    assert_false(asked.sent);
    http_free(h);
    world_done(&w);
}

/* An answer begins and does not go on: given up long before the whole request's time is over. */
static void test_silence_between_bytes(void **state)
{
    static const Exchange none[] = {{}};
    uint64_t begin = now_usec(CLOCK_MONOTONIC);
    RawServer *server;
    char url[64];
    Asked asked;
    World w;
    Http *h;

    world_init(&w, none);
    server =
        raw_server_start(serve_and_wait, (char *)"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\n{\"half\":");
    snprintf(url, sizeof(url), "http://127.0.0.1:%u/", raw_server_port(server));
    assert_int_equal(http_new(&h, w.event, NULL, 100 * USEC_PER_SEC), 0);
    http_set_silence(h, 1 * USEC_PER_SEC);
    ask(&w, h, &(HttpOptions){.method = "GET", .url = url, .local = true, .body_max = 1024}, &asked);
    assert_int_equal(asked.outcome, HTTP_TIMED_OUT);
    assert_true(asked.sent);
    assert_true(now_usec(CLOCK_MONOTONIC) - begin < 15 * USEC_PER_SEC);
    http_free(h);
    raw_server_stop(server);
    world_done(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_proxy),
        cmocka_unit_test(test_garbage),
        cmocka_unit_test(test_silence_between_bytes),
    };

    log_open("test-http", LOG_ERR);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
