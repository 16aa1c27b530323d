/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Release: a caller gives back his hold, and with the last one the session. */
#include "service-internal.h"

/* His own Provision of it, on other connections, has nothing more to wait for. */
static void end_provisions(Service *s, Session *session, uid_t uid)
{
    _cleanup_failure_ Failure *f =
        failure_new(FAILURE_CANCELLED, "The caller released the session before it was ready");
    Waiter *w;

    while ((w = service_awaiting(s, session->id, uid, NULL))) {
        VarlinkCall *call = w->call;

        service_waiter_free(w);
        (void)service_fail(call, f, session);
    }
}

/* Others hold it, and he does not. */
static int refuse(VarlinkCall *call, Session *session)
{
    _cleanup_free_ char *names = session_holders_text(&session->holders);
    _cleanup_failure_ Failure *f = NULL;

    f = failure_new(FAILURE_INVALID_REQUEST, "Session %s is held by %s, and not by you", session->id,
                    names ? names : "others");
    if (!f)
        return -ENOMEM;
    failure_advise(f, "let them release it, or take it from all of them: ilrctl release --all ID");
    return service_fail(call, f, session);
}

int service_release(VarlinkCall *call, json_object *parameters, void *userdata)
{
    uid_t uid = varlink_call_uid(call);
    bool force = false, all = false;
    Service *s = userdata;
    Session *session;

    if (service_get_session(s, call, parameters, &session) < 0)
        return 0;
    if (json_get_bool(parameters, "force", &force) < 0)
        return varlink_call_invalid_parameter(call, "force");
    if (json_get_bool(parameters, "all", &all) < 0)
        return varlink_call_invalid_parameter(call, "all");
    if (!session->down && !all && session->holders.n > 1) {
        if (!session_holders_find(&session->holders, uid))
            return refuse(call, session);
        session_let_go(session, uid);
        end_provisions(s, session, uid);
        return service_reply_session(call, session);
    }
    log_full(LOG_INFO, session->id, "Release asked for by uid %u%s%s", (unsigned)uid,
             force ? ", by force" : "", all && session->holders.n > 1 ? ", for all who hold it" : "");
    if (session->closing)
        return service_reply_session(call, session); /* nothing more can be done */
    /* An old answer must not be taken for the answer to this request. */
    session->release_failure = failure_free(session->release_failure);
    if (!service_wait(s, call, WAIT_RELEASE, session->id))
        return -ENOMEM;
    if (force)
        session_force(session);
    else
        session_release(session, NULL);
    return 0;
}
