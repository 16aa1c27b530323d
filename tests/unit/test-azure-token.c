/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Access tokens: what is taken for one, how long it is kept, who is told, and what may be freed meanwhile. */
#include "azure-token.h"

#include "azure-world.h"

#include <sys/syscall.h>

#define TOKEN(text, lifetime) "{\"access_token\":\"" text "\",\"expires_in\":" lifetime "}"

/* The clock that tokens are kept by, set forward. */
static int64_t shift_sec;

int clock_gettime(clockid_t id, struct timespec *t)
{
    int r = (int)syscall(SYS_clock_gettime, id, t);

    if (r == 0 && id == CLOCK_BOOTTIME)
        t->tv_sec += shift_sec;
    return r;
}

typedef struct Tokens {
    World w;
    Http *http;
    AzureToken *token;
} Tokens;

typedef struct Waiting {
    Tokens *tokens;
    AzureTokenWaiter *waiter;
    unsigned told;
    char text[32]; /* of the token; "": a failure */
    char failure[512];
    bool transient;
    struct Waiting *frees; /* this one's wait ends while we are told */
} Waiting;

static void setup(Tokens *t)
{
    static const Exchange none[] = {{}};

    shift_sec = 0;
    *t = (Tokens){};
    world_init(&t->w, none);
    assert_int_equal(http_new(&t->http, t->w.event, server_ca_file(), 10 * USEC_PER_SEC), 0);
    assert_int_equal(azure_token_new(&t->token, t->http, &t->w.config), 0);
}

static void teardown(Tokens *t)
{
    azure_token_free(t->token);
    http_free(t->http);
    if (server_complaint(t->w.server))
        fail_msg("%s", server_complaint(t->w.server));
    world_done(&t->w);
}

static void on_token(Secret *token, Failure *failure, bool transient, uint64_t retry_after_usec,
                     void *userdata)
{
    _cleanup_failure_ Failure *f = failure;
    Waiting *w = userdata;

    assert_true(!token != !failure);
    w->told++;
    snprintf(w->text, sizeof(w->text), "%s", token ? secret_text(token) : "");
    snprintf(w->failure, sizeof(w->failure), "%s", f ? f->message : "");
    w->transient = transient;
    w->waiter = azure_token_waiter_free(w->waiter);
    if (w->frees)
        w->frees->waiter = azure_token_waiter_free(w->frees->waiter);
}

/* 1: there is one, its text in w; 0: it is waited for. */
static int get(Tokens *t, Waiting *w)
{
    _cleanup_secret_ Secret *token = NULL;
    _cleanup_failure_ Failure *f = NULL;
    int r = azure_token_get(t->token, on_token, w, &token, &w->waiter, &f);

    assert_true(r >= 0);
    assert_true((r == 1) == (token != NULL));
    if (token)
        snprintf(w->text, sizeof(w->text), "%s", secret_text(token));
    return r;
}

static void wait_for(Tokens *t, const Waiting *w)
{
    while (!w->told)
        assert_true(sd_event_run(t->w.event, 10 * USEC_PER_SEC) > 0);
}

static void test_one_fetch_for_all(void **state)
{
    Waiting w[8] = {};
    Tokens t;
    size_t i;

    setup(&t);
    for (i = 0; i < ELEMENTSOF(w); i++)
        assert_int_equal(get(&t, &w[i]), 0);
    /* One of them is freed while another is told: nobody calls it any more. They are told last come first. */
    w[6].frees = &w[2];
    for (i = 0; i < ELEMENTSOF(w); i++)
        if (i != 2) {
            wait_for(&t, &w[i]);
            assert_int_equal(w[i].told, 1);
            assert_string_equal(w[i].text, "tok-en.1");
        }
    assert_int_equal(w[2].told, 0);
    assert_null(w[2].waiter);
    assert_int_equal(get(&t, &w[0]), 1);
    assert_int_equal(server_tokens(t.w.server), 1);
    teardown(&t);
}

static void test_renewed_five_minutes_early(void **state)
{
    Waiting w = {}, again = {}, late = {};
    Tokens t;

    setup(&t);
    assert_int_equal(get(&t, &w), 0); /* for 3599 s */
    wait_for(&t, &w);
    shift_sec = 3599 - 302;
    assert_int_equal(get(&t, &again), 1);
    server_set_token_answer(t.w.server, 200, TOKEN("tok-en.2", "\"90\""));
    shift_sec = 3599 - 298;
    assert_int_equal(get(&t, &again), 0);
    wait_for(&t, &again);
    assert_string_equal(again.text, "tok-en.2");
    /* One that is good for less than ten minutes is kept to its end: else it would be fetched for each
     * request. */
    shift_sec += 85;
    assert_int_equal(get(&t, &late), 1);
    shift_sec += 10;
    assert_int_equal(get(&t, &late), 0);
    wait_for(&t, &late);
    assert_int_equal(server_tokens(t.w.server), 3);
    teardown(&t);
}

static void test_dropped_once(void **state)
{
    _cleanup_secret_ Secret *first = NULL, *second = NULL, *third = NULL;
    AzureTokenWaiter *waiter = NULL;
    Waiting w = {}, again = {};
    Failure *f = NULL;
    Tokens t;

    setup(&t);
    assert_int_equal(get(&t, &w), 0);
    wait_for(&t, &w);
    assert_int_equal(azure_token_get(t.token, on_token, &w, &first, &waiter, &f), 1);
    azure_token_drop(t.token, first);
    assert_int_equal(get(&t, &again), 0);
    wait_for(&t, &again);
    assert_int_equal(azure_token_get(t.token, on_token, &w, &second, &waiter, &f), 1);
    /* Another request that was refused with the first one comes late: the second one stays. */
    azure_token_drop(t.token, first);
    assert_int_equal(azure_token_get(t.token, on_token, &w, &third, &waiter, &f), 1);
    assert_ptr_equal(second, third);
    assert_int_equal(server_tokens(t.w.server), 2);
    teardown(&t);
}

static void test_refused_and_unwell(void **state)
{
    static const struct {
        int status;
        const char *body, *words;
        bool transient;
    } cases[] = {
        {401,
         "{\"error\":\"invalid_client\",\"error_description\":\"AADSTS7000215: Invalid client secret "
         "provided.\"}",
         "AADSTS7000215", false},
        {429, "", "429", true},
        {503, "<html>", "503", true},
        {200, "s3cret token", "is no JSON object", false},
        {200, "[]", "is no JSON object", false},
        {200, "{}", "no usable access_token", false},
        {200, "{\"access_token\":\"two words\",\"expires_in\":60}", "no usable access_token", false},
        {200, "{\"access_token\":\"line\\nHost: other\",\"expires_in\":60}", "no usable access_token", false},
        {200, "{\"access_token\":7,\"expires_in\":60}", "no usable access_token", false},
        {200, "{\"access_token\":\"a\"}", "no usable expires_in", false},
        {200, TOKEN("a", "0"), "no usable expires_in", false},
        {200, TOKEN("a", "-5"), "no usable expires_in", false},
        {200, TOKEN("a", "\"12 days\""), "no usable expires_in", false},
        {200, TOKEN("a", "99999999999999999999"), "no usable expires_in", false},
    };
    Waiting good = {};
    Tokens t;
    size_t i;

    setup(&t);
    for (i = 0; i < ELEMENTSOF(cases); i++) {
        Waiting w = {};

        server_set_token_answer(t.w.server, cases[i].status, cases[i].body);
        assert_int_equal(get(&t, &w), 0);
        wait_for(&t, &w);
        if (w.text[0] || !strstr(w.failure, cases[i].words) || w.transient != cases[i].transient)
            fail_msg("%d %s: \"%s\" \"%s\" %d", cases[i].status, cases[i].body, w.text, w.failure,
                     w.transient);
        assert_null(strstr(w.failure, "s3cret"));
    }
    server_set_token_answer(t.w.server, 0, NULL);
    assert_int_equal(get(&t, &good), 0);
    wait_for(&t, &good);
    assert_string_equal(good.text, "tok-en.1");
    teardown(&t);
}

static void test_freed_while_running(void **state)
{
    Waiting a = {}, b = {};
    AzureFetch *fetch = NULL;
    Failure *f = NULL;
    Tokens t;
    unsigned i;

    setup(&t);
    /* The last who waits takes the fetch along. */
    assert_int_equal(get(&t, &a), 0);
    a.waiter = azure_token_waiter_free(a.waiter);
    assert_int_equal(get(&t, &a), 0);
    for (i = 0; i < 3; i++)
        (void)sd_event_run(t.w.event, 10 * USEC_PER_MSEC);
    assert_int_equal(get(&t, &b), a.told ? 1 : 0);
    azure_token_free(t.token);
    a.waiter = azure_token_waiter_free(a.waiter);
    b.waiter = azure_token_waiter_free(b.waiter);
    /* A fetch for itself. */
    assert_int_equal(azure_fetch_start(&(AzureFetchContext){.http = t.http, .config = &t.w.config},
                                       CREDENTIAL_CLIENT_SECRET, false, NULL, NULL, &fetch, &f),
                     0);
    (void)sd_event_run(t.w.event, 10 * USEC_PER_MSEC);
    fetch = azure_fetch_free(fetch);
    for (i = 0; i < 10; i++)
        (void)sd_event_run(t.w.event, 10 * USEC_PER_MSEC);
    assert_int_equal(b.told, 0);
    t.token = NULL;
    teardown(&t);
}

static void test_ended_while_waited_for(void **state)
{
    Waiting a = {}, b = {};
    Tokens t;

    setup(&t);
    assert_int_equal(get(&t, &a), 0);
    assert_int_equal(get(&t, &b), 0);
    t.token = azure_token_end(t.token);
    assert_int_equal(a.told, 1);
    assert_int_equal(b.told, 1);
    assert_non_null(strstr(a.failure, "ended"));
    teardown(&t);
}

static void test_federated_token_is_read_again(void **state)
{
    static const char *const tokens[] = {"federated-one", "federated-two"};
    char path[] = "/tmp/ilr-test-federated-XXXXXX";
    Config c = {.credential = CREDENTIAL_WORKLOAD_IDENTITY,
                .login_url = (char *)"https://login.example",
                .management_url = (char *)"https://management.example",
                .tenant_id = (char *)"tenant-1",
                .client_id = (char *)"client-1",
                .federated_token_file = path};
    int fd = mkstemp(path);
    size_t i;

    assert_true(fd >= 0);
    for (i = 0; i < ELEMENTSOF(tokens); i++) {
        _cleanup_secret_ Secret *body = NULL;
        _cleanup_failure_ Failure *f = NULL;
        _cleanup_free_ char *url = NULL;

        assert_int_equal(ftruncate(fd, 0), 0);
        assert_true(pwrite(fd, tokens[i], strlen(tokens[i]), 0) > 0);
        if (azure_login_request(&c, CREDENTIAL_WORKLOAD_IDENTITY, &url, &body, &f) < 0)
            fail_msg("%s", f ? f->message : "?");
        assert_string_equal(url, "https://login.example/tenant-1/oauth2/v2.0/token");
        assert_non_null(strstr(secret_text(body), tokens[i]));
        assert_null(strstr(secret_text(body), tokens[1 - i]));
    }
    close(fd);
    unlink(path);
}

/* The clouds by name: where one signs in, and for what. */
static void test_clouds(void **state)
{
    static const struct {
        const char *name, *url, *scope;
    } cases[] = {
        {"public", "https://login.microsoftonline.com/tenant-1/oauth2/v2.0/token", "management.azure.com"},
        {"china", "https://login.chinacloudapi.cn/tenant-1/oauth2/v2.0/token", "management.chinacloudapi.cn"},
        {"usgovernment", "https://login.microsoftonline.us/tenant-1/oauth2/v2.0/token",
         "management.usgovcloudapi.net"},
    };
    char path[] = "/tmp/ilr-test-conf-XXXXXX", secret[] = "/tmp/ilr-test-secret-XXXXXX", text[512],
         scope[256];
    int fd = mkstemp(path), key = mkstemp(secret);
    size_t i;

    assert_true(fd >= 0 && key >= 0);
    assert_int_equal(write(key, "s3cret", 6), 6);
    for (i = 0; i < ELEMENTSOF(cases); i++) {
        _cleanup_secret_ Secret *body = NULL, *refresh = secret_new("r", 1), *refresh_body = NULL;
        _cleanup_free_ char *url = NULL, *refresh_url = NULL;
        _cleanup_(config_freep) Config *c = NULL;
        _cleanup_failure_ Failure *f = NULL;
        int n = snprintf(text, sizeof(text),
                         "[Azure]\nCloud=%s\nTenantId=tenant-1\nClientId=c\nClientSecretFile=%s\n",
                         cases[i].name, secret);

        assert_int_equal(ftruncate(fd, 0), 0);
        assert_int_equal(pwrite(fd, text, (size_t)n, 0), n);
        if (config_load(path, &c, &f) < 0 ||
            azure_login_request(c, CREDENTIAL_CLIENT_SECRET, &url, &body, &f) < 0 ||
            azure_refresh_request(c, refresh, &refresh_url, &refresh_body, &f) < 0)
            fail_msg("%s: %s", cases[i].name, f ? f->message : "?");
        assert_string_equal(url, cases[i].url);
        assert_string_equal(refresh_url, cases[i].url);
        snprintf(scope, sizeof(scope), "scope=https%%3A%%2F%%2F%s%%2F.default&", cases[i].scope);
        assert_non_null(strstr(secret_text(body), scope));
        snprintf(scope, sizeof(scope), "scope=https%%3A%%2F%%2F%s%%2Fuser_impersonation%%20", cases[i].scope);
        assert_non_null(strstr(secret_text(refresh_body), scope));
        snprintf(scope, sizeof(scope), "https://%s", cases[i].scope);
        assert_string_equal(c->management_url, scope);
        assert_false(c->own_cloud);
    }
    close(fd);
    close(key);
    unlink(path);
    unlink(secret);
}

/* ---- the key file of Arc ---- */

static void put(const char *dir, const char *name, const char *text, size_t size)
{
    char path[256];
    int fd;

    snprintf(path, sizeof(path), "%s%s", dir, name);
    fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, size), (ssize_t)size);
    close(fd);
}

static void test_arc_key(void **state)
{
    static const struct {
        const char *name; /* behind the directory, or a whole challenge with a blank */
        const char *words;
    } refused[] = {
        {"Digest nonce=1 ", "which key file"},
        {"Basic realm=/etc/shadow.key ", "not in the directory"},
        {"../out.key", "directly in it"},
        {"sub/k.key", "directly in it"},
        {".key", "directly in it"},
        {"k.txt", "directly in it"},
        {"missing.key", "cannot be read"},
        {"link.key", "cannot be read"},
        {"fifo.key", "no regular file"},
        {"large.key", "larger than 4096"},
        {"lines.key", "one line"},
        {"nul.key", "one line"},
        {"empty.key", "one line"},
    };
    char dir[] = "/tmp/ilr-test-arc-XXXXXX", slashed[64], path[128], large[4097];
    _cleanup_secret_ Secret *key = NULL;
    Failure *f = NULL;
    size_t i;

    assert_non_null(mkdtemp(dir));
    snprintf(slashed, sizeof(slashed), "%s/", dir);
    memset(large, 'k', sizeof(large));
    put(slashed, "good.key", large, 4096);
    put(slashed, "large.key", large, 4097);
    put(slashed, "lines.key", "a\nb", 3);
    put(slashed, "nul.key", "a\0b", 3);
    put(slashed, "empty.key", "", 0);
    snprintf(path, sizeof(path), "%slink.key", slashed);
    assert_int_equal(symlink("good.key", path), 0);
    snprintf(path, sizeof(path), "%sfifo.key", slashed);
    assert_int_equal(mkfifo(path, 0600), 0);

    snprintf(path, sizeof(path), "Basic realm=\"%sgood.key\"", slashed);
    assert_int_equal(azure_arc_key(path, slashed, &key, &f), 0);
    assert_int_equal(secret_size(key), 4096);
    assert_true(azure_arc_key(NULL, slashed, &key, &f) < 0);
    f = failure_free(f);
    for (i = 0; i < ELEMENTSOF(refused); i++) {
        _cleanup_secret_ Secret *none = NULL;

        if (strchr(refused[i].name, ' '))
            snprintf(path, sizeof(path), "%s", refused[i].name);
        else
            snprintf(path, sizeof(path), "Basic realm=%s%s", slashed, refused[i].name);
        if (azure_arc_key(path, slashed, &none, &f) >= 0 || none || !strstr(f->message, refused[i].words))
            fail_msg("%s: %s", path, f ? f->message : "was taken");
        f = failure_free(f);
    }
    for (i = 0; i < 7; i++) {
        static const char *const names[] = {"good.key",  "large.key", "lines.key", "nul.key",
                                            "empty.key", "link.key",  "fifo.key"};

        snprintf(path, sizeof(path), "%s%s", slashed, names[i]);
        unlink(path);
    }
    rmdir(dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_one_fetch_for_all),
        cmocka_unit_test(test_renewed_five_minutes_early),
        cmocka_unit_test(test_dropped_once),
        cmocka_unit_test(test_refused_and_unwell),
        cmocka_unit_test(test_freed_while_running),
        cmocka_unit_test(test_ended_while_waited_for),
        cmocka_unit_test(test_federated_token_is_read_again),
        cmocka_unit_test(test_clouds),
        cmocka_unit_test(test_arc_key),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
