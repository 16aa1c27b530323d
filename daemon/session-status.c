/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "session-status.h"

#include "log.h"

/* An unlock is the reload of its unit, which stands all the time. */
static bool is_up(const char *state)
{
    return streq(state, "active") || streq(state, "reloading");
}

/* The session's entry in the helper's answer, or NULL. */
static json_object *find_status(json_object *entries, const char *id)
{
    const char *session;
    size_t i;

    for (i = 0; i < json_object_array_length(entries); i++) {
        json_object *e = json_object_array_get_idx(entries, i);

        if (json_get_string(e, "session", &session) > 0 && streq(session, id))
            return e;
    }
    return NULL;
}

bool session_stands(Session *s, json_object *entries)
{
    json_object *entry = find_status(entries, s->id);
    const char *connection = NULL, *up = NULL;
    int64_t iscsi = 1, mounts = 1;

    if (!entry || json_get_string(entry, "connection", &connection) <= 0 ||
        json_get_string(entry, "up", &up) <= 0 || !streq(connection, "active") || !is_up(up))
        return false;
    (void)json_get_int64(entry, "iscsiSessions", &iscsi);
    (void)json_get_int64(entry, "mounts", &mounts);
    if (!s->kind->stands || s->kind->stands(s, iscsi, mounts))
        return true;
    log_full(LOG_WARNING, s->id, "The units stand, but with %lld iSCSI sessions and %lld mounts",
             (long long)iscsi, (long long)mounts);
    return false;
}
