/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The verbs that start and stop the units of a session: connect, up, down, disconnect. */

#include "base64.h"
#include "connection-file.h"
#include "iscsi.h"
#include "log.h"
#include "mount.h"
#include "paths.h"
#include "session-dirs.h"
#include "storage.h"
#include "systemd.h"

#include <systemd/sd-bus.h>

#define SCRIPT_SIZE_MAX (8 * MIB)
/* ilr-connect ends by itself: ConnectTimeoutSec= for its turn, as long again for the script. This is for the
 * one that does not; ilrd waits longer than this. */
#define CONNECT_GRACE_USEC USEC_PER_MINUTE
#define UP_TIMEOUT_USEC (30 * USEC_PER_MINUTE)
/* TimeoutStopSec= of the units and a little more. */
#define STOP_CONNECTION_TIMEOUT_USEC (60 * USEC_PER_SEC)
#define STOP_SESSION_TIMEOUT_USEC (200 * USEC_PER_SEC)
#define LINGERING_TIMEOUT_USEC (5 * USEC_PER_SEC)

#define AGAIN "it is tried again by itself"
#define STILL_STANDS AGAIN "; ilrctl release --force ID does not wait for anybody"

typedef struct Units {
    char connection[64];
    char session[64];
} Units;

static void units_of(const char *id, Units *ret)
{
    snprintf(ret->connection, sizeof(ret->connection), "ilr-connection@%s.service", id);
    snprintf(ret->session, sizeof(ret->session), "ilr-session@%s.service", id);
}

static int bus_failed(Failure **ret_failure, int r)
{
    return verb_fail(ret_failure, r, FAILURE_HELPER_FAILED, "cannot talk to the service manager: %s",
                     strerror(-r));
}

static int script_get(json_object *parameters, Secret **ret, Failure **ret_failure)
{
    const char *text;
    int r = json_get_string(parameters, "script", &text) > 0 ? base64_decode(text, SCRIPT_SIZE_MAX, ret)
                                                             : -EBADMSG;

    if (r == -EBADMSG)
        return verb_fail(ret_failure, -EINVAL, FAILURE_INVALID_REQUEST, "script: base64 text is expected");
    if (r == -EFBIG)
        return verb_fail(ret_failure, r, FAILURE_SCRIPT_INVALID,
                         "the connection script is longer than %llu bytes",
                         (unsigned long long)SCRIPT_SIZE_MAX);
    return r;
}

static int connection_answer(ConnectionFile *file, json_object **ret_answer)
{
    _cleanup_json_ json_object *answer = json_object_new_object();
    int r = answer ? json_add(answer, "connection", TAKE_PTR(file->connection)) : -ENOMEM;

    if (r < 0)
        return r;
    *ret_answer = TAKE_PTR(answer);
    return 0;
}

/* The unit did not become READY: what it wrote down, or else what the manager says. */
static int connect_failed(const char *id, const SessionOwner *owner, int r, Failure **ret_failure)
{
    _cleanup_(connection_file_done) ConnectionFile file = {};

    if (r == -ETIMEDOUT)
        return verb_fail(ret_failure, r, FAILURE_CONNECT_TIMEOUT,
                         "the connection of session %s was not ready in time", id);
    if (connection_file_read(id, owner->uid, &file) >= 0 && file.failure) {
        failure_free(*ret_failure);
        *ret_failure = TAKE_PTR(file.failure);
        return r;
    }
    if (r == -ENOENT)
        return verb_fail(ret_failure, r, FAILURE_HELPER_FAILED,
                         "the unit ilr-connection@.service is not installed");
    return verb_fail(ret_failure, r, FAILURE_HELPER_FAILED,
                     "ilr-connection@%s.service failed without saying why; see its journal", id);
}

/* Still there from an earlier call: the answer is the same. */
static int connect_again(const char *id, const SessionOwner *owner, json_object **ret_answer)
{
    _cleanup_(connection_file_done) ConnectionFile file = {};
    int r = connection_file_read(id, owner->uid, &file);

    if (r < 0)
        return r;
    return file.connected ? connection_answer(&file, ret_answer) : -EBUSY;
}

static int connect_prepare(Request *request, sd_bus *bus, const Units *units, const SessionOwner *owner,
                           Failure **ret_failure)
{
    const char *initiator =
        request->config->initiator_mode == INITIATOR_NAME ? request->config->initiator_name : NULL;
    _cleanup_secret_ Secret *script = NULL;
    SessionPortal portal;
    int r;

    r = session_portal_from_json(request->parameters, &portal, ret_failure);
    if (r >= 0)
        r = script_get(request->parameters, &script, ret_failure);
    if (r < 0)
        return r;
    /* Leftovers of a connection that failed; one that has targets or mounts is not overwritten. */
    {
        _cleanup_(record_freep) Record *record = NULL;

        r = record_load(request->session, &record);
        if (r >= 0 && record->n_targets > 0)
            return verb_fail(ret_failure, -EBUSY, FAILURE_HELPER_FAILED,
                             "session %s has targets of an earlier connection: disconnect it first",
                             request->session);
        if (r >= 0)
            log_full(LOG_NOTICE, request->session,
                     "Clearing what an earlier connection left that failed or was ended");
    }
    r = session_dirs_clear(request->session);
    if (r >= 0) {
        r = session_dirs_make(request->session, owner, &portal, script, request->config, initiator);
        if (r < 0)
            (void)session_dirs_clear(request->session);
    }
    /* A unit that is not in memory is read with its drop-ins when it is started, so 30 sessions at once cost
     * no reload; one that is, because it failed before, has the old list. */
    if (r >= 0) {
        systemd_reset_failed(bus, units->connection);
        r = systemd_refresh(bus, units->connection);
        if (r < 0)
            return bus_failed(ret_failure, r);
    }
    if (r < 0)
        return verb_fail(ret_failure, r, FAILURE_HELPER_FAILED,
                         "cannot prepare the directories of session %s: %s", request->session, strerror(-r));
    return 0;
}

/* Leaves nothing of a connect that did not come to its start; a connection that stands stays. */
static void connect_undo(const char *id, bool prepared)
{
    _cleanup_free_ char *directory = private_path(id, NULL);

    if (prepared)
        (void)session_dirs_clear(id);
    if (directory)
        (void)rmdir(directory); /* only if it is empty */
}

/* Whoever wants the session taken down again asks for that after he has hung up here: with the lock held
 * until the unit is about to start, he finds all of it or nothing. */
static int connect_begin(Request *request, sd_bus *bus, const Units *units, const SessionOwner *owner,
                         json_object **ret_answer, Failure **ret_failure)
{
    _cleanup_free_ char *state = NULL;
    _cleanup_lock_ int lock = -EBADF;
    bool prepared = false;
    int r;

    r = session_dirs_lock(request->session, LOCK_TIMEOUT_USEC, &lock);
    if (r == -ETIMEDOUT)
        return verb_fail_hint(ret_failure, r, FAILURE_BUSY, "provision the point again",
                              "another request holds session %s", request->session);
    if (r < 0)
        return r;
    if (caller_gone(request->fd))
        r = -ECANCELED;
    else
        r = systemd_active_state(bus, units->connection, &state);
    if (r >= 0 && streq(state, "active"))
        return connect_again(request->session, owner, ret_answer);
    if (r >= 0 && !streq(state, "inactive") && !streq(state, "failed"))
        return verb_fail(ret_failure, -EBUSY, FAILURE_HELPER_FAILED, "%s is %s", units->connection, state);
    if (r >= 0) {
        r = connect_prepare(request, bus, units, owner, ret_failure);
        prepared = r >= 0;
    }
    if (r >= 0 && caller_gone(request->fd))
        r = -ECANCELED;
    if (r < 0)
        connect_undo(request->session, prepared);
    return r;
}

int verb_connect(Request *request, json_object **ret_answer, Failure **ret_failure)
{
    _cleanup_(connection_file_done) ConnectionFile file = {};
    _cleanup_bus_ sd_bus *bus = NULL;
    SessionOwner owner;
    Units units = {};
    int r, k;

    units_of(request->session, &units);
    r = session_owner_get(&owner);
    if (r < 0)
        return verb_fail(ret_failure, r, FAILURE_HELPER_FAILED,
                         "the users ilr-connect and ilrd do not exist");
    r = systemd_connect(&bus);
    if (r < 0)
        return bus_failed(ret_failure, r);
    r = connect_begin(request, bus, &units, &owner, ret_answer, ret_failure);
    if (r < 0 || *ret_answer)
        return r;
    r = systemd_start(bus, units.connection, 2 * request->config->connect_timeout_usec + CONNECT_GRACE_USEC,
                      request->fd);
    if (r < 0) {
        /* Whoever asked hung up, or it took too long: nothing goes on behind his back. */
        k = systemd_stop(bus, units.connection, STOP_CONNECTION_TIMEOUT_USEC);
        if (k < 0)
            log_errno_full(LOG_ERR, request->session, k, "Cannot stop %s", units.connection);
        return r == -ECANCELED ? r : connect_failed(request->session, &owner, r, ret_failure);
    }
    r = connection_file_read(request->session, owner.uid, &file);
    if (r < 0 || !file.connected)
        return verb_fail(ret_failure, r < 0 ? r : -EBADMSG, FAILURE_HELPER_FAILED,
                         "the connection of session %s is ready, but its connection.json %s",
                         request->session, r < 0 ? strerror(-r) : "does not say so");
    return connection_answer(&file, ret_answer);
}

/* How this session wants its journals; the unit reads it in the record. */
static int keep_replay(Request *request, Failure **ret_failure)
{
    _cleanup_(record_freep) Record *record = NULL;
    _cleanup_lock_ int lock = -EBADF;
    const char *text = NULL;
    int r = json_get_string(request->parameters, "replay", &text);

    if (r < 0 || (text && replay_from_string(text) < 0))
        return verb_fail(ret_failure, -EINVAL, FAILURE_INVALID_REQUEST,
                         "replay: \"overlay\" or \"none\" is expected");
    if (!text)
        return 0;
    r = session_lock(request->session, LOCK_TIMEOUT_USEC, &lock);
    if (r >= 0)
        r = record_load(request->session, &record);
    if (r == -ENOENT)
        return verb_fail(ret_failure, r, FAILURE_NO_SUCH_SESSION, "session %s is not connected",
                         request->session);
    if (r < 0)
        return r;
    record->replay = replay_from_string(text);
    return record_save(record);
}

int verb_up(Request *request, json_object **ret_answer, Failure **ret_failure)
{
    _cleanup_(record_freep) Record *record = NULL;
    _cleanup_free_ char *state = NULL;
    _cleanup_bus_ sd_bus *bus = NULL;
    Units units = {};
    int r, k;

    r = keep_replay(request, ret_failure);
    if (r < 0)
        return r;
    units_of(request->session, &units);
    r = systemd_connect(&bus);
    if (r >= 0)
        r = systemd_active_state(bus, units.connection, &state);
    if (r < 0)
        return bus_failed(ret_failure, r);
    /* The unit would pull its connection in and so run the script again. */
    if (!streq(state, "active"))
        return verb_fail(ret_failure, -ENOTCONN, FAILURE_CONNECTION_LOST,
                         "the connection of session %s is %s", request->session, state);
    r = systemd_start(bus, units.session, UP_TIMEOUT_USEC, request->fd);
    if (r == -ECANCELED || r == -ETIMEDOUT) {
        k = systemd_stop(bus, units.session, STOP_SESSION_TIMEOUT_USEC);
        if (k < 0)
            log_errno_full(LOG_ERR, request->session, k, "Cannot stop %s", units.session);
        return r;
    }
    k = record_load(request->session, &record);
    if (k == -ENOENT)
        return verb_fail(ret_failure, k, FAILURE_NO_SUCH_SESSION, "session %s is not connected",
                         request->session);
    if (k < 0)
        return verb_fail(ret_failure, k, FAILURE_HELPER_FAILED, "cannot read the record of session %s: %s",
                         request->session, strerror(-k));
    if (r < 0) {
        if (record->failure)
            *ret_failure = TAKE_PTR(record->failure);
        return verb_fail(ret_failure, r, FAILURE_HELPER_FAILED,
                         "%s failed without saying why; see its journal", units.session);
    }
    return record_answer(record, ret_answer);
}

int verb_down(Request *request, json_object **ret_answer, Failure **ret_failure)
{
    _cleanup_json_ json_object *answer = json_object_new_object();
    _cleanup_lock_ int lock = -EBADF;
    StorageLeft left = {};
    bool force = false;
    int r;

    if (!answer)
        return -ENOMEM;
    if (json_get_bool(request->parameters, "force", &force) < 0)
        return verb_fail(ret_failure, -EINVAL, FAILURE_INVALID_REQUEST, "force: true or false is expected");
    r = session_lock(request->session, force ? LOCK_TIMEOUT_FORCED_USEC : LOCK_TIMEOUT_USEC, &lock);
    if (r == -ETIMEDOUT && force)
        log_full(LOG_WARNING, request->session, "Somebody keeps the session's lock, going down without it");
    else if (r == -ETIMEDOUT)
        return verb_fail_hint(ret_failure, r, FAILURE_BUSY, AGAIN, "another request holds session %s",
                              request->session);
    else if (r < 0 && r != -ENOENT)
        return r;
    r = storage_down(request->session, force, &left, ret_failure);
    if (r >= 0)
        r = json_add_int64(answer, "lingering", (int64_t)left.devices);
    if (r >= 0 && left.devices > 0 && left.holders)
        r = json_add(answer, "holders", TAKE_PTR(left.holders));
    json_object_put(left.holders);
    if (r >= 0)
        *ret_answer = TAKE_PTR(answer);
    return r;
}

static int verify_unmounted(const char *id, const char *directory, Failure **ret_failure)
{
    MountPoint *mounts = NULL;
    size_t n = 0;
    int r = directory ? mounts_below(directory, &mounts, &n) : -ENOMEM;

    if (r >= 0 && n > 0)
        r = verb_fail_hint(ret_failure, -EBUSY, FAILURE_BUSY, STILL_STANDS,
                           "%zu mounts of session %s still stand, one at %s", n, id, mounts[n - 1].path);
    mounts_free(mounts, n);
    return r;
}

/* What of the session still stands: its mounts, its stores and its iSCSI sessions. */
static int verify_gone(const char *id, Failure **ret_failure)
{
    _cleanup_free_ char *mounts = mounts_path(id, NULL), *private = private_path(id, NULL);
    _cleanup_(record_freep) Record *record = NULL;
    IscsiSession *sessions = NULL;
    size_t n = 0;
    int r;

    r = verify_unmounted(id, mounts, ret_failure);
    if (r >= 0)
        r = verify_unmounted(id, private, ret_failure);
    if (r < 0)
        return r;
    r = record_load(id, &record);
    if (r == -ENOENT)
        return 0;
    if (r < 0)
        return verb_fail(
            ret_failure, r, FAILURE_HELPER_FAILED,
            "the record %s/%s/session.json cannot be read (%s): look with iscsiadm -m session whether a "
            "target of the session is left, log out of it, and remove the file",
            paths.private_dir, id, strerror(-r));
    r = iscsi_sessions_find(record, &sessions, &n);
    if (r < 0)
        return r;
    if (n > 0)
        r = verb_fail_hint(ret_failure, -EBUSY, FAILURE_BUSY, STILL_STANDS,
                           "iSCSI session %lld to %s of session %s still stands (%s)",
                           (long long)sessions[0].sid, sessions[0].target, id, sessions[0].state);
    iscsi_sessions_free(sessions, n);
    return r;
}

int session_disconnect(const char *id, bool thorough, Failure **ret_failure)
{
    _cleanup_failure_ Failure *ignored = NULL;
    _cleanup_lock_ int lock = -EBADF;
    _cleanup_bus_ sd_bus *bus = NULL;
    Units units = {};
    int r, k;

    units_of(id, &units);
    r = systemd_connect(&bus);
    if (r < 0)
        return bus_failed(ret_failure, r);
    /* In this order, although the units hold it as well: the first one tells why if it does not end. */
    r = systemd_stop(bus, units.session, STOP_SESSION_TIMEOUT_USEC);
    k = systemd_stop(bus, units.connection, STOP_CONNECTION_TIMEOUT_USEC);
    if (r == -ETIMEDOUT || k == -ETIMEDOUT)
        return verb_fail(ret_failure, -ETIMEDOUT, FAILURE_HELPER_FAILED, "%s does not stop",
                         r == -ETIMEDOUT ? units.session : units.connection);
    if (r < 0 || k < 0)
        log_errno_full(LOG_WARNING, id, r < 0 ? r : k, "A unit of the session did not stop cleanly");
    systemd_reset_failed(bus, units.session);
    systemd_reset_failed(bus, units.connection);
    r = session_lock(id, LOCK_TIMEOUT_USEC, &lock);
    if (r == -ETIMEDOUT)
        return verb_fail_hint(ret_failure, r, FAILURE_BUSY, AGAIN, "another request holds session %s", id);
    if (r < 0 && r != -ENOENT)
        return r;
    /* A connect that was given up may have started its unit before it let go of the lock. */
    k = systemd_stop(bus, units.connection, STOP_CONNECTION_TIMEOUT_USEC);
    if (k < 0)
        return verb_fail(ret_failure, k, FAILURE_HELPER_FAILED, "%s does not stop: %s", units.connection,
                         strerror(-k));
    if (thorough || verify_gone(id, &ignored) < 0) {
        /* The connection came as far as a login, and no further: there was no session unit to take it down.
         */
        r = storage_down(id, true, NULL, ret_failure);
        if (r < 0)
            log_errno_full(LOG_WARNING, id, r, "Forced down: %s",
                           ret_failure && *ret_failure ? (*ret_failure)->message : "failed");
        r = verify_gone(id, ret_failure);
        if (r < 0)
            return r;
        if (*ret_failure)
            *ret_failure = failure_free(*ret_failure);
    }
    r = session_dirs_remove(id);
    if (r < 0)
        return verb_fail(ret_failure, r, FAILURE_HELPER_FAILED,
                         "cannot remove the directories of session %s: %s", id, strerror(-r));
    return 0;
}

int verb_disconnect(Request *request, json_object **ret_answer, Failure **ret_failure)
{
    _cleanup_json_ json_object *answer = json_object_new_object();
    size_t n = 0;
    int r = answer ? session_disconnect(request->session, false, ret_failure) : -ENOMEM;

    if (r < 0)
        return r;
    /* It is disconnected whatever is known of this. */
    r = storage_lingering(request->session, LINGERING_TIMEOUT_USEC, &n);
    if (r < 0)
        log_errno_full(LOG_WARNING, request->session, r, "Cannot list device-mapper's devices");
    r = json_add_int64(answer, "lingering", (int64_t)n);
    if (r >= 0)
        *ret_answer = TAKE_PTR(answer);
    return r;
}
