/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "discover.h"

#include "iscsi.h"
#include "iscsiadm.h"
#include "iscsid-conf.h"
#include "listener.h"
#include "log.h"
#include "paths.h"
#include "validate.h"

#include <systemd/sd-login.h>

/* Above what the private iscsid.conf allows iscsiadm and iscsid to take: 2 logins of 15 s. */
#define DISCOVER_TIMEOUT_USEC (45 * USEC_PER_SEC)
#define LOGIN_TIMEOUT_USEC (45 * USEC_PER_SEC)
#define RECORD_TIMEOUT_USEC (15 * USEC_PER_SEC)

/* A word of printable ASCII characters. Returns its length, 0: none or too long. */
static size_t word_length(const char *s)
{
    size_t n = 0;

    while (s[n] > ' ' && s[n] <= '~')
        n++;
    return n <= ISCSI_NAME_MAX ? n : 0;
}

static int discovery_line(const char *line, json_object **ret)
{
    _cleanup_json_ json_object *o = json_object_new_object();
    _cleanup_free_ char *portal = NULL;
    size_t n = word_length(line), m;
    const char *comma, *name;
    char *end;
    long tpgt;

    if (!o)
        return -ENOMEM;
    name = line + n;
    if (n == 0 || *name++ != ' ')
        return -EBADMSG;
    m = word_length(name);
    if (m == 0 || name[m])
        return -EBADMSG;
    comma = memchr(line, ',', n);
    if (!comma || comma == line || comma[1] == '+' || comma[1] == ' ')
        return -EBADMSG;
    errno = 0;
    tpgt = strtol(comma + 1, &end, 10);
    if (errno || end == comma + 1 || end != line + n || tpgt < -1 || tpgt > UINT16_MAX)
        return -EBADMSG;
    portal = strndup(line, comma - line);
    if (!portal || json_add_string(o, "name", name) < 0 || json_add_string(o, "portal", portal) < 0 ||
        json_add_int64(o, "tpgt", tpgt) < 0)
        return -ENOMEM;
    *ret = TAKE_PTR(o);
    return 0;
}

int discovery_parse(const char *output, json_object **ret)
{
    _cleanup_json_ json_object *array = json_object_new_array();
    _cleanup_strv_free_ char **lines = NULL;
    char **line;
    int r;

    if (!array)
        return -ENOMEM;
    r = strv_split(output, "\n", &lines);
    if (r < 0)
        return r;
    STRV_FOREACH (line, lines) {
        json_object *o;

        if (json_object_array_length(array) == DISCOVERED_MAX)
            return -E2BIG;
        r = discovery_line(*line, &o);
        if (r >= 0)
            r = json_append(array, o);
        if (r < 0)
            return r;
    }
    *ret = TAKE_PTR(array);
    return 0;
}

/* The portal of the request, if it is served by the caller's own unit. */
static int portal_get(Request *request, const char **ret_portal, pid_t *ret_owner, Failure **ret_failure)
{
    _cleanup_free_ char *cgroup = NULL;
    const char *portal;
    char unit[64], *end;
    int port, r;

    port = json_get_string(request->parameters, "portal", &portal) > 0 ? portal_parse_local(portal) : -EINVAL;
    if (port < 0)
        return verb_fail(ret_failure, -EINVAL, FAILURE_INVALID_REQUEST, "portal: 127.0.0.1:PORT is expected");
    r = sd_peer_get_cgroup(request->fd, &cgroup);
    if (r < 0)
        return r;
    /* The unit's own control group, whatever lies below it in the caller's path. */
    snprintf(unit, sizeof(unit), "/ilr-connection@%s.service", request->session);
    end = strstr(cgroup, unit);
    if (!end)
        return -EPERM;
    end[strlen(unit)] = '\0';
    r = listener_owner(port, cgroup, ret_owner);
    if (r == -ECONNREFUSED)
        return verb_fail_hint(ret_failure, r, FAILURE_PORTAL_UNREACHABLE,
                              "the script's tunnel does not listen, see the script's last lines",
                              "nobody listens at portal %s", portal);
    if (r == -EPERM)
        return verb_fail_hint(ret_failure, r, FAILURE_PERMISSION_DENIED,
                              "see journalctl -u 'ilr-helper@*' -u ilr-connection@SESSION",
                              "the listener at portal %s does not belong to ilr-connection@%s.service",
                              portal, request->session);
    if (r < 0)
        return r;
    *ret_portal = portal;
    return 0;
}

static int lock(Request *request, int *ret, Failure **ret_failure)
{
    int r = session_lock(request->session, LOCK_TIMEOUT_USEC, ret);

    if (r == -ENOENT)
        return verb_fail(ret_failure, r, FAILURE_NO_SUCH_SESSION, "session %s is not connected",
                         request->session);
    if (r == -ETIMEDOUT)
        return verb_fail(ret_failure, r, FAILURE_HELPER_FAILED, "another request holds session %s",
                         request->session);
    return r;
}

/* The private iscsid.conf as this request wants it: records are made from it. */
static int configure(Request *request, Failure **ret_failure)
{
    _cleanup_free_ char *directory = private_path(request->session, "iscsi");
    Chap chap;
    int r;

    if (!directory)
        return -ENOMEM;
    r = chap_from_json(request->parameters, &chap, ret_failure);
    if (r < 0)
        return r;
    return iscsid_conf_write(directory, r > 0 ? &chap : NULL);
}

int verb_discover(Request *request, json_object **ret_answer, Failure **ret_failure)
{
    _cleanup_json_ json_object *answer = json_object_new_object(), *targets = NULL;
    _cleanup_child_ ChildResult result = {};
    _cleanup_lock_ int lock_fd = -EBADF;
    _cleanup_free_ char *what = NULL;
    const char *portal;
    pid_t owner;
    int r;

    if (!answer)
        return -ENOMEM;
    r = portal_get(request, &portal, &owner, ret_failure);
    if (r >= 0)
        r = lock(request, &lock_fd, ret_failure);
    if (r >= 0)
        r = configure(request, ret_failure);
    if (r < 0)
        return r;
    {
        char *const arguments[] = {
            (char *)"-m", (char *)"discovery", (char *)"-t", (char *)"sendtargets",
            (char *)"-p", (char *)portal,      (char *)"-I", (char *)ISCSIADM_INTERFACE,
            NULL,
        };

        r = iscsiadm_run(request->session, arguments, DISCOVER_TIMEOUT_USEC, &result);
    }
    if (r < 0)
        return r;
    if (asprintf(&what, "discovery at portal %s", portal) < 0) {
        what = NULL;
        return -ENOMEM;
    }
    if (result.status != ISCSIADM_OK)
        return iscsiadm_fail(ret_failure, iscsiadm_failure_name(result.status, FAILURE_DISCOVERY_FAILED),
                             &result, what);
    r = discovery_parse(result.output, &targets);
    if (r == -EBADMSG || r == -E2BIG)
        return verb_fail(ret_failure, r, FAILURE_DISCOVERY_FAILED,
                         r == -E2BIG ? "%s returned more than %d targets"
                                     : "%s: iscsiadm's answer is not understood",
                         what, DISCOVERED_MAX);
    if (r >= 0)
        r = json_add(answer, "targets", TAKE_PTR(targets));
    if (r >= 0)
        r = json_add_int64(answer, "tunnelPid", owner);
    if (r < 0)
        return r;
    *ret_answer = TAKE_PTR(answer);
    return 0;
}

static int target_get(Request *request, const char **ret, Failure **ret_failure)
{
    if (json_get_string(request->parameters, "target", ret) <= 0 || !target_name_valid(*ret))
        return verb_fail(ret_failure, -EINVAL, FAILURE_INVALID_REQUEST,
                         "target: an iSCSI name that begins with %s is expected", TARGET_PREFIX);
    return 0;
}

/* Makes the node record anew, so that it has this request's CHAP and our timers whatever a discovery left,
 * and logs in. */
static int node_login(Request *request, const char *target, const char *portal, ChildResult *ret)
{
    char *const make[] = {
        (char *)"-m",   (char *)"node", (char *)"-T",  (char *)target, (char *)"-p",
        (char *)portal, (char *)"-o",   (char *)"new", (char *)"-I",   (char *)ISCSIADM_INTERFACE,
        NULL,
    };
    char *const login[] = {
        (char *)"-m", (char *)"node", (char *)"-T",      (char *)target,
        (char *)"-p", (char *)portal, (char *)"--login", NULL,
    };
    int r = iscsiadm_forget_records(request->session);

    if (r >= 0)
        r = iscsiadm_run(request->session, make, RECORD_TIMEOUT_USEC, ret);
    if (r < 0 || ret->status != ISCSIADM_OK) {
        ret->timed_out = false; /* iscsid was not asked for anything yet */
        return r;
    }
    child_result_done(ret);
    return iscsiadm_run(request->session, login, LOGIN_TIMEOUT_USEC, ret);
}

static int login_answer(Record *record, const char *target, const IscsiSession *session,
                        json_object **ret_answer)
{
    _cleanup_json_ json_object *answer = json_object_new_object();
    RecordTarget *t = record_target(record, target);
    int r;

    if (!answer || !t)
        return -ENOMEM;
    /* An iscsid that is started later does not see the private record: it takes names and CHAP from the
     * kernel, but its stock timers when it connects anew, 120 s for this one. Set here, it stays. (The two of
     * the ping are 5 s each then, which is sooner.) */
    r = iscsi_session_set_recovery(session->sid, REPLACEMENT_TIMEOUT);
    if (r < 0)
        log_errno_full(LOG_WARNING, record->session, r, "Cannot fix the recovery time of iSCSI session %lld",
                       (long long)session->sid);
    r = 0;
    if (t->sid != session->sid) {
        t->sid = session->sid;
        r = record_save(record);
    }
    if (r >= 0)
        r = json_add_int64(answer, "iscsiSession", session->sid);
    if (r < 0)
        return r;
    *ret_answer = TAKE_PTR(answer);
    return 0;
}

/* A login that failed leaves nothing: what of it stands is logged out, and the record forgets the target only
 * when there is nothing that could still come. */
static void login_undo(Record *record, const char *target, bool timed_out)
{
    const RecordTarget *t = record_target(record, target);

    if (t && iscsi_target_logout(record->session, t, NULL) < 0)
        return;
    if (timed_out) /* iscsid may still be at it */
        return;
    record_target_remove(record, target);
    (void)record_save(record);
}

static int login_failed(const ChildResult *result, const char *target, const char *portal,
                        Failure **ret_failure)
{
    _cleanup_free_ char *what = NULL;

    if (asprintf(&what, "login to target %s at portal %s", target, portal) < 0) {
        what = NULL;
        return -ENOMEM;
    }
    return iscsiadm_fail(ret_failure, iscsiadm_failure_name(result->status, FAILURE_LOGIN_FAILED), result,
                         what);
}

/* A record has one portal for each target: what a script began through another tunnel ends before it is
 * forgotten. */
static int leave_portal(Record *record, const char *target, const char *portal, Failure **ret_failure)
{
    const RecordTarget *t = record_target(record, target);
    IscsiSession *session;
    int r;

    if (!t || streq(t->portal, portal))
        return 0;
    r = iscsi_session_find(target, t->portal, &session);
    if (r >= 0)
        iscsi_sessions_free(session, 1);
    else if (r != -ENOENT)
        return r;
    else if (t->sid < 0) /* forgotten now, nobody would know of it when iscsid gets there */
        return verb_fail(
            ret_failure, -EBUSY, FAILURE_LOGIN_FAILED,
            "login to target %s at portal %s: one at portal %s did not end in time, iscsid may still be "
            "at it",
            target, portal, t->portal);
    r = iscsi_target_logout(record->session, t, ret_failure);
    if (r < 0)
        return r;
    record_target_remove(record, target);
    return record_save(record);
}

int verb_login(Request *request, json_object **ret_answer, Failure **ret_failure)
{
    _cleanup_(record_freep) Record *record = NULL;
    _cleanup_child_ ChildResult result = {};
    _cleanup_lock_ int lock_fd = -EBADF;
    IscsiSession *session;
    const char *portal, *target;
    pid_t owner;
    int r;

    r = target_get(request, &target, ret_failure);
    if (r >= 0)
        r = portal_get(request, &portal, &owner, ret_failure);
    if (r >= 0)
        r = lock(request, &lock_fd, ret_failure);
    if (r >= 0)
        r = record_load(request->session, &record);
    if (r >= 0)
        r = leave_portal(record, target, portal, ret_failure);
    if (r < 0)
        return r;
    r = iscsi_session_find(target, portal, &session);
    if (r == -ENOENT || (r >= 0 && !record_target(record, target))) {
        int k;

        if (r >= 0)
            iscsi_sessions_free(session, 1);
        k = record_target_add(record, target, portal);
        if (k == -E2BIG)
            return verb_fail_hint(ret_failure, k, FAILURE_LIMIT_REACHED, "report it",
                                  "session %s has %d targets already", request->session, RECORD_TARGETS_MAX);
        if (k >= 0)
            k = record_save(record); /* before the world changes */
        if (k < 0)
            return k;
        if (r < 0) {
            r = configure(request, ret_failure);
            if (r >= 0)
                r = node_login(request, target, portal, &result);
            if (r < 0) {
                login_undo(record, target, false);
                return r;
            }
        }
        r = iscsi_session_find(target, portal, &session);
    }
    if (r < 0 && r != -ENOENT)
        return r;
    /* iscsiadm's word alone is not enough: a session that does not stand is no success. */
    if (r >= 0 && (result.status == ISCSIADM_OK || result.status == ISCSIADM_SESSION_EXISTS) &&
        iscsi_session_logged_in(session)) {
        r = login_answer(record, target, session, ret_answer);
        iscsi_sessions_free(session, 1);
        return r;
    }
    if (r >= 0)
        iscsi_sessions_free(session, 1);
    login_undo(record, target, result.timed_out);
    if (result.status == ISCSIADM_OK || result.status == ISCSIADM_SESSION_EXISTS)
        return verb_fail(
            ret_failure, -EIO, FAILURE_LOGIN_FAILED,
            "login to target %s at portal %s: iscsiadm is done, but the session is not logged in", target,
            portal);
    return login_failed(&result, target, portal, ret_failure);
}

int verb_logout(Request *request, json_object **ret_answer, Failure **ret_failure)
{
    _cleanup_(record_freep) Record *record = NULL;
    _cleanup_lock_ int lock_fd = -EBADF;
    const char *target;
    RecordTarget *t;
    int r;

    r = target_get(request, &target, ret_failure);
    if (r >= 0)
        r = lock(request, &lock_fd, ret_failure);
    if (r >= 0)
        r = record_load(request->session, &record);
    if (r < 0)
        return r;
    t = record_target(record, target);
    if (!t) /* not ours, or gone already */
        return 0;
    r = iscsi_target_logout(request->session, t, ret_failure);
    if (r < 0)
        return r;
    record_target_remove(record, target);
    record_save_on_way_down(record);
    return 0;
}
