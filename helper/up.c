/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "storage.h"

#include "disk.h"
#include "dismantle.h"
#include "iscsi.h"
#include "log.h"
#include "overlay.h"
#include "timeutil.h"
#include "up-state.h"

#define DISMANTLE_USEC (60 * USEC_PER_SEC)
#define REASONS_SHOWN_MAX 5

static int find_disks(Up *u, Failure **ret_failure)
{
    IscsiSession *sessions = NULL;
    size_t n = 0, i, k;
    int r;

    r = iscsi_sessions_find(u->record, &sessions, &n);
    for (i = 0; r >= 0 && i < u->record->n_targets; i++) {
        for (k = 0; k < n && !streq(sessions[k].target, u->record->targets[i].name); k++)
            ;
        if (k == n) {
            *ret_failure = failure_new(FAILURE_DISKS_MISSING, "target %s has no iSCSI session",
                                       u->record->targets[i].name);
            r = -ENOTCONN;
        }
    }
    if (r >= 0 && n == 0) {
        *ret_failure = failure_new(FAILURE_DISKS_MISSING, "the session has no targets");
        r = -ENOTCONN;
    }
    if (r >= 0)
        r = disks_wait(sessions, n, u->config->disk_timeout_usec, &u->a.disks, &u->a.n_disks, ret_failure);
    iscsi_sessions_free(sessions, n);
    return r < 0 ? r : up_save(u);
}

static int make_overlays(Up *u, Failure **ret_failure)
{
    size_t i;
    int r;

    r = overlay_stores_mount(u->id, u->a.disks, u->a.n_disks, u->config, DEVICE_TIMEOUT_USEC);
    if (r < 0) {
        *ret_failure = failure_new(FAILURE_OVERLAY_FAILED, "no tmpfs could be mounted for the overlays: %s",
                                   strerror(-r));
        return r;
    }
    for (i = 0; i < u->a.n_disks; i++) {
        r = disk_hide(&u->a.disks[i]);
        if (r < 0)
            log_errno_full(LOG_WARNING, u->id, r, "Cannot remove the nodes of %s", u->a.disks[i].kernel_name);
        r = overlay_make(u->id, (unsigned)i + 1, &u->a.disks[i],
                         overlay_store_bytes(u->config->overlay_size_bytes, u->a.disks[i].size_bytes),
                         DEVICE_TIMEOUT_USEC, &u->a.cookie, ret_failure);
        if (r < 0)
            return r;
    }
    return 0;
}

static int nothing_mounted(Up *u, Failure **ret_failure)
{
    _cleanup_strv_free_ char **reasons = NULL;
    _cleanup_free_ char *text = NULL;
    size_t i;
    int r;

    for (i = 0; i < u->a.n_volumes && i < REASONS_SHOWN_MAX; i++) {
        r = strv_extendf(&reasons, "%s: %s", u->a.volumes[i].name, u->a.volumes[i].reason);
        if (r < 0)
            return r;
    }
    if (u->a.n_volumes > REASONS_SHOWN_MAX && (r = strv_extend(&reasons, "...")) < 0)
        return r;
    text = strv_join(reasons, "; ");
    *ret_failure =
        failure_new(FAILURE_NOTHING_TO_MOUNT, "none of %zu volumes on %zu disks could be mounted: %s",
                    u->a.n_volumes, u->a.n_disks, text ? text : "?");
    return -ENODATA;
}

static int bring_up(Up *u, Failure **ret_failure)
{
    size_t i;
    int r;

    r = find_disks(u, ret_failure);
    if (r < 0)
        return r;
    log_full(LOG_INFO, u->id, "%zu disks are there and read-only", u->a.n_disks);
    r = make_overlays(u, ret_failure);
    assembly_begin(&u->a); /* what the disks took was DiskTimeoutSec= */
    if (r >= 0)
        r = assembly_look_into_disks(&u->a);
    if (r >= 0)
        r = up_assemble(u);
    if (r >= 0)
        r = up_mount(u);
    if (r < 0)
        return r;
    for (i = 0; i < u->a.n_volumes; i++)
        if (u->a.volumes[i].mounted || u->a.volumes[i].locked)
            return 0;
    return nothing_mounted(u, ret_failure);
}

int storage_up(const char *id, const Config *config, Failure **ret_failure)
{
    _cleanup_(up_done) Up u = {};
    size_t left = 0;
    int r;

    r = up_init(&u, id, config);
    if (r < 0)
        return r;
    u.record->failure = failure_free(u.record->failure);
    /* What an earlier helper left half done. */
    if (storage_lingering(id, DEVICE_TIMEOUT_USEC, &left) >= 0 && left > 0)
        log_full(LOG_NOTICE, id, "Taking down %zu devices that a helper which was ended left half done",
                 left);
    r = storage_dismantle(id, false, now_usec(CLOCK_MONOTONIC) + DISMANTLE_USEC, NULL, ret_failure);
    if (r < 0)
        return r;
    json_object_put(u.record->roots);
    u.record->roots = json_object_new_array();
    r = u.record->roots ? bring_up(&u, ret_failure) : -ENOMEM;
    (void)dm_settle(&u.a.cookie, DEVICE_TIMEOUT_USEC); /* left over only by a failure */
    if (r < 0) {
        _cleanup_failure_ Failure *second = NULL;

        /* systemd does not run ExecStop= of a service that did not start: nothing may be left standing. */
        if (storage_dismantle(id, true, now_usec(CLOCK_MONOTONIC) + DISMANTLE_USEC, NULL, &second) < 0)
            log_full(LOG_WARNING, id, "Not all of a failed start could be taken down, it is tried again");
    }
    return r;
}
