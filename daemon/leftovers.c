/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "leftovers.h"

#include "list.h"
#include "log.h"
#include "sweep.h"

#define CALLS_MAX 4

typedef struct LeftoverCall {
    LeftoverCalls *calls;
    VarlinkCall *call;
    Sweep *sweep;
    bool sweeping;
    LIST_FIELDS(struct LeftoverCall);
} LeftoverCall;

struct LeftoverCalls {
    sd_event *event;
    Manager *manager;
    LeftoverCall *list;
    size_t n;
};

static void leftover_call_free(LeftoverCall *c)
{
    if (c->call)
        varlink_call_set_gone(c->call, NULL, NULL);
    LIST_REMOVE(c->calls->list, c);
    c->calls->n--;
    sweep_free(c->sweep);
    free(c);
}

int leftover_calls_new(LeftoverCalls **ret, sd_event *event, Manager *manager)
{
    LeftoverCalls *l = calloc(1, sizeof(*l));

    if (!l)
        return -ENOMEM;
    *l = (LeftoverCalls){.event = event, .manager = manager};
    *ret = l;
    return 0;
}

LeftoverCalls *leftover_calls_free(LeftoverCalls *l)
{
    if (!l)
        return NULL;
    while (l->list)
        leftover_call_free(l->list);
    free(l);
    return NULL;
}

static void on_gone(VarlinkCall *call, void *userdata)
{
    LeftoverCall *c = userdata;

    c->call = NULL;
    leftover_call_free(c);
}

static void tell(LeftoverCall *c, const SweepItem *item, const char *result)
{
    _cleanup_json_ json_object *o = json_object_new_object();
    json_object *leftover = json_object_new_object();

    if (!o || !leftover || json_add_string(leftover, "kind", item->kind) < 0 ||
        json_add_string(leftover, "name", item->name) < 0 ||
        json_add_string(leftover, "detail", item->detail) < 0 ||
        json_add_string(leftover, "session", item->session) < 0 ||
        json_add_bool(leftover, "ours", item->ours) < 0 ||
        (result && json_add_string(leftover, "result", result) < 0) ||
        (result && json_add_string(leftover, "reason", item->reason) < 0) ||
        json_add(o, "leftover", TAKE_PTR(leftover)) < 0) {
        json_object_put(leftover);
        log_oom(); /* the caller misses a line */
        return;
    }
    (void)varlink_call_notify(c->call, o);
}

/* What ilrd itself keeps: nothing of it may be removed, each may stand for a registration at Azure. */
static void tell_kept(LeftoverCall *c, const char *kind, const char *name, const char *detail,
                      const char *session, const char *reason)
{
    const SweepItem item = {.kind = (char *)kind,
                            .name = (char *)name,
                            .detail = (char *)detail,
                            .session = (char *)session,
                            .ours = true,
                            .reason = (char *)reason};

    tell(c, &item, c->sweeping ? "kept" : NULL);
}

static void on_kept(const char *file, const char *why, void *userdata)
{
    LeftoverCall *c = userdata;
    _cleanup_free_ char *path = NULL;

    if (asprintf(&path, "%s/%s", manager_state_dir(c->calls->manager), file) < 0) {
        path = NULL;
        return;
    }
    tell_kept(
        c, "record", path, why, NULL,
        "it may be all that knows of a registration at Azure: let the version of ilrd that wrote it release "
        "it; or remove the file when the point has no active recovery any more");
}

/* What is owed to Azure and could not be given back so far. */
static void tell_owed(LeftoverCall *c)
{
    Session *s;

    LIST_FOREACH (s, manager_sessions(c->calls->manager))
        if (!s->closed && session_state(s) == SESSION_REVOKING && s->release_failure)
            tell_kept(c, "registration", session_point(s)->recovery_point, s->release_failure->message, s->id,
                      "Azure could not be told yet, it is tried again; ilrctl release tries at once");
}

static const char *result_text(SweepResult result)
{
    switch (result) {
    case SWEEP_RESULT_LEFT:
        return NULL;
    case SWEEP_RESULT_REMOVED:
        return "removed";
    case SWEEP_RESULT_FAILED:
        return "failed";
    case SWEEP_RESULT_KEPT:
        return "kept";
    }
    return NULL;
}

static void log_removed(const SweepItem *item, uid_t uid)
{
    log_full(LOG_NOTICE, item->session, "Swept, asked for by uid %u: %s %s", (unsigned)uid, item->kind,
             item->name);
}

static void on_done(Sweep *sweep, const Failure *failure, void *userdata)
{
    _cleanup_failure_ Failure *f = NULL;
    LeftoverCall *c = userdata;
    const SweepItem *items;
    VarlinkCall *call;
    size_t n, i;

    items = sweep_items(sweep, &n);
    for (i = 0; i < n; i++) {
        if (items[i].result == SWEEP_RESULT_REMOVED)
            log_removed(&items[i], varlink_call_uid(c->call));
        tell(c, &items[i], result_text(items[i].result));
    }
    if (manager_kept_records(c->calls->manager, on_kept, c) < 0)
        log_error("Cannot read the records in %s", manager_state_dir(c->calls->manager));
    tell_owed(c);
    call = TAKE_PTR(c->call);
    varlink_call_set_gone(call, NULL, NULL);
    if (sweep_cut(sweep))
        f = failure_advise(failure_new(FAILURE_LIMIT_REACHED,
                                       "There is more than can be listed at a time: this is not all of it"),
                           "take down what was told, then look again: ilrctl doctor --leftovers --sweep");
    if (failure || f)
        (void)varlink_call_fail(call, failure ? failure : f, NULL);
    else
        (void)varlink_call_reply(call, NULL);
    leftover_call_free(c);
}

static int refuse(VarlinkCall *call, Failure *f)
{
    int r = f ? varlink_call_fail(call, f, NULL) : -ENOMEM;

    failure_free(f);
    return r;
}

int leftovers_method(LeftoverCalls *l, VarlinkCall *call, json_object *parameters)
{
    SweepOptions options = {.helper_socket = manager_helper_socket(l->manager),
                            .known = manager_known,
                            .known_userdata = l->manager,
                            .done = on_done};
    bool sweep = false, foreign = false;
    LeftoverCall *c;
    int r;

    if (json_get_bool(parameters, "sweep", &sweep) < 0)
        return varlink_call_invalid_parameter(call, "sweep");
    if (json_get_bool(parameters, "foreign", &foreign) < 0 || (foreign && !sweep))
        return varlink_call_invalid_parameter(call, "foreign");
    /* It takes down what root has made with his own hands. */
    if (foreign && varlink_call_uid(call) != 0)
        return refuse(call,
                      failure_advise(failure_new(FAILURE_PERMISSION_DENIED,
                                                 "only root may sweep what ilrd has not made (foreign)"),
                                     "ask as root"));
    if (l->n >= CALLS_MAX)
        return refuse(
            call, failure_advise(failure_new(FAILURE_LIMIT_REACHED,
                                             "%d such calls are under way, wait for one of them", CALLS_MAX),
                                 "try again in a moment"));
    c = calloc(1, sizeof(*c));
    if (!c)
        return -ENOMEM;
    c->calls = l;
    c->sweeping = sweep;
    LIST_PREPEND(l->list, c);
    l->n++;
    options.what = !sweep ? SWEEP_LOOK : foreign ? SWEEP_ALL : SWEEP_OURS;
    options.userdata = c;
    r = sweep_new(&c->sweep, l->event, &options);
    if (r < 0) {
        leftover_call_free(c);
        return r;
    }
    c->call = call;
    varlink_call_set_gone(call, on_gone, c);
    return 0;
}
