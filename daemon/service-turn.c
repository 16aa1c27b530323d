/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A Provision of a point whose session is just going down waits until that one is closed: whoever releases
 * and asks again means the second, too. It does not wait for somebody who keeps the old one from going. */
#include "service-internal.h"

/* A release has deadlines in each step, and its last one asks Azure. */
#define TURN_USEC (10 * USEC_PER_MINUTE)

static void fail_busy(Waiter *w, Session *old)
{
    _cleanup_failure_ Failure *f = NULL;
    const Failure *why = old->release_failure;
    VarlinkCall *call = w->call;

    f = failure_new(FAILURE_BUSY, "Session %s of the same recovery point is being released%s%s", old->id,
                    why ? ", which does not get on: " : " and takes too long",
                    why && why->message ? why->message : "");
    failure_advise(f, "ilrctl release tells when it is closed, and why not; with --force it does not wait "
                      "for those who use it");
    if (f)
        f->holders = why && why->holders ? json_object_get(why->holders) : NULL;
    service_waiter_free(w);
    (void)service_fail(call, f, old);
}

/* True: it waits no more. */
static bool take_turn(Waiter *w)
{
    _cleanup_json_ json_object *parameters = NULL;
    Session *old = manager_find_point(w->service->manager, w->point);
    VarlinkCall *call = w->call;
    Service *s = w->service;
    AzurePoint *point;
    int r;

    if (old && old->down) {
        if (!old->release_failure || old->work != WORK_NONE)
            return false;
        fail_busy(w, old);
        return true;
    }
    parameters = TAKE_PTR(w->parameters);
    point = TAKE_PTR(w->point);
    varlink_call_set_gone(call, NULL, NULL);
    service_waiter_free(w);
    r = service_provision_point(s, call, parameters, point);
    if (r < 0) {
        _cleanup_failure_ Failure *f = failure_new(FAILURE_INTERNAL, "Out of memory");

        (void)service_fail(call, f, NULL);
    }
    return true;
}

static Waiter *leaving(Service *s)
{
    Waiter *w;

    LIST_FOREACH (w, s->waiters)
        if (w->kind == WAIT_LEAVE)
            break;
    return w;
}

static void leave(Waiter *w)
{
    Session *session = manager_find(w->service->manager, w->session);
    uid_t uid = w->uid;
    Service *s = w->service;

    service_waiter_free(w);
    /* He may have asked again. */
    if (session && !session->down && !service_awaiting(s, session->id, uid, NULL))
        service_let_go(session, uid, NULL);
}

int service_on_turns(sd_event_source *source, void *userdata)
{
    Service *s = userdata;
    Waiter *w, *previous;

    while ((w = leaving(s))) /* each may end others */
        leave(w);
    /* The oldest ones are at the end. A turn makes waiters only at the beginning. */
    w = s->waiters;
    while (w && w->list.next)
        w = w->list.next;
    for (; w; w = previous) {
        previous = w->list.prev;
        if (w->kind == WAIT_TURN)
            (void)take_turn(w);
    }
    return 0;
}

static int on_deadline(sd_event_source *source, uint64_t usec, void *userdata)
{
    Waiter *w = userdata;
    Session *old;

    if (take_turn(w))
        return 0;
    old = manager_find_point(w->service->manager, w->point);
    fail_busy(w, old);
    return 0;
}

int service_wait_turn(Service *s, VarlinkCall *call, json_object *parameters, AzurePoint *point, Session *old)
{
    _cleanup_(azure_point_freep) AzurePoint *p = point;
    _cleanup_json_ json_object *o = json_object_new_object();
    _cleanup_free_ char *detail = NULL;
    Waiter *w;
    int r;

    if (!o || asprintf(&detail, "waiting until session %s of the same recovery point is closed", old->id) < 0)
        return (detail = NULL), -ENOMEM;
    w = service_wait(s, call, WAIT_TURN, old->id);
    if (!w)
        return -ENOMEM;
    w->point = TAKE_PTR(p);
    w->parameters = json_object_get(parameters);
    r = sd_event_add_time_relative(s->event, &w->deadline, CLOCK_MONOTONIC, TURN_USEC, USEC_PER_SEC,
                                   on_deadline, w);
    if (r < 0 || json_add_string(o, "detail", detail) < 0) {
        varlink_call_set_gone(call, NULL, NULL);
        service_waiter_free(w);
        return -ENOMEM;
    }
    (void)varlink_call_notify(call, o);
    /* Whoever was in its way may be gone: that is worth an attempt now. */
    if (old->release_failure) {
        old->release_failure = failure_free(old->release_failure);
        session_release(old, NULL);
    }
    return 0;
}
