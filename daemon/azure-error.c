/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "azure-error.h"

#include "timeutil.h"

#include <ctype.h>
#include <inttypes.h>

#define TEXT_MAX 1000 /* bytes of a message */
#define CODE_MAX 128  /* bytes of a code */
#define RECOMMENDATIONS_MAX 8
#define DETAILS_MAX 16
#define RETRY_AFTER_MAX_SEC (24 * 60 * 60)

/* One clean line of at most max bytes; a UTF-8 character is not cut in half. NULL: nothing in it, or no
 * memory. */
static char *clean(const char *s, size_t size, size_t max)
{
    char *out = malloc(max + 1);
    size_t n = 0, i;
    bool space = false;

    if (!out)
        return NULL;
    for (i = 0; i < size; i++) {
        unsigned char c = (unsigned char)s[i];

        if (c <= ' ' || c == 0x7f) {
            space = n > 0;
            continue;
        }
        if (n + 2 > max)
            break;
        if (space)
            out[n++] = ' ';
        space = false;
        out[n++] = (char)c;
    }
    if (i < size)
        while (n > 0 && ((unsigned char)s[i] & 0xc0) == 0x80 && ((unsigned char)out[n - 1] & 0x80)) {
            bool lead = ((unsigned char)out[n - 1] & 0xc0) == 0xc0;

            n--;
            if (lead)
                break;
        }
    out[n] = '\0';
    if (n == 0) {
        free(out);
        return NULL;
    }
    return out;
}

static char *clean_json(json_object *o, size_t max)
{
    if (json_object_is_type(o, json_type_string))
        return clean(json_object_get_string(o), (size_t)json_object_get_string_len(o), max);
    if (json_object_is_type(o, json_type_int)) {
        const char *s = json_object_to_json_string(o);

        return clean(s, strlen(s), max);
    }
    return NULL;
}

static int read_recommendations(json_object *o, char ***ret)
{
    json_object *a = json_get_nocase(o, "recommendations");
    size_t i;

    if (!json_object_is_type(a, json_type_array))
        return 0;
    for (i = 0; i < json_object_array_length(a) && strv_length(*ret) < RECOMMENDATIONS_MAX; i++) {
        json_object *entry = json_object_array_get_idx(a, i);
        _cleanup_free_ char *s =
            json_object_is_type(entry, json_type_string) ? clean_json(entry, TEXT_MAX) : NULL;

        if (s && !strv_contains(*ret, s) && strv_extend(ret, s) < 0)
            return -ENOMEM;
    }
    return 0;
}

/* Fills what is still empty in ret from an object with code, message and recommendations. */
static int read_fields(json_object *o, AzureError *ret)
{
    if (!ret->code)
        ret->code = clean_json(json_get_nocase(o, "code"), CODE_MAX);
    if (!ret->message)
        ret->message = clean_json(json_get_nocase(o, "message"), TEXT_MAX);
    return read_recommendations(o, &ret->recommendations);
}

static int read_details(json_object *o, AzureError *ret)
{
    json_object *a = json_get_nocase(o, "details");
    size_t i;
    int r;

    if (!json_object_is_type(a, json_type_array))
        return 0;
    for (i = 0; i < json_object_array_length(a) && i < DETAILS_MAX; i++) {
        r = read_fields(json_object_array_get_idx(a, i), ret);
        if (r < 0)
            return r;
    }
    return 0;
}

int azure_error_read(json_object *o, AzureError *ret)
{
    AzureError e = {};
    json_object *error = json_get_nocase(o, "error");
    int r = 0;

    if (json_object_is_type(error, json_type_string)) {
        e.code = clean_json(error, CODE_MAX);
        e.message = clean_json(json_get_nocase(o, "error_description"), TEXT_MAX);
    } else if (json_object_is_type(error, json_type_object)) {
        r = read_fields(error, &e);
        if (r >= 0)
            r = read_details(error, &e);
    }
    if (r >= 0 && !e.code && !e.message)
        r = read_fields(o, &e);
    if (r >= 0)
        r = read_details(o, &e);
    if (r < 0) {
        azure_error_done(&e);
        return r;
    }
    *ret = e;
    return 0;
}

void azure_error_done(AzureError *e)
{
    free(e->code);
    free(e->message);
    strv_free(e->recommendations);
    *e = (AzureError){};
}

void azure_error_move(AzureError *e, Failure *f)
{
    if (!f)
        return;
    free_and_replace(&f->code, TAKE_PTR(e->code));
    strv_free(f->recommendations);
    f->recommendations = TAKE_PTR(e->recommendations);
}

char *azure_excerpt(const char *body, size_t size)
{
    _cleanup_free_ char *text = NULL;
    size_t i, n = 0;
    bool tag = false;

    size = MIN(size, (size_t)16 * KIB);
    text = malloc(size + 1);
    if (!text)
        return NULL;
    for (i = 0; i < size; i++) {
        if (body[i] == '<')
            tag = true;
        if (!tag)
            text[n++] = isprint((unsigned char)body[i]) ? body[i] : ' ';
        else if (body[i] == '>') {
            tag = false;
            text[n++] = ' ';
        }
    }
    return clean(text, n, 120);
}

const char *azure_shape(const char *body, size_t size)
{
    size_t i = 0;

    while (i < size && isspace((unsigned char)body[i]))
        i++;
    return i == size ? "is empty" : body[i] == '<' ? "is a page of HTML and no JSON" : "is no JSON object";
}

static void add_ids(Failure *f, const HttpAnswer *a)
{
    const char *s;

    if (!f)
        return;
    s = http_answer_header(a, "x-ms-request-id");
    if (s)
        f->request_id = azure_excerpt(s, strlen(s));
    s = http_answer_header(a, "x-ms-correlation-request-id");
    if (s)
        f->correlation_id = azure_excerpt(s, strlen(s));
}

/* No whole answer. */
static Failure *failure_of_outcome(const AzureSubject *s, const char *host, const HttpAnswer *a)
{
    switch (a->outcome) {
    case HTTP_UNREACHABLE:
        return failure_new(FAILURE_AZURE_UNREACHABLE, "Could not %s: %s cannot be reached: %s", s->what, host,
                           a->detail);
    case HTTP_UNTRUSTED:
        return failure_new(FAILURE_AZURE_UNTRUSTED, "Could not %s: the TLS connection to %s failed: %s",
                           s->what, host, a->detail);
    case HTTP_HANDSHAKE:
        return failure_new(FAILURE_AZURE_UNREACHABLE, "Could not %s: the TLS handshake with %s failed: %s",
                           s->what, host, a->detail);
    case HTTP_BROKEN:
        return failure_new(a->status ? FAILURE_AZURE_ANSWER_INVALID : FAILURE_AZURE_UNREACHABLE,
                           "Could not %s: the connection to %s broke off: %s", s->what, host, a->detail);
    case HTTP_TIMED_OUT:
        return failure_new(FAILURE_AZURE_UNREACHABLE, "Could not %s: %s did not answer in time: %s", s->what,
                           host, a->detail);
    case HTTP_TOO_BIG:
        return failure_new(FAILURE_AZURE_ANSWER_INVALID, "Could not %s: the answer of %s is too big: %s",
                           s->what, host, a->detail);
    case HTTP_BAD_URL:
        return failure_new(FAILURE_AZURE_ANSWER_INVALID, "Could not %s: not a URL that may be asked: %s",
                           s->what, a->detail);
    case HTTP_ANSWERED:
    case HTTP_FAILED:
    case HTTP_OUTCOME_MAX:
    case HTTP_OUTCOME_INVALID:
        break;
    }
    return failure_new(FAILURE_INTERNAL, "Could not %s: the request to %s failed: %s", s->what, host,
                       a->detail);
}

static FailureName name_of_status(const AzureSubject *s, int status)
{
    if (status == 401)
        return FAILURE_CREDENTIAL_REJECTED;
    if (status == 403)
        return FAILURE_PERMISSION_MISSING;
    if (status == 404)
        return s->not_found;
    if (status == 429)
        return FAILURE_AZURE_THROTTLED;
    return FAILURE_AZURE_REFUSED;
}

Failure *azure_failure(const AzureSubject *s, const char *host, const HttpAnswer *a, json_object *json)
{
    _cleanup_free_ char *excerpt = NULL, *needs = NULL, *wait = NULL;
    AzureError e = {};
    Failure *f;
    FailureName name;
    uint64_t usec;

    if (a->outcome != HTTP_ANSWERED) {
        f = failure_of_outcome(s, host, a);
        add_ids(f, a);
        return f;
    }
    if (a->status >= 300 && a->status < 400) {
        const char *location = http_answer_header(a, "Location");
        _cleanup_free_ char *foreign = location ? http_url_host(location) : NULL,
                            *other = foreign ? azure_excerpt(foreign, strlen(foreign)) : NULL;

        f = failure_new(FAILURE_AZURE_ANSWER_INVALID,
                        "Could not %s: %s redirects (status %d) to %s, which is not followed", s->what, host,
                        a->status, other ? other : "nowhere");
        add_ids(f, a);
        return f;
    }
    (void)azure_error_read(json, &e);
    if (!e.message)
        /* What comes with a success may be a secret. */
        excerpt = json || a->status < 300 ? NULL : azure_excerpt(a->body, a->body_size);
    name = name_of_status(s, a->status);
    if (name == FAILURE_PERMISSION_MISSING && s->action && asprintf(&needs, " (needs %s)", s->action) < 0)
        needs = NULL;
    if (name == FAILURE_AZURE_THROTTLED && http_answer_header(a, "Retry-After") &&
        azure_retry_after_parse(http_answer_header(a, "Retry-After"), now_usec(CLOCK_REALTIME), &usec) == 0 &&
        asprintf(&wait, " (try again in %" PRIu64 " s)", usec / USEC_PER_SEC) < 0)
        wait = NULL;
    f = failure_new(name, "Could not %s: %s answered with status %d%s%s%s%s%s%s", s->what, host, a->status,
                    e.code ? " " : "", e.code ? e.code : "", e.message || excerpt ? ": " : "",
                    e.message ? e.message
                    : excerpt ? excerpt
                              : "",
                    needs ? needs : "", wait ? wait : "");
    azure_error_move(&e, f);
    azure_error_done(&e);
    add_ids(f, a);
    return f;
}

Failure *azure_failure_invalid(const AzureSubject *s, const char *host, const HttpAnswer *a,
                               const char *problem)
{
    Failure *f = failure_new(FAILURE_AZURE_ANSWER_INVALID, "Could not %s: the answer of %s %s", s->what, host,
                             problem);

    add_ids(f, a);
    return f;
}

int http_date_parse(const char *s, uint64_t *ret_usec)
{
    struct tm tm = {};
    const char *end = strptime(s, "%a, %d %b %Y %H:%M:%S GMT", &tm);

    if (!end || end[strspn(end, " \t\r")] != '\0' || tm.tm_year < 70)
        return -EINVAL;
    *ret_usec = (uint64_t)timegm(&tm) * USEC_PER_SEC;
    return 0;
}

int azure_retry_after_parse(const char *s, uint64_t now, uint64_t *ret_usec)
{
    uint64_t t;
    size_t n;

    s += strspn(s, " \t");
    n = strspn(s, "0123456789");
    if (n > 0) {
        if (s[n + strspn(s + n, " \t\r")] != '\0')
            return -EINVAL;
        t = n > 6 ? RETRY_AFTER_MAX_SEC : strtoull(s, NULL, 10);
        *ret_usec = MIN(t, (uint64_t)RETRY_AFTER_MAX_SEC) * USEC_PER_SEC;
        return 0;
    }
    if (http_date_parse(s, &t) < 0)
        return -EINVAL;
    *ret_usec = t <= now ? 0 : MIN(t - now, RETRY_AFTER_MAX_SEC * USEC_PER_SEC);
    return 0;
}

bool azure_answer_transient(const HttpAnswer *a)
{
    switch (a->outcome) {
    case HTTP_ANSWERED:
        return a->status == 408 || a->status == 429 || a->status >= 500;
    case HTTP_UNREACHABLE:
    case HTTP_HANDSHAKE:
    case HTTP_BROKEN:
    case HTTP_TIMED_OUT:
        return true;
    case HTTP_UNTRUSTED:
    case HTTP_TOO_BIG:
    case HTTP_BAD_URL:
    case HTTP_FAILED:
    case HTTP_OUTCOME_MAX:
    case HTTP_OUTCOME_INVALID:
        break;
    }
    return false;
}

static void erase(json_object *o)
{
    size_t i;

    if (json_object_is_type(o, json_type_string))
        explicit_bzero((char *)json_object_get_string(o), (size_t)json_object_get_string_len(o));
    else if (json_object_is_type(o, json_type_array))
        for (i = 0; i < json_object_array_length(o); i++)
            erase(json_object_array_get_idx(o, i));
    else if (json_object_is_type(o, json_type_object)) {
        json_object_object_foreach(o, k, v)
        {
            (void)k;
            erase(v);
        }
    }
}

void json_erasep(json_object **o)
{
    erase(*o);
    json_object_put(*o);
}
