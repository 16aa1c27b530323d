/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "iscsi.h"

#include "files.h"
#include "iscsiadm.h"
#include "paths.h"
#include "stand-in-target.h"
#include "timeutil.h"
#include "validate.h"
#include "verb.h"

#include <fcntl.h>
#include <poll.h>

#define SESSIONS_MAX 4096
#define GONE_POLL_MSEC 20
#define LOGOUT_RETRY_MSEC 500
#define LOGOUT_TURN_USEC (500 * USEC_PER_MSEC)
#define RECONNECT_USEC (4 * USEC_PER_SEC) /* iscsid tries every 3 s */
#define LOGOUT_GRACE_USEC (3 * USEC_PER_SEC)

static void session_done(IscsiSession *s)
{
    free(s->target);
    free(s->portal);
    free(s->state);
    free(s->device);
}

void iscsi_sessions_free(IscsiSession *sessions, size_t n)
{
    size_t i;

    for (i = 0; i < n; i++)
        session_done(&sessions[i]);
    free(sessions);
}

/* Number behind a prefix, all digits: "session12" and "session" give 12. -1: it is not of that form. */
static int64_t number_after(const char *s, const char *prefix)
{
    const char *p = startswith(s, prefix);
    char *end;
    long n;

    if (!p || *p < '0' || *p > '9' || strlen(p) > 9)
        return -1;
    n = strtol(p, &end, 10);
    return *end ? -1 : n;
}

static int read_attribute(const char *directory, const char *name, char **ret)
{
    _cleanup_free_ char *path = NULL;

    if (asprintf(&path, "%s/%s", directory, name) < 0)
        return -ENOMEM;
    return file_read_line(path, ret);
}

/* A session has one connection; its number is the session's, a colon and 0. */
static int read_portal(int64_t sid, char **ret)
{
    _cleanup_free_ char *directory = NULL, *address = NULL, *port = NULL;
    int r;

    if (asprintf(&directory, "%s/class/iscsi_connection/connection%lld:0", paths.sysfs, (long long)sid) < 0)
        return -ENOMEM;
    /* persistent_*: what we asked for, also after a redirection. */
    r = read_attribute(directory, "persistent_address", &address);
    if (r >= 0)
        r = read_attribute(directory, "persistent_port", &port);
    if (r < 0)
        return r;
    return asprintf(ret, "%s:%s", address, port) < 0 ? -ENOMEM : 0;
}

/* .../hostH/sessionN: the host's number from where the device link leads. */
static int read_host(const char *device, unsigned *ret)
{
    _cleanup_free_ char *real = realpath(device, NULL);
    char *slash;
    int64_t n;

    if (!real)
        return -errno;
    slash = strrchr(real, '/');
    if (slash)
        *slash = '\0';
    slash = strrchr(real, '/');
    n = slash ? number_after(slash + 1, "host") : -1;
    if (n < 0)
        return -ENODEV;
    *ret = (unsigned)n;
    return 0;
}

/* A negative errno other than -ENOMEM: it goes away under our eyes. */
static int session_read(int64_t sid, IscsiSession *ret)
{
    _cleanup_(session_done) IscsiSession s = {.sid = sid};
    _cleanup_free_ char *directory = NULL;
    int r;

    if (asprintf(&directory, "%s/class/iscsi_session/session%lld", paths.sysfs, (long long)sid) < 0)
        return -ENOMEM;
    if (asprintf(&s.device, "%s/device", directory) < 0) {
        s.device = NULL;
        return -ENOMEM;
    }
    r = read_attribute(directory, "targetname", &s.target);
    if (r >= 0)
        r = read_host(s.device, &s.host);
    if (r < 0)
        return r;
    /* The connection comes after its session and goes before it. */
    if (read_portal(sid, &s.portal) < 0 && !(s.portal = strdup("")))
        return -ENOMEM;
    if (read_attribute(directory, "state", &s.state) < 0 && !(s.state = strdup("")))
        return -ENOMEM;
    *ret = s;
    s = (IscsiSession){};
    return 0;
}

static int compare_session(const void *a, const void *b)
{
    int64_t x = ((const IscsiSession *)a)->sid, y = ((const IscsiSession *)b)->sid;

    return (x > y) - (x < y);
}

bool iscsi_session_is(const IscsiSession *s, const char *target, const char *portal, int64_t sid)
{
    if (!streq(target, s->target))
        return false;
    return *s->portal ? streq(portal, s->portal) : sid == s->sid;
}

static bool any_target_matches(const RecordTarget *targets, size_t n, const IscsiSession *s)
{
    size_t i;

    for (i = 0; i < n; i++)
        if (iscsi_session_is(s, targets[i].name, targets[i].portal, targets[i].sid))
            return true;
    return false;
}

/* targets NULL: all whose target is the recovery service's. */
static int sessions_find(const RecordTarget *targets, size_t n_targets, IscsiSession **ret, size_t *ret_n)
{
    _cleanup_free_ char *path = NULL;
    _cleanup_(closedirp) DIR *dir = NULL;
    IscsiSession *list = NULL, *more;
    struct dirent *e;
    size_t n = 0;
    int r = 0;

    if (asprintf(&path, "%s/class/iscsi_session", paths.sysfs) < 0)
        return -ENOMEM;
    dir = opendir(path);
    if (!dir && errno != ENOENT) /* no such class: the transport is not loaded */
        return -errno;
    while (dir && r != -ENOMEM && n < SESSIONS_MAX && (e = readdir(dir))) {
        int64_t sid = number_after(e->d_name, "session");
        _cleanup_(session_done) IscsiSession s = {};

        r = sid < 0 ? -ENOENT : session_read(sid, &s);
        if (r < 0 || !(targets ? any_target_matches(targets, n_targets, &s)
                               : startswith(s.target, TARGET_PREFIX) != NULL))
            continue;
        more = realloc(list, (n + 1) * sizeof(*list));
        if (!more) {
            r = -ENOMEM;
            continue;
        }
        list = more;
        list[n++] = s;
        s = (IscsiSession){};
    }
    if (r == -ENOMEM) {
        iscsi_sessions_free(list, n);
        return r;
    }
    if (n > 1)
        qsort(list, n, sizeof(*list), compare_session);
    *ret = list;
    *ret_n = n;
    return 0;
}

int iscsi_sessions_find(const Record *record, IscsiSession **ret, size_t *ret_n)
{
    static const RecordTarget none;

    return sessions_find(record->n_targets ? record->targets : &none, record->n_targets, ret, ret_n);
}

int iscsi_sessions_all(IscsiSession **ret, size_t *ret_n)
{
    return sessions_find(NULL, 0, ret, ret_n);
}

int iscsi_session_find(const char *target, const char *portal, IscsiSession **ret)
{
    const RecordTarget t = {.name = (char *)target, .portal = (char *)portal, .sid = -1};
    size_t n;
    int r = sessions_find(&t, 1, ret, &n);

    if (r < 0)
        return r;
    if (n == 0) {
        free(*ret);
        return -ENOENT;
    }
    for (; n > 1; n--)
        session_done(&(*ret)[n - 1]);
    return 0;
}

/* What the kernel says now; NULL if there is no such session. A number may have been given to somebody else's
 * session since: that one is not touched. */
static char *session_target(int64_t sid)
{
    _cleanup_free_ char *directory = NULL;
    char *target;

    if (asprintf(&directory, "%s/class/iscsi_session/session%lld", paths.sysfs, (long long)sid) < 0)
        return NULL;
    if (read_attribute(directory, "targetname", &target) < 0)
        return NULL;
    if (!startswith(target, TARGET_PREFIX)) {
        free(target);
        return NULL;
    }
    return target;
}

static bool session_gone(int64_t sid, const char *target)
{
    _cleanup_free_ char *now = session_target(sid);

    return !streq_ptr(now, target);
}

int iscsi_session_set_recovery(int64_t sid, const char *seconds)
{
    _cleanup_free_ char *path = NULL;
    _cleanup_close_ int fd = -EBADF;

    if (asprintf(&path, "%s/class/iscsi_session/session%lld/recovery_tmo", paths.sysfs, (long long)sid) < 0) {
        path = NULL;
        return -ENOMEM;
    }
    fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    return dprintf(fd, "%s", seconds) < 0 ? -errno : 0;
}

/* An iscsid that was just started does not know the kernel's sessions at first, and then connects them anew;
 * until it has done so it says these. */
static bool iscsid_not_ready(int status)
{
    return status == ISCSIADM_SESSION_NOT_FOUND || status == ISCSIADM_INTERNAL ||
           status == ISCSIADM_CANNOT_REACH || status == ISCSIADM_NO_DAEMON ||
           status == ISCSIADM_NOT_CONNECTED;
}

bool iscsi_session_ours(int64_t sid)
{
    _cleanup_free_ char *directory = NULL, *name = NULL;

    return asprintf(&directory, "%s/class/iscsi_session/session%lld", paths.sysfs, (long long)sid) >= 0 &&
           read_attribute(directory, "ifacename", &name) >= 0 && streq(name, ISCSIADM_INTERFACE);
}

/* In the place of its tunnel, if that is gone. Negative: it is not, or cannot be had. */
static int take_tunnels_place(int64_t sid)
{
    _cleanup_free_ char *portal = NULL;
    int r = read_portal(sid, &portal), port;

    if (r < 0)
        return r;
    port = portal_parse_local(portal);
    return port > 0 ? stand_in_target_listen(port) : -EINVAL;
}

int iscsi_session_logout(const char *id, int64_t sid, uint64_t timeout_usec, Failure **ret_failure)
{
    uint64_t deadline = now_usec(CLOCK_MONOTONIC) + timeout_usec;
    _cleanup_child_ ChildResult result = {};
    _cleanup_free_ char *target = session_target(sid), *what = NULL;
    const char *where = id ? id : iscsi_session_ours(sid) ? "" : NULL;
    _cleanup_close_ int listener = -EBADF;
    char number[32];
    char *const arguments[] = {(char *)"-m", (char *)"session", (char *)"-r", number, (char *)"-u", NULL};
    int r;

    if (!target)
        return 0;
    snprintf(number, sizeof(number), "%lld", (long long)sid);
    for (;;) {
        uint64_t now = now_usec(CLOCK_MONOTONIC);

        r = iscsiadm_run(where, arguments, deadline > now ? deadline - now : USEC_PER_SEC, &result);
        if (r < 0)
            return verb_fail(ret_failure, r, FAILURE_HELPER_FAILED,
                             "cannot run iscsiadm to log out of %s: %s", target, strerror(-r));
        if (!iscsid_not_ready(result.status) || session_gone(sid, target) ||
            now_usec(CLOCK_MONOTONIC) + LOGOUT_RETRY_MSEC * USEC_PER_MSEC >= deadline)
            break;
        child_result_done(&result);
        if (listener < 0)
            listener = take_tunnels_place(sid);
        now = now_usec(CLOCK_MONOTONIC);
        if (listener >= 0)
            (void)stand_in_target_serve(listener, TARGET_PREFIX, target,
                                        MIN(deadline > now ? deadline - now : 0, RECONNECT_USEC));
        else
            (void)poll(NULL, 0, LOGOUT_RETRY_MSEC);
    }
    /* The kernel takes it apart by a work of its own; iscsiadm's word alone is not enough either way. */
    while (!session_gone(sid, target) && result.status == ISCSIADM_OK && now_usec(CLOCK_MONOTONIC) < deadline)
        (void)poll(NULL, 0, GONE_POLL_MSEC);
    if (session_gone(sid, target))
        return 0;
    if (asprintf(&what, "log out of iSCSI session %lld to %s", (long long)sid, target) < 0) {
        what = NULL;
        return -ENOMEM;
    }
    if (result.status == ISCSIADM_OK)
        return verb_fail(ret_failure, -ETIMEDOUT, FAILURE_HELPER_FAILED,
                         "%s: iscsiadm is done, but it still stands", what);
    return iscsiadm_fail(ret_failure, FAILURE_HELPER_FAILED, &result, what);
}

static int logout_child(void *userdata, int fd)
{
    _cleanup_failure_ Failure *f = NULL;
    _cleanup_json_ json_object *o = NULL;
    const IscsiLogout *l = userdata;
    int r = iscsi_session_logout(l->id, l->sid, l->timeout_usec, &f);

    if (f && failure_to_json(f, &o) >= 0)
        (void)dprintf(fd, "%s", json_text(o));
    return r;
}

int iscsi_sessions_logout(const char *id, IscsiLogout *logouts, size_t n, uint64_t timeout_usec)
{
    _cleanup_free_ ChildCall *calls = calloc(n + 1, sizeof(*calls));
    size_t i;

    if (!calls)
        return -ENOMEM;
    /* iscsid serves one after the other, and a slow host starts one iscsiadm after the other. */
    timeout_usec += n * LOGOUT_TURN_USEC;
    for (i = 0; i < n; i++) {
        logouts[i].id = id;
        logouts[i].timeout_usec = timeout_usec;
        calls[i].userdata = &logouts[i];
    }
    child_call_each(logout_child, calls, n, timeout_usec + LOGOUT_GRACE_USEC);
    for (i = 0; i < n; i++) {
        _cleanup_free_ char *text = calls[i].text;
        _cleanup_json_ json_object *o = NULL;

        logouts[i].result = calls[i].result;
        if (!isempty(text) && json_parse(text, strlen(text), &o) >= 0)
            (void)failure_from_json(o, &logouts[i].failure);
    }
    return 0;
}

static int logout_all(const char *id, const IscsiSession *sessions, size_t n, uint64_t timeout_usec,
                      Failure **ret_failure)
{
    _cleanup_free_ IscsiLogout *logouts = calloc(n + 1, sizeof(*logouts));
    int result = logouts ? 0 : -ENOMEM;
    size_t i;

    for (i = 0; result >= 0 && i < n; i++)
        logouts[i].sid = sessions[i].sid;
    if (result >= 0)
        result = iscsi_sessions_logout(id, logouts, n, timeout_usec);
    for (i = 0; logouts && i < n; i++) {
        _cleanup_failure_ Failure *f = logouts[i].failure;

        if (logouts[i].result >= 0 || result < 0)
            continue;
        result = logouts[i].result;
        if (f && ret_failure && !*ret_failure) /* its code is iscsiadm's own */
            *ret_failure = TAKE_PTR(f);
        else if (!f)
            (void)verb_fail(ret_failure, result, FAILURE_HELPER_FAILED, "cannot log out: %s",
                            strerror(-result));
    }
    return result;
}

int iscsi_target_logout(const char *id, const RecordTarget *t, Failure **ret_failure)
{
    IscsiSession *sessions;
    size_t n;
    int r = sessions_find(t, 1, &sessions, &n);

    if (r < 0)
        return r;
    r = logout_all(id, sessions, n, ISCSI_LOGOUT_TIMEOUT_USEC, ret_failure);
    iscsi_sessions_free(sessions, n);
    return r;
}

int iscsi_targets_logout(Record *record, uint64_t timeout_usec, Failure **ret_failure)
{
    IscsiSession *sessions;
    size_t n, i;
    int r, result;

    r = iscsi_sessions_find(record, &sessions, &n);
    if (r < 0)
        return r;
    result = logout_all(record->session, sessions, n, timeout_usec, ret_failure);
    iscsi_sessions_free(sessions, n);
    for (i = record->n_targets; i > 0; i--) {
        if (sessions_find(&record->targets[i - 1], 1, &sessions, &n) < 0)
            continue;
        iscsi_sessions_free(sessions, n);
        if (n == 0)
            record_target_remove(record, record->targets[i - 1].name);
    }
    if (record->n_targets == 0) {
        r = iscsiadm_forget_records(record->session);
        if (r < 0 && result >= 0)
            result = r;
    }
    record_save_on_way_down(record);
    return result;
}
