/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Release. */
#include "service-internal.h"

int service_release(VarlinkCall *call, json_object *parameters, void *userdata)
{
    Service *s = userdata;
    Session *session;

    if (service_get_session(s, call, parameters, &session) < 0)
        return 0;
    log_full(LOG_INFO, session->id, "Release asked for by uid %u", (unsigned)varlink_call_uid(call));
    /* An old answer must not be taken for the answer to this request. */
    session->release_failure = failure_free(session->release_failure);
    if (!service_wait(s, call, WAIT_RELEASE, session->id))
        return -ENOMEM;
    session_release(session, NULL);
    return 0;
}
