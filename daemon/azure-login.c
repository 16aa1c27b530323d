/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "azure-login.h"

#include "azure-ids.h"
#include "list.h"
#include "log.h"
#include "timeutil.h"

#include <openssl/evp.h>

#define ANSWER_MAX (256 * KIB)
#define CODE_MAX 4096
#define INTERVAL_DEFAULT_SEC 5
#define SLOW_DOWN_SEC 5 /* RFC 8628, 3.5 */
#define LIFETIME_MAX_SEC 3600
#define ACCOUNT_MAX 256

typedef struct Person {
    uid_t uid;
    AzureToken *token;
    LIST_FIELDS(struct Person);
} Person;

struct AzureLogins {
    sd_event *event;
    Http *http;
    const Config *config;
    Person *people;
    AzureLogin *under_way;
    size_t n;
};

struct AzureLogin {
    AzureLogins *logins;
    uid_t uid;
    AzureLoginCallbacks callbacks;
    void *userdata;
    char *host, *client, *url;      /* client: escaped; url: of the latest request */
    char id[AZURE_GUID_LENGTH + 1]; /* its x-ms-client-request-id */
    Secret *code;                   /* of the device, escaped */
    uint64_t expires_usec, interval_usec;
    HttpRequest *request;
    sd_event_source *timer;
    LIST_FIELDS(struct AzureLogin);
};

int azure_logins_new(AzureLogins **ret, sd_event *event, Http *http, const Config *config)
{
    AzureLogins *l = calloc(1, sizeof(*l));

    if (!l)
        return -ENOMEM;
    *l = (AzureLogins){.event = event, .http = http, .config = config};
    *ret = l;
    return 0;
}

static void person_free(AzureLogins *l, Person *p)
{
    LIST_REMOVE(l->people, p);
    l->n--;
    azure_token_end(p->token);
    free(p);
}

AzureLogins *azure_logins_free(AzureLogins *l)
{
    if (!l)
        return NULL;
    while (l->people)
        person_free(l, l->people);
    free(l);
    return NULL;
}

static Person *find(AzureLogins *l, uid_t uid)
{
    Person *p;

    LIST_FOREACH (p, l->people)
        if (p->uid == uid)
            return p;
    return NULL;
}

AzureToken *azure_logins_token(AzureLogins *l, uid_t uid)
{
    Person *p = find(l, uid);

    return p && !azure_token_refused(p->token) ? p->token : NULL;
}

bool azure_logins_forget(AzureLogins *l, uid_t uid)
{
    Person *p = find(l, uid);
    bool known = p && !azure_token_refused(p->token);

    if (p)
        person_free(l, p);
    return known;
}

/* Those whose sign-in is over need no place; nor, when places are short, those who have not come for a day.
 */
static void make_room(AzureLogins *l)
{
    Person *p, *next;

    for (p = l->people; p; p = next) {
        next = p->list.next;
        if (azure_token_refused(p->token) || (l->n >= AZURE_LOGINS_MAX && azure_token_unused(p->token)))
            person_free(l, p);
    }
}

static const char *client_id(const Config *c)
{
    return c->login_client_id ? c->login_client_id : c->client_id;
}

/* ---- the end ---- */

static void finish(AzureLogin *l, bool ok, const char *account, Failure *failure)
{
    if (l->timer)
        (void)sd_event_source_set_enabled(l->timer, SD_EVENT_OFF);
    l->callbacks.done(ok, account, failure, l->userdata);
}

/* The person did not do his part. */
static void refused(AzureLogin *l, const char *why)
{
    finish(l, false, NULL,
           failure_advise(failure_new(FAILURE_CREDENTIAL_REJECTED, "Could not sign in: %s", why),
                          "ask again: ilrctl login"));
}

static void broken(AzureLogin *l, const char *why)
{
    finish(l, false, NULL, failure_new(FAILURE_INTERNAL, "Could not sign in: %s", why));
}

/* What a token says of its owner, who is asked for nothing else than his name. The caller's, or NULL. */
static char *account_of(const char *jwt)
{
    static const char *const keys[] = {"preferred_username", "upn", "unique_name", "name"};
    const char *begin = jwt ? strchr(jwt, '.') : NULL, *value;
    _cleanup_json_ json_object *o = NULL;
    _cleanup_free_ char *text = NULL;
    _cleanup_free_ unsigned char *bytes = NULL;
    size_t n, padded, i;
    int size;

    if (!begin || (n = strcspn(begin + 1, ".")) == 0 || n > 16 * KIB)
        return NULL;
    padded = (n + 3) / 4 * 4;
    text = malloc(padded + 1);
    bytes = malloc(padded);
    if (!text || !bytes)
        return NULL;
    for (i = 0; i < padded; i++) {
        char c = i < n ? begin[1 + i] : '=';

        text[i] = c == '-' ? '+' : c == '_' ? '/' : c;
    }
    size = EVP_DecodeBlock(bytes, (unsigned char *)text, (int)padded);
    if (size < (int)(padded - n) || json_parse((char *)bytes, (size_t)size - (padded - n), &o) < 0)
        return NULL;
    for (i = 0; i < ELEMENTSOF(keys); i++)
        if (json_get_string(o, keys[i], &value) > 0 && *value)
            return azure_excerpt(value, strnlen(value, ACCOUNT_MAX));
    return NULL;
}

static void on_signed_in(AzureLogin *l, const HttpAnswer *a)
{
    _cleanup_json_erase_ json_object *o = NULL;
    _cleanup_secret_ Secret *refresh = NULL;
    _cleanup_free_ char *account = NULL;
    const char *text = NULL, *id = NULL;
    AzureFetched fetched = {};
    AzureToken *token = NULL;
    Person *p;

    azure_token_answer(l->host, a, &fetched);
    if (!fetched.token) {
        finish(l, false, NULL, fetched.failure);
        return;
    }
    (void)json_parse(a->body, a->body_size, &o);
    if (json_get_string(o, "refresh_token", &text) > 0 && *text)
        refresh = secret_new(text, strlen(text));
    (void)json_get_string(o, "id_token", &id);
    account = account_of(id ? id : secret_text(fetched.token));
    p = calloc(1, sizeof(*p));
    if (!p || azure_token_new_person(&token, l->logins->http, l->logins->config, fetched.token,
                                     fetched.lifetime_usec, refresh) < 0) {
        free(p);
        secret_unref(fetched.token);
        finish(l, false, NULL, NULL);
        return;
    }
    secret_unref(fetched.token);
    (void)azure_logins_forget(l->logins, l->uid);
    p->uid = l->uid;
    p->token = token;
    LIST_PREPEND(l->logins->people, p);
    l->logins->n++;
    log_notice("uid %u has signed in to Azure%s%s", (unsigned)l->uid, account ? " as " : "",
               account ? account : "");
    finish(l, true, account, NULL);
}

/* ---- asking whether the person has entered the code ---- */

static int on_timer(sd_event_source *source, uint64_t usec, void *userdata);

static void later(AzureLogin *l)
{
    int r;

    if (l->timer) {
        r = sd_event_source_set_time_relative(l->timer, l->interval_usec);
        if (r >= 0)
            r = sd_event_source_set_enabled(l->timer, SD_EVENT_ONESHOT);
    } else
        r = sd_event_add_time_relative(l->logins->event, &l->timer, CLOCK_BOOTTIME, l->interval_usec, 0,
                                       on_timer, l);
    if (r < 0)
        broken(l, "no timer");
}

static void on_poll(const HttpAnswer *a, void *userdata)
{
    _cleanup_json_ json_object *o = NULL;
    AzureLogin *l = userdata;
    const char *error = NULL;

    azure_log_answer(NULL, false, "POST", l->url, l->id, a);
    if (a->outcome == HTTP_ANSWERED && a->status == 200) {
        on_signed_in(l, a);
        return;
    }
    if (now_usec(CLOCK_BOOTTIME) >= l->expires_usec) {
        refused(l, "nobody entered the code in time");
        return;
    }
    if (azure_answer_transient(a)) {
        later(l);
        return;
    }
    (void)json_parse(a->body, a->body_size, &o);
    (void)json_get_string(o, "error", &error);
    if (streq_ptr(error, "slow_down"))
        l->interval_usec += SLOW_DOWN_SEC * USEC_PER_SEC;
    if (streq_ptr(error, "authorization_pending") || streq_ptr(error, "slow_down"))
        later(l);
    else if (streq_ptr(error, "authorization_declined") || streq_ptr(error, "access_denied"))
        refused(l, "it was declined in the browser");
    else if (streq_ptr(error, "expired_token") || streq_ptr(error, "code_expired"))
        refused(l, "nobody entered the code in time");
    else
        finish(l, false, NULL, azure_login_refusal(l->host, a));
}

static int post(AzureLogin *l, const char *path, const char *form, HttpDone done)
{
    const Config *c = l->logins->config;
    _cleanup_secret_ Secret *body = secret_new(form, strlen(form));
    _cleanup_free_ char *url = NULL, *id = NULL;

    azure_guid_make(l->id);
    if (!body || asprintf(&id, "x-ms-client-request-id: %s", l->id) < 0 ||
        asprintf(&url, "%s/%s/oauth2/v2.0/%s", c->login_url, c->tenant_id, path) < 0)
        return -ENOMEM;
    free_and_replace(&l->url, TAKE_PTR(url));
    l->request = http_request_free(l->request);
    return http_start(l->logins->http,
                      &(HttpOptions){.method = "POST",
                                     .url = l->url,
                                     .headers = (char *[]){"Accept: application/json", id, NULL},
                                     .body = body,
                                     .content_type = "application/x-www-form-urlencoded",
                                     .body_max = ANSWER_MAX},
                      done, l, &l->request);
}

static int on_timer(sd_event_source *source, uint64_t usec, void *userdata)
{
    AzureLogin *l = userdata;
    _cleanup_erase_ char *form = NULL;

    if (asprintf(&form,
                 "grant_type=urn%%3Aietf%%3Aparams%%3Aoauth%%3Agrant-type%%3Adevice_code&client_id=%s&device_"
                 "code=%s",
                 l->client, secret_text(l->code)) < 0)
        form = NULL;
    if (!form || post(l, "token", form, on_poll) < 0)
        broken(l, "no memory");
    return 0;
}

/* ---- the code ---- */

static void on_code(const HttpAnswer *a, void *userdata)
{
    _cleanup_json_erase_ json_object *o = NULL;
    const char *device = NULL, *user = NULL, *url = NULL;
    int64_t seconds = 0, interval = INTERVAL_DEFAULT_SEC;
    _cleanup_erase_ char *escaped = NULL;
    AzureLogin *l = userdata;

    azure_log_answer(NULL, false, "POST", l->url, l->id, a);
    if (a->outcome != HTTP_ANSWERED || a->status != 200) {
        finish(l, false, NULL, azure_login_refusal(l->host, a));
        return;
    }
    if (json_parse(a->body, a->body_size, &o) < 0 || json_get_string(o, "device_code", &device) <= 0 ||
        json_get_string(o, "user_code", &user) <= 0 || json_get_string(o, "verification_uri", &url) <= 0 ||
        json_get_int64(o, "expires_in", &seconds) <= 0 || seconds < 0 || !*device ||
        strlen(device) > CODE_MAX || !*user || strlen(user) > 64 || !startswith(url, "https://") ||
        strlen(url) > 512) {
        finish(l, false, NULL,
               failure_new(FAILURE_AZURE_ANSWER_INVALID, "Could not sign in: %s gave no usable device code",
                           l->host));
        return;
    }
    (void)json_get_int64(o, "interval", &interval);
    seconds = MIN(seconds, LIFETIME_MAX_SEC);
    l->interval_usec = MAX((uint64_t)MIN(MAX(interval, 0), 60) * USEC_PER_SEC, 100 * USEC_PER_MSEC);
    l->expires_usec = now_usec(CLOCK_BOOTTIME) + (uint64_t)seconds * USEC_PER_SEC;
    escaped = http_escape(device);
    l->code = escaped ? secret_new(escaped, strlen(escaped)) : NULL;
    if (!l->code) {
        finish(l, false, NULL, NULL);
        return;
    }
    l->callbacks.code(url, user, now_usec(CLOCK_REALTIME) + (uint64_t)seconds * USEC_PER_SEC, l->userdata);
    later(l);
}

int azure_login_start(AzureLogins *logins, uid_t uid, const AzureLoginCallbacks *callbacks, void *userdata,
                      AzureLogin **ret, Failure **ret_failure)
{
    const Config *c = logins->config;
    _cleanup_free_ char *scope = NULL, *escaped = NULL, *form = NULL;
    _cleanup_(azure_login_freep) AzureLogin *l = NULL;
    AzureLogin *other;
    int r;

    LIST_FOREACH (other, logins->under_way)
        if (other->uid == uid) {
            *ret_failure =
                failure_advise(failure_new(FAILURE_BUSY, "A sign-in of this user is under way already"),
                               "finish or end the ilrctl login that is under way");
            return -EBUSY;
        }
    make_room(logins);
    if (logins->n >= AZURE_LOGINS_MAX && !find(logins, uid)) {
        *ret_failure = failure_new(FAILURE_LIMIT_REACHED, "%d users are signed in, there may be no more",
                                   AZURE_LOGINS_MAX);
        failure_advise(*ret_failure, "somebody must sign out first: ilrctl logout");
        return -EUSERS;
    }
    if (!c->tenant_id || !client_id(c)) {
        *ret_failure = failure_new(FAILURE_NOT_CONFIGURED, "%s= is missing in [Azure]",
                                   c->tenant_id ? "LoginClientId" : "TenantId");
        return -ENOENT;
    }
    l = calloc(1, sizeof(*l));
    if (!l)
        return -ENOMEM;
    l->logins = logins;
    l->uid = uid;
    l->callbacks = *callbacks;
    l->userdata = userdata;
    LIST_PREPEND(logins->under_way, l);
    l->host = http_url_host(c->login_url);
    l->client = http_escape(client_id(c));
    if (!l->host || !l->client ||
        asprintf(&scope, "%s/user_impersonation openid profile offline_access", c->management_url) < 0 ||
        !(escaped = http_escape(scope)) || asprintf(&form, "client_id=%s&scope=%s", l->client, escaped) < 0)
        return -ENOMEM;
    r = post(l, "devicecode", form, on_code);
    if (r < 0)
        return r;
    *ret = TAKE_PTR(l);
    return 0;
}

AzureLogin *azure_login_free(AzureLogin *l)
{
    if (!l)
        return NULL;
    LIST_REMOVE(l->logins->under_way, l);
    http_request_free(l->request);
    sd_event_source_disable_unref(l->timer);
    secret_unref(l->code);
    free(l->host);
    free(l->client);
    free(l->url);
    free(l);
    return NULL;
}
