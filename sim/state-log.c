/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The parts of the state that only remember: the log of requests, and the description of everything. */

#include "state.h"
#include "timeutil.h"

static const char *const session_states[SESSION_STATE_MAX] = {
    [SESSION_CREATING] = "creating", [SESSION_ACTIVE] = "active",   [SESSION_FAILED] = "failed",
    [SESSION_REMOVING] = "removing", [SESSION_REMOVED] = "removed",
};

void state_log(State *s, json_object *entry)
{
    json_object **slot;

    state_lock(s);
    slot = &s->log[s->log_count++ % LOG_ENTRIES_MAX];
    json_object_put(*slot);
    *slot = entry;
    state_unlock(s);
}

void state_log_clear(State *s)
{
    state_lock(s);
    for (size_t i = 0; i < LOG_ENTRIES_MAX; i++) {
        json_object_put(s->log[i]);
        s->log[i] = NULL;
    }
    s->log_count = 0;
    state_unlock(s);
}

static json_object *session_describe(const Session *session)
{
    const Registration *r = &session->registration;
    json_object *o = json_object_new_object();
    char time[TIMESTAMP_MAX];

    json_add_string(o, "id", r->id);
    json_add_string(o, "recoveryPoint", r->recovery_point);
    json_add_string(o, "vm", r->vm_name);
    json_add_string(o, "state", session_states[session->state]);
    json_add_string(o, "initiatorName", r->initiator_name);
    json_add_string(o, "target", r->target_name);
    json_add_bool(o, "multiTarget", r->multi_target);
    json_add_string(o, "expires", timestamp_format(r->expires_usec, time));
    json_add_string(o, "error", session->error);
    return o;
}

static json_object *operation_describe(const Operation *op)
{
    json_object *o = json_object_new_object();
    char time[TIMESTAMP_MAX];

    json_add_string(o, "id", op->id);
    json_add_string(o, "kind", request_kind_to_string(op->kind));
    json_add_string(o, "recoveryPoint", op->point->id);
    json_add_string(o, "status", operation_status_to_string(operation_status(op)));
    json_add_string(o, "started", timestamp_format(op->started_usec, time));
    json_add_string(o, "registration", op->session ? op->session->registration.id : NULL);
    json_add_string(o, "fault", op->fault ? fault_kind_to_string(op->fault->kind) : NULL);
    json_add_string(o, "scriptFault", op->script_fault ? fault_kind_to_string(op->script_fault->kind) : NULL);
    return o;
}

char *state_describe(State *s)
{
    json_object *o = json_object_new_object(), *sessions = json_object_new_array(),
                *operations = json_object_new_array(), *requests = json_object_new_array();
    size_t n;
    Session *session;
    Operation *op;
    char *text;

    if (s->config->backend->describe)
        json_add(o, "target", s->config->backend->describe(s->backend));
    /* Entries of the log are shared with other threads, so even the last reference here goes under the lock.
     */
    state_lock(s);
    json_add_strv(o, "listening", s->listening);
    json_add_string(o, "imds", s->imds_address);
    json_add_string(o, "arc", s->arc_address);
    json_add_string(o, "backend", s->config->backend->name);
    LIST_FOREACH (session, s->sessions)
        json_object_array_add(sessions, session_describe(session));
    LIST_FOREACH (op, s->operations)
        json_object_array_add(operations, operation_describe(op));
    n = MIN(s->log_count, (size_t)LOG_ENTRIES_MAX);
    for (size_t i = s->log_count - n; i < s->log_count; i++)
        json_object_array_add(requests, json_object_get(s->log[i % LOG_ENTRIES_MAX]));
    json_add_int64(o, "requestCount", (int64_t)s->log_count);
    json_add(o, "devices", state_devices_describe(s));
    json_add(o, "registrations", sessions);
    json_add(o, "operations", operations);
    json_add(o, "requests", requests);
    text =
        strdup(json_object_to_json_string_ext(o, JSON_C_TO_STRING_PRETTY | JSON_C_TO_STRING_NOSLASHESCAPE));
    json_object_put(o);
    state_unlock(s);
    return text;
}
