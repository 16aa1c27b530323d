/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "session-vm-internal.h"

#include "block-stat.h"
#include "connection-failure.h"
#include "helper-call.h"
#include "log.h"

#include <inttypes.h>

#define TARGETS_MAX 4096
#define USERS_SHOWN_MAX 4

/* How long the helper may take, over what it was told to wait for itself. */
#define HELPER_QUICK_USEC (30 * USEC_PER_SEC)
/* Over its own end of the wait (helper/connect.c): stopping the unit after it, and the lock before. */
#define HELPER_CONNECT_MARGIN_USEC (4 * USEC_PER_MINUTE)
#define HELPER_UP_USEC (60 * USEC_PER_MINUTE)
#define HELPER_STATUS_USEC (60 * USEC_PER_SEC)
#define HELPER_DOWN_USEC (5 * USEC_PER_MINUTE)

static const VmServices *services(const Session *s)
{
    return s->context->services;
}

void *session_vm_data(AzurePoint *point, AzureResource *resource)
{
    VmSession *v = calloc(1, sizeof(*v));

    if (v)
        session_provision_init(&v->provision, point, resource, false);
    return v;
}

static void vm_cancel(Session *s)
{
    VmSession *v = s->data;

    v->linger = linger_free(v->linger);
    session_vm_unlock_stop(s);
    v->queue_place = 0;
    if (!v->connection.taken)
        place_give_back(&v->connection); /* it was waiting for one */
    session_provision_cancel(s);
}

static void stop_watching(VmSession *v)
{
    size_t i;

    v->question = helper_call_free(v->question);
    v->devices = device_watch_free(v->devices);
    for (i = 0; i < ELEMENTSOF(v->units); i++)
        v->units[i] = unit_watch_free(v->units[i]);
}

void session_vm_data_free(void *data)
{
    VmSession *v = data;

    if (!v)
        return;
    place_give_back(&v->connection);
    session_provision_done(&v->provision);
    stop_watching(v);
    session_vm_unlock_done(v);
    linger_free(v->linger);
    free(v->users);
    free(v->sids);
    json_object_put(v->disks);
    json_object_put(v->volumes);
    json_object_put(v->roots);
    free(v);
}

static void vm_free(Session *s)
{
    session_vm_data_free(s->data);
}

/* ---- asking the helper ---- */

static int helper_ask(Session *s, json_object *request, Secret *script, uint64_t timeout_usec,
                      HelperDone done)
{
    VmSession *v = s->data;

    return helper_call_new(&v->provision.call, s->context->event, services(s)->helper_socket, request,
                           "script", script, timeout_usec, done, s);
}

/* "pid 4711 (tail), pid 4712 (bash) and 3 more" */
static char *users_text(json_object *holders)
{
    _cleanup_strv_free_ char **words = NULL;
    _cleanup_free_ char *text = NULL;
    size_t i, n = json_object_array_length(holders);
    char *all;

    for (i = 0; i < n && i < USERS_SHOWN_MAX; i++) {
        json_object *h = json_object_array_get_idx(holders, i);
        const char *command = "?";
        int64_t pid = 0;

        (void)json_get_int64(h, "pid", &pid);
        (void)json_get_string(h, "command", &command);
        if (strv_extendf(&words, "pid %" PRId64 " (%.64s)", pid, command) < 0)
            return NULL;
    }
    text = words ? strv_join(words, ", ") : NULL;
    if (!text || n <= USERS_SHOWN_MAX)
        return TAKE_PTR(text);
    return asprintf(&all, "%s and %zu more", text, n - USERS_SHOWN_MAX) < 0 ? NULL : all;
}

/* What could not go because somebody has it open, and who. */
static void read_lingering(VmSession *v, json_object *answer)
{
    json_object *holders;
    int64_t n = 0;

    if (json_get_int64(answer, "lingering", &n) <= 0 || n <= 0)
        return;
    v->lingers = true;
    if (json_get_array(answer, "holders", &holders) > 0 && json_object_array_length(holders) > 0)
        free_and_replace(&v->users, users_text(holders));
}

/* For verbs whose answer says no more than that it is done, and what lingers. */
static void on_helper_done(HelperCall *call, json_object *answer, Failure *failure, void *userdata)
{
    Session *s = userdata;
    VmSession *v = s->data;

    if (answer)
        read_lingering(v, answer);
    v->provision.call = helper_call_free(v->provision.call);
    session_step_done(s, failure);
}

/* ---- connect ---- */

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

    v->provision.script = secret_unref(v->provision.script);
    if (answer &&
        (json_get_object(answer, "connection", &connection) <= 0 || read_targets(v, connection) < 0))
        f = failure_new(FAILURE_HELPER_FAILED, "The helper's answer names no iSCSI session");
    else
        f = failure_copy(failure);
    v->provision.call = helper_call_free(v->provision.call);
    session_step_done(s, f);
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
            r = helper_ask(s, request, v->provision.script,
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
        session_set_detail(s, "running the connection script");
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

static int connect_acquire(Session *s)
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
    on_helper_done(call, answer, failure, userdata);
}

static int connect_release(Session *s)
{
    _cleanup_json_ json_object *request = NULL;
    VmSession *v = s->data;
    int r;

    stop_watching(v);
    v->provision.script = secret_unref(v->provision.script);
    if (!v->connection.taken) /* released in the queue: nothing was begun */
        return 1;
    r = session_helper_request(s, "disconnect", &request);
    return r < 0 ? r : helper_ask(s, request, NULL, HELPER_DOWN_USEC, on_disconnected);
}

/* ---- up ---- */

static void on_disk(DeviceWatch *w, size_t present, const char *removed, void *userdata)
{
    Session *s = userdata;

    if (session_state(s) == SESSION_ATTACHING)
        session_set_detail(s, "%zu disk%s there, mounting", present, present == 1 ? "" : "s");
    else if (removed)
        log_full(LOG_WARNING, s->id, "Disk %s has vanished, %zu left", removed, present);
    /* Without any disk there is nothing to read any more. */
    if (removed && present == 0 && session_state(s) == SESSION_READY) {
        _cleanup_failure_ Failure *f = connection_failure(services(s)->connect_dir, s->id);

        if (!f)
            f = failure_new(FAILURE_CONNECTION_LOST, "All disks of the session have vanished");
        session_release(s, f);
    }
}

static void watch_disks(Session *s)
{
    VmSession *v = s->data;
    int r;

    if (v->devices || v->n_sids == 0)
        return;
    r = device_watch_new(&v->devices, s->context->event, v->sids, v->n_sids, on_disk, s);
    if (r < 0)
        log_errno_full(LOG_WARNING, s->id, r, "Failed to follow the disks in udev");
}

static void replace_array(json_object **field, json_object *from, const char *key)
{
    json_object *a;

    if (json_get_array(from, key, &a) <= 0)
        return;
    json_object_put(*field);
    *field = json_object_get(a);
}

void session_vm_take(VmSession *v, json_object *from)
{
    replace_array(&v->disks, from, "disks");
    replace_array(&v->volumes, from, "volumes");
    replace_array(&v->roots, from, "roots");
}

static void on_up(HelperCall *call, json_object *answer, Failure *failure, void *userdata)
{
    _cleanup_failure_ Failure *f = failure_copy(failure);
    Session *s = userdata;
    VmSession *v = s->data;

    if (answer)
        session_vm_take(v, answer);
    v->fresh = true;
    v->provision.call = helper_call_free(v->provision.call);
    if (f || !session_vm_up_with_keys(s))
        session_step_done(s, f);
}

static int up_acquire(Session *s)
{
    _cleanup_json_ json_object *request = NULL;
    VmSession *v = s->data;
    int r;

    watch_disks(s);
    session_set_detail(s, "waiting for the disks");
    r = session_helper_request(s, "up", &request);
    if (r >= 0)
        r = json_add_string(request, "replay", v->provision.replay);
    return r < 0 ? r : helper_ask(s, request, NULL, HELPER_UP_USEC, on_up);
}

static int up_release(Session *s)
{
    _cleanup_json_ json_object *request = NULL;
    int r;

    stop_watching(s->data);
    session_vm_unlock_stop(s);
    r = session_helper_request(s, "down", &request);
    if (r >= 0 && s->forced)
        r = json_add_bool(request, "force", true);
    return r < 0 ? r : helper_ask(s, request, NULL, HELPER_DOWN_USEC, on_helper_done);
}

/* ---- closing ---- */

static void on_linger(Linger *l, size_t left, void *userdata)
{
    Session *s = userdata;
    VmSession *v = s->data;

    if (left > 0)
        return;
    v->linger = linger_free(v->linger);
    session_step_done(s, NULL);
}

static int vm_close(Session *s)
{
    VmSession *v = s->data;

    if (!v->lingers)
        return 1;
    session_set_detail(s, "waiting for %s to close the files that were detached",
                       v->users ? v->users : "somebody");
    return linger_new(&v->linger, s->context->event, services(s)->helper_socket, s->id, on_linger, s);
}

/* ---- ready ---- */

static void on_unit_gone(UnitWatch *w, const char *unit, void *userdata)
{
    _cleanup_failure_ Failure *f = NULL;
    Session *s = userdata;

    f = connection_failure(services(s)->connect_dir, s->id);
    if (!f)
        f = failure_new(FAILURE_CONNECTION_LOST, "%s was ended from outside", unit);
    session_release(s, f);
}

static void on_unit_changed(UnitWatch *w, void *userdata)
{
    session_vm_refresh(userdata);
}

static int vm_ready(Session *s)
{
    static const char *const units[] = {"session", "connection"};
    VmSession *v = s->data;
    size_t i;
    int r;

    watch_disks(s);
    for (i = 0; services(s)->bus && i < ELEMENTSOF(units); i++) {
        char unit[64];

        snprintf(unit, sizeof(unit), "ilr-%s@%s.service", units[i], s->id);
        /* A volume that root unlocks is a reload of the session's unit. */
        r = unit_watch_new(&v->units[i], services(s)->bus, unit, on_unit_gone,
                           i == 0 ? on_unit_changed : NULL, s);
        if (r < 0)
            return r;
    }
    session_vm_unlock_ready(s);
    return 0;
}

static bool vm_stands(Session *s, int64_t iscsi_sessions, int64_t mounts)
{
    VmSession *v = s->data;
    bool mounted = false, any = false;
    size_t i;

    for (i = 0; v->volumes && i < json_object_array_length(v->volumes) && !any; i++)
        any = json_get_bool(json_object_array_get_idx(v->volumes, i), "mounted", &mounted) > 0 && mounted;
    return (iscsi_sessions > 0 || v->n_sids == 0) && (mounts > 0 || !any);
}

/* ---- is it used? ---- */

static uint64_t vm_bytes_read(Session *s)
{
    VmSession *v = s->data;

    return block_stat_bytes_read(services(s)->block_dir, v->disks);
}

static void on_users(HelperCall *call, json_object *answer, Failure *failure, void *userdata)
{
    json_object *sessions = NULL, *holders = NULL;
    Session *s = userdata;
    VmSession *v = s->data;
    bool in_use = true;
    size_t i;

    if (answer && json_get_array(answer, "sessions", &sessions) > 0)
        for (i = 0; i < json_object_array_length(sessions); i++)
            if (json_get_array(json_object_array_get_idx(sessions, i), "holders", &holders) > 0)
                in_use = json_object_array_length(holders) > 0;
    if (!holders)
        log_full(LOG_WARNING, s->id,
                 "The helper does not tell who uses the session, so it counts as used: %s",
                 failure && failure->message ? failure->message : "no list in its answer");
    v->question = helper_call_free(v->question);
    session_users_known(s, in_use);
}

static int vm_users(Session *s)
{
    _cleanup_json_ json_object *request = NULL;
    VmSession *v = s->data;
    int r;

    r = session_helper_request(s, "status", &request);
    if (r >= 0)
        r = json_add_bool(request, "holders", true);
    return r < 0 ? r
                 : helper_call_new(&v->question, s->context->event, services(s)->helper_socket, request, NULL,
                                   NULL, HELPER_STATUS_USEC, on_users, s);
}

/* ---- record and description ---- */

static int vm_save(Session *s, json_object *o)
{
    _cleanup_json_ json_object *sids = json_object_new_array();
    VmSession *v = s->data;
    size_t i;
    int r;

    if (!sids)
        return -ENOMEM;
    for (i = 0; i < v->n_sids; i++)
        json_object_array_add(sids, json_object_new_int64(v->sids[i]));
    if ((r = session_provision_save(s, o)) < 0 || (r = json_add(o, "iscsiSessions", TAKE_PTR(sids))) < 0 ||
        (r = json_add_string(o, "replay", v->provision.replay)) < 0 ||
        (r = session_vm_unlock_save(v, o)) < 0 ||
        (v->lingers && (r = json_add_bool(o, "lingers", true)) < 0) ||
        (r = json_add_string(o, "users", v->users)) < 0 ||
        (v->disks && (r = json_add(o, "disks", json_object_get(v->disks))) < 0) ||
        (v->volumes && (r = json_add(o, "volumes", json_object_get(v->volumes))) < 0) ||
        (v->roots && (r = json_add(o, "roots", json_object_get(v->roots))) < 0))
        return r;
    return 0;
}

static int vm_load(Session *s, json_object *o)
{
    VmSession *v = s->data;
    const char *users = NULL, *replay = NULL;
    json_object *sids;
    size_t i, n;
    int r;

    r = session_provision_load(s, o);
    if (r >= 0 && (json_get_bool(o, "lingers", &v->lingers) < 0 || json_get_string(o, "users", &users) < 0 ||
                   json_get_string(o, "replay", &replay) < 0))
        r = -EINVAL;
    if (r >= 0)
        r = session_provision_set_replay(s, replay);
    if (r >= 0 && users && !(v->users = strdup(users)))
        r = -ENOMEM;
    if (r < 0)
        return r;
    if (s->step > 1) /* connect was started */
        places_adopt(services(s)->connections, &v->connection);
    if (json_get_array(o, "iscsiSessions", &sids) > 0 && (n = json_object_array_length(sids)) > 0 &&
        n <= TARGETS_MAX) {
        v->sids = calloc(n, sizeof(*v->sids));
        if (!v->sids)
            return -ENOMEM;
        for (i = 0; i < n; i++)
            v->sids[i] = json_object_get_int64(json_object_array_get_idx(sids, i));
        v->n_sids = n;
    }
    session_vm_take(v, o);
    return session_vm_unlock_load(v, o);
}

static int add_array(json_object *o, const char *key, json_object *array)
{
    return json_add(o, key, array ? json_object_get(array) : json_object_new_array());
}

static int vm_describe(Session *s, json_object *o)
{
    VmSession *v = s->data;
    char path[64];
    int r;

    snprintf(path, sizeof(path), "/run/ilr/%s/volumes", s->id);
    if ((r = session_provision_describe(s, o)) < 0 ||
        (r = json_add_string(o, "replay", v->provision.replay)) < 0 ||
        (v->queue_place && (r = json_add_int64(o, "queuePlace", v->queue_place)) < 0) ||
        (session_state(s) == SESSION_READY && (r = json_add_string(o, "path", path)) < 0) ||
        (r = add_array(o, "disks", v->disks)) < 0 || (r = add_array(o, "volumes", v->volumes)) < 0 ||
        (r = add_array(o, "roots", v->roots)) < 0 || (r = session_vm_unlock_describe(v, o)) < 0)
        return r;
    return 0;
}

static const SessionStep steps[] = {
    {SESSION_PROVISIONING, SESSION_REVOKING, session_provision_acquire, session_provision_release},
    {SESSION_CONNECTING, SESSION_DISCONNECTING, connect_acquire, connect_release},
    {SESSION_ATTACHING, SESSION_DETACHING, up_acquire, up_release, .heeds_force = true},
};

const SessionKind session_kind_vm = {
    .name = "vm",
    .steps = steps,
    .n_steps = ELEMENTSOF(steps),
    .cancel = vm_cancel,
    .ready = vm_ready,
    .free = vm_free,
    .save = vm_save,
    .load = vm_load,
    .describe = vm_describe,
    .subject = session_provision_subject,
    .close = vm_close,
    .names = session_provision_names,
    .bytes_read = vm_bytes_read,
    .users = vm_users,
    .stands = vm_stands,
    .unlock = session_vm_unlock,
    .unlock_forget = session_vm_unlock_forget,
    .add_keys = session_vm_add_keys,
};
