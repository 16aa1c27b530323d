/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Managed identities: what is taken for the metadata service, how long its being updated is waited for, and
 * what a service may say about being asked at all. */
#include "azure-internal.h"
#include "azure-world.h"
#include "raw-server.h"

#include <curl/curl.h>
#include <dlfcn.h>
#include <limits.h>
#include <sys/syscall.h>

/* The clock set forward, and a library that has no memory for requests any more. */
static int64_t shift_sec;
static int requests_left = INT_MAX;

int clock_gettime(clockid_t id, struct timespec *t)
{
    int r = (int)syscall(SYS_clock_gettime, id, t);

    if (r == 0 && id == CLOCK_BOOTTIME)
        t->tv_sec += shift_sec;
    return r;
}

CURLMcode curl_multi_add_handle(CURLM *multi, CURL *easy)
{
    CURLMcode (*real)(CURLM *, CURL *) =
        (CURLMcode(*)(CURLM *, CURL *))dlsym(RTLD_NEXT, "curl_multi_add_handle");

    return requests_left-- <= 0 ? CURLM_OUT_OF_MEMORY : real(multi, easy);
}

#define JSON(status, body)                                                                                   \
    "HTTP/1.1 " status "\r\nContent-Type: application/json\r\nConnection: close\r\n\r\n" body
#define TOKEN                                                                                                \
    JSON("200 OK", "{\"access_token\":\"tok-en.1\",\"expires_in\":\"3599\",\"token_type\":\"Bearer\"}")
#define UPDATING JSON("404 Not Found", "{\"error\":\"not_found\"}")

typedef struct Metadata {
    const char *const *answers; /* the last one for ever */
    RawServer *server;
    char url[64];
} Metadata;

static void serve(int fd, unsigned number, const char *head, void *userdata)
{
    Metadata *m = userdata;
    unsigned i;

    for (i = 0; i < number && m->answers[i + 1]; i++)
        ;
    raw_send(fd, m->answers[i]);
}

static void metadata_init(Metadata *m, const char *const *answers)
{
    *m = (Metadata){.answers = answers};
    m->server = raw_server_start(serve, m);
    snprintf(m->url, sizeof(m->url), "http://127.0.0.1:%u", raw_server_port(m->server));
}

typedef struct Told {
    unsigned told;
    bool token, absent, transient;
    char failure[512];
    AzureFetch *fetch;
    HttpOutcome outcome;
} Told;

static void on_fetched(AzureFetched *f, void *userdata)
{
    Told *t = userdata;

    t->told++;
    t->token = f->token;
    t->absent = f->absent;
    t->transient = f->transient;
    snprintf(t->failure, sizeof(t->failure), "%s", f->failure ? f->failure->message : "");
    t->fetch = azure_fetch_free(t->fetch);
}

static void fetch(World *w, const char *url, Told *t)
{
    _cleanup_(http_freep) Http *h = NULL;
    Failure *f = NULL;

    *t = (Told){};
    w->config.imds_url = (char *)url;
    assert_int_equal(http_new(&h, w->event, NULL, 10 * USEC_PER_SEC), 0);
    assert_int_equal(azure_fetch_start(&(AzureFetchContext){.http = h, .config = &w->config},
                                       CREDENTIAL_MANAGED_IDENTITY, true, on_fetched, t, &t->fetch, &f),
                     0);
    while (!t->told)
        assert_true(sd_event_run(w->event, 20 * USEC_PER_SEC) >= 0);
}

static void test_what_is_a_metadata_service(void **state)
{
    static const struct {
        const char *answers[3];
        bool there;
    } cases[] = {
        {{JSON("400 Bad Request", "{\"error\":\"bad_request_102\"}"), TOKEN}, true},
        {{JSON("410 Gone", ""), TOKEN}, true},
        {{JSON("503 Busy", "<html>"), TOKEN}, true},
        {{JSON("404 Not Found", "{\"error\":\"no such page\"}"), TOKEN}, false},
        {{JSON("401 Unauthorized", "<?xml version=\"1.0\"?><html>"), TOKEN}, false},
        {{JSON("200 OK", "hello"), TOKEN}, false},
        {{JSON("400 Bad Request", "[]"), TOKEN}, false},
        {{JSON("403 Forbidden", "{\"error\":\"unreachable\"}"), TOKEN}, false},
    };
    static const Exchange none[] = {{}};
    World w;
    size_t i;

    world_init(&w, none);
    for (i = 0; i < ELEMENTSOF(cases); i++) {
        Metadata m;
        Told t;

        metadata_init(&m, cases[i].answers);
        fetch(&w, m.url, &t);
        if (t.token != cases[i].there || t.absent == cases[i].there)
            fail_msg("%s: token %d, absent %d: %s", cases[i].answers[0], t.token, t.absent, t.failure);
        raw_server_stop(m.server);
    }
    world_done(&w);
}

/* The question after the probe cannot be put: what the probe was answered is still looked at for the reason.
 */
static void test_no_second_question(void **state)
{
    static const char *const answers[] = {JSON("400 Bad Request", "{}"), NULL};
    static const Exchange none[] = {{}};
    Metadata m;
    World w;
    Told t;

    world_init(&w, none);
    metadata_init(&m, answers);
    requests_left = 1;
    fetch(&w, m.url, &t);
    requests_left = INT_MAX;
    assert_false(t.token);
    assert_non_null(strstr(t.failure, "no service for managed identities"));
    raw_server_stop(m.server);
    world_done(&w);
}

/* ---- being updated ---- */

static void by_managed_identity(World *w, const Metadata *m)
{
    azure_free(w->azure);
    w->config.credential = CREDENTIAL_MANAGED_IDENTITY;
    w->config.imds_url = (char *)m->url;
    world_azure(w);
}

/* More often than a request is tried. */
static void test_update_is_waited_for(void **state)
{
    static const char *const answers[] = {UPDATING, UPDATING, UPDATING, UPDATING, JSON("410 Gone", ""),
                                          UPDATING, UPDATING, TOKEN,    NULL};
    static const Exchange exchanges[] = {LOOKUP, POSTED, POLL(200, DONE_WITH(ENTRY(SCRIPT))), {}};
    Metadata m;
    World w;

    world_init(&w, exchanges);
    metadata_init(&m, answers);
    by_managed_identity(&w, &m);
    provision(&w);
    assert_script(&w);
    assert_int_equal(raw_server_served(m.server), 8);
    raw_server_stop(m.server);
    world_done(&w);
}

static int later(sd_event_source *source, uint64_t usec, void *userdata)
{
    if (raw_server_served(((Metadata *)userdata)->server) >= 6)
        shift_sec = 80;
    (void)sd_event_source_set_time_relative(source, 500);
    (void)sd_event_source_set_enabled(source, SD_EVENT_ONESHOT);
    return 0;
}

/* But not for ever. */
static void test_update_that_does_not_end(void **state)
{
    static const char *const answers[] = {UPDATING, NULL};
    static const Exchange none[] = {{}};
    sd_event_source *source = NULL;
    Metadata m;
    World w;

    world_init(&w, none);
    metadata_init(&m, answers);
    by_managed_identity(&w, &m);
    w.config.operation_timeout_usec = 300 * USEC_PER_SEC;
    assert_true(sd_event_add_time_relative(w.event, &source, CLOCK_MONOTONIC, 500, 1, later, &m) >= 0);
    provision(&w);
    assert_failure(&w, FAILURE_CREDENTIAL_REJECTED, "404");
    assert_true(raw_server_served(m.server) > 6);
    shift_sec = 0;
    sd_event_source_disable_unref(source);
    raw_server_stop(m.server);
    world_done(&w);
}

/* ---- throttled ---- */

static void on_token(Secret *token, Failure *failure, bool transient, uint64_t retry_after_usec,
                     void *userdata)
{
    Told *t = userdata;

    t->told++;
    t->token = token != NULL;
    t->transient = transient;
    snprintf(t->failure, sizeof(t->failure), "%s", failure ? failure->message : "");
    failure_free(failure);
}

static void test_hold_binds_who_comes_later(void **state)
{
    static const char *const answers[] = {
        "HTTP/1.1 429 Too Many\r\nRetry-After: 30\r\nConnection: close\r\n\r\n{\"error\":\"slow down\"}",
        TOKEN, NULL};
    static const Exchange none[] = {{}};
    _cleanup_secret_ Secret *token = NULL;
    AzureTokenWaiter *waiter = NULL;
    AzureToken *tokens;
    Failure *f = NULL;
    Told t = {};
    Metadata m;
    World w;
    Http *h;

    world_init(&w, none);
    metadata_init(&m, answers);
    w.config.credential = CREDENTIAL_MANAGED_IDENTITY;
    w.config.imds_url = m.url;
    assert_int_equal(http_new(&h, w.event, NULL, 10 * USEC_PER_SEC), 0);
    assert_int_equal(azure_token_new(&tokens, h, &w.config), 0);
    assert_int_equal(azure_token_get(tokens, on_token, &t, &token, &waiter, &f), 0);
    while (!t.told)
        assert_true(sd_event_run(w.event, 20 * USEC_PER_SEC) >= 0);
    waiter = azure_token_waiter_free(waiter);
    assert_true(!t.token && t.transient);
    /* Whoever asks now is told the same, and the service hears nothing. */
    assert_int_equal(azure_token_get(tokens, on_token, &t, &token, &waiter, &f), -EAGAIN);
    assert_non_null(f);
    assert_int_equal(f->name, FAILURE_AZURE_THROTTLED);
    assert_in_range(azure_token_held_usec(tokens), 25 * USEC_PER_SEC, 30 * USEC_PER_SEC);
    f = failure_free(f);
    assert_int_equal(raw_server_served(m.server), 1);
    shift_sec = 31;
    t = (Told){};
    assert_int_equal(azure_token_get(tokens, on_token, &t, &token, &waiter, &f), 0);
    while (!t.told)
        assert_true(sd_event_run(w.event, 20 * USEC_PER_SEC) >= 0);
    assert_true(t.token);
    shift_sec = 0;
    azure_token_waiter_free(waiter);
    azure_token_free(tokens);
    http_free(h);
    raw_server_stop(m.server);
    world_done(&w);
}

/* ---- what the environment says ---- */

static void test_arc_endpoint(void **state)
{
    static const char *const good[] = {"http://localhost:40342/metadata/x", "http://127.0.0.1/x"},
                             *const bad[] = {"http://localhost:1@evil.example/",
                                             "http://localhost:40342@evil.example",
                                             "http://127.0.0.1:1:2/x",
                                             "http://127.0.0.1:/x",
                                             "http://127.0.0.1.evil.example/",
                                             "https://127.0.0.1/x",
                                             "http://localhost/x@y"};
    Config c = {.management_url = (char *)"https://management.azure.com"};
    size_t i;

    setenv("IMDS_ENDPOINT", "http://127.0.0.1", 1);
    for (i = 0; i < ELEMENTSOF(good) + ELEMENTSOF(bad); i++) {
        const char *endpoint = i < ELEMENTSOF(good) ? good[i] : bad[i - ELEMENTSOF(good)];
        _cleanup_failure_ Failure *f = NULL;
        _cleanup_free_ char *url = NULL;
        int r;

        setenv("IDENTITY_ENDPOINT", endpoint, 1);
        r = azure_managed_url(&c, CREDENTIAL_ARC, &url, &f);
        if ((r >= 0) != (i < ELEMENTSOF(good)) || (r >= 0 && !startswith(url, "http://127.0.0.1")))
            fail_msg("%s: %s", endpoint, url ? url : f->message);
    }
    unsetenv("IDENTITY_ENDPOINT");
    unsetenv("IMDS_ENDPOINT");
}

static void test_authority_host(void **state)
{
    static const struct {
        const char *host, *url; /* url NULL: refused */
    } cases[] = {
        {"https://login.microsoftonline.us/", "https://login.microsoftonline.us/tenant-1/oauth2/v2.0/token"},
        {"https://login.chinacloudapi.cn", "https://login.chinacloudapi.cn/tenant-1/oauth2/v2.0/token"},
        {"", "https://login.example/tenant-1/oauth2/v2.0/token"},
        {"http://login.microsoftonline.us", NULL},
        {"https://user@login.microsoftonline.us", NULL},
        {"https://login.microsoftonline.us/other", NULL},
        {"https://login.microsoftonline.us?x", NULL},
        {"https://", NULL},
        {"nonsense", NULL},
    };
    char path[] = "/tmp/ilr-test-federated-XXXXXX";
    Config c = {.credential = CREDENTIAL_WORKLOAD_IDENTITY,
                .login_url = (char *)"https://login.example",
                .login_url_default = true,
                .management_url = (char *)"https://management.example",
                .tenant_id = (char *)"tenant-1",
                .client_id = (char *)"client-1",
                .federated_token_file = path};
    int fd = mkstemp(path);
    size_t i;

    assert_int_equal(write(fd, "federated", 9), 9);
    close(fd);
    for (i = 0; i < ELEMENTSOF(cases); i++) {
        _cleanup_secret_ Secret *body = NULL;
        _cleanup_failure_ Failure *f = NULL;
        _cleanup_free_ char *url = NULL;
        int r;

        setenv("AZURE_AUTHORITY_HOST", cases[i].host, 1);
        r = azure_login_request(&c, CREDENTIAL_WORKLOAD_IDENTITY, &url, &body, &f);
        if (cases[i].url ? r < 0 || !streq(url, cases[i].url)
                         : r >= 0 || !strstr(f->message, "AZURE_AUTHORITY_HOST"))
            fail_msg("%s: %s", cases[i].host, url ? url : f ? f->message : "?");
    }
    {
        /* LoginUrl= counts more. */
        _cleanup_secret_ Secret *body = NULL;
        _cleanup_failure_ Failure *f = NULL;
        _cleanup_free_ char *url = NULL;

        c.login_url_default = false;
        setenv("AZURE_AUTHORITY_HOST", cases[0].host, 1);
        assert_int_equal(azure_login_request(&c, CREDENTIAL_WORKLOAD_IDENTITY, &url, &body, &f), 0);
        assert_string_equal(url, cases[2].url);
    }
    unsetenv("AZURE_AUTHORITY_HOST");
    unlink(path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_is_a_metadata_service),
        cmocka_unit_test(test_no_second_question),
        cmocka_unit_test(test_update_is_waited_for),
        cmocka_unit_test(test_update_that_does_not_end),
        cmocka_unit_test(test_hold_binds_who_comes_later),
        cmocka_unit_test(test_arc_endpoint),
        cmocka_unit_test(test_authority_host),
    };

    log_open("test-azure", LOG_ERR);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
