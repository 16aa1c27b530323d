/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "azure-token.h"

#include "list.h"
#include "timeutil.h"

#define SECRET_FILE_MAX (4 * KIB)
#define TOKEN_MAX (64 * KIB)
#define ANSWER_MAX (1 * MIB)
#define EARLY_USEC (5 * USEC_PER_MINUTE)
#define CREDENTIAL "azure-client-secret"

static const AzureSubject subject = {.what = "get an access token", .not_found = FAILURE_CREDENTIAL_REJECTED};

struct AzureTokenWaiter {
    LIST_FIELDS(AzureTokenWaiter);
    AzureToken *token;
    AzureTokenDone done;
    void *userdata;
    bool notify; /* it waited for the answer that is being told */
};

struct AzureToken {
    Http *http;
    const Config *config;
    Secret *current;       /* or NULL */
    uint64_t expires_usec; /* CLOCK_BOOTTIME, 5 minutes early */
    HttpRequest *request;  /* the fetch under way, or NULL */
    AzureTokenWaiter *waiters;
};

int azure_token_new(AzureToken **ret, Http *http, const Config *config)
{
    AzureToken *t = calloc(1, sizeof(*t));

    if (!t)
        return -ENOMEM;
    t->http = http;
    t->config = config;
    *ret = t;
    return 0;
}

AzureToken *azure_token_free(AzureToken *t)
{
    if (!t)
        return NULL;
    while (t->waiters) {
        t->waiters->token = NULL;
        LIST_REMOVE(t->waiters, t->waiters);
    }
    http_request_free(t->request);
    secret_unref(t->current);
    free(t);
    return NULL;
}

AzureTokenWaiter *azure_token_waiter_free(AzureTokenWaiter *w)
{
    AzureToken *t;

    if (!w)
        return NULL;
    t = w->token;
    if (t) {
        LIST_REMOVE(t->waiters, w);
        if (!t->waiters)
            t->request = http_request_free(t->request);
    }
    free(w);
    return NULL;
}

void azure_token_drop(AzureToken *t, const Secret *token)
{
    if (t->current == token)
        t->current = secret_unref(t->current);
}

static int read_secret(AzureToken *t, Secret **ret, Failure **ret_failure)
{
    const Config *c = t->config;
    const char *dir = getenv("CREDENTIALS_DIRECTORY");
    _cleanup_free_ char *path = NULL;
    char buf[128];
    int r;

    if (dir) {
        if (asprintf(&path, "%s/" CREDENTIAL, dir) < 0)
            return -ENOMEM;
        if (access(path, F_OK) < 0)
            path = (free(path), NULL);
    }
    if (!path && c->client_secret_file && !(path = strdup(c->client_secret_file)))
        return -ENOMEM;
    if (!path) {
        *ret_failure = failure_new(FAILURE_NOT_CONFIGURED,
                                   "There is no client secret: neither the credential " CREDENTIAL
                                   " nor ClientSecretFile= in [Azure]");
        return -ENOENT;
    }
    r = secret_read_file(path, SECRET_FILE_MAX, ret);
    if (r == -ENOMEM)
        return r;
    if (r == -EPERM)
        *ret_failure = failure_new(
            FAILURE_NOT_CONFIGURED,
            "The client secret %s can be read by others than its owner: expected mode 0600", path);
    else if (r == -ENODATA)
        *ret_failure = failure_new(FAILURE_NOT_CONFIGURED, "The client secret %s is empty", path);
    else if (r < 0)
        *ret_failure = failure_new(FAILURE_NOT_CONFIGURED, "The client secret %s cannot be read: %s", path,
                                   strerror_r(-r, buf, sizeof(buf)));
    return r;
}

static int make_body(AzureToken *t, Secret **ret, Failure **ret_failure)
{
    _cleanup_secret_ Secret *secret = NULL, *body = NULL;
    _cleanup_erase_ char *escaped = NULL, *form = NULL;
    _cleanup_free_ char *id = NULL, *scope_url = NULL, *scope = NULL;
    int r;

    r = read_secret(t, &secret, ret_failure);
    if (r < 0)
        return r;
    escaped = http_escape(secret_text(secret));
    id = http_escape(t->config->client_id);
    if (!escaped || !id || asprintf(&scope_url, "%s/.default", t->config->management_url) < 0)
        return -ENOMEM;
    scope = http_escape(scope_url);
    if (!scope || asprintf(&form, "grant_type=client_credentials&client_id=%s&scope=%s&client_secret=%s", id,
                           scope, escaped) < 0)
        return -ENOMEM;
    body = secret_new(form, strlen(form));
    if (!body)
        return -ENOMEM;
    *ret = TAKE_PTR(body);
    return 0;
}

/* Reads the token out of the answer. NULL: no memory for the failure either. */
static Failure *take_answer(AzureToken *t, const char *host, const HttpAnswer *a)
{
    _cleanup_json_erase_ json_object *o = NULL;
    const char *token = NULL, *number = NULL;
    int64_t seconds = 0;

    if (json_parse(a->body, a->body_size, &o) < 0 || !json_object_is_type(o, json_type_object)) {
        _cleanup_free_ char *excerpt = azure_excerpt(a->body, a->body_size), *problem = NULL;

        if (asprintf(&problem, "is no JSON object%s%s", excerpt ? ": " : "", excerpt ? excerpt : "") < 0)
            problem = NULL;
        return azure_failure_invalid(&subject, host, a, problem ? problem : "is no JSON object");
    }
    if (json_get_string(o, "access_token", &token) <= 0 || !*token || strlen(token) > TOKEN_MAX ||
        token[strspn(token, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~+/=")])
        return azure_failure_invalid(&subject, host, a, "has no usable access_token");
    /* Some token services send numbers as strings. */
    if (json_get_int64(o, "expires_in", &seconds) < 0 && json_get_string(o, "expires_in", &number) > 0 &&
        strlen(number) < 10)
        seconds = strtoll(number, NULL, 10);
    if (seconds <= 0 || seconds > 7 * 24 * 3600)
        return azure_failure_invalid(&subject, host, a, "has no usable expires_in");
    secret_unref(t->current);
    t->current = secret_new(token, strlen(token));
    t->expires_usec = now_usec(CLOCK_BOOTTIME) + (uint64_t)seconds * USEC_PER_SEC;
    if ((uint64_t)seconds * USEC_PER_SEC > 2 * EARLY_USEC)
        t->expires_usec -= EARLY_USEC;
    return NULL;
}

/* Errors of the login service speak of the credential whatever their status. */
static Failure *refusal(const char *host, const HttpAnswer *a)
{
    _cleanup_json_ json_object *o = NULL;
    AzureError e = {};
    Failure *f;
    size_t n;

    (void)json_parse(a->body, a->body_size, &o);
    if (!o || a->status == 429 || a->status >= 500 || a->status < 400)
        return azure_failure(&subject, host, a, o);
    (void)azure_error_read(o, &e);
    f = failure_new(FAILURE_CREDENTIAL_REJECTED,
                    "Could not get an access token: %s answered with status %d: %s", host, a->status,
                    e.message ? e.message
                    : e.code  ? e.code
                              : "no reason given");
    azure_error_move(&e, f);
    /* "AADSTS7000215: Invalid client secret provided. ..." is more use than "invalid_client". */
    n = e.message && startswith(e.message, "AADSTS") ? 6 + strspn(e.message + 6, "0123456789") : 0;
    if (f && n > 6 && n < 24) {
        char *code = strndup(e.message, n);

        if (code)
            free_and_replace(&f->code, code);
    }
    azure_error_done(&e);
    return f;
}

static AzureTokenWaiter *waiter_next(AzureToken *t)
{
    AzureTokenWaiter *w;

    LIST_FOREACH (w, t->waiters)
        if (w->notify)
            return w;
    return NULL;
}

static void on_answer(const HttpAnswer *a, void *userdata)
{
    AzureToken *t = userdata;
    _cleanup_free_ char *host = http_url_host(t->config->login_url);
    const char *name = host ? host : "login service", *after = http_answer_header(a, "Retry-After");
    _cleanup_secret_ Secret *token = NULL;
    _cleanup_failure_ Failure *failure = NULL;
    AzureTokenWaiter *w;
    bool transient = false;
    uint64_t wait = 0;

    if (a->outcome == HTTP_ANSWERED && a->status == 200)
        failure = take_answer(t, name, a);
    else {
        transient = azure_answer_transient(a);
        failure = a->outcome == HTTP_ANSWERED ? refusal(name, a) : azure_failure(&subject, name, a, NULL);
        if (after && (a->status == 429 || a->status == 503))
            (void)azure_retry_after_parse(after, now_usec(CLOCK_REALTIME), &wait);
    }
    if (!failure && a->outcome == HTTP_ANSWERED && a->status == 200 && t->current)
        token = secret_ref(t->current);
    t->request = http_request_free(t->request); /* a is gone from here on */

    /* Whoever is told may free others that wait, or begin to wait anew: only those that waited for this
     * answer are told, and each is taken off the list before. */
    LIST_FOREACH (w, t->waiters)
        w->notify = true;
    while ((w = waiter_next(t))) {
        LIST_REMOVE(t->waiters, w);
        w->token = NULL;
        w->done(token, token ? NULL : failure_copy(failure), transient, wait, w->userdata);
    }
}

int azure_token_get(AzureToken *t, AzureTokenDone done, void *userdata, Secret **ret_token,
                    AzureTokenWaiter **ret_waiter, Failure **ret_failure)
{
    const Config *c = t->config;
    AzureTokenWaiter *w;
    int r;

    if (t->current && now_usec(CLOCK_BOOTTIME) < t->expires_usec) {
        *ret_token = secret_ref(t->current);
        return 1;
    }
    t->current = secret_unref(t->current);
    if (!t->request) {
        _cleanup_secret_ Secret *body = NULL;
        _cleanup_free_ char *url = NULL;

        if (!c->tenant_id || !c->client_id) {
            *ret_failure = failure_new(FAILURE_NOT_CONFIGURED, "%s= is missing in [Azure]",
                                       c->tenant_id ? "ClientId" : "TenantId");
            return -ENOENT;
        }
        r = make_body(t, &body, ret_failure);
        if (r < 0)
            return r;
        if (asprintf(&url, "%s/%s/oauth2/v2.0/token", c->login_url, c->tenant_id) < 0)
            return -ENOMEM;
        r = http_start(t->http,
                       &(HttpOptions){.method = "POST",
                                      .url = url,
                                      .headers = (char *[]){"Accept: application/json", NULL},
                                      .body = body,
                                      .content_type = "application/x-www-form-urlencoded",
                                      .body_max = ANSWER_MAX},
                       on_answer, t, &t->request);
        if (r < 0)
            return r;
    }
    w = calloc(1, sizeof(*w));
    if (!w)
        return -ENOMEM; /* a request that was started for nobody fills the cache */
    w->token = t;
    w->done = done;
    w->userdata = userdata;
    LIST_PREPEND(t->waiters, w);
    *ret_waiter = w;
    return 0;
}
