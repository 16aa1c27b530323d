/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "azure-operation.h"

#include "log.h"
#include "timeutil.h"

#include <strings.h>

#define POST_ATTEMPTS_MAX 5
#define OPERATION_ID_MAX 64
#define URL_MAX (16 * KIB)
#define VAULT_ACTION "Microsoft.RecoveryServices/Vaults/"
#define ITEM_ACTION VAULT_ACTION "backupFabrics/protectionContainers/protectedItems/"

struct AzureLong {
    AzureClient *client;
    char *url, *what, *action, *session, *vault_path;
    json_object *body;
    AzureSubject subject;
    uid_t uid;
    size_t status_max;
    bool once, secret, host_too;
    void (*progress)(const char *detail, void *userdata);
    void (*posted)(const char *operation_id, void *userdata);
    AzureLongDone done;
    void *userdata;

    uint64_t deadline_usec; /* CLOCK_BOOTTIME */
    uint64_t started_usec;  /* CLOCK_BOOTTIME */
    char *poll_url;
    bool vault_asked; /* poll_url is the vault's view of the operation */
    Failure *refused; /* how the address was refused that Azure had named; may be NULL */
    bool by_location; /* poll_url is that of Location: its status code is what counts */
    char *poll_what;
    char *operation_id;
    sd_event_source *timer;
    sd_event_source *deadline;
    AzureRequest *request;
    AzureLongResult result;
    char last[64]; /* the status that was seen last */
};

static void finish(AzureLong *l, bool ok, Failure *failure)
{
    if (l->timer)
        (void)sd_event_source_set_enabled(l->timer, SD_EVENT_OFF);
    if (l->deadline)
        (void)sd_event_source_set_enabled(l->deadline, SD_EVENT_OFF);
    l->result.ok = ok;
    l->result.operation_id = l->operation_id;
    l->done(&l->result, failure, l->userdata);
}

static void finish_errno(AzureLong *l, int r)
{
    char buf[128];

    finish(l, false,
           r == -ENOMEM ? NULL
                        : failure_new(FAILURE_INTERNAL, "Could not %s: %s", l->what,
                                      strerror_r(-r, buf, sizeof(buf))));
}

char *azure_operation_id_of(const char *url)
{
    size_t end = strcspn(url, "?#"), begin;

    for (begin = end; begin > 0 && url[begin - 1] != '/'; begin--)
        ;
    if (begin == 0 || end - begin == 0 || end - begin > OPERATION_ID_MAX ||
        strspn(url + begin, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-") < end - begin)
        return NULL;
    return strndup(url + begin, end - begin);
}

const char *azure_status_action(const char *url)
{
    static const struct {
        const char *place, *action;
    } places[] = {
        {"/operationsStatus/", ITEM_ACTION "operationsStatus/read"},
        {"/operationResults/", ITEM_ACTION "operationResults/read"},
        {"/backupOperations/", VAULT_ACTION "backupOperations/read"},
        {"/backupOperationResults/", VAULT_ACTION "backupOperationResults/read"},
    };
    size_t i;

    for (i = 0; i < ELEMENTSOF(places); i++)
        if (strcasestr(url, places[i].place))
            return places[i].action;
    return NULL;
}

AzureStatus azure_status_read(json_object *o, const char **ret_text)
{
    static const struct {
        const char *text;
        AzureStatus status;
    } ends[] = {
        {"Succeeded", AZURE_STATUS_SUCCEEDED}, {"Failed", AZURE_STATUS_FAILED},
        {"Canceled", AZURE_STATUS_FAILED},     {"Cancelled", AZURE_STATUS_FAILED},
        {"Invalid", AZURE_STATUS_FAILED},
    };
    json_object *v = json_get_nocase(o, "status");
    const char *s;
    size_t i;

    if (!json_object_is_type(v, json_type_string) || json_object_get_string_len(v) == 0)
        return AZURE_STATUS_UNKNOWN;
    s = json_object_get_string(v);
    *ret_text = s;
    for (i = 0; i < ELEMENTSOF(ends); i++)
        if (strcasecmp(s, ends[i].text) == 0)
            return ends[i].status;
    return AZURE_STATUS_RUNNING;
}

static void on_waiting(const char *detail, void *userdata)
{
    AzureLong *l = userdata;

    if (l->progress)
        l->progress(detail, l->userdata);
}

/* ---- polling ---- */

static int on_poll_timer(sd_event_source *source, uint64_t usec, void *userdata);

static void poll_later(AzureLong *l)
{
    uint64_t interval = l->client->config->poll_interval_usec, at;
    int r;

    at = now_usec(CLOCK_BOOTTIME) + interval * 3 / 4 + azure_jitter(interval / 4);
    if (!l->timer) {
        r = sd_event_add_time(l->client->event, &l->timer, CLOCK_BOOTTIME, at, interval / 8, on_poll_timer,
                              l);
        if (r >= 0)
            (void)sd_event_source_set_description(l->timer, "azure-poll");
    } else {
        r = sd_event_source_set_time(l->timer, at);
        if (r >= 0)
            r = sd_event_source_set_enabled(l->timer, SD_EVENT_ONESHOT);
    }
    if (r < 0)
        finish_errno(l, r);
}

static void tell(AzureLong *l, const char *status)
{
    uint64_t usec = now_usec(CLOCK_BOOTTIME) - l->started_usec;
    _cleanup_free_ char *clean = azure_excerpt(status, strlen(status)), *detail = NULL;
    char span[64];

    snprintf(l->last, sizeof(l->last), "%s", clean ? clean : "?");
    if (!l->progress)
        return;
    if (asprintf(&detail, "Azure says %s, %s so far", l->last, timespan_format(usec, span, sizeof(span))) <
        0) {
        detail = NULL;
        return;
    }
    l->progress(detail, l->userdata);
}

static Failure *operation_failure(AzureLong *l, const HttpAnswer *a, json_object *o, const char *status)
{
    _cleanup_free_ char *clean = azure_excerpt(status, strlen(status));
    const char *id = http_answer_header(a, "x-ms-request-id"), *correlation;
    AzureError e = {};
    Failure *f;

    (void)azure_error_read(o, &e);
    f = failure_new(FAILURE_OPERATION_FAILED, "Azure could not %s: the operation ended as %s%s%s%s%s",
                    l->what, clean ? clean : "failed", e.code ? ": " : "", e.code ? e.code : "",
                    e.message ? ": " : "", e.message ? e.message : "");
    azure_error_move(&e, f);
    azure_error_done(&e);
    correlation = http_answer_header(a, "x-ms-correlation-request-id");
    if (f && id)
        f->request_id = azure_excerpt(id, strlen(id));
    if (f && correlation)
        f->correlation_id = azure_excerpt(correlation, strlen(correlation));
    return f;
}

static void succeed(AzureLong *l, json_object *status)
{
    l->result.status = status;
    finish(l, true, NULL);
}

static bool is_refusal(const AzureAnswer *a)
{
    return a->http && a->http->outcome == HTTP_ANSWERED &&
           (a->http->status == 400 || a->http->status == 404 || a->http->status == 405);
}

/* The address that was named is refused, by a place that does not know it or its api-version: the vault keeps
 * a status of each operation as well, which is what other clients ask. Returns false if that is no way out.
 */
static bool ask_vault(AzureLong *l, const AzureAnswer *a, Failure *failure)
{
    const Config *c = l->client->config;
    char *url;

    if (l->vault_asked || !l->vault_path || !is_refusal(a) ||
        asprintf(&url, "%s%s/backupOperations/%s?api-version=%s", c->management_url, l->vault_path,
                 l->operation_id, c->api_version) < 0)
        return false;
    log_full(LOG_INFO, l->session, "Azure: %s; asking the vault for the operation instead",
             failure && failure->message ? failure->message : "the status is refused");
    free_and_replace(&l->poll_url, url);
    l->by_location = false;
    l->vault_asked = true;
    l->refused = failure;
    poll_later(l);
    return true;
}

static void on_status(const AzureAnswer *a, Failure *failure, void *userdata)
{
    AzureLong *l = userdata;
    const char *text = NULL, *location;
    int status;

    if (!a->ok) {
        if (ask_vault(l, a, failure))
            return;
        /* What the address that Azure named said is the better reason. */
        if (l->refused && is_refusal(a)) {
            failure_free(failure);
            failure = TAKE_PTR(l->refused);
        }
        finish(l, false, failure);
        return;
    }
    status = a->http->status;
    if (status == 204) {
        succeed(l, NULL);
        return;
    }
    switch (azure_status_read(a->json, &text)) {
    case AZURE_STATUS_FAILED:
        finish(l, false, operation_failure(l, a->http, a->json, text));
        return;
    case AZURE_STATUS_SUCCEEDED:
        succeed(l, a->json);
        return;
    case AZURE_STATUS_RUNNING:
        /* The result behind Location is a resource, whose own "status" says nothing about the operation. */
        if (l->by_location && status == 200) {
            succeed(l, a->json);
            return;
        }
        tell(l, text);
        break;
    case AZURE_STATUS_UNKNOWN:
        if (status == 200) {
            if (l->by_location)
                succeed(l, a->json);
            else
                finish(l, false, azure_failure_invalid(&l->subject, "Azure", a->http, "has no status"));
            return;
        }
        tell(l, "that it works on it");
        break;
    }
    location = l->by_location ? http_answer_header(a->http, "Location") : NULL;
    if (location && strlen(location) <= URL_MAX) {
        char *copy = strdup(location);

        if (copy)
            free_and_replace(&l->poll_url, copy);
    }
    poll_later(l);
}

static int on_poll_timer(sd_event_source *source, uint64_t usec, void *userdata)
{
    AzureLong *l = userdata;
    int r;

    l->request = azure_request_free(l->request);
    /* What was accepted is asked after until its end: trouble on the way does not end it, the deadline does.
     */
    r = azure_request_start(l->client,
                            &(AzureRequestOptions){.method = "GET",
                                                   .url = l->poll_url,
                                                   .uid = l->uid,
                                                   .session = l->session,
                                                   .subject = {.what = l->poll_what,
                                                               .action = azure_status_action(l->poll_url),
                                                               .not_found = FAILURE_OPERATION_FAILED},
                                                   .secret = l->secret,
                                                   .host_too = l->host_too,
                                                   .body_max = l->status_max,
                                                   .want_json = !l->by_location,
                                                   .deadline_usec = USEC_INFINITY,
                                                   .waiting = on_waiting},
                            on_status, l, &l->request);
    if (r < 0)
        finish_errno(l, r);
    return 0;
}

static int on_deadline(sd_event_source *source, uint64_t usec, void *userdata)
{
    AzureLong *l = userdata;
    char span[64];

    l->request = azure_request_free(l->request);
    finish(l, false,
           failure_new(FAILURE_OPERATION_TIMEOUT,
                       "Azure did not %s within %s (OperationTimeoutSec=), its last word was %s", l->what,
                       timespan_format(l->client->config->operation_timeout_usec, span, sizeof(span)),
                       l->last[0] ? l->last : "nothing"));
    return 0;
}

/* ---- the POST ---- */

static int take_addresses(AzureLong *l, const HttpAnswer *a, Failure **ret_failure)
{
    const char *async = http_answer_header(a, "Azure-AsyncOperation"),
               *location = http_answer_header(a, "Location");
    const char *url = async ? async : location;

    if (!url || strlen(url) > URL_MAX) {
        *ret_failure = azure_failure_invalid(&l->subject, "Azure", a,
                                             url ? "names an address that is longer than 16 KiB"
                                                 : "names neither Azure-AsyncOperation nor Location");
        return -EBADMSG;
    }
    l->by_location = !async;
    l->poll_url = strdup(url);
    if (!l->poll_url)
        return -ENOMEM;
    l->operation_id = azure_operation_id_of(url);
    if (!l->operation_id && async && location)
        l->operation_id = azure_operation_id_of(location);
    if (!l->operation_id) {
        *ret_failure = azure_failure_invalid(&l->subject, "Azure", a, "names no operation id");
        return -EBADMSG;
    }
    return 0;
}

static void on_post(const AzureAnswer *a, Failure *failure, void *userdata)
{
    AzureLong *l = userdata;
    Failure *f = NULL;
    int r;

    l->result.post_status = a->http ? a->http->status : 0;
    if (!a->ok) {
        l->result.nothing_done = !a->maybe_done;
        finish(l, false, failure);
        return;
    }
    l->result.started_boot_usec = now_usec(CLOCK_BOOTTIME);
    if (a->http->duration_usec < l->result.started_boot_usec)
        l->result.started_boot_usec -= a->http->duration_usec;
    l->result.started_usec = azure_clock_at(&l->client->clock, l->result.started_boot_usec);
    if (a->http->status != 202) {
        if (!a->json && a->http->body_size > 0) {
            l->result.nothing_done = false; /* who knows what answered */
            finish(l, false,
                   azure_failure_invalid(&l->subject, "Azure", a->http, "is neither a 202 nor JSON"));
            return;
        }
        /* Done at once. Not what is documented, but plain. */
        succeed(l, a->json);
        return;
    }
    r = take_addresses(l, a->http, &f);
    if (r < 0) {
        finish(l, false, f);
        return;
    }
    if (l->posted)
        l->posted(l->operation_id, l->userdata);
    /* Only now: until here the request itself ends in time, and knows why it was not sent, or not answered.
     */
    r = sd_event_add_time(l->client->event, &l->deadline, CLOCK_BOOTTIME, l->deadline_usec, 0, on_deadline,
                          l);
    if (r < 0) {
        finish_errno(l, r);
        return;
    }
    (void)sd_event_source_set_description(l->deadline, "azure-deadline");
    tell(l, "Accepted");
    poll_later(l);
}

int azure_long_start(AzureClient *c, const AzureLongOptions *o, AzureLongDone done, void *userdata,
                     AzureLong **ret)
{
    _cleanup_(azure_long_freep) AzureLong *l = calloc(1, sizeof(*l));
    uint64_t now = now_usec(CLOCK_BOOTTIME);
    int r;

    if (!l)
        return -ENOMEM;
    l->client = c;
    l->url = strdup(o->url);
    l->what = strdup(o->subject.what);
    if (!l->url || !l->what || str_copy(o->subject.action, &l->action) < 0 ||
        asprintf(&l->poll_what, "follow the operation to %s", l->what) < 0)
        return -ENOMEM;
    l->subject = (AzureSubject){.what = l->what, .action = l->action, .not_found = o->subject.not_found};
    if (str_copy(o->session, &l->session) < 0 || str_copy(o->vault_path, &l->vault_path) < 0)
        return -ENOMEM;
    l->body = o->body ? json_object_get(o->body) : NULL;
    l->status_max = o->status_max;
    l->once = o->once;
    l->secret = o->secret;
    l->host_too = o->host_too;
    l->uid = o->uid;
    l->progress = o->progress;
    l->posted = o->posted;
    l->done = done;
    l->userdata = userdata;
    l->started_usec = now;
    l->deadline_usec = o->deadline_usec;
    r = azure_request_start(c,
                            &(AzureRequestOptions){.method = "POST",
                                                   .url = l->url,
                                                   .uid = l->uid,
                                                   .session = l->session,
                                                   .body = l->body,
                                                   .subject = l->subject,
                                                   .once = l->once,
                                                   .host_too = l->host_too,
                                                   .attempts_max = POST_ATTEMPTS_MAX,
                                                   .deadline_usec = l->deadline_usec,
                                                   .waiting = on_waiting},
                            on_post, l, &l->request);
    if (r < 0)
        return r;
    *ret = TAKE_PTR(l);
    return 0;
}

AzureLong *azure_long_free(AzureLong *l)
{
    if (!l)
        return NULL;
    sd_event_source_disable_unref(l->timer);
    sd_event_source_disable_unref(l->deadline);
    azure_request_free(l->request);
    json_object_put(l->body);
    free(l->url);
    free(l->what);
    free(l->action);
    free(l->session);
    free(l->vault_path);
    failure_free(l->refused);
    free(l->poll_url);
    free(l->poll_what);
    free(l->operation_id);
    free(l);
    return NULL;
}
