/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* sweep: takes down what leftovers tells. Of one session, which whoever asks knows to be nobody's any more:
 * all of it, by force. Without a session: what is ours and of no session; foreign: what others made, too, but
 * nothing that a process still uses.
 *
 * Never touched: what belongs to any other session. That is decided anew here, right before. */

#include "child.h"
#include "dm.h"
#include "files.h"
#include "holder.h"
#include "iscsi.h"
#include "leftover.h"
#include "log.h"
#include "paths.h"
#include "process.h"
#include "record.h"
#include "systemd.h"
#include "timeutil.h"
#include "verb.h"

#include <fcntl.h>
#include <linux/loop.h>
#include <linux/major.h>
#include <linux/raid/md_u.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/sem.h>
#include <sys/stat.h>

#define SWEEP_USEC (150 * USEC_PER_SEC)
#define STEP_USEC (15 * USEC_PER_SEC)
#define STEP_MIN_USEC (500 * USEC_PER_MSEC)
#define STOP_TIMEOUT_USEC (60 * USEC_PER_SEC)
#define TUNNEL_WAIT_USEC (3 * USEC_PER_SEC)
#define FAILURES_MAX 256
#define USERS_TRIES 10
#define USERS_RETRY_MSEC 300

typedef struct Sweep {
    const char *session; /* NULL: what is of none */
    bool foreign;
    bool others_only; /* of the session: what its own way down does not know */
    uint64_t deadline_usec;
    Leftovers l;
    bool *failed; /* of the items of l */
    json_object *failures;
    uint32_t cookie;
} Sweep;

static uint64_t step(const Sweep *s)
{
    uint64_t now = now_usec(CLOCK_MONOTONIC), left = now < s->deadline_usec ? s->deadline_usec - now : 0;

    return MAX(MIN(left, STEP_USEC), STEP_MIN_USEC);
}

static bool wanted(const Sweep *s, const Leftover *item)
{
    if (s->session)
        return streq(item->session, s->session) && !(s->others_only && item->ours && !item->dead);
    return !*item->session && (item->ours || s->foreign);
}

static int tell(Sweep *s, const char *kind, const char *name, const char *message)
{
    _cleanup_json_ json_object *o = json_object_new_object();
    _cleanup_free_ char *clean = leftover_text(name), *why = leftover_text(message);

    log_full(LOG_WARNING, s->session, "%s %s is left: %s", kind, clean ? clean : "?", why ? why : "?");
    if (json_object_array_length(s->failures) >= FAILURES_MAX)
        return 0;
    if (!o || !clean || !why || json_add_string(o, "kind", kind) < 0 ||
        json_add_string(o, "name", clean) < 0 || json_add_string(o, "message", why) < 0 ||
        json_append(s->failures, TAKE_PTR(o)) < 0)
        return -ENOMEM;
    return 0;
}

static int fail(Sweep *s, const Leftover *item, const char *message)
{
    s->failed[item - s->l.items] = true;
    return tell(s, leftover_kind_to_string(item->kind), item->name, message);
}

static int fail_errno(Sweep *s, const Leftover *item, int r)
{
    return r == -ENOMEM ? r : fail(s, item, r == -ETIMEDOUT ? "the kernel waits for it" : strerror(-r));
}

static int fail_in_use(Sweep *s, const Leftover *item, const char *who)
{
    _cleanup_free_ char *message = NULL;

    if (asprintf(&message, "in use by %s", who ? who : "?") < 0)
        return (message = NULL), -ENOMEM;
    return fail(s, item, message);
}

static int look(Sweep *s)
{
    free(s->failed);
    s->failed = NULL;
    leftovers_done(&s->l);
    int r = leftovers_look(&(LeftoverFilter){.only = s->session ? s->session : ""}, &s->l);

    if (r < 0)
        return r;
    s->failed = calloc(s->l.n + 1, sizeof(*s->failed));
    return s->failed ? 0 : -ENOMEM;
}

/* ---- iSCSI sessions ---- */

static int logged_out(Sweep *s, const Leftover *item, const IscsiLogout *l)
{
    if (l->result >= 0) {
        log_full(LOG_NOTICE, s->session, "Swept: logged out of %s, %s", item->name, item->detail);
        return 0;
    }
    return l->result == -ENOMEM ? -ENOMEM
                                : fail(s, item, l->failure ? l->failure->message : strerror(-l->result));
}

/* Is somebody on it whom we did not get away? */
static bool held(const Sweep *s, int64_t sid)
{
    size_t i;

    for (i = 0; i < s->l.n; i++)
        if (s->failed[i] && s->l.items[i].number == sid &&
            (s->l.items[i].kind == LEFTOVER_MOUNT || s->l.items[i].kind == LEFTOVER_DM ||
             s->l.items[i].kind == LEFTOVER_MD))
            return true;
    return false;
}

/* Is somebody on it of whom nothing else is told? udev looks at a disk for a moment when something on it
 * went. */
static int look_for_users(Sweep *s, const Leftover *item)
{
    _cleanup_free_ char *who = NULL;
    int i, r;

    for (i = 0; i < USERS_TRIES; i++) {
        if (i > 0)
            (void)poll(NULL, 0, USERS_RETRY_MSEC);
        free(who);
        who = NULL;
        r = leftover_disk_users(item->number, item->device, step(s), &who);
        if (r == -ENOMEM || r == 0)
            return r;
        if (r == -ETIMEDOUT) /* a process that hangs does so the next time, too */
            break;
    }
    r = fail_in_use(s, item, who ? who : "somebody who cannot be seen");
    return r < 0 ? r : 1;
}

/* What is wanted, or (only not negative) one of them. Somebody else's is not taken from whoever uses it,
 * unless its disks are gone anyway. */
static int log_out(Sweep *s, bool dead_only, int64_t only)
{
    _cleanup_free_ IscsiLogout *logouts = calloc(s->l.n + 1, sizeof(*logouts));
    _cleanup_free_ const Leftover **items = calloc(s->l.n + 1, sizeof(*items));
    size_t n = 0, i;
    int r = logouts && items ? 0 : -ENOMEM;

    for (i = 0; r >= 0 && i < s->l.n; i++) {
        const Leftover *item = &s->l.items[i];

        if (item->kind != LEFTOVER_ISCSI || !wanted(s, item) || (dead_only && !item->dead) ||
            (only >= 0 && item->number != only))
            continue;
        if (!s->session && held(s, item->number)) {
            r = fail(s, item, "what is on it is still in use");
            continue;
        }
        if (!s->session && !item->dead && only < 0 && (r = look_for_users(s, item)) != 0)
            continue;
        logouts[n].sid = item->number;
        items[n++] = item;
    }
    if (r >= 0)
        r = iscsi_sessions_logout(NULL, logouts, n, ISCSI_LOGOUT_TIMEOUT_USEC);
    for (i = 0; i < n; i++) {
        if (r >= 0)
            r = logged_out(s, items[i], &logouts[i]);
        failure_free(logouts[i].failure);
    }
    return r;
}

/* Is there still a session to this target (or, NULL, at this port; 0: at any)? */
static bool still_logged_in(const char *target, int port)
{
    IscsiSession *sessions = NULL;
    size_t n = 0, i;
    bool found = false;

    if (iscsi_sessions_all(&sessions, &n) < 0)
        return true;
    for (i = 0; i < n; i++)
        found = found || (target ? streq(sessions[i].target, target)
                                 : port == 0 || portal_parse_local(sessions[i].portal) == port);
    iscsi_sessions_free(sessions, n);
    return found;
}

/* ---- mounts ---- */

static int mount_in_use(Sweep *s, const Leftover *item)
{
    MountPoint mount = {.id = -1, .device = item->device, .path = item->name};
    HolderQuery q = {.directory = item->name, .mounts = &mount, .n_mounts = 1};
    _cleanup_json_ json_object *holders = NULL;
    _cleanup_free_ char *who = NULL;

    (void)holders_find(&q, step(s), &holders);
    who = holders_text(holders);
    return fail_in_use(s, item, who ? who : "?");
}

static int unmount(Sweep *s, const Leftover *item)
{
    bool by_force = s->session || item->dead;
    uint64_t given = step(s);
    int r = path_unmount(item->name, false, given);

    /* The kernel waits for the disk: what ends that is to log out; of somebody else's just from this one, and
     * not because of our own haste. */
    if (r == -ETIMEDOUT && (s->session || (item->number >= 0 && given == STEP_USEC))) {
        log_full(LOG_WARNING, s->session, "Unmounting %s hangs, logging out first", item->name);
        r = log_out(s, false, s->session ? -1 : item->number);
        if (r < 0)
            return r;
        by_force = true;
        r = -EBUSY;
    }
    if (r == -EBUSY && by_force)
        r = path_unmount(item->name, true, step(s));
    if (r == -EBUSY)
        return mount_in_use(s, item);
    if (r < 0)
        return fail_errno(s, item, r);
    log_full(LOG_NOTICE, s->session, "Swept: unmounted %s", item->name);
    return 0;
}

/* The disk of a mount is dead if its session is; then nobody can use it any more. */
static void mark_dead(Sweep *s)
{
    size_t i, k;

    for (i = 0; i < s->l.n; i++)
        for (k = 0; s->l.items[i].kind == LEFTOVER_ISCSI && s->l.items[i].dead && k < s->l.n; k++)
            if (s->l.items[k].kind == LEFTOVER_MOUNT && s->l.items[k].number == s->l.items[i].number)
                s->l.items[k].dead = true;
}

static int unmount_all(Sweep *s)
{
    size_t i;
    int r = 0;

    for (i = s->l.n; r >= 0 && i-- > 0;) /* the last one lies on top */
        if (s->l.items[i].kind == LEFTOVER_MOUNT && wanted(s, &s->l.items[i]))
            r = unmount(s, &s->l.items[i]);
    return r;
}

/* ---- block devices ---- */

/* By the kernel's own node: this runs in ilr-helper@.service, which may make none (device_open()). */
static int block_open(const Leftover *item)
{
    _cleanup_free_ char *path = NULL;
    _cleanup_close_ int fd = -EBADF;
    struct stat st;

    if (asprintf(&path, "%s/%s", paths.dev, item->name) < 0)
        return (path = NULL), -ENOMEM;
    fd = open(path, O_RDWR | O_NONBLOCK | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0 || fstat(fd, &st) < 0)
        return -errno;
    return S_ISBLK(st.st_mode) && st.st_rdev == item->device ? TAKE_FD(fd) : -ENODEV;
}

static int block_ioctl(void *userdata, int fd)
{
    const Leftover *item = userdata;
    _cleanup_close_ int device = block_open(item);

    if (device < 0)
        return device;
    return ioctl(device, item->kind == LEFTOVER_MD ? STOP_ARRAY : LOOP_CLR_FD, NULL) < 0 ? -errno : 0;
}

static int delete_child(void *userdata, int fd)
{
    const Leftover *item = userdata;
    _cleanup_free_ char *path = NULL;

    if (asprintf(&path, "%s/class/block/%s/device/delete", paths.sysfs, item->name) < 0)
        return (path = NULL), -ENOMEM;
    return file_write_attribute(path, "1");
}

static int remove_block(Sweep *s, const Leftover *item)
{
    int r = item->kind == LEFTOVER_DM ? dm_remove(item->name, s->session, step(s), &s->cookie)
                                      : child_call(item->kind == LEFTOVER_DISK ? delete_child : block_ioctl,
                                                   (void *)item, step(s), NULL);

    if (r == -ENXIO || r == -ENODEV || r == -ENOENT) /* gone meanwhile */
        return 0;
    if (r == -EBUSY)
        return fail(s, item, "somebody has it open");
    if (r < 0)
        return fail_errno(s, item, r);
    log_full(LOG_NOTICE, s->session, "Swept: removed %s %s", leftover_kind_to_string(item->kind), item->name);
    return 0;
}

static int by_height(const void *a, const void *b)
{
    const Leftover *x = *(const Leftover *const *)a, *y = *(const Leftover *const *)b;

    return x->height != y->height ? (x->height > y->height ? -1 : 1) : strcmp(x->name, y->name);
}

/* What is on top goes first; disks go with their sessions. */
static int remove_blocks(Sweep *s)
{
    _cleanup_free_ const Leftover **order = calloc(s->l.n + 1, sizeof(*order));
    size_t n = 0, i;
    int r = 0, k;

    if (!order)
        return -ENOMEM;
    for (i = 0; i < s->l.n; i++) {
        const Leftover *item = &s->l.items[i];

        if (wanted(s, item) &&
            (item->kind == LEFTOVER_DM || item->kind == LEFTOVER_MD || item->kind == LEFTOVER_LOOP))
            order[n++] = item;
    }
    if (n > 1)
        qsort(order, n, sizeof(*order), by_height);
    for (i = 0; r >= 0 && i < n; i++)
        r = remove_block(s, order[i]);
    k = dm_settle(&s->cookie, step(s));
    if (k < 0)
        log_errno_full(LOG_WARNING, s->session, k, "udev did not finish with the removed devices");
    return r;
}

/* ---- everything else ---- */

static int remove_record(Sweep *s, const Leftover *item)
{
    const char *target = item->kind == LEFTOVER_NODE_RECORD ? strrchr(item->name, '/') + 1 : NULL;
    int r;

    if (still_logged_in(target, item->port))
        return fail(s, item, "there is a session to it");
    r = file_remove_tree(AT_FDCWD, item->name);
    return r < 0 ? fail_errno(s, item, r) : 0;
}

static int end_process(Sweep *s, const Leftover *item)
{
    int r;

    if (item->ours && !process_exists((pid_t)item->number, item->since))
        return 0;
    if (item->ours) /* the manager kills what is in a unit when it stops */
        return fail(s, item, "it does not end with its unit: it waits in the kernel");
    if (still_logged_in(NULL, item->port))
        return fail(s, item, "there is a session through it");
    r = process_end((pid_t)item->number, item->since, TUNNEL_WAIT_USEC);
    if (r >= 0)
        log_full(LOG_NOTICE, s->session, "Swept: ended the tunnel, process %s", item->name);
    return r < 0 ? fail_errno(s, item, r) : 0;
}

static int stop_unit(Sweep *s, const Leftover *item)
{
    _cleanup_bus_ sd_bus *bus = NULL;
    int r = systemd_connect(&bus);

    if (r >= 0)
        r = systemd_stop(bus, item->name, STOP_TIMEOUT_USEC);
    if (r >= 0)
        systemd_reset_failed(bus, item->name);
    return r < 0 ? fail_errno(s, item, r) : 0;
}

static int remove_cookie(Sweep *s, const Leftover *item)
{
    if (semctl((int)item->number, 0, GETZCNT) > 0)
        return fail(s, item, "somebody waits for it");
    if (semctl((int)item->number, 0, IPC_RMID) < 0 && errno != EINVAL && errno != EIDRM)
        return fail_errno(s, item, -errno);
    return 0;
}

static int remove_other(Sweep *s, const Leftover *item)
{
    int r;

    switch (item->kind) {
    case LEFTOVER_MOUNT:
    case LEFTOVER_DM:
    case LEFTOVER_MD:
    case LEFTOVER_LOOP:
    case LEFTOVER_ISCSI:
        return 0;
    case LEFTOVER_DISK:
        if (item->number >= 0) /* it went with its iSCSI session */
            return 0;
        r = s->session ? 0 : look_for_users(s, item);
        return r == 0 ? remove_block(s, item) : MIN(r, 0);
    case LEFTOVER_NAMESPACE:
        return fail(s, item, "nobody but this process can give it up: end it");
    case LEFTOVER_NODE_RECORD:
    case LEFTOVER_DISCOVERY_RECORD:
        return remove_record(s, item);
    case LEFTOVER_UNIT:
        return stop_unit(s, item);
    case LEFTOVER_PROCESS:
        return end_process(s, item);
    case LEFTOVER_DROP_IN:
    case LEFTOVER_DIRECTORY:
    case LEFTOVER_FILE:
        r = file_remove_tree(AT_FDCWD, item->name);
        return r < 0 ? fail_errno(s, item, r) : 0;
    case LEFTOVER_UDEV_COOKIE:
        return remove_cookie(s, item);
    case LEFTOVER_KIND_MAX:
    case LEFTOVER_KIND_INVALID:
        break;
    }
    return -EINVAL;
}

/* In this order (docs/architecture.md): with a dead target every other step hangs until it is logged out. */
static int take_down(Sweep *s, bool all)
{
    size_t i;
    int r;

    mark_dead(s);
    r = log_out(s, true, -1);
    if (r >= 0)
        r = unmount_all(s);
    if (r >= 0)
        r = remove_blocks(s);
    if (r >= 0 && all)
        r = log_out(s, false, -1);
    for (i = 0; r >= 0 && all && i < s->l.n; i++)
        if (wanted(s, &s->l.items[i]))
            r = remove_other(s, &s->l.items[i]);
    return r;
}

/* ---- a session ---- */

/* Its iSCSI sessions as they are known while its devices stand; -1 ends them. */
static int64_t *session_sids(const Sweep *s)
{
    int64_t *sids = calloc(s->l.n + 1, sizeof(*sids));
    size_t i, n = 0;

    if (!sids)
        return NULL;
    for (i = 0; i < s->l.n; i++)
        if (s->l.items[i].kind == LEFTOVER_ISCSI && streq(s->l.items[i].session, s->session))
            sids[n++] = s->l.items[i].number;
    sids[n] = -1;
    return sids;
}

/* A record that cannot be read would stop everybody for good. What it was about is known by now. */
static void record_drop_broken(const char *id)
{
    _cleanup_free_ char *path = private_path(id, "session.json");
    _cleanup_(record_freep) Record *record = NULL;

    if (record_load(id, &record) != -EBADMSG || !path)
        return;
    log_full(LOG_WARNING, id, "The session's record cannot be read, going by what stands");
    (void)unlink(path);
}

static int sweep_others_of_session(Sweep *s, int64_t **ret_sids)
{
    _cleanup_lock_ int lock = -EBADF;
    int r = session_lock(s->session, LOCK_TIMEOUT_USEC, &lock);

    if (r < 0 && r != -ENOENT)
        return r;
    r = look(s);
    if (r < 0)
        return r;
    *ret_sids = session_sids(s);
    if (!*ret_sids)
        return -ENOMEM;
    s->others_only = true;
    r = take_down(s, false);
    s->others_only = false;
    if (r >= 0)
        record_drop_broken(s->session);
    return r;
}

static int sweep_rest_of_session(Sweep *s, const int64_t *sids)
{
    _cleanup_lock_ int lock = -EBADF;
    int r = session_lock(s->session, LOCK_TIMEOUT_USEC, &lock);

    if (r < 0 && r != -ENOENT)
        return r;
    for (; *sids >= 0; sids++) {
        _cleanup_failure_ Failure *f = NULL;

        r = iscsi_session_logout(NULL, *sids, ISCSI_LOGOUT_TIMEOUT_USEC, &f);
        if (r < 0)
            r = tell(s, "iscsi-session", f ? f->message : "?", f ? f->message : strerror(-r));
        if (r < 0)
            return r;
    }
    r = look(s);
    return r < 0 ? r : take_down(s, true);
}

static int sweep_session(Sweep *s)
{
    _cleanup_failure_ Failure *failure = NULL;
    _cleanup_free_ int64_t *sids = NULL;
    int r, k;

    r = sweep_others_of_session(s, &sids);
    if (r < 0)
        return r;
    k = session_disconnect(s->session, true, &failure);
    if (k < 0) {
        r = tell(s, "session", s->session, failure ? failure->message : strerror(-k));
        if (r < 0)
            return r;
    }
    /* Somebody else is at it: he will be through with it, or be a leftover next time. */
    if (k == -ETIMEDOUT || (failure && failure->name == FAILURE_BUSY))
        return 0;
    return sweep_rest_of_session(s, sids);
}

int verb_sweep(Request *request, json_object **ret_answer, Failure **ret_failure)
{
    _cleanup_json_ json_object *answer = json_object_new_object(), *failures = json_object_new_array();
    Sweep s = {.session = request->session,
               .failures = failures,
               .deadline_usec = now_usec(CLOCK_MONOTONIC) + SWEEP_USEC};
    int r;

    if (!answer || !failures)
        return -ENOMEM;
    r = json_get_bool(request->parameters, "foreign", &s.foreign);
    if (r < 0 || (s.foreign && s.session))
        return verb_fail(ret_failure, -EINVAL, FAILURE_INVALID_REQUEST,
                         "foreign: a boolean is expected, and no session beside it");
    r = s.session ? sweep_session(&s) : look(&s);
    if (r >= 0 && !s.session) {
        if (s.foreign && s.l.unreadable) {
            s.foreign = false;
            r = tell(&s, "session", "-",
                     "the record of a session cannot be read, so it is not known what is foreign: sweep "
                     "what is ours first");
        }
        if (r >= 0)
            r = take_down(&s, true);
    }
    leftovers_done(&s.l);
    free(s.failed);
    if (r >= 0)
        r = json_add(answer, "failures", TAKE_PTR(failures));
    if (r < 0)
        return r;
    *ret_answer = TAKE_PTR(answer);
    return 0;
}
