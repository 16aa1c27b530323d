/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "session-vm-internal.h"

#include "block-stat.h"
#include "connection-failure.h"
#include "helper-call.h"
#include "log.h"

#include <inttypes.h>

#define USERS_SHOWN_MAX 4

/* How long the helper may take, over what it was told to wait for itself. */
#define HELPER_UP_USEC (60 * USEC_PER_MINUTE)
#define HELPER_STATUS_USEC (60 * USEC_PER_SEC)

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
    v->turn = sd_event_source_disable_unref(v->turn);
    session_vm_unlock_stop(s);
    v->queue_place = 0;
    if (!v->connection.taken)
        place_give_back(&v->connection); /* it was waiting for one */
    session_provision_cancel(s);
}

void session_vm_stop_watching(VmSession *v)
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
    sd_event_source_disable_unref(v->turn);
    session_provision_done(&v->provision);
    session_vm_stop_watching(v);
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

int session_vm_ask(Session *s, json_object *request, Secret *script, uint64_t timeout_usec, HelperDone done)
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

void session_vm_answered(HelperCall *call, json_object *answer, Failure *failure, void *userdata)
{
    Session *s = userdata;
    VmSession *v = s->data;

    if (answer)
        read_lingering(v, answer);
    v->provision.call = helper_call_free(v->provision.call);
    session_step_done(s, failure);
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
    return r < 0 ? r : session_vm_ask(s, request, NULL, HELPER_UP_USEC, on_up);
}

static int up_release(Session *s)
{
    _cleanup_json_ json_object *request = NULL;
    int r;

    session_vm_stop_watching(s->data);
    session_vm_unlock_stop(s);
    r = session_helper_request(s, "down", &request);
    if (r >= 0 && s->forced)
        r = json_add_bool(request, "force", true);
    return r < 0 ? r : session_vm_ask(s, request, NULL, HELPER_DOWN_USEC, session_vm_answered);
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

static const SessionStep steps[] = {
    {SESSION_PROVISIONING, SESSION_REVOKING, session_provision_acquire, session_provision_release},
    {SESSION_CONNECTING, SESSION_DISCONNECTING, session_vm_connect, session_vm_disconnect},
    {SESSION_ATTACHING, SESSION_DETACHING, up_acquire, up_release, .heeds_force = true},
};

const SessionKind session_kind_vm = {
    .name = "vm",
    .steps = steps,
    .n_steps = ELEMENTSOF(steps),
    .cancel = vm_cancel,
    .ready = vm_ready,
    .free = vm_free,
    .save = session_vm_save,
    .load = session_vm_load,
    .describe = session_vm_describe,
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
