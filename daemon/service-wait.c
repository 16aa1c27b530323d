/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The answers of io.ilrd.Recovery that a session is in, and the calls that wait for one. */
#include "service-internal.h"

void service_waiter_free(Waiter *w)
{
    LIST_REMOVE(w->service->waiters, w);
    if (w->kind == WAIT_INHIBIT)
        service_uninhibit(w);
    if (w->kind == WAIT_UNLOCK)
        service_unlock_forget(w);
    azure_point_free(w->point);
    json_object_put(w->parameters);
    sd_event_source_disable_unref(w->deadline);
    free(w->told);
    free(w);
}

/* ---- answers ---- */

static json_object *session_parameters(Session *s)
{
    _cleanup_json_ json_object *o = json_object_new_object();
    json_object *description;

    if (!o || session_describe(s, &description) < 0 || json_add(o, "session", description) < 0) {
        log_oom();
        return NULL;
    }
    return TAKE_PTR(o);
}

int service_reply_session(VarlinkCall *call, Session *s)
{
    _cleanup_json_ json_object *o = session_parameters(s);
    json_object *d;

    /* Not in what is told of changes: that it goes by is none. */
    if (o && s->expires_usec > 0 && json_get_object(o, "session", &d) > 0 &&
        json_add_int64(d, "timeLeftUsec", (int64_t)session_time_left(s)) < 0) {
        json_object_put(o);
        o = NULL;
    }
    return o ? varlink_call_reply(call, o) : varlink_call_fail(call, NULL, NULL);
}

int service_fail(VarlinkCall *call, const Failure *f, Session *s)
{
    _cleanup_json_ json_object *o = s ? session_parameters(s) : NULL;

    return varlink_call_fail(call, f, o);
}

static int fail_no_session(VarlinkCall *call, const char *id)
{
    _cleanup_failure_ Failure *f = failure_new(FAILURE_NO_SUCH_SESSION, "There is no session \"%.64s\"", id);

    return varlink_call_fail(call, f, NULL);
}

/* Why a session without a failure of its own did not get ready. */
static Failure *gone_unasked(const Session *s)
{
    if (s->end != SESSION_END_REBOOTED)
        return failure_new(FAILURE_CANCELLED, "The session was released before it was ready");
    return failure_advise(
        failure_new(FAILURE_CONNECTION_LOST, "The host was restarted while the session was up"),
        "provision it again");
}

/* Ends a waiting call with what it waits for, or tells it about a change. */
void service_tell(Waiter *w, Session *s)
{
    _cleanup_failure_ Failure *cancelled = NULL;
    _cleanup_json_ json_object *o = NULL;
    SessionState state = session_state(s);
    VarlinkCall *call = w->call;

    switch (w->kind) {
    case WAIT_PROVISION:
        /* After a restart it is not known yet whether what the record says still stands. */
        if (state == SESSION_READY && !s->adopting && !s->pending) {
            service_waiter_free(w);
            (void)service_reply_session(call, s);
            return;
        }
        /* The error comes when everything is given back, or cannot be for now, or all that can be (closing):
         * then there is no more to wait for. */
        if (s->closed || s->closing || s->release_failure) {
            const Failure *f = s->adopting ? s->release_failure : s->failure;

            if (!f)
                f = cancelled = gone_unasked(s);
            (void)service_fail(call, f, s);
            if (!w->fresh || s->down || s->closed) {
                service_waiter_free(w);
                return;
            }
            /* Who has failed holds nothing. Not from in here: that is a change of its own. */
            w->kind = WAIT_LEAVE;
            w->call = NULL;
            (void)sd_event_source_set_enabled(w->service->turns, SD_EVENT_ONESHOT);
            return;
        }
        break;
    case WAIT_LEAVE:
        return;
    case WAIT_TURN: /* tells by itself */
        (void)sd_event_source_set_enabled(w->service->turns, SD_EVENT_ONESHOT);
        return;
    case WAIT_RELEASE:
        if (s->closed || s->closing) {
            service_waiter_free(w);
            (void)service_reply_session(call, s);
            return;
        }
        if (s->release_failure && s->work == WORK_NONE) {
            service_waiter_free(w);
            (void)service_fail(call, s->release_failure, s);
            return;
        }
        break;
    case WAIT_INHIBIT:
        if (s->down || s->closed) {
            service_waiter_free(w);
            (void)service_reply_session(call, s);
            return;
        }
        if (w->told) /* the first and the last reply are all it gets */
            return;
        break;
    case WAIT_UNLOCK: /* its end is told by itself */
    case WAIT_MONITOR:
        break;
    }
    o = session_parameters(s);
    if (!o)
        return;
    if (w->kind == WAIT_MONITOR && s->warning) { /* whatever was told before */
        if (json_add_string(o, "warning", s->warning) < 0)
            log_oom();
        (void)varlink_call_notify(call, o);
        return;
    }
    if (streq_ptr(json_text(o), w->told))
        return;
    free_and_replace(&w->told, strdup(json_text(o)));
    (void)varlink_call_notify(call, o);
}

void service_on_changed(Session *session, void *userdata)
{
    Service *s = userdata;
    Waiter *w, *next;

    LIST_FOREACH_SAFE (w, next, s->waiters)
        if (!*w->session || streq(w->session, session->id))
            service_tell(w, session);
}

/* ---- calls that wait ---- */

Waiter *service_awaiting(Service *s, const char *session, uid_t uid, const Waiter *except)
{
    Waiter *w;

    LIST_FOREACH (w, s->waiters)
        if (w != except && w->kind == WAIT_PROVISION && w->uid == uid && streq(w->session, session))
            return w;
    return NULL;
}

void service_let_go(Session *session, uid_t uid, const Failure *why)
{
    if (session->holders.n > 1)
        session_let_go(session, uid);
    else if (session_holders_find(&session->holders, uid))
        session_release(session, why);
}

static void on_gone(VarlinkCall *call, void *userdata)
{
    _cleanup_failure_ Failure *f = NULL;
    Waiter *w = userdata, *other;
    Service *s = w->service;
    Session *session = w->kind == WAIT_PROVISION && w->fresh ? manager_find(s->manager, w->session) : NULL;
    uid_t uid = w->uid;

    /* Somebody else's hold is not his to give up, nor is one that he had before. */
    other = session ? service_awaiting(s, w->session, uid, w) : NULL;
    if (other)
        other->fresh = true;
    service_waiter_free(w);
    if (!session || session->down || other)
        return;
    f = failure_new(FAILURE_CANCELLED, "The caller closed the connection before the session was ready");
    service_let_go(session, uid, f);
}

Waiter *service_wait(Service *s, VarlinkCall *call, WaiterKind kind, const char *session)
{
    Waiter *w = calloc(1, sizeof(*w));

    if (!w)
        return NULL;
    w->service = s;
    w->call = call;
    w->kind = kind;
    w->uid = varlink_call_uid(call);
    if (session)
        strcpy(w->session, session);
    LIST_PREPEND(s->waiters, w);
    varlink_call_set_gone(call, on_gone, w);
    return w;
}

/* ---- parameters ---- */

int service_get_session(Service *s, VarlinkCall *call, json_object *parameters, Session **ret)
{
    const char *id = NULL;
    int r = varlink_call_get_text(call, parameters, "id", 64, &id);

    if (r < 0)
        return r;
    if (r == 0) {
        (void)varlink_call_invalid_parameter(call, "id");
        return -EINVAL;
    }
    *ret = manager_find(s->manager, id);
    if (!*ret) {
        (void)fail_no_session(call, id);
        return -ENOENT;
    }
    return 0;
}
