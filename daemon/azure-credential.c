/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "azure-credential.h"

#include "azure-ids.h"
#include "timeutil.h"

#include <ctype.h>

#define TOKEN_MAX (64 * KIB)
#define ANSWER_MAX (1 * MIB)
#define LIFETIME_MAX_SEC (7 * 24 * 3600)
#define PROBE_TIMEOUT_USEC (1 * USEC_PER_SEC)
/* The metadata service may be updated for 70 s. */
#define GONE_WAIT_USEC (20 * USEC_PER_SEC)

static const AzureSubject subject = {.what = "get an access token", .not_found = FAILURE_CREDENTIAL_REJECTED};

#define AZURE_ID_HEADER "x-ms-client-request-id: "

struct AzureFetch {
    AzureFetchContext context;
    CredentialKind kind;
    char *url, *host;
    char id[AZURE_GUID_LENGTH + 1], id_header[sizeof(AZURE_ID_HEADER) + AZURE_GUID_LENGTH];
    HttpRequest *request;
    bool probing, challenged;
    AzureFetchDone done;
    void *userdata;
    AzureFetched fetched;
};

static bool managed(CredentialKind kind)
{
    return kind == CREDENTIAL_MANAGED_IDENTITY || kind == CREDENTIAL_ARC;
}

/* ---- answers ---- */

static bool get_number(json_object *o, const char *key, int64_t *ret)
{
    const char *text = NULL;
    char *end;

    if (json_get_int64(o, key, ret) > 0)
        return *ret >= 0;
    if (json_get_string(o, key, &text) <= 0 || !isdigit((unsigned char)*text) || strlen(text) > 12)
        return false;
    *ret = strtoll(text, &end, 10);
    return !*end;
}

/* Seconds from now. */
static int64_t lifetime_of(json_object *o)
{
    int64_t n = 0, now = (int64_t)(now_usec(CLOCK_REALTIME) / USEC_PER_SEC);
    const char *text = NULL;
    uint64_t usec;

    if (get_number(o, "expires_in", &n))
        return n;
    if (get_number(o, "expires_on", &n))
        return n - now;
    if (json_get_string(o, "expires_on", &text) > 0 && timestamp_parse(text, &usec) >= 0)
        return (int64_t)(usec / USEC_PER_SEC) - now;
    return 0;
}

void azure_token_answer(const char *host, const HttpAnswer *a, AzureFetched *ret)
{
    _cleanup_json_erase_ json_object *o = NULL;
    const char *token = NULL;
    int64_t seconds;

    if (json_parse(a->body, a->body_size, &o) < 0 || !json_object_is_type(o, json_type_object)) {
        /* None of its words: they may be a token. */
        ret->failure = azure_failure_invalid(&subject, host, a, azure_shape(a->body, a->body_size));
        return;
    }
    if (json_get_string(o, "access_token", &token) <= 0 || !*token || strlen(token) > TOKEN_MAX ||
        token[strspn(token, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~+/=")]) {
        ret->failure = azure_failure_invalid(&subject, host, a, "has no usable access_token");
        return;
    }
    seconds = lifetime_of(o);
    if (seconds <= 0 || seconds > LIFETIME_MAX_SEC) {
        ret->failure = azure_failure_invalid(&subject, host, a, "has no usable expires_in");
        return;
    }
    ret->token = secret_new(token, strlen(token));
    ret->lifetime_usec = (uint64_t)seconds * USEC_PER_SEC;
}

/* Errors of these services speak of the credential whatever their status. */
Failure *azure_login_refusal(const char *host, const HttpAnswer *a)
{
    _cleanup_json_ json_object *o = NULL;
    AzureError e = {};
    Failure *f;
    size_t n;

    if (a->outcome != HTTP_ANSWERED)
        return azure_failure(&subject, host, a, NULL);
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

/* ---- a fetch ---- */

static int ask_managed(AzureFetch *f, const Secret *key);

static void finish(AzureFetch *f)
{
    static const char *const hints[CREDENTIAL_KIND_MAX] = {
        [CREDENTIAL_CLIENT_CERTIFICATE] =
            "check TenantId=, ClientId= and that this certificate is registered with the application",
        [CREDENTIAL_WORKLOAD_IDENTITY] = "check TenantId=, ClientId=, the application's federated "
                                         "credentials and the age of the token file",
        [CREDENTIAL_ARC] = "see azcmagent show, and SupplementaryGroups=himds in ilrd.conf(5)",
        [CREDENTIAL_MANAGED_IDENTITY] =
            "give this virtual machine a managed identity, or name the one that is meant by "
            "ManagedIdentityClientId=",
    };
    Failure *failure = f->fetched.failure;

    if (failure && f->context.refresh_token && failure->name == FAILURE_CREDENTIAL_REJECTED)
        failure_advise(failure, "sign in again: ilrctl login; until then the host's own right is used");
    if (failure && !failure->hint && failure->name == FAILURE_CREDENTIAL_REJECTED && hints[f->kind])
        failure_advise(failure, hints[f->kind]);
    f->done(&f->fetched, f->userdata);
}

/* Asked without its header it answers with 400 and JSON, or is unwell. A filter in its place says 403, and
 * the metadata service of another cloud knows no such page, or speaks no JSON. */
static bool is_metadata_service(const HttpAnswer *a)
{
    _cleanup_json_erase_ json_object *o = NULL;

    if (a->outcome != HTTP_ANSWERED || a->status == 403 || a->status == 404)
        return false;
    return a->status == 410 || a->status == 429 || a->status >= 500 ||
           (json_parse(a->body, a->body_size, &o) >= 0 && json_object_is_type(o, json_type_object));
}

static void on_probe(AzureFetch *f, const HttpAnswer *a)
{
    int r;

    f->probing = false;
    if (is_metadata_service(a)) {
        r = ask_managed(f, NULL);
        if (r >= 0)
            return;
    }
    f->fetched.absent = true;
    f->fetched.failure =
        failure_new(FAILURE_NOT_CONFIGURED, "There is no service for managed identities here: %s",
                    a->detail[0] ? a->detail : "it does not answer as one");
    finish(f);
}

/* Arc's 401 names the file to read. True: the question was put again. */
static bool on_challenge(AzureFetch *f, const HttpAnswer *a)
{
    const char *challenge = http_answer_header(a, "WWW-Authenticate");
    _cleanup_secret_ Secret *key = NULL;

    if (f->challenged || a->status != 401)
        return false;
    f->challenged = true;
    if (azure_arc_key(challenge, ARC_KEY_DIRECTORY, &key, &f->fetched.failure) < 0)
        return false;
    return ask_managed(f, key) >= 0;
}

/* Each answer may bring a new one; the old one stays good if none comes. */
static void keep_refresh_token(AzureFetch *f, const HttpAnswer *a)
{
    _cleanup_json_erase_ json_object *o = NULL;
    const char *text = NULL;
    Secret *s;

    if (json_parse(a->body, a->body_size, &o) < 0 || json_get_string(o, "refresh_token", &text) <= 0 ||
        !*text)
        return;
    s = secret_new(text, strlen(text));
    if (s) {
        secret_unref(*f->context.refresh_token);
        *f->context.refresh_token = s;
    }
}

static void on_answer(const HttpAnswer *a, void *userdata)
{
    AzureFetch *f = userdata;
    const char *after = http_answer_header(a, "Retry-After");
    AzureFetched *d = &f->fetched;

    azure_log_answer(NULL, f->probing, managed(f->kind) ? "GET" : "POST", f->url, f->id, a);
    if (f->probing) {
        on_probe(f, a);
        return;
    }
    if (a->outcome == HTTP_ANSWERED && a->status == 200) {
        azure_token_answer(f->host, a, d);
        if (d->token && f->context.refresh_token)
            keep_refresh_token(f, a);
        finish(f);
        return;
    }
    if (f->kind == CREDENTIAL_ARC && a->outcome == HTTP_ANSWERED && on_challenge(f, a))
        return;
    if (!d->failure) {
        d->transient = azure_answer_transient(a);
        d->failure = a->outcome == HTTP_ANSWERED ? azure_login_refusal(f->host, a)
                                                 : azure_failure(&subject, f->host, a, NULL);
        if (after && (a->status == 429 || a->status == 503))
            (void)azure_retry_after_parse(after, now_usec(CLOCK_REALTIME), &d->retry_after_usec);
    }
    if (managed(f->kind) && a->outcome == HTTP_ANSWERED && (a->status == 404 || a->status == 410)) {
        /* The metadata service is being updated; see "Retry guidance" of its manual. */
        d->transient = true;
        d->updating = true;
        if (a->status == 410)
            d->retry_after_usec = MIN(GONE_WAIT_USEC, 3 * f->context.config->poll_interval_usec);
    }
    finish(f);
}

/* A new one for each question. */
static char *id_header(AzureFetch *f)
{
    azure_guid_make(f->id);
    snprintf(f->id_header, sizeof(f->id_header), AZURE_ID_HEADER "%s", f->id);
    return f->id_header;
}

static int ask_managed(AzureFetch *f, const Secret *key)
{
    _cleanup_erase_ char *authorization = NULL;
    char *headers[5] = {"Accept: application/json", id_header(f)};
    HttpRequest *old = TAKE_PTR(f->request);
    size_t n = 2;
    int r;

    if (!f->probing)
        headers[n++] = "Metadata: true";
    if (key) {
        if (asprintf(&authorization, "Authorization: Basic %s", secret_text(key)) < 0) {
            authorization = NULL;
            f->request = old;
            return -ENOMEM;
        }
        headers[n++] = authorization;
    }
    r = http_start(f->context.http,
                   &(HttpOptions){.method = "GET",
                                  .url = f->url,
                                  .headers = headers,
                                  .body_max = ANSWER_MAX,
                                  .local = true,
                                  .timeout_usec = f->probing ? PROBE_TIMEOUT_USEC : 0},
                   on_answer, f, &f->request);
    if (r < 0) {
        f->request = old; /* whoever asked still looks at its answer */
        return r;
    }
    http_request_free(old); /* the answer that led here is gone now */
    return 0;
}

static int ask_login(AzureFetch *f, Secret *body)
{
    return http_start(f->context.http,
                      &(HttpOptions){.method = "POST",
                                     .url = f->url,
                                     .headers = (char *[]){"Accept: application/json", id_header(f), NULL},
                                     .body = body,
                                     .content_type = "application/x-www-form-urlencoded",
                                     .body_max = ANSWER_MAX},
                      on_answer, f, &f->request);
}

int azure_fetch_start(const AzureFetchContext *c, CredentialKind kind, bool probe, AzureFetchDone done,
                      void *userdata, AzureFetch **ret, Failure **ret_failure)
{
    _cleanup_(azure_fetch_freep) AzureFetch *f = calloc(1, sizeof(*f));
    _cleanup_secret_ Secret *body = NULL;
    int r;

    if (!f)
        return -ENOMEM;
    f->context = *c;
    f->kind = kind;
    f->done = done;
    f->userdata = userdata;
    f->probing = probe && kind == CREDENTIAL_MANAGED_IDENTITY;
    r = c->refresh_token ? azure_refresh_request(c->config, *c->refresh_token, &f->url, &body, ret_failure)
        : managed(kind)  ? azure_managed_url(c->config, kind, &f->url, ret_failure)
                         : azure_login_request(c->config, kind, &f->url, &body, ret_failure);
    if (r < 0)
        return r;
    f->host = http_url_host(f->url);
    if (!f->host)
        return -ENOMEM;
    r = body ? ask_login(f, body) : ask_managed(f, NULL);
    if (r < 0)
        return r;
    *ret = TAKE_PTR(f);
    return 0;
}

const char *azure_fetch_host(const AzureFetch *f)
{
    return f->host;
}

AzureFetch *azure_fetch_free(AzureFetch *f)
{
    if (!f)
        return NULL;
    http_request_free(f->request);
    secret_unref(f->fetched.token);
    failure_free(f->fetched.failure);
    free(f->url);
    free(f->host);
    free(f);
    return NULL;
}
