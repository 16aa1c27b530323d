/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Metrics: all counts as one text. */
#include "service-internal.h"

static const char *const *states(void)
{
    static const char *names[SESSION_STATE_MAX + 1];
    SessionState i;

    for (i = SESSION_PROVISIONING; i < SESSION_CLOSED; i++)
        names[i] = session_state_to_string(i);
    return names;
}

int service_metrics(VarlinkCall *call, json_object *parameters, void *userdata)
{
    _cleanup_json_ json_object *o = json_object_new_object();
    _cleanup_free_ MetricsSession *sessions = NULL;
    _cleanup_free_ char *text = NULL;
    Service *s = userdata;
    Session *session;
    size_t n = 0;

    LIST_FOREACH (session, manager_sessions(s->manager))
        n++;
    sessions = calloc(n + 1, sizeof(*sessions));
    if (!sessions || !o)
        return -ENOMEM;
    n = 0;
    LIST_FOREACH (session, manager_sessions(s->manager)) {
        MetricsSession *m = &sessions[n];
        const char *point;

        if (session->closed)
            continue;
        *m = (MetricsSession){.id = session->id,
                              .state = session_state_to_string(session_state(session)),
                              .bytes_read = session_bytes_read(session),
                              .before_bytes = session->use.before_bytes,
                              .left_usec = session_time_left(session),
                              .inhibitors = session->use.n_inhibitors};
        if (session->kind->names)
            session->kind->names(session, &m->vm, &point);
        n++;
    }
    if (metrics_text(manager_metrics(s->manager), states(), sessions, n, &text) < 0 ||
        json_add_string(o, "text", text) < 0)
        return -ENOMEM;
    return varlink_call_reply(call, o);
}
