/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The step connect: one of the few places that connection scripts have, the portal's addresses, and the
 * helper, which starts the script's unit. Its release stops that unit. */

#include "session-vm-internal.h"

#include "connection-failure.h"
#include "log.h"

/* Over its own end of the wait (helper/connect.c): stopping the unit after it, and the lock before. */
#define HELPER_CONNECT_MARGIN_USEC (4 * USEC_PER_MINUTE)

#define RUNNING "running the connection script"
#define TURN_LOOK_USEC (USEC_PER_SEC / 2)

static int read_targets(VmSession *v, json_object *connection)
{
    json_object *targets;
    size_t i, n;

    if (json_get_array(connection, "targets", &targets) <= 0)
        return -EINVAL;
    n = json_object_array_length(targets);
    if (n == 0 || n > TARGETS_MAX)
        return -EINVAL;
    free(v->sids);
    v->n_sids = 0;
    v->sids = calloc(n, sizeof(*v->sids));
    if (!v->sids)
        return -ENOMEM;
    for (i = 0; i < n; i++)
        if (json_get_int64(json_object_array_get_idx(targets, i), "iscsiSession", &v->sids[i]) <= 0)
            return -EINVAL;
    v->n_sids = n;
    return 0;
}

static void on_connected(HelperCall *call, json_object *answer, Failure *failure, void *userdata)
{
    _cleanup_failure_ Failure *f = NULL;
    Session *s = userdata;
    VmSession *v = s->data;
    json_object *connection;

    v->turn = sd_event_source_disable_unref(v->turn);
    v->provision.script = secret_unref(v->provision.script);
    if (answer &&
        (json_get_object(answer, "connection", &connection) <= 0 || read_targets(v, connection) < 0))
        f = failure_new(FAILURE_HELPER_FAILED, "The helper's answer names no iSCSI session");
    else
        f = failure_copy(failure);
    v->provision.call = helper_call_free(v->provision.call);
    session_step_done(s, f);
}

/* Scripts start one at a time, which only ilr-connect sees. */
static int on_turn(sd_event_source *source, uint64_t usec, void *userdata)
{
    Session *s = userdata;
    VmSession *v = s->data;
    int waits = connection_waits(services(s)->connect_dir, s->id);

    if (waits >= 0)
        session_set_detail(s, "%s", waits ? "waiting for other connection scripts to start" : RUNNING);
    if (!v->turn) /* who was told of it has released the session */
        return 0;
    if (waits == 0 || sd_event_source_set_time_relative(v->turn, TURN_LOOK_USEC) < 0 ||
        sd_event_source_set_enabled(v->turn, SD_EVENT_ONESHOT) < 0)
        v->turn = sd_event_source_disable_unref(v->turn);
    return 0;
}

static void started(Session *s)
{
    VmSession *v = s->data;

    session_set_detail(s, "%s", RUNNING);
    if (sd_event_add_time_relative(s->context->event, &v->turn, CLOCK_MONOTONIC, TURN_LOOK_USEC, 0, on_turn,
                                   s) < 0)
        log_oom(); /* it is not told then */
}

static void on_portal(char *const *addresses, Failure *failure, void *userdata)
{
    _cleanup_json_ json_object *request = NULL, *portal = json_object_new_object();
    _cleanup_failure_ Failure *f = failure;
    Session *s = userdata;
    VmSession *v = s->data;
    int r = 0;

    if (!f) {
        if (!portal)
            r = -ENOMEM;
        if (r >= 0)
            r = json_add_string(portal, "host", v->provision.info->portal_host);
        if (r >= 0)
            r = json_add_int64(portal, "port", v->provision.info->portal_port);
        if (r >= 0)
            r = json_add_strv(portal, "addresses", addresses);
        if (r >= 0)
            r = session_helper_request(s, "connect", &request);
        if (r >= 0)
            r = json_add(request, "portal", TAKE_PTR(portal));
        if (r >= 0)
            r = session_vm_ask(s, request, v->provision.script,
                               2 * s->context->config->connect_timeout_usec + HELPER_CONNECT_MARGIN_USEC,
                               on_connected);
        if (r < 0)
            f = failure_new(FAILURE_INTERNAL, "Out of memory");
    }
    /* Only now: the addresses belong to the operation. */
    v->provision.azure = azure_operation_free(v->provision.azure);
    if (f || r < 0)
        session_step_done(s, f);
    else
        started(s);
}

static int start_connect(Session *s)
{
    VmSession *v = s->data;

    session_set_detail(s, "reaching the recovery target's portal %s:%u", v->provision.info->portal_host,
                       (unsigned)v->provision.info->portal_port);
    return azure_probe_portal(services(s)->azure, v->provision.info->portal_host,
                              v->provision.info->portal_port, on_portal, s, &v->provision.azure);
}

static void on_place(void *userdata)
{
    _cleanup_failure_ Failure *f = NULL;
    Session *s = userdata;
    VmSession *v = s->data;

    v->queue_place = 0;
    if (start_connect(s) >= 0)
        return;
    f = failure_new(FAILURE_INTERNAL, "Out of memory");
    session_step_done(s, f);
}

static void on_waiting(unsigned position, void *userdata)
{
    Session *s = userdata;
    VmSession *v = s->data;

    v->queue_place = position;
    session_set_detail(s,
                       "waiting for one of the %d ports that connection scripts can use, as number %u in the "
                       "queue",
                       CONNECTIONS_MAX, position);
}

int session_vm_connect(Session *s)
{
    VmSession *v = s->data;

    return places_take(services(s)->connections, &v->connection, on_place, on_waiting, s) > 0
               ? start_connect(s)
               : 0;
}

static void on_disconnected(HelperCall *call, json_object *answer, Failure *failure, void *userdata)
{
    Session *s = userdata;
    VmSession *v = s->data;

    if (!failure)
        place_give_back(&v->connection);
    session_vm_answered(call, answer, failure, userdata);
}

int session_vm_disconnect(Session *s)
{
    _cleanup_json_ json_object *request = NULL;
    VmSession *v = s->data;
    int r;

    session_vm_stop_watching(v);
    v->provision.script = secret_unref(v->provision.script);
    if (!v->connection.taken) /* released in the queue: nothing was begun */
        return 1;
    r = session_helper_request(s, "disconnect", &request);
    return r < 0 ? r : session_vm_ask(s, request, NULL, HELPER_DISCONNECT_USEC, on_disconnected);
}
