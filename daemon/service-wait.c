/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The answers of io.ilrd.Recovery that a session is in, and the calls that wait for one. */
#include "service-internal.h"

#include <pwd.h>

void service_waiter_free(Waiter *w)
{
    LIST_REMOVE(w->service->waiters, w);
    free(w->told);
    free(w);
}

char *service_user_name(uid_t uid)
{
    struct passwd *p = getpwuid(uid);
    char *name;

    if (p)
        return strdup(p->pw_name);
    return asprintf(&name, "%u", (unsigned)uid) < 0 ? NULL : name;
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

    return o ? varlink_call_reply(call, o) : -ENOMEM;
}

int service_fail(VarlinkCall *call, const Failure *f, Session *s)
{
    _cleanup_json_ json_object *o = s ? session_parameters(s) : NULL;

    return varlink_call_fail(call, f, o);
}

static int fail_no_session(VarlinkCall *call, const char *id)
{
    _cleanup_failure_ Failure *f = failure_new(FAILURE_NO_SUCH_SESSION, "There is no session \"%.64s\"", id);

    return f ? varlink_call_fail(call, f, NULL) : -ENOMEM;
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
        if (state == SESSION_READY && !s->adopting) {
            service_waiter_free(w);
            (void)service_reply_session(call, s);
            return;
        }
        /* The error comes when everything is given back, or cannot be for now: then there is no more to wait
         * for. */
        if (s->closed || s->release_failure) {
            const Failure *f = s->failure;

            if (!f)
                f = cancelled =
                    failure_new(FAILURE_CANCELLED, "The session was released before it was ready");
            service_waiter_free(w);
            (void)service_fail(call, f, s);
            return;
        }
        break;
    case WAIT_RELEASE:
        if (s->closed) {
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
    case WAIT_MONITOR:
        break;
    }
    o = session_parameters(s);
    if (!o || streq_ptr(json_text(o), w->told))
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

bool service_awaited(Service *s, const char *session)
{
    Waiter *w;

    LIST_FOREACH (w, s->waiters)
        if (w->kind == WAIT_PROVISION && streq(w->session, session))
            return true;
    return false;
}

static void on_gone(VarlinkCall *call, void *userdata)
{
    _cleanup_failure_ Failure *f = NULL;
    char id[SESSION_ID_LENGTH + 1];
    Waiter *w = userdata;
    Service *s = w->service;
    WaiterKind kind = w->kind;
    Session *session;

    strcpy(id, w->session);
    service_waiter_free(w);
    if (kind != WAIT_PROVISION || service_awaited(s, id))
        return;
    session = manager_find(s->manager, id);
    if (!session || session->down || session_state(session) == SESSION_READY)
        return;
    f = failure_new(FAILURE_CANCELLED, "The caller closed the connection before the session was ready");
    session_release(session, f);
}

Waiter *service_wait(Service *s, VarlinkCall *call, WaiterKind kind, const char *session)
{
    Waiter *w = calloc(1, sizeof(*w));

    if (!w)
        return NULL;
    w->service = s;
    w->call = call;
    w->kind = kind;
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
