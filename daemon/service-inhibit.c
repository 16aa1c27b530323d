/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Inhibit: as long as the caller keeps the connection, his session counts as used. */
#include "service-internal.h"

int service_inhibit(VarlinkCall *call, json_object *parameters, void *userdata)
{
    _cleanup_free_ char *caller = NULL;
    _cleanup_failure_ Failure *f = NULL;
    Service *s = userdata;
    const char *why = NULL;
    Session *session;
    uint64_t number;
    Waiter *w;
    int r;

    if (service_get_session(s, call, parameters, &session) < 0)
        return 0;
    r = varlink_call_get_text(call, parameters, "why", INHIBITOR_WHY_MAX, &why);
    if (r == 0)
        return varlink_call_invalid_parameter(call, "why");
    if (r < 0)
        return 0;
    if (session->down) {
        f = failure_advise(failure_new(FAILURE_BUSY, "Session %s is being released", session->id),
                           "it is on its way down: provision the point anew");
        return f ? service_fail(call, f, session) : -ENOMEM;
    }
    caller = user_names_get(s->users, varlink_call_uid(call));
    if (!caller)
        return -ENOMEM;
    r = session_inhibit(session, varlink_call_uid(call), varlink_call_pid(call), caller, why, &number);
    if (r == -E2BIG) {
        f = failure_new(FAILURE_LIMIT_REACHED, "Session %s has %d inhibitors already, no more can be",
                        session->id, INHIBITORS_MAX);
        failure_advise(f, "ilrctl status shows them: one has to end first");
        return f ? service_fail(call, f, session) : -ENOMEM;
    }
    if (r < 0)
        return r;
    w = service_wait(s, call, WAIT_INHIBIT, session->id);
    if (!w) {
        session_uninhibit(session, number);
        return -ENOMEM;
    }
    w->inhibitor = number;
    service_tell(w, session); /* now it is in force */
    return 0;
}

void service_uninhibit(Waiter *w)
{
    Session *session = manager_find(w->service->manager, w->session);

    if (session)
        session_uninhibit(session, w->inhibitor);
}
