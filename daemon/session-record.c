/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A session as it is written down: its record, and the API's Session. */
#include "session-internal.h"

#include "log.h"
#include "timeutil.h"

static int on_unsaved(sd_event_source *source, uint64_t usec, void *userdata)
{
    Session *s = userdata;

    s->unsaved = sd_event_source_disable_unref(s->unsaved);
    /* Before its first step and after its last one it has no record. */
    if (!s->closed && (s->step > 0 || s->down) && session_save(s) >= 0)
        log_full(LOG_NOTICE, s->id, "The session's record is saved again");
    return 0;
}

/* The record is older than the session until it is saved: what a restart of ilrd finds should be true. */
static int save_later(Session *s, int why)
{
    if (s->unsaved)
        return why;
    if (sd_event_add_time_relative(s->context->event, &s->unsaved, CLOCK_MONOTONIC,
                                   s->context->config->busy_retry_usec, 0, on_unsaved, s) < 0)
        log_oom();
    return log_errno_full(LOG_ERR, s->id, why, "Failed to save the session's record, trying again");
}

int session_save(Session *s)
{
    _cleanup_json_ json_object *o = json_object_new_object(), *failure = NULL, *holders = NULL;
    int r;

    if (!o || session_holders_to_json(&s->holders, &holders) < 0)
        return log_oom();
    if (s->failure)
        (void)failure_to_json(s->failure, &failure);
    if ((r = json_add_string(o, "kind", s->kind->name)) < 0 ||
        (r = json_add_string(o, "connector", "script")) < 0 ||
        (r = json_add_string(o, "access", "host")) < 0 || (r = json_add_int64(o, "uid", s->uid)) < 0 ||
        (r = json_add_string(o, "caller", s->caller)) < 0 ||
        (r = json_add_string(o, "reason", s->reason)) < 0 ||
        (r = json_add(o, "holders", TAKE_PTR(holders))) < 0 ||
        (s->forced && (r = json_add_bool(o, "forced", true)) < 0) ||
        (r = json_add_int64(o, "step", (int64_t)s->step)) < 0 ||
        (s->rebooted && (r = json_add_bool(o, "rebooted", true)) < 0) ||
        (s->use.disks_gone && (r = json_add_bool(o, "disksGone", true)) < 0) ||
        (r = json_add_bool(o, "down", s->down)) < 0 || (r = json_add_bool(o, "wasReady", s->was_ready)) < 0 ||
        (r = json_add_int64(o, "createdUsec", (int64_t)s->created_usec)) < 0 ||
        (r = json_add_int64(o, "readyUsec", (int64_t)s->ready_usec)) < 0 ||
        (r = session_expiry_save(s, o)) < 0 || (r = session_use_save(s, o)) < 0 ||
        (r = json_add_string(o, "end", session_end_to_string(s->end))) < 0 ||
        (failure && (r = json_add(o, "failure", TAKE_PTR(failure))) < 0) || (r = s->kind->save(s, o)) < 0 ||
        (r = store_save(s->context->store, s->id, o)) < 0)
        return save_later(s, r);
    s->unsaved = sd_event_source_disable_unref(s->unsaved);
    s->use.kept_bytes = s->use.bytes_read;
    s->use.kept_usec = now_usec(CLOCK_MONOTONIC);
    return 0;
}

/* Records that were written when a session had one holder have no list. After session_use_load(). */
static int load_holders(Session *s, json_object *record)
{
    json_object *array;
    int r = json_get_array(record, "holders", &array);

    if (r == 0)
        r = session_holders_add(&s->holders, s->uid, s->caller, s->reason, s->created_usec,
                                s->use.idle.span_usec);
    else if (r > 0)
        r = session_holders_from_json(&s->holders, array, s->use.idle.span_usec);
    return r < 0 ? r : 0;
}

int session_load(Session **ret, const SessionContext *context, const SessionKind *kind, void *data,
                 const char *id, json_object *record)
{
    int64_t uid = 0, step = -1, created = 0, ready = 0;
    const char *caller = NULL, *reason = NULL, *end = NULL;
    bool down = true, was_ready = false, forced = false, rebooted = false, disks_gone = false;
    json_object *failure;
    Session *s;
    int r;

    if (json_get_int64(record, "uid", &uid) < 0 || json_get_string(record, "caller", &caller) < 0 ||
        json_get_string(record, "reason", &reason) < 0 || json_get_int64(record, "step", &step) <= 0 ||
        json_get_bool(record, "down", &down) <= 0 || json_get_bool(record, "wasReady", &was_ready) < 0 ||
        json_get_bool(record, "forced", &forced) < 0 || json_get_bool(record, "rebooted", &rebooted) < 0 ||
        json_get_bool(record, "disksGone", &disks_gone) < 0 ||
        json_get_int64(record, "createdUsec", &created) < 0 ||
        json_get_int64(record, "readyUsec", &ready) < 0 || step < 0 || (size_t)step > kind->n_steps ||
        created < 0 || ready < 0)
        return -EINVAL;
    r = session_make(&s, context, kind, (uid_t)uid, caller, reason);
    if (r < 0)
        return r;
    strcpy(s->id, id);
    s->data = data;
    s->adopting = true;
    s->step = (size_t)step;
    s->down = down;
    s->was_ready = was_ready;
    s->forced = forced;
    s->created_usec = (uint64_t)created;
    s->ready_usec = (uint64_t)ready;
    if (json_get_object(record, "failure", &failure) > 0)
        (void)failure_from_json(failure, &s->failure);
    r = session_use_load(s, record);
    if (r >= 0)
        r = load_holders(s, record);
    if (r >= 0)
        r = session_expiry_load(s, record);
    /* Saved again before anybody had judged it, it has this boot's id. */
    s->rebooted = s->rebooted || rebooted;
    s->use.disks_gone = disks_gone;
    if (json_get_string(record, "end", &end) > 0 && session_end_from_string(end) >= 0)
        s->end = session_end_from_string(end);
    if (r >= 0)
        r = kind->load(s, record);
    if (r < 0) {
        s->data = NULL;
        session_free(s);
        return r;
    }
    *ret = s;
    return 0;
}

static int add_failure(json_object *o, const char *key, const Failure *f)
{
    json_object *j;
    int r;

    if (!f)
        return 0;
    r = failure_to_json(f, &j);
    return r < 0 ? r : json_add(o, key, j);
}

int session_describe(Session *s, json_object **ret)
{
    _cleanup_json_ json_object *o = json_object_new_object(), *holders = NULL;
    int r;

    if (!o || session_holders_to_json(&s->holders, &holders) < 0)
        return -ENOMEM;
    if ((r = json_add_string(o, "id", s->id)) < 0 || (r = json_add_string(o, "kind", s->kind->name)) < 0 ||
        (r = json_add_string(o, "state", session_state_to_string(session_state(s)))) < 0 ||
        (r = json_add_string(o, "detail", s->detail)) < 0 || (r = json_add_int64(o, "uid", s->uid)) < 0 ||
        (r = json_add_string(o, "caller", s->caller)) < 0 ||
        (r = json_add_string(o, "reason", s->reason)) < 0 ||
        (r = json_add(o, "holders", TAKE_PTR(holders))) < 0 ||
        (r = json_add_int64(o, "createdUsec", (int64_t)s->created_usec)) < 0 ||
        (s->ready_usec && (r = json_add_int64(o, "readyUsec", (int64_t)s->ready_usec)) < 0) ||
        (s->expires_usec && (r = json_add_int64(o, "expiresUsec", (int64_t)s->expires_usec)) < 0) ||
        (r = session_use_describe(s, o)) < 0 ||
        (r = json_add_string(o, "end", s->end ? session_end_to_string(s->end) : NULL)) < 0 ||
        (r = s->kind->describe(s, o)) < 0 || (r = add_failure(o, "failure", s->failure)) < 0 ||
        (r = add_failure(o, "releaseFailure", s->release_failure)) < 0)
        return r;
    *ret = TAKE_PTR(o);
    return 0;
}
