/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "request.h"

#include "validate.h"

#define WHO_MAY "ilrd and connection scripts must run in their units: see journalctl -u 'ilr-helper@*'"

typedef enum SessionKey {
    SESSION_NONE,
    SESSION_OPTIONAL,
    SESSION_REQUIRED
} SessionKey;

#define MAY(kind) (1U << (kind))
#define KEYS(...) ((const char *const[]){"verb", __VA_ARGS__, NULL})

static const struct {
    const char *verb;
    unsigned callers;
    SessionKey session;
    bool needs_config;
    const char *const *keys;
    VerbFunction function;
} verb_table[] = {
    {"initiator-name", MAY(CALLER_DAEMON), SESSION_NONE, true, (const char *const[]){"verb", NULL},
     verb_initiator_name},
    {"check", MAY(CALLER_DAEMON) | MAY(CALLER_ROOT), SESSION_NONE, true, (const char *const[]){"verb", NULL},
     verb_check},
    {"connect", MAY(CALLER_DAEMON), SESSION_REQUIRED, true, KEYS("session", "script", "portal"),
     verb_connect},
    {"up", MAY(CALLER_DAEMON), SESSION_REQUIRED, true, KEYS("session", "replay"), verb_up},
    {"unlock", MAY(CALLER_DAEMON) | MAY(CALLER_ROOT), SESSION_REQUIRED, true,
     KEYS("session", "volume", "key"), verb_unlock},
    {"down", MAY(CALLER_DAEMON) | MAY(CALLER_ROOT), SESSION_REQUIRED, false, KEYS("session", "force"),
     verb_down},
    {"disconnect", MAY(CALLER_DAEMON) | MAY(CALLER_ROOT), SESSION_REQUIRED, false, KEYS("session"),
     verb_disconnect},
    {"status", MAY(CALLER_DAEMON) | MAY(CALLER_ROOT), SESSION_OPTIONAL, false,
     KEYS("session", "holders", "brief"), verb_status},
    {"hook", MAY(CALLER_DAEMON), SESSION_REQUIRED, false, KEYS("session", "event", "variables"), verb_hook},
    {"leftovers", MAY(CALLER_DAEMON) | MAY(CALLER_ROOT), SESSION_NONE, false, KEYS("known"), verb_leftovers},
    {"sweep", MAY(CALLER_DAEMON) | MAY(CALLER_ROOT), SESSION_OPTIONAL, false, KEYS("session", "foreign"),
     verb_sweep},
    {"discover", MAY(CALLER_CONNECTION), SESSION_REQUIRED, true, KEYS("session", "portal", "chap"),
     verb_discover},
    {"login", MAY(CALLER_CONNECTION), SESSION_REQUIRED, true, KEYS("session", "portal", "target", "chap"),
     verb_login},
    {"logout", MAY(CALLER_CONNECTION), SESSION_REQUIRED, false, KEYS("session", "target"), verb_logout},
};

bool connection_unit_session(const char *unit, char buf[static 9])
{
    const char *p = unit ? startswith(unit, "ilr-connection@") : NULL;

    if (!p || strlen(p) != SESSION_ID_LENGTH + strlen(".service") ||
        !streq(p + SESSION_ID_LENGTH, ".service"))
        return false;
    memcpy(buf, p, SESSION_ID_LENGTH);
    buf[SESSION_ID_LENGTH] = '\0';
    return session_id_valid(buf);
}

/* The unit tells which program it is; the user is checked as well, so that neither a wrong unit file nor a
 * wrong group membership is enough. */
static CallerKind caller_kind(const Caller *caller, char session[static 9])
{
    if (streq_ptr(caller->unit, "ilrd.service") && caller->daemon_uid != (uid_t)-1 &&
        caller->uid == caller->daemon_uid)
        return CALLER_DAEMON;
    if (connection_unit_session(caller->unit, session) && caller->connection_uid != (uid_t)-1 &&
        caller->uid == caller->connection_uid)
        return CALLER_CONNECTION;
    return caller->uid == 0 ? CALLER_ROOT : CALLER_KIND_INVALID;
}

size_t request_size_max(const Caller *caller)
{
    char session[SESSION_ID_LENGTH + 1];

    return caller_kind(caller, session) == CALLER_DAEMON ? REQUEST_SIZE_MAX : REQUEST_SIZE_SMALL_MAX;
}

int request_parse(const char *text, size_t size, const Caller *caller, Request *ret,
                  VerbFunction *ret_function, json_object **ret_object, Failure **ret_failure)
{
    _cleanup_json_ json_object *o = NULL;
    const char *verb, *session = NULL, *unknown;
    char own[SESSION_ID_LENGTH + 1];
    CallerKind kind;
    size_t i;
    int r;

    kind = caller_kind(caller, own);
    if (kind < 0)
        return verb_fail_hint(ret_failure, -EPERM, FAILURE_PERMISSION_DENIED, WHO_MAY,
                              "uid %u in unit %s may ask ilr-helper for nothing", (unsigned)caller->uid,
                              caller->unit ? caller->unit : "(none)");
    r = json_parse(text, size, &o);
    if (r == -ENOMEM)
        return r;
    if (r < 0 || !json_object_is_type(o, json_type_object))
        return verb_fail(ret_failure, -EINVAL, FAILURE_INVALID_REQUEST,
                         r == -E2BIG ? "the request is nested too deeply"
                                     : "the request is not a JSON object");
    if (json_get_string(o, "verb", &verb) <= 0)
        return verb_fail(ret_failure, -EINVAL, FAILURE_INVALID_REQUEST, "verb: a string is expected");
    for (i = 0; i < ELEMENTSOF(verb_table); i++)
        if (streq(verb, verb_table[i].verb))
            break;
    if (i == ELEMENTSOF(verb_table))
        return verb_fail(ret_failure, -EINVAL, FAILURE_INVALID_REQUEST, "verb: %.40s is not known", verb);
    if (!(verb_table[i].callers & MAY(kind)))
        return verb_fail_hint(ret_failure, -EPERM, FAILURE_PERMISSION_DENIED, WHO_MAY,
                              "uid %u in unit %s may not ask for %s", (unsigned)caller->uid,
                              caller->unit ? caller->unit : "(none)", verb);
    unknown = json_unknown_key(o, verb_table[i].keys);
    if (unknown)
        return verb_fail(ret_failure, -EINVAL, FAILURE_INVALID_REQUEST, "%.40s: no such parameter of %s",
                         unknown, verb);
    r = json_get_string(o, "session", &session);
    if (r < 0 || (r == 0 && verb_table[i].session == SESSION_REQUIRED) ||
        (r > 0 && !session_id_valid(session)))
        return verb_fail(ret_failure, -EINVAL, FAILURE_INVALID_REQUEST,
                         "session: 8 characters of a-z and 0-9 are expected");
    if (kind == CALLER_CONNECTION && !streq(session, own))
        return verb_fail_hint(ret_failure, -EPERM, FAILURE_PERMISSION_DENIED, WHO_MAY,
                              "unit %s may not act for session %s", caller->unit, session);
    *ret = (Request){.caller = kind,
                     .verb = verb,
                     .session = session,
                     .parameters = o,
                     .fd = -EBADF,
                     .needs_config = verb_table[i].needs_config};
    *ret_function = verb_table[i].function;
    *ret_object = TAKE_PTR(o);
    return 0;
}
