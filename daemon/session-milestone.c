/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What an auditor looks for: a session became ready, a session was closed, with who, what, why and how much.
 */
#include "session-internal.h"

#include "log.h"
#include "timeutil.h"

#include <inttypes.h>

/* Of this program's own, for journalctl MESSAGE_ID= and catalogs; they never change. */
#define MESSAGE_READY "99f8c07d444f4ac0b9038259defa7663"
#define MESSAGE_CLOSED "a8bebff8553c432faa97656d2e8e0afc"

/* Of all names in one variable of a hook, or one field: the helper refuses longer ones. */
#define HOLDERS_BYTES_MAX 1000

static const char *const end_table[SESSION_END_MAX] = {
    [SESSION_END_NONE] = "none", [SESSION_END_RELEASED] = "released", [SESSION_END_EXPIRED] = "expired",
    [SESSION_END_IDLE] = "idle", [SESSION_END_REBOOTED] = "rebooted", [SESSION_END_FAILED] = "failed",
};

const char *session_end_to_string(SessionEnd end)
{
    return end >= 0 && end < SESSION_END_MAX ? end_table[end] : NULL;
}

SessionEnd session_end_from_string(const char *s)
{
    SessionEnd i;

    for (i = 0; i < SESSION_END_MAX; i++)
        if (streq_ptr(s, end_table[i]))
            return i;
    return SESSION_END_INVALID;
}

void session_count_step(Session *s, SessionState step)
{
    metrics_step(s->context->metrics, session_state_to_string(step),
                 now_usec(CLOCK_MONOTONIC) - s->work_usec);
}

static int add_number(json_object *o, const char *key, uint64_t n)
{
    char text[32];

    snprintf(text, sizeof(text), "%" PRIu64, n);
    return json_add_string(o, key, text);
}

void session_tell_hooks(Session *s, const char *event)
{
    _cleanup_json_ json_object *o = NULL;
    _cleanup_free_ char *holders = NULL;
    const char *vm = NULL, *point = NULL;
    uint64_t left = session_time_left(s);
    char path[64] = "", at[TIMESTAMP_MAX];

    if (!s->context->hooks)
        return;
    o = json_object_new_object();
    holders = session_holders_short_text(&s->holders, HOLDERS_BYTES_MAX);
    if (s->kind->names)
        s->kind->names(s, &vm, &point);
    if (!s->closed)
        snprintf(path, sizeof(path), "/run/ilr/%s/volumes", s->id);
    if (!o || !holders || json_add_string(o, "VM", vm ? vm : "") < 0 ||
        json_add_string(o, "POINT", point ? point : "") < 0 || json_add_string(o, "PATH", path) < 0 ||
        json_add_string(o, "CALLER", s->caller) < 0 || json_add_string(o, "HOLDERS", holders) < 0 ||
        json_add_string(o, "REASON", s->reason ? s->reason : "") < 0 ||
        (left != USEC_INFINITY &&
         (add_number(o, "MINUTES_LEFT", left / USEC_PER_MINUTE) < 0 ||
          json_add_string(o, "EXPIRES", timestamp_format(s->expires_usec, at)) < 0)) ||
        (s->closed &&
         (json_add_string(o, "END", session_end_to_string(s->end)) < 0 ||
          add_number(o, "BYTES_READ", s->use.bytes_read) < 0 ||
          json_add_string(o, "FAILURE", s->failure ? failure_name_to_string(s->failure->name) : "") < 0))) {
        log_oom();
        return;
    }
    hooks_tell(s->context->hooks, s->id, event, TAKE_PTR(o));
}

/* Since it was asked for. The time that the host was off after Azure's end is none of it. */
static uint64_t duration(const Session *s)
{
    uint64_t end = now_usec(CLOCK_REALTIME);

    if (s->end == SESSION_END_REBOOTED && s->expires_usec > 0)
        end = MIN(end, s->expires_usec);
    return end > s->created_usec ? end - s->created_usec : 0; /* the host's clock may be set back */
}

void session_milestone(Session *s)
{
    uint64_t took = duration(s);
    const char *vm = NULL, *point = NULL,
               *failure = s->failure ? failure_name_to_string(s->failure->name) : NULL;
    _cleanup_free_ char *holders = session_holders_short_text(&s->holders, HOLDERS_BYTES_MAX);
    _cleanup_strv_free_ char **fields = NULL;
    char subject[512], span[64], end[128] = "";

    if (s->closed)
        metrics_closed(s->context->metrics, session_end_to_string(s->end),
                       s->use.bytes_read - s->use.before_bytes);
    s->kind->subject(s, subject, sizeof(subject));
    if (s->kind->names)
        s->kind->names(s, &vm, &point);
    if (s->closed)
        snprintf(end, sizeof(end), ", %s%s%s, %" PRIu64 " bytes read", session_end_to_string(s->end),
                 failure ? ": " : "", failure ? failure : "", s->use.bytes_read);
    if (strv_extend(&fields, s->closed ? "MESSAGE_ID=" MESSAGE_CLOSED : "MESSAGE_ID=" MESSAGE_READY) < 0 ||
        strv_extendf(&fields, "ILR_CALLER=%s", s->caller) < 0 ||
        strv_extendf(&fields, "ILR_HOLDERS=%s", holders ? holders : "") < 0 ||
        strv_extendf(&fields, "ILR_REASON=%s", s->reason ? s->reason : "") < 0 ||
        strv_extendf(&fields, "ILR_VM=%s", vm ? vm : "") < 0 ||
        strv_extendf(&fields, "ILR_POINT=%s", point ? point : "") < 0 ||
        strv_extendf(&fields, "ILR_DURATION_USEC=%" PRIu64, took) < 0 ||
        (s->closed && strv_extendf(&fields, "ILR_BYTES_READ=%" PRIu64, s->use.bytes_read) < 0) ||
        (s->closed && strv_extendf(&fields, "ILR_END=%s", session_end_to_string(s->end)) < 0) ||
        (failure && strv_extendf(&fields, "ILR_FAILURE=%s", failure) < 0))
        log_oom(); /* the line comes nevertheless */
    log_fields(LOG_NOTICE, s->id, fields, "Session %s: %s, for %s, reason \"%s\", after %s%s",
               s->closed ? "closed" : "ready", subject, s->caller, s->reason ? s->reason : "",
               timespan_format(took, span, sizeof(span)), end);
    session_tell_hooks(s, s->closed ? "closed" : "ready");
}
