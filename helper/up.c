/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "storage.h"

#include "assembly.h"
#include "btrfs.h"
#include "child.h"
#include "disk.h"
#include "dismantle.h"
#include "files.h"
#include "iscsi.h"
#include "log.h"
#include "mount.h"
#include "names.h"
#include "overlay.h"
#include "paths.h"
#include "timeutil.h"

#include <fcntl.h>
#include <grp.h>
#include <sys/random.h>
#include <sys/stat.h>

#define DISMANTLE_USEC (60 * USEC_PER_SEC)
#define REASONS_SHOWN_MAX 5

typedef struct Up {
    const char *id;
    const Config *config;
    Record *record;
    char *mounts; /* directory of the volumes */
    gid_t group;
    Assembly a;
} Up;

static void up_done(Up *u)
{
    record_free(u->record);
    free(u->mounts);
    assembly_done(&u->a);
}

/* Puts what is known now into the record. */
static int save(Up *u)
{
    _cleanup_json_ json_object *disks = json_object_new_array(), *volumes = json_object_new_array();
    json_object *o;
    size_t i;
    int r;

    if (!disks || !volumes)
        return -ENOMEM;
    for (i = 0; i < u->a.n_disks; i++) {
        r = disk_to_json(&u->a.disks[i], &o);
        if (r < 0 || json_object_array_add(disks, o) < 0)
            return r < 0 ? r : -ENOMEM;
    }
    for (i = 0; i < u->a.n_volumes; i++) {
        r = volume_to_json(&u->a.volumes[i], u->a.disks, u->mounts, &o);
        if (r < 0 || json_object_array_add(volumes, o) < 0)
            return r < 0 ? r : -ENOMEM;
    }
    json_object_put(u->record->disks);
    json_object_put(u->record->volumes);
    u->record->disks = TAKE_PTR(disks);
    u->record->volumes = TAKE_PTR(volumes);
    return record_save(u->record);
}

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
    return r < 0 ? r : save(u);
}

static int make_overlays(Up *u, Failure **ret_failure)
{
    size_t i;
    int r;

    r = overlay_stores_mount(u->id, u->a.n_disks, u->config->overlay_size_bytes, DEVICE_TIMEOUT_USEC);
    if (r < 0) {
        *ret_failure = failure_new(FAILURE_OVERLAY_FAILED, "no tmpfs could be mounted for the overlays: %s",
                                   strerror(-r));
        return r;
    }
    for (i = 0; i < u->a.n_disks; i++) {
        r = disk_hide(&u->a.disks[i]);
        if (r < 0)
            log_errno_full(LOG_WARNING, u->id, r, "Cannot remove the nodes of %s", u->a.disks[i].kernel_name);
        r = overlay_make(u->id, (unsigned)i + 1, &u->a.disks[i], u->config->overlay_size_bytes,
                         DEVICE_TIMEOUT_USEC, &u->a.cookie, ret_failure);
        if (r < 0)
            return r;
    }
    return 0;
}

typedef struct FsidCall {
    dev_t device;
    uint64_t size_bytes;
} FsidCall;

static int fsid_child(void *userdata, int answer)
{
    const FsidCall *c = userdata;
    _cleanup_close_ int fd = device_open(c->device, O_RDWR);
    uint8_t fsid[16];

    if (fd < 0)
        return fd;
    if (getrandom(fsid, sizeof(fsid), 0) != sizeof(fsid))
        return -EIO;
    fsid[6] = (uint8_t)((fsid[6] & 0x0f) | 0x40); /* a random UUID says that it is one */
    fsid[8] = (uint8_t)((fsid[8] & 0x3f) | 0x80);
    return btrfs_set_fsid(fd, c->size_bytes, fsid);
}

/* A clone gets an identity of its own before the kernel sees it. */
static int change_identity(Up *u, Volume *v, dev_t device)
{
    FsidCall call = {.device = device, .size_bytes = v->size_bytes};
    int r;

    if (!streq(v->type, "btrfs"))
        return 0;
    r = child_call(fsid_child, &call, u->config->mount_timeout_usec, NULL);
    if (r >= 0)
        return 0;
    if (r == -ENOTUNIQ)
        v->reason = strdup("btrfs over several devices: not assembled");
    else if (r == -EOPNOTSUPP)
        v->reason = strdup("btrfs with checksums other than crc32c: cannot be given an identity of its own");
    else if (r == -EMEDIUMTYPE)
        v->reason = strdup("btrfs whose first superblock is damaged");
    else if (asprintf(&v->reason, "btrfs that could not be given an identity of its own: %s", strerror(-r)) <
             0)
        v->reason = NULL;
    return v->reason ? 0 : -ENOMEM;
}

static int mount_one(Up *u, Volume *v)
{
    _cleanup_free_ char *directory = NULL, *node = NULL;
    int r;

    if (asprintf(&node, "/dev/mapper/%s", v->node) < 0)
        return (node = NULL), -ENOMEM;
    if (asprintf(&directory, "%s/%s", u->mounts, v->name) < 0)
        return (directory = NULL), -ENOMEM;
    r = dir_make(directory, 0755, 0, 0);
    if (r >= 0)
        r = volume_mount(node, v->device, v->type, directory, u->config->mount_timeout_usec, &v->reason,
                         &v->replayed);
    if (r < 0)
        return r;
    v->mounted = !v->reason;
    if (!v->mounted)
        (void)rmdir(directory);
    log_full(LOG_INFO, u->id, "Volume %s: %s%s", v->name, v->mounted ? "mounted" : v->reason,
             v->replayed ? ", journal replayed" : "");
    return 0;
}

static int mount_all(Up *u)
{
    _cleanup_free_ char *top = mounts_path(u->id, NULL);
    size_t i;
    int r, k;

    if (!top)
        return -ENOMEM;
    r = dir_make(top, 0750, 0, u->group);
    if (r >= 0)
        r = dir_make(u->mounts, 0750, 0, u->group);
    for (i = 0; r >= 0 && i < u->a.n_volumes; i++)
        if (!u->a.volumes[i].reason) {
            r = assembly_map(&u->a, &u->a.volumes[i]);
            if (r >= 0 && !u->a.volumes[i].reason)
                r = change_identity(u, &u->a.volumes[i], u->a.volumes[i].device);
        }
    k = dm_settle(&u->a.cookie, DEVICE_TIMEOUT_USEC);
    if (k < 0)
        log_errno_full(LOG_WARNING, u->id, k, "udev did not finish with the overlays");
    for (i = 0; r >= 0 && i < u->a.n_volumes; i++)
        if (!u->a.volumes[i].reason)
            r = mount_one(u, &u->a.volumes[i]);
    return r;
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
    if (r >= 0)
        r = assembly_look_into_disks(&u->a);
    if (r >= 0)
        r = assemble(&u->a);
    if (r >= 0)
        r = volumes_name(u->a.volumes, u->a.n_volumes);
    if (r >= 0)
        r = save(u);
    if (r >= 0)
        r = mount_all(u);
    if (r >= 0)
        r = save(u);
    if (r < 0)
        return r;
    for (i = 0; i < u->a.n_volumes; i++)
        if (u->a.volumes[i].mounted || u->a.volumes[i].locked)
            return 0;
    return nothing_mounted(u, ret_failure);
}

static gid_t group_of_users(const char *id)
{
    const struct group *g = getgrnam("ilr");

    if (!g)
        log_full(LOG_WARNING, id, "There is no group ilr, only root will reach the volumes");
    return g ? g->gr_gid : 0;
}

int storage_up(const char *id, const Config *config, Failure **ret_failure)
{
    _cleanup_(up_done) Up u = {.id = id, .config = config, .a = {.id = id, .config = config}};
    int r;

    u.mounts = mounts_path(id, "volumes");
    if (!u.mounts)
        return -ENOMEM;
    r = record_load(id, &u.record);
    if (r < 0)
        return r;
    u.group = group_of_users(id);
    u.record->failure = failure_free(u.record->failure);
    /* What an earlier helper left half done. */
    r = storage_dismantle(id, false, now_usec(CLOCK_MONOTONIC) + DISMANTLE_USEC, ret_failure);
    if (r < 0)
        return r;
    r = bring_up(&u, ret_failure);
    (void)dm_settle(&u.a.cookie, DEVICE_TIMEOUT_USEC); /* left over only by a failure */
    if (r < 0) {
        _cleanup_failure_ Failure *second = NULL;

        /* systemd does not run ExecStop= of a service that did not start: nothing may be left standing. */
        if (storage_dismantle(id, true, now_usec(CLOCK_MONOTONIC) + DISMANTLE_USEC, &second) < 0)
            log_full(LOG_WARNING, id, "Not all of a failed start could be taken down, it is tried again");
    }
    return r;
}
