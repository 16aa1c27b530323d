/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* status: what of each session stands, as the world says it (units, sysfs, mount table), and what its record
 * says of disks and volumes. */

#include "dismantle.h"
#include "holder.h"
#include "iscsi.h"
#include "mount.h"
#include "overlay.h"
#include "paths.h"
#include "systemd.h"
#include "verb.h"

#define STATUS_TIMEOUT_USEC (5 * USEC_PER_SEC)
#define HOLDERS_TIMEOUT_USEC (15 * USEC_PER_SEC)

static int add_units(sd_bus *bus, const char *id, json_object *o)
{
    static const struct {
        const char *unit, *key;
    } units[] = {{"ilr-connection", "connection"}, {"ilr-session", "up"}};
    size_t i;
    int r;

    for (i = 0; i < ELEMENTSOF(units); i++) {
        _cleanup_free_ char *state = NULL;
        char unit[64];

        snprintf(unit, sizeof(unit), "%s@%s.service", units[i].unit, id);
        r = systemd_active_state(bus, unit, &state);
        if (r >= 0)
            r = json_add_string(o, units[i].key, state);
        if (r < 0)
            return r;
    }
    return 0;
}

/* How full the overlays are, as device-mapper says now. */
static json_object *disks_now(const Record *record)
{
    _cleanup_json_ json_object *disks = json_object_new_array();
    size_t i;

    for (i = 0; disks && i < json_object_array_length(record->disks); i++) {
        _cleanup_json_ json_object *copy = NULL;
        uint64_t used = 0;
        int64_t size;
        int r = overlay_used(record->session, (unsigned)i + 1, STATUS_TIMEOUT_USEC, &used);

        if (json_object_deep_copy(json_object_array_get_idx(record->disks, i), &copy, NULL) < 0 ||
            (r >= 0 && json_add_int64(copy, "overlayUsedBytes", (int64_t)used) < 0) ||
            (r == -ENOSPC && json_get_int64(copy, "overlaySizeBytes", &size) > 0 &&
             json_add_int64(copy, "overlayUsedBytes", size) < 0) ||
            json_append(disks, TAKE_PTR(copy)) < 0)
            return NULL;
    }
    return TAKE_PTR(disks);
}

static int add_record(const Record *record, bool brief, json_object *o)
{
    _cleanup_json_ json_object *failure = NULL;
    IscsiSession *sessions;
    size_t n;
    int r = iscsi_sessions_find(record, &sessions, &n);

    if (r < 0)
        return r;
    iscsi_sessions_free(sessions, n);
    r = json_add_int64(o, "iscsiSessions", (int64_t)n);
    if (r < 0 || brief)
        return r;
    if ((r = json_add(o, "disks", disks_now(record))) < 0 ||
        (r = json_add(o, "volumes", json_object_get(record->volumes))) < 0 ||
        (r = json_add(o, "roots", json_object_get(record->roots))) < 0)
        return r;
    if (!record->failure)
        return 0;
    r = failure_to_json(record->failure, &failure);
    return r < 0 ? r : json_add(o, "failure", TAKE_PTR(failure));
}

static int add_broken(const char *id, int r, json_object *o)
{
    _cleanup_failure_ Failure *f =
        failure_new(FAILURE_HELPER_FAILED, "cannot read the record of session %s: %s", id, strerror(-r));
    json_object *failure;

    r = f ? failure_to_json(f, &failure) : -ENOMEM;
    if (r >= 0)
        r = json_add(o, "failure", failure);
    if (r < 0 || (r = json_add_int64(o, "iscsiSessions", 0)) < 0 ||
        (r = json_add(o, "disks", json_object_new_array())) < 0)
        return r;
    return json_add(o, "volumes", json_object_new_array());
}

/* Who has something of the mounts open. Not of the devices: a file system in user space has its own, always.
 */
static int add_holders(const char *directory, const MountPoint *mounts, size_t n, json_object *o)
{
    HolderQuery query = {.directory = directory, .mounts = mounts, .n_mounts = n};
    json_object *holders;
    int r = n > 0 ? holders_find(&query, HOLDERS_TIMEOUT_USEC, &holders) : 0;

    if (n == 0)
        holders = json_object_new_array();
    return r < 0 ? r : json_add(o, "holders", holders);
}

static int status_of(sd_bus *bus, const char *id, bool holders, bool brief, json_object **ret)
{
    _cleanup_json_ json_object *o = json_object_new_object();
    _cleanup_(record_freep) Record *record = NULL;
    _cleanup_free_ char *mounts = mounts_path(id, NULL);
    MountPoint *points = NULL;
    size_t n = 0;
    int r;

    if (!o || !mounts)
        return -ENOMEM;
    r = json_add_string(o, "session", id);
    if (r >= 0)
        r = add_units(bus, id, o);
    if (r >= 0)
        r = mounts_below(mounts, &points, &n);
    if (r >= 0 && holders)
        r = add_holders(mounts, points, n, o);
    mounts_free(points, n);
    if (r >= 0)
        r = json_add_int64(o, "mounts", (int64_t)n);
    if (r < 0)
        return r;
    r = record_load(id, &record);
    if (r == -ENOMEM)
        return r;
    r = r < 0 ? add_broken(id, r, o) : add_record(record, brief, o);
    if (r < 0)
        return r;
    *ret = TAKE_PTR(o);
    return 0;
}

/* Nothing stands, but somebody has something open that was left to him. */
static int status_lingering(const char *id, json_object **ret)
{
    _cleanup_json_ json_object *o = json_object_new_object();

    if (!o || json_add_string(o, "session", id) < 0 || json_add_string(o, "connection", "inactive") < 0 ||
        json_add_string(o, "up", "inactive") < 0 || json_add_int64(o, "iscsiSessions", 0) < 0 ||
        json_add_int64(o, "mounts", 0) < 0 || json_add(o, "disks", json_object_new_array()) < 0 ||
        json_add(o, "volumes", json_object_new_array()) < 0)
        return -ENOMEM;
    *ret = TAKE_PTR(o);
    return 0;
}

/* For one session only: how many devices of device-mapper there are under its name. */
static int add_lingering(const char *id, json_object *array)
{
    json_object *o = json_object_array_length(array) > 0 ? json_object_array_get_idx(array, 0) : NULL;
    size_t n;
    int r = storage_lingering(id, STATUS_TIMEOUT_USEC, &n);

    if (r < 0 || (!o && n == 0))
        return r;
    if (!o) {
        r = status_lingering(id, &o);
        if (r < 0)
            return r;
        r = json_append(array, o);
        if (r < 0)
            return r;
    }
    return json_add_int64(o, "lingering", (int64_t)n);
}

int verb_status(Request *request, json_object **ret_answer, Failure **ret_failure)
{
    _cleanup_json_ json_object *answer = json_object_new_object(), *array = json_object_new_array();
    _cleanup_strv_free_ char **ids = NULL;
    _cleanup_bus_ sd_bus *bus = NULL;
    bool holders = false, brief = false;
    char **id;
    int r;

    if (!answer || !array)
        return -ENOMEM;
    if (json_get_bool(request->parameters, "holders", &holders) < 0)
        return verb_fail(ret_failure, -EINVAL, FAILURE_INVALID_REQUEST, "holders: true or false is expected");
    if (json_get_bool(request->parameters, "brief", &brief) < 0)
        return verb_fail(ret_failure, -EINVAL, FAILURE_INVALID_REQUEST, "brief: true or false is expected");
    r = record_list(&ids);
    if (r < 0)
        return r;
    r = systemd_connect(&bus);
    if (r < 0)
        return verb_fail(ret_failure, r, FAILURE_HELPER_FAILED, "cannot talk to the service manager: %s",
                         strerror(-r));
    STRV_FOREACH (id, ids) {
        json_object *o;

        if (request->session && !streq(request->session, *id))
            continue;
        r = status_of(bus, *id, holders, brief, &o);
        if (r < 0)
            return r;
        r = json_append(array, o);
        if (r < 0)
            return r;
    }
    r = request->session ? add_lingering(request->session, array) : 0;
    if (r >= 0)
        r = json_add(answer, "sessions", TAKE_PTR(array));
    if (r < 0)
        return r;
    *ret_answer = TAKE_PTR(answer);
    return 0;
}
