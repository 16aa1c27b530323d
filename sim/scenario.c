/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "scenario.h"
#include "timeutil.h"
#include <limits.h>

#define FAULTS_MAX 64
#define BYTES_MAX (4.0 * 1024 * 1024 * 1024)
#define SECONDS_MAX 86400.0

/* What can be said about a fault beyond on, fault, skip and times. */
enum {
    TAKES_STATUS = 1 << 0,
    TAKES_SECONDS = 1 << 1,
    TAKES_BYTES = 1 << 2,
    TAKES_RETRY_AFTER = 1 << 3,
    TAKES_URL = 1 << 4,
    TAKES_ERROR = 1 << 5, /* code, message */
    TAKES_RECOMMENDATIONS = 1 << 6,
    TAKES_BODY = 1 << 7,
    TAKES_ACTS = 1 << 8,
};

static const struct {
    const char *name;
    FaultClass class;
    unsigned takes;
    bool acts;
} table[FAULT_KIND_MAX] = {
    [FAULT_HTML] = {"html", FAULT_CLASS_ANSWER, TAKES_STATUS | TAKES_ACTS},
    [FAULT_EMPTY] = {"empty", FAULT_CLASS_ANSWER, TAKES_STATUS | TAKES_ACTS},
    [FAULT_TRUNCATED] = {"truncated", FAULT_CLASS_ANSWER, TAKES_ACTS, .acts = true},
    [FAULT_HUGE] = {"huge", FAULT_CLASS_ANSWER, TAKES_STATUS | TAKES_BYTES | TAKES_ACTS},
    [FAULT_REDIRECT] = {"redirect", FAULT_CLASS_ANSWER, TAKES_STATUS | TAKES_URL | TAKES_ACTS},
    [FAULT_ANSWER] = {"answer", FAULT_CLASS_ANSWER,
                      TAKES_STATUS | TAKES_BODY | TAKES_RETRY_AFTER | TAKES_ACTS},
    [FAULT_TOKEN_REFUSED] = {"token-refused", FAULT_CLASS_ANSWER, TAKES_STATUS | TAKES_ERROR},
    [FAULT_UNAUTHORIZED] = {"unauthorized", FAULT_CLASS_ANSWER, TAKES_ERROR | TAKES_ACTS},
    [FAULT_FORBIDDEN] = {"forbidden", FAULT_CLASS_ANSWER, TAKES_ERROR | TAKES_ACTS},
    [FAULT_NOT_FOUND] = {"not-found", FAULT_CLASS_ANSWER, TAKES_ERROR | TAKES_ACTS},
    [FAULT_GONE] = {"gone", FAULT_CLASS_ANSWER, TAKES_ERROR | TAKES_RETRY_AFTER | TAKES_ACTS},
    [FAULT_CHALLENGE] = {"challenge", FAULT_CLASS_ANSWER, TAKES_ERROR},
    [FAULT_CONFLICT] = {"conflict", FAULT_CLASS_ANSWER, TAKES_ERROR | TAKES_RETRY_AFTER | TAKES_ACTS},
    [FAULT_THROTTLED] = {"throttled", FAULT_CLASS_ANSWER, TAKES_ERROR | TAKES_RETRY_AFTER | TAKES_ACTS},
    [FAULT_SERVER_ERROR] = {"server-error", FAULT_CLASS_ANSWER,
                            TAKES_STATUS | TAKES_ERROR | TAKES_RETRY_AFTER | TAKES_ACTS},
    [FAULT_UNAVAILABLE] = {"unavailable", FAULT_CLASS_ANSWER, TAKES_ERROR | TAKES_RETRY_AFTER | TAKES_ACTS},
    [FAULT_BAD_API_VERSION] = {"bad-api-version", FAULT_CLASS_ANSWER, TAKES_ERROR},
    [FAULT_RESET] = {"reset", FAULT_CLASS_ANSWER, 0},
    [FAULT_LOST] = {"lost", FAULT_CLASS_ANSWER, 0, .acts = true},
    [FAULT_SLOW] = {"slow", FAULT_CLASS_ANSWER, TAKES_SECONDS, .acts = true},
    [FAULT_DELAY] = {"delay", FAULT_CLASS_ANSWER, TAKES_SECONDS, .acts = true},
    [FAULT_NEVER] = {"never", FAULT_CLASS_OPERATION, 0},
    [FAULT_FAILED] = {"failed", FAULT_CLASS_OPERATION, TAKES_ERROR | TAKES_RECOMMENDATIONS},
    [FAULT_CANCELED] = {"canceled", FAULT_CLASS_OPERATION, TAKES_ERROR | TAKES_RECOMMENDATIONS},
    [FAULT_NO_SCRIPTS] = {"no-scripts", FAULT_CLASS_OPERATION, 0},
    [FAULT_NO_PROPERTIES] = {"no-properties", FAULT_CLASS_OPERATION, 0},
    [FAULT_NOT_BASE64] = {"not-base64", FAULT_CLASS_SCRIPT, 0},
    [FAULT_PLAIN_SCRIPT] = {"plain-script", FAULT_CLASS_SCRIPT, 0},
    [FAULT_NO_TARGET] = {"no-target", FAULT_CLASS_SCRIPT, 0},
    [FAULT_CRLF_SCRIPT] = {"crlf-script", FAULT_CLASS_SCRIPT, 0},
    [FAULT_BIG_SCRIPT] = {"big-script", FAULT_CLASS_SCRIPT, TAKES_BYTES},
    [FAULT_EMPTY_SCRIPT] = {"empty-script", FAULT_CLASS_SCRIPT, 0},
    [FAULT_NO_SUFFIX] = {"no-suffix", FAULT_CLASS_SCRIPT, 0},
    [FAULT_WINDOWS] = {"windows", FAULT_CLASS_SCRIPT, TAKES_URL},
    [FAULT_UNKNOWN_OS] = {"unknown-os", FAULT_CLASS_SCRIPT, 0},
};

const char *fault_kind_to_string(FaultKind kind)
{
    return kind >= 0 && kind < FAULT_KIND_MAX ? table[kind].name : NULL;
}

static FaultKind fault_kind_from_string(const char *s)
{
    for (FaultKind k = 0; k < FAULT_KIND_MAX; k++)
        if (streq(table[k].name, s))
            return k;
    return FAULT_KIND_INVALID;
}

Fault *fault_unref(Fault *f)
{
    if (!f || __atomic_sub_fetch(&f->refs, 1, __ATOMIC_ACQ_REL) > 0)
        return NULL;
    free(f->retry_after);
    free(f->url);
    free(f->code);
    free(f->message);
    free(f->body);
    strv_free(f->recommendations);
    free(f);
    return NULL;
}

static void refuse_untaken(Document *d, json_object *o, const char *path, FaultKind kind)
{
    static const struct {
        const char *key;
        unsigned takes;
    } keys[] = {
        {"status", TAKES_STATUS}, {"seconds", TAKES_SECONDS},
        {"bytes", TAKES_BYTES},   {"retryAfter", TAKES_RETRY_AFTER},
        {"url", TAKES_URL},       {"code", TAKES_ERROR},
        {"message", TAKES_ERROR}, {"recommendations", TAKES_RECOMMENDATIONS},
        {"body", TAKES_BODY},     {"acts", TAKES_ACTS},
    };

    for (size_t i = 0; i < ELEMENTSOF(keys); i++)
        if (!(table[kind].takes & keys[i].takes) && json_object_object_get_ex(o, keys[i].key, NULL))
            document_refuse(d, path, keys[i].key, "means nothing to the fault \"%s\"", table[kind].name);
}

static RequestKind parse_on(Document *d, json_object *o, const char *path, FaultKind kind)
{
    const char *on = document_string(d, o, path, "on", false);
    RequestKind k;

    if (!on)
        return kind == FAULT_TOKEN_REFUSED               ? REQUEST_TOKEN
               : table[kind].class == FAULT_CLASS_ANSWER ? REQUEST_KIND_MAX
                                                         : REQUEST_PROVISION;
    if (streq(on, "any"))
        k = REQUEST_KIND_MAX;
    else
        k = request_kind_from_string(on);
    if (k < 0 || (k >= REQUEST_KIND_FIRST_SIM && k != REQUEST_KIND_MAX))
        document_refuse(d, path, "on", "is \"%.80s\", a kind of request is expected: see ilr-sim(1)", on);
    else if (table[kind].class == FAULT_CLASS_SCRIPT && k != REQUEST_PROVISION)
        document_refuse(d, path, "on", "is \"%.80s\", the fault \"%s\" is one of \"provision\"", on,
                        table[kind].name);
    else if (table[kind].class == FAULT_CLASS_OPERATION && k != REQUEST_PROVISION && k != REQUEST_REVOKE)
        document_refuse(d, path, "on", "is \"%.80s\", the fault \"%s\" is one of \"provision\" or \"revoke\"",
                        on, table[kind].name);
    else if (kind == FAULT_TOKEN_REFUSED && k != REQUEST_TOKEN)
        document_refuse(d, path, "on", "is \"%.80s\", the fault \"%s\" is one of \"token\"", on,
                        table[kind].name);
    return k;
}

/* A header value: a number of seconds, or any text (a date). */
static char *parse_retry_after(Document *d, json_object *o, const char *path)
{
    json_object *v;
    char *s = NULL;

    if (!json_object_object_get_ex(o, "retryAfter", &v))
        return NULL;
    if (!json_object_is_type(v, json_type_int) && !json_object_is_type(v, json_type_string))
        document_refuse(d, path, "retryAfter", "is %.80s, seconds or a text are expected", json_text(v));
    else if (strpbrk(json_object_get_string(v), "\r\n"))
        document_refuse(d, path, "retryAfter", "holds a line break");
    else if (!(s = strdup(json_object_get_string(v))))
        document_refuse(d, path, "retryAfter", "out of memory");
    return s;
}

static void fault_parse(Document *d, json_object *o, const char *path, Fault *f)
{
    static const char *const known[] = {
        "on",  "fault", "skip",    "times",           "acts", "status",     "seconds",    "bytes",
        "url", "code",  "message", "recommendations", "body", "retryAfter", "forSeconds", NULL};
    const char *name;
    json_object *body;

    if (!document_check(d, o, path, known) || !(name = document_string(d, o, path, "fault", true)))
        return;
    f->kind = fault_kind_from_string(name);
    if (f->kind < 0) {
        document_refuse(d, path, "fault", "is \"%.80s\", the name of a fault is expected: see ilr-sim(1)",
                        name);
        return;
    }
    f->on = parse_on(d, o, path, f->kind);
    refuse_untaken(d, o, path, f->kind);
    f->skip = (unsigned)document_number(d, o, path, "skip", 0, 0, 1000000);
    f->times = (unsigned)document_number(d, o, path, "times", UINT_MAX, 1, UINT_MAX);
    f->acts = document_bool(d, o, path, "acts", table[f->kind].acts);
    f->status = (unsigned)document_number(d, o, path, "status", 0, 200, 599);
    f->seconds = document_number(d, o, path, "seconds", 30, 0, SECONDS_MAX);
    f->bytes =
        (uint64_t)document_number(d, o, path, "bytes", f->kind == FAULT_HUGE ? 500e6 : 8 * MIB, 1, BYTES_MAX);
    if (f->kind == FAULT_BIG_SCRIPT && f->bytes > 64 * MIB)
        document_refuse(d, path, "bytes", "is more than 64 MiB, which is the most for a script");
    f->url = document_text(d, o, path, "url", false);
    if (f->url && strpbrk(f->url, "\r\n"))
        document_refuse(d, path, "url", "holds a line break");
    f->code = document_text(d, o, path, "code", false);
    f->message = document_text(d, o, path, "message", false);
    if (f->kind == FAULT_CHALLENGE && f->message && strpbrk(f->message, "\r\n"))
        document_refuse(d, path, "message", "holds a line break");
    f->until_usec = USEC_INFINITY;
    if (json_object_object_get_ex(o, "forSeconds", NULL))
        f->until_usec =
            now_usec(CLOCK_BOOTTIME) +
            (uint64_t)(document_number(d, o, path, "forSeconds", 0, 0, SECONDS_MAX) * (double)USEC_PER_SEC);
    f->retry_after = parse_retry_after(d, o, path);
    f->recommendations = document_strv(d, o, path, "recommendations");
    /* A text goes out as it is, anything else as JSON. */
    if (json_object_object_get_ex(o, "body", &body) &&
        !(f->body = strdup(json_object_is_type(body, json_type_string) ? json_object_get_string(body)
                                                                       : json_text(body))))
        document_refuse(d, path, "body", "out of memory");
}

static void scenario_parse_faults(Document *d, json_object *array, const char *path, Scenario *s)
{
    size_t n = json_object_array_length(array);

    if (n > FAULTS_MAX) {
        document_refuse(d, path, "faults", "has %zu entries, at most %d are expected", n, FAULTS_MAX);
        return;
    }
    s->faults = calloc(n + 1, sizeof(*s->faults));
    if (!s->faults) {
        document_refuse(d, path, "faults", "out of memory");
        return;
    }
    for (size_t i = 0; i < n && !d->error; i++) {
        char where[DOCUMENT_PATH_MAX];
        Fault *f = calloc(1, sizeof(*f));

        if (!f) {
            document_refuse(d, path, "faults", "out of memory");
            return;
        }
        f->refs = 1;
        s->faults[s->fault_count++] = f;
        fault_parse(d, json_object_array_get_idx(array, i), document_path(where, path, "faults", i), f);
    }
}

int scenario_parse(json_object *o, const char *path, Scenario **ret, char **ret_error)
{
    static const char *const known[] = {
        "provisionSeconds", "revokeSeconds", "retryAfterSeconds", "faults", "script", "portal", NULL};
    _cleanup_scenario_ Scenario *s = calloc(1, sizeof(*s));
    Document d = {};
    json_object *faults;

    if (!s)
        return -ENOMEM;
    if (document_check(&d, o, path, known)) {
        s->source = json_object_get(o);
        s->provision_seconds = document_number(&d, o, path, "provisionSeconds", -1, 0, SECONDS_MAX);
        s->revoke_seconds = document_number(&d, o, path, "revokeSeconds", -1, 0, SECONDS_MAX);
        s->retry_after_seconds = document_number(&d, o, path, "retryAfterSeconds", -1, 0, SECONDS_MAX);
        faults = document_array(&d, o, path, "faults");
        if (faults)
            scenario_parse_faults(&d, faults, path, s);
        s->script = json_object_get(document_object(&d, o, path, "script"));
        s->portal = json_object_get(document_object(&d, o, path, "portal"));
    }
    if (d.error) {
        *ret_error = d.error;
        return -EINVAL;
    }
    *ret = TAKE_PTR(s);
    return 0;
}

Scenario *scenario_free(Scenario *s)
{
    if (!s)
        return NULL;
    for (size_t i = 0; i < s->fault_count; i++)
        fault_unref(s->faults[i]);
    free(s->faults);
    json_object_put(s->script);
    json_object_put(s->portal);
    json_object_put(s->source);
    free(s);
    return NULL;
}

Fault *scenario_take(Scenario *s, RequestKind kind, FaultClass c)
{
    for (size_t i = 0; s && i < s->fault_count; i++) {
        Fault *f = s->faults[i];

        if (table[f->kind].class != c || (f->on != kind && f->on != REQUEST_KIND_MAX) || f->times == 0 ||
            f->until_usec <= now_usec(CLOCK_BOOTTIME))
            continue;
        if (f->skip > 0) {
            f->skip--;
            continue;
        }
        if (f->times != UINT_MAX)
            f->times--;
        __atomic_add_fetch(&f->refs, 1, __ATOMIC_RELAXED);
        return f;
    }
    return NULL;
}
