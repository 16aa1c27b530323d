/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "azure-client.h"

#include "azure-ids.h"
#include "log.h"
#include "timeutil.h"

#include <sys/random.h>

#define BODY_MAX (1 * MIB)
#define BACKOFF_FIRST_USEC (1 * USEC_PER_SEC)
#define BACKOFF_MAX_USEC (30 * USEC_PER_SEC)
#define REMAINING_LOW 10 /* requests: of a counter that is nearly used up */
#define MALFORMED_MAX 4  /* times that half an answer is asked for again */
/* A try or a wait that is under way at the deadline ends so much later: whoever has that very deadline for
 * more than this request tells better what was too late. */
#define LATE_USEC (1 * USEC_PER_SEC)

struct AzureRequest {
    AzureClient *client;
    char *method, *url, *what, *action, *host, *session;
    Secret *body;
    AzureSubject subject; /* its strings are what and action */
    size_t body_max;
    bool once, want_json, secret, host_too;
    uid_t uid;
    unsigned attempts_max;
    uint64_t deadline_usec;
    void (*waiting)(const char *detail, void *userdata);
    AzureRequestDone done;
    void *userdata;

    unsigned attempts, malformed;
    unsigned free_attempts; /* of those: not counted */
    bool token_dropped;     /* once because of a 401 */
    bool by_person;         /* asked with a person's token */
    bool as_host;           /* which was refused: go on with the host's */
    sd_event_source *timer;
    AzureTokenWaiter *waiter;
    AzureLimitWaiter place; /* in the queue of all requests */
    Secret *token;
    HttpRequest *request;
    AzureAnswer answer;
    char id[AZURE_GUID_LENGTH + 1]; /* x-ms-client-request-id */
};

AzureToken *azure_client_token(AzureClient *c, uid_t uid)
{
    AzureToken *own = c->logins && uid != (uid_t)-1 ? azure_logins_token(c->logins, uid) : NULL;

    return own ? own : c->token;
}

uint64_t azure_jitter(uint64_t usec)
{
    uint32_t n = 0;

    (void)!getrandom(&n, sizeof(n), GRND_NONBLOCK);
    return usec / 2 + (uint64_t)((double)(usec - usec / 2) * n / UINT32_MAX);
}

static int on_timer(sd_event_source *source, uint64_t usec, void *userdata);

static int schedule(AzureRequest *q, uint64_t delay_usec)
{
    uint64_t at = delay_usec ? now_usec(CLOCK_BOOTTIME) + delay_usec : 0;
    int r;

    if (!q->timer) {
        r = sd_event_add_time(q->client->event, &q->timer, CLOCK_BOOTTIME, at, 1, on_timer, q);
        if (r >= 0)
            (void)sd_event_source_set_description(q->timer, "azure-request");
        return r;
    }
    r = sd_event_source_set_time(q->timer, at);
    return r < 0 ? r : sd_event_source_set_enabled(q->timer, SD_EVENT_ONESHOT);
}

static bool has_deadline(const AzureRequest *q)
{
    return q->deadline_usec < USEC_INFINITY - LATE_USEC;
}

/* From now until the deadline and a little more. */
static uint64_t time_left(const AzureRequest *q)
{
    uint64_t now = now_usec(CLOCK_BOOTTIME), end = q->deadline_usec + LATE_USEC;

    return end > now ? end - now : USEC_PER_MSEC;
}

/* What it waits for, a token or its turn, has an end of its own, or may have none. */
static int wait_until_deadline(AzureRequest *q)
{
    return has_deadline(q) ? schedule(q, time_left(q)) : 0;
}

static AzureToken *token_of(const AzureRequest *q)
{
    return q->as_host ? q->client->token : azure_client_token(q->client, q->uid);
}

/* Whom the service counts a request for. */
static uid_t principal_of(const AzureRequest *q)
{
    return q->by_person ? q->uid : (uid_t)-1;
}

/* The one way out. */
static void finish(AzureRequest *q, Failure *failure)
{
    char *message;

    if (q->timer)
        (void)sd_event_source_set_enabled(q->timer, SD_EVENT_OFF);
    if (failure && q->once && q->answer.maybe_done &&
        asprintf(&message, "%s; Azure may have done it all the same",
                 failure->message ? failure->message : q->what) >= 0)
        free_and_replace(&failure->message, message);
    q->done(&q->answer, failure, q->userdata);
}

static void finish_errno(AzureRequest *q, int r)
{
    char buf[128];

    finish(q, r == -ENOMEM ? NULL
                           : failure_new(FAILURE_INTERNAL, "Could not %s: %s", q->what,
                                         strerror_r(-r, buf, sizeof(buf))));
}

/* Another try after a while, unless time or tries are over: then this failure is the end. */
static void try_again(AzureRequest *q, uint64_t at_least_usec, Failure *failure)
{
    uint64_t first = MIN(BACKOFF_FIRST_USEC, q->client->config->poll_interval_usec), delay, now;
    unsigned n = q->attempts > 0 ? q->attempts - 1 : 0;
    char span[64];
    int r;

    delay = MAX(azure_jitter(MIN(first << MIN(n, 10U), BACKOFF_MAX_USEC)), at_least_usec);
    now = now_usec(CLOCK_BOOTTIME);
    if ((q->attempts_max > 0 && q->attempts - q->free_attempts >= q->attempts_max) ||
        now >= q->deadline_usec || delay > q->deadline_usec - now) {
        finish(q, failure);
        return;
    }
    log_full(LOG_INFO, q->session, "Azure: %s; next try in %s",
             failure && failure->message ? failure->message : q->what,
             timespan_format(delay, span, sizeof(span)));
    if (q->waiting) {
        _cleanup_free_ char *detail = NULL;

        if (asprintf(&detail, "%s; next try in %s", failure && failure->message ? failure->message : q->what,
                     timespan_format(delay, span, sizeof(span))) >= 0)
            q->waiting(detail, q->userdata);
        else
            detail = NULL;
    }
    failure_free(failure);
    json_erasep(&q->answer.json); /* may be large, and the wait long */
    q->answer.json = NULL;
    r = schedule(q, delay);
    if (r < 0)
        finish_errno(q, r);
}

/* ---- answers ---- */

/* May the same be sent again? */
static bool repeatable(const AzureRequest *q, const HttpAnswer *a)
{
    if (!azure_answer_transient(a))
        return false;
    if (!q->once)
        return true;
    if (a->outcome != HTTP_ANSWERED)
        return !a->sent;
    return (a->status == 429 || a->status == 503) && http_answer_header(a, "Retry-After");
}

/* Can Azure have acted on a request with this answer? */
static bool maybe_done(const HttpAnswer *a)
{
    return a->outcome == HTTP_ANSWERED ? a->status < 300 || a->status == 408 || a->status >= 500 : a->sent;
}

static void on_success(AzureRequest *q, const HttpAnswer *a)
{
    _cleanup_free_ char *excerpt = NULL, *problem = NULL;

    if (!q->want_json || a->status != 200 || json_object_is_type(q->answer.json, json_type_object)) {
        q->answer.ok = true;
        finish(q, NULL);
        return;
    }
    q->answer.maybe_done = true;
    if (q->secret) {
        finish(q, azure_failure_invalid(&q->subject, q->host, a, azure_shape(a->body, a->body_size)));
        return;
    }
    excerpt = azure_excerpt(a->body, a->body_size);
    if (asprintf(&problem, "is %s%s%s", a->body_size == 0 ? "empty" : "no JSON object", excerpt ? ": " : "",
                 excerpt ? excerpt : "") < 0)
        problem = NULL;
    finish(q, azure_failure_invalid(&q->subject, q->host, a, problem ? problem : "is no JSON object"));
}

static AzureLimitKind kind_of(const AzureRequest *q)
{
    return streq(q->method, "GET") ? AZURE_LIMIT_READ : AZURE_LIMIT_WRITE;
}

/* What an answer says about asking on: a 429 stops whom it is for as long as it says, and a counter that is
 * nearly used up slows him down, before there is a 429. */
static void obey(AzureRequest *q, const HttpAnswer *a, uint64_t wait)
{
    static const char *const counters[] = {"x-ms-ratelimit-remaining-subscription-resource-requests",
                                           "x-ms-ratelimit-remaining-subscription-reads",
                                           "x-ms-ratelimit-remaining-subscription-writes"};
    uint64_t now = now_usec(CLOCK_BOOTTIME);
    size_t i;

    if (a->outcome != HTTP_ANSWERED)
        return;
    if (a->status == 429 && wait > 0)
        azure_limit_hold(q->client->limit, kind_of(q), principal_of(q), now + wait);
    for (i = 0; i < ELEMENTSOF(counters); i++) {
        const char *left = http_answer_header(a, counters[i]);

        if (left && *left && strlen(left) == strspn(left, "0123456789") && strlen(left) <= 2 &&
            atoi(left) < REMAINING_LOW)
            azure_limit_hold(q->client->limit, kind_of(q), principal_of(q),
                             now + (uint64_t)(REMAINING_LOW - atoi(left)) * USEC_PER_SEC);
    }
}

/* What is owed to Azure is paid even if the person who had asked for it may not any more. Takes failure. */
static bool go_on_as_host(AzureRequest *q, Failure *failure)
{
    if (!q->host_too || !q->by_person || !failure ||
        (failure->name != FAILURE_CREDENTIAL_REJECTED && failure->name != FAILURE_PERMISSION_MISSING) ||
        schedule(q, 0) < 0)
        return false;
    log_full(LOG_NOTICE, q->session, "Azure: %s; the host does it by its own right",
             failure->message ? failure->message : q->what);
    failure_free(failure);
    q->as_host = true;
    q->token_dropped = false;
    q->attempts = q->free_attempts = 0;
    return true;
}

static void on_http(const HttpAnswer *a, void *userdata)
{
    AzureRequest *q = userdata;
    const char *after = http_answer_header(a, "Retry-After");
    uint64_t wait = 0;
    bool again;
    Failure *f;

    if (a->outcome == HTTP_ANSWERED)
        azure_clock_heard(&q->client->clock, http_answer_header(a, "Date"), now_usec(CLOCK_BOOTTIME));
    /* What a session asks is in the journal with its ids, also what went well. */
    azure_log_answer(q->session, !q->session && streq(q->method, "GET"), q->method, q->url, q->id, a);
    if (after && (a->status == 429 || a->status == 503) &&
        azure_retry_after_parse(after, azure_clock_at(&q->client->clock, now_usec(CLOCK_BOOTTIME)), &wait) <
            0)
        wait = 0;
    obey(q, a, wait);
    json_erasep(&q->answer.json);
    q->answer.json = NULL;
    q->answer.http = a;
    if (a->body_size > 0 && a->outcome == HTTP_ANSWERED &&
        json_parse(a->body, a->body_size, &q->answer.json) == -ENOMEM) {
        q->answer.maybe_done = true;
        finish(q, NULL); /* not ok, and no memory for words */
        return;
    }
    if (a->outcome == HTTP_ANSWERED && a->status >= 200 && a->status < 300) {
        on_success(q, a);
        return;
    }
    /* A later refusal takes nothing back. */
    q->answer.maybe_done = (q->once && q->answer.maybe_done) || maybe_done(a);
    if (a->outcome == HTTP_ANSWERED && a->status == 401 && !q->token_dropped) {
        q->token_dropped = true;
        azure_token_drop(token_of(q), q->token);
        if (schedule(q, 0) >= 0)
            return;
    }
    /* An answer that stops in the middle is asked for again, but whoever always sends half is not worth the
     * wait. */
    again = repeatable(q, a) && !(a->outcome == HTTP_BROKEN && a->status && ++q->malformed >= MALFORMED_MAX);
    f = azure_failure(&q->subject, q->host, a, q->answer.json);
    if (again)
        try_again(q, wait, f);
    else if (!go_on_as_host(q, f))
        finish(q, f);
}

/* ---- sending ---- */

static void no_time(AzureRequest *q)
{
    finish(q, failure_advise(failure_new(FAILURE_AZURE_THROTTLED,
                                         "Could not %s: its time was over before it could be sent", q->what),
                             "raise OperationTimeoutSec=, or ask for fewer sessions at a time"));
}

/* Negative: nothing was told yet. */
static int send_request(AzureRequest *q)
{
    _cleanup_strv_free_ char **headers = NULL;
    int r;

    if (now_usec(CLOCK_BOOTTIME) >= q->deadline_usec) {
        no_time(q);
        return 0;
    }
    azure_guid_make(q->id);
    if ((r = strv_extend(&headers, "Accept: application/json")) < 0 ||
        (r = strv_extendf(&headers, "x-ms-client-request-id: %s", q->id)) < 0 ||
        (r = strv_extend(&headers, "x-ms-return-client-request-id: true")) < 0)
        return r;
    return http_start(q->client->http,
                      &(HttpOptions){.method = q->method,
                                     .url = q->url,
                                     .headers = headers,
                                     .bearer = q->token,
                                     .body = q->body,
                                     .content_type = q->body ? "application/json" : NULL,
                                     .timeout_usec = MIN(q->client->config->request_timeout_usec,
                                                         has_deadline(q) ? time_left(q) : USEC_INFINITY),
                                     .body_max = q->body_max,
                                     .once = q->once},
                      on_http, q, &q->request);
}

static void on_slot(void *userdata)
{
    AzureRequest *q = userdata;
    int r;

    (void)sd_event_source_set_enabled(q->timer, SD_EVENT_OFF);
    r = send_request(q);
    if (r < 0)
        finish_errno(q, r);
}

/* Waits for its turn among all requests of this host. Negative: nothing was told yet. */
static int take_turn(AzureRequest *q)
{
    uint64_t now = now_usec(CLOCK_BOOTTIME),
             held = azure_limit_held(q->client->limit, kind_of(q), principal_of(q));
    char span[64];
    int r;

    if (held > now && held >= q->deadline_usec) {
        finish(q, failure_new(FAILURE_AZURE_THROTTLED, "Could not %s: Azure wants no such request for %s",
                              q->what, timespan_format(held - now, span, sizeof(span))));
        return 0;
    }
    r = azure_limit_take(q->client->limit, kind_of(q), principal_of(q), &q->place, on_slot, q);
    if (r > 0)
        return send_request(q);
    if (r == 0 && held > now + USEC_PER_SEC && q->waiting) {
        _cleanup_free_ char *detail = NULL;

        if (asprintf(&detail, "Azure wants no more requests for %s",
                     timespan_format(held - now, span, sizeof(span))) >= 0)
            q->waiting(detail, q->userdata);
        else
            detail = NULL;
    }
    if (r == 0 && (r = wait_until_deadline(q)) < 0)
        azure_limit_leave(&q->place);
    return r;
}

static void try_token_again(AzureRequest *q, uint64_t at_least_usec, Failure *failure)
{
    if (azure_token_patient(token_of(q)))
        q->free_attempts++;
    try_again(q, at_least_usec, failure);
}

static void on_token(Secret *token, Failure *failure, bool transient, uint64_t retry_after_usec,
                     void *userdata)
{
    AzureRequest *q = userdata;
    int r;

    q->waiter = azure_token_waiter_free(q->waiter);
    (void)sd_event_source_set_enabled(q->timer, SD_EVENT_OFF);
    if (!token) {
        if (transient)
            try_token_again(q, retry_after_usec, failure);
        else if (!go_on_as_host(q, failure))
            finish(q, failure);
        return;
    }
    q->token = secret_ref(token);
    r = take_turn(q);
    if (r < 0)
        finish_errno(q, r);
}

static int on_timer(sd_event_source *source, uint64_t usec, void *userdata)
{
    AzureRequest *q = userdata;
    Failure *failure = NULL;
    AzureToken *t;
    int r;

    if (q->waiter) {
        failure = failure_new(FAILURE_AZURE_UNREACHABLE, "Could not %s: no access token came in time from %s",
                              q->what, azure_token_host(token_of(q)));
        q->waiter = azure_token_waiter_free(q->waiter);
        finish(q, failure);
        return 0;
    }
    if (q->place.limit) {
        azure_limit_leave(&q->place);
        no_time(q);
        return 0;
    }
    q->attempts++;
    q->token = secret_unref(q->token);
    q->request = http_request_free(q->request);
    q->answer.http = NULL;
    if (!q->once)
        q->answer.maybe_done = false;
    /* A token must never go elsewhere, whatever an answer named as the place to ask. */
    if (!http_url_same_origin(q->url, q->client->config->management_url)) {
        _cleanup_free_ char *host = azure_excerpt(q->host, strlen(q->host));

        finish(q, failure_new(FAILURE_AZURE_ANSWER_INVALID,
                              "Could not %s: Azure named an address at %s, which is not the management host",
                              q->what, host ? host : "nowhere"));
        return 0;
    }
    t = token_of(q);
    q->by_person = t != q->client->token;
    r = azure_token_get(t, on_token, q, &q->token, &q->waiter, &failure);
    if (r > 0)
        r = take_turn(q);
    else if (r == 0 && (r = wait_until_deadline(q)) < 0)
        q->waiter = azure_token_waiter_free(q->waiter);
    if (r >= 0)
        return 0;
    if (r == -EAGAIN)
        try_token_again(q, azure_token_held_usec(t), failure);
    else if (!failure)
        finish_errno(q, r);
    else if (!go_on_as_host(q, failure))
        finish(q, failure);
    return 0;
}

int azure_request_start(AzureClient *c, const AzureRequestOptions *o, AzureRequestDone done, void *userdata,
                        AzureRequest **ret)
{
    _cleanup_(azure_request_freep) AzureRequest *q = calloc(1, sizeof(*q));
    int r;

    if (!q)
        return -ENOMEM;
    q->client = c;
    q->method = strdup(o->method);
    q->url = strdup(o->url);
    q->what = strdup(o->subject.what);
    q->host = http_url_host(o->url);
    if (!q->method || !q->url || !q->what || str_copy(o->subject.action, &q->action) < 0 ||
        str_copy(o->session, &q->session) < 0)
        return -ENOMEM;
    if (!q->host && !(q->host = strdup("(no host)")))
        return -ENOMEM;
    if (o->body) {
        const char *text = json_text(o->body);

        q->body = text ? secret_new(text, strlen(text)) : NULL;
        if (!q->body)
            return -ENOMEM;
    }
    q->subject = (AzureSubject){.what = q->what, .action = q->action, .not_found = o->subject.not_found};
    q->body_max = o->body_max ? o->body_max : BODY_MAX;
    q->once = o->once;
    q->uid = o->uid;
    q->want_json = o->want_json;
    q->secret = o->secret;
    q->host_too = o->host_too;
    q->attempts_max = o->attempts_max;
    q->deadline_usec = o->deadline_usec;
    q->waiting = o->waiting;
    q->done = done;
    q->userdata = userdata;
    r = schedule(q, 0);
    if (r < 0)
        return r;
    *ret = TAKE_PTR(q);
    return 0;
}

AzureRequest *azure_request_free(AzureRequest *q)
{
    if (!q)
        return NULL;
    sd_event_source_disable_unref(q->timer);
    azure_token_waiter_free(q->waiter);
    azure_limit_leave(&q->place);
    http_request_free(q->request);
    secret_unref(q->token);
    secret_unref(q->body);
    json_erasep(&q->answer.json);
    free(q->method);
    free(q->url);
    free(q->what);
    free(q->action);
    free(q->host);
    free(q->session);
    free(q);
    return NULL;
}
