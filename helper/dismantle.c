/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "dismantle.h"

#include "child.h"
#include "dm.h"
#include "files.h"
#include "holder.h"
#include "log.h"
#include "overlay.h"
#include "paths.h"
#include "timeutil.h"
#include "tower.h"

#include <fcntl.h>
#include <linux/btrfs.h>
#include <sys/ioctl.h>

#define STEP_USEC (20 * USEC_PER_SEC)
#define STEP_FORCED_USEC (5 * USEC_PER_SEC)
#define STEP_MIN_USEC (500 * USEC_PER_MSEC)

typedef struct Dismantle {
    const char *id;
    bool forced;
    uint64_t deadline_usec;
    char *directory; /* of the session's mounts */
    MountPoint *mounts;
    size_t n_mounts;
    DmDevice *devices;
    size_t n_devices;
    uint32_t cookie; /* udev's part in the removals */
    bool btrfs_hangs;
    size_t n_left, n_removed;
} Dismantle;

static void dismantle_done(Dismantle *d)
{
    free(d->directory);
    mounts_free(d->mounts, d->n_mounts);
    free(d->devices);
}

static uint64_t step(const Dismantle *d)
{
    uint64_t now = now_usec(CLOCK_MONOTONIC), left = now < d->deadline_usec ? d->deadline_usec - now : 0;

    return MAX(MIN(left, d->forced ? STEP_FORCED_USEC : STEP_USEC), STEP_MIN_USEC);
}

static int look_for_mounts(Dismantle *d)
{
    mounts_free(d->mounts, d->n_mounts);
    d->mounts = NULL;
    d->n_mounts = 0;
    return mounts_below(d->directory, &d->mounts, &d->n_mounts);
}

/* What is on top goes first. */
static int by_height(const void *a, const void *b)
{
    const DmDevice *x = a, *y = b;

    return x->height != y->height ? (x->height < y->height ? -1 : 1) : strverscmp(x->name, y->name);
}

static int look_for_devices(Dismantle *d)
{
    char prefix[DM_NAME_SIZE];
    int r;

    free(d->devices);
    d->devices = NULL;
    d->n_devices = 0;
    dm_prefix(d->id, prefix);
    r = dm_list(prefix, step(d), &d->devices, &d->n_devices);
    if (r < 0)
        return r;
    r = tower_heights(d->devices, d->n_devices);
    if (r < 0)
        return r;
    if (d->n_devices > 1)
        qsort(d->devices, d->n_devices, sizeof(*d->devices), by_height);
    return 0;
}

/* Who has something of it open, as far as can be found out. */
static int look_for_holders(Dismantle *d, json_object **ret)
{
    _cleanup_free_ dev_t *devices = calloc(d->n_devices + 1, sizeof(*devices));
    HolderQuery q = {.directory = d->directory,
                     .mounts = d->mounts,
                     .n_mounts = d->n_mounts,
                     .devices = devices,
                     .n_devices = d->n_devices};
    size_t i;
    int r;

    if (!devices)
        return -ENOMEM;
    for (i = 0; i < d->n_devices; i++)
        devices[i] = d->devices[i].device;
    r = holders_find(&q, step(d), ret);
    if (r < 0)
        log_errno_full(LOG_WARNING, d->id, r, "Cannot look for processes that use the volumes");
    return r == -ENOMEM ? r : 0;
}

/* Sets the failure and returns -EBUSY if anybody is in the way; what: NULL: only if somebody is found. */
static int report_holders(Dismantle *d, const char *what, Failure **ret_failure)
{
    _cleanup_json_ json_object *holders = NULL;
    _cleanup_free_ char *text = NULL;
    int r = look_for_holders(d, &holders);

    if (r < 0)
        return r;
    if (!what && (!holders || json_object_array_length(holders) == 0))
        return 0;
    text = holders_text(holders);
    *ret_failure = failure_new(FAILURE_BUSY, "%s in use by %s",
                               what ? what : "the volumes of this session are", text ? text : "?");
    if (*ret_failure && holders)
        (*ret_failure)->holders = TAKE_PTR(holders);
    return -EBUSY;
}

/* What cannot be unmounted for a reason of its own, as one to which no path reaches, goes with that in which
 * it stands. What else was in there is gone then, too. */
static int detach_with_top(Dismantle *d, size_t i)
{
    size_t k;

    for (k = 0; k < i; k++) {
        const char *rest = startswith(d->mounts[i].path, d->mounts[k].path);

        if (rest && *rest == '/')
            break;
    }
    return path_unmount(d->mounts[k].path, true, step(d));
}

static int unmount_all(Dismantle *d, Failure **ret_failure)
{
    size_t i;
    int r;

    for (i = d->n_mounts; i-- > 0;) {
        const char *path = d->mounts[i].path;

        r = path_unmount(path, false, step(d));
        if (r == -EBUSY && d->forced) {
            log_full(LOG_WARNING, d->id, "%s is in use, it goes when its user lets go", path);
            r = path_unmount(path, true, step(d));
        }
        if (r == -EBUSY) {
            _cleanup_free_ char *what = NULL;

            if (asprintf(&what, "%s is", path) < 0)
                return (what = NULL), -ENOMEM;
            return report_holders(d, what, ret_failure);
        }
        if (r < 0)
            log_errno_full(LOG_WARNING, d->id, r, "Cannot unmount %s", path);
        /* The kernel waits for a disk: so it would for the next one. */
        if (r < 0 && r != -ETIMEDOUT && d->forced)
            r = detach_with_top(d, i);
        if (r < 0)
            return r;
    }
    return 0;
}

/* The kernel keeps an unmounted btrfs in mind by its device number, which the next overlay may get. */
static int forget_child(void *userdata, int fd)
{
    struct btrfs_ioctl_vol_args args = {};
    _cleanup_close_ int control = open("/dev/btrfs-control", O_RDWR | O_CLOEXEC);

    snprintf(args.name, sizeof(args.name), "/dev/mapper/%s", (const char *)userdata);
    if (control >= 0)
        (void)ioctl(control, BTRFS_IOC_FORGET_DEV, &args);
    return 0;
}

static void forget_device(Dismantle *d, DmDevice *device)
{
    /* It waits for a lock that a btrfs on a dead disk may hold: once is enough, not once for each device. */
    if (!d->btrfs_hangs && access("/sys/module/btrfs", F_OK) == 0)
        d->btrfs_hangs = child_call(forget_child, device->name, step(d), NULL) == -ETIMEDOUT;
}

/* Each goes at once, or, if somebody has it open, when that one closes it: then it gives errors, and what is
 * below it goes at once. */
static int give_up_all(Dismantle *d)
{
    size_t i;
    int r;

    r = look_for_devices(d);
    if (r < 0)
        return log_errno_full(LOG_WARNING, d->id, r, "Cannot list device-mapper's devices");
    for (i = 0; i < d->n_devices; i++) {
        forget_device(d, &d->devices[i]);
        r = dm_give_up(d->devices[i].name, step(d), &d->cookie);
        if (r < 0)
            return log_errno_full(LOG_WARNING, d->id, r, "Cannot remove %s", d->devices[i].name);
        if (r > 0) {
            log_full(LOG_WARNING, d->id, "%s is in use, it goes when its user lets go", d->devices[i].name);
            d->n_left++;
        }
    }
    return 0;
}

/* Directories of sysfs: what has one of these names, and all that it stands on. */
static int find_kept(const Dismantle *d, char *const *names, char ***ret)
{
    _cleanup_strv_free_ char **kept = NULL;
    size_t i;

    for (i = 0; i < d->n_devices; i++) {
        _cleanup_strv_free_ char **below = NULL;
        char **b;
        int r =
            strv_contains(names, d->devices[i].name) ? tower_walk(d->devices[i].device, "slaves", &below) : 0;

        STRV_FOREACH (b, below)
            if (r >= 0 && !strv_contains(kept, *b))
                r = strv_extend(&kept, *b);
        if (r < 0)
            return r;
    }
    *ret = TAKE_PTR(kept);
    return 0;
}

/* What keeps one of these open (assembly_keep_open()) stays, too. */
static int is_kept(const Dismantle *d, char *const *kept, const DmDevice *device)
{
    _cleanup_strv_free_ char **below = NULL;
    char prefix[DM_NAME_SIZE];
    const char *suffix;
    int r;

    if (tower_has(kept, device->device))
        return true;
    dm_prefix(d->id, prefix);
    suffix = startswith(device->name, prefix);
    if (!suffix || suffix[0] != 'h')
        return false;
    r = tower_walk(device->device, "slaves", &below);
    return r < 0 ? r : below && below[1] && strv_contains(kept, below[1]);
}

/* Whoever else has one of the devices open for a moment (udev) is waited for by libdevmapper's own retries.
 * but: all but the devices of these names and what is below them; NULL: all. */
static int remove_all(Dismantle *d, char *const *but, Failure **ret_failure)
{
    _cleanup_strv_free_ char **kept = NULL;
    _cleanup_free_ char *what = NULL;
    size_t i;
    int r;

    r = look_for_devices(d);
    if (r < 0)
        return log_errno_full(LOG_WARNING, d->id, r, "Cannot list device-mapper's devices");
    r = but ? find_kept(d, but, &kept) : 0;
    if (r < 0)
        return r;
    for (i = 0; i < d->n_devices; i++) {
        r = but ? is_kept(d, kept, &d->devices[i]) : 0;
        if (r < 0)
            return r;
        if (r > 0)
            continue;
        if (d->devices[i].deferred) {
            d->n_left++;
            continue;
        }
        forget_device(d, &d->devices[i]);
        r = dm_remove(d->devices[i].name, false, step(d), &d->cookie);
        if (r == -EBUSY) {
            if (asprintf(&what, "device %s is", d->devices[i].name) < 0)
                return (what = NULL), -ENOMEM;
            return report_holders(d, what, ret_failure);
        }
        if (r < 0)
            return log_errno_full(LOG_WARNING, d->id, r, "Cannot remove %s", d->devices[i].name);
        d->n_removed++;
    }
    return 0;
}

int storage_dismantle(const char *id, bool forced, uint64_t deadline_usec, StorageLeft *left,
                      Failure **ret_failure)
{
    _cleanup_(dismantle_done) Dismantle d = {.id = id, .forced = forced, .deadline_usec = deadline_usec};
    int r, k;

    d.directory = mounts_path(id, NULL);
    if (!d.directory)
        return -ENOMEM;
    r = look_for_mounts(&d);
    if (r < 0)
        return log_errno_full(LOG_WARNING, id, r, "Cannot read the mount table");
    if (!forced && d.n_mounts > 0) {
        r = report_holders(&d, NULL, ret_failure);
        if (r < 0)
            return r;
    } else if (left && !left->holders && look_for_holders(&d, &left->holders) < 0)
        return -ENOMEM;
    r = unmount_all(&d, ret_failure);
    if (r < 0)
        return r;
    r = file_remove_tree(AT_FDCWD, d.directory);
    if (r < 0)
        log_errno_full(LOG_WARNING, id, r, "Cannot remove %s", d.directory);
    r = forced ? give_up_all(&d) : remove_all(&d, NULL, ret_failure);
    k = dm_settle(&d.cookie, step(&d));
    if (k < 0)
        log_errno_full(LOG_WARNING, id, k, "udev did not finish with the removed devices");
    if (left)
        left->devices = d.n_left;
    if (r < 0)
        return r;
    r = overlay_stores_release(id, forced, step(&d));
    if (r < 0)
        return log_errno_full(LOG_WARNING, id, r, "Cannot release the stores of the overlays");
    return 0;
}

int storage_strip(const char *id, char *const *names, uint64_t deadline_usec, Failure **ret_failure)
{
    _cleanup_(dismantle_done) Dismantle d = {.id = id, .deadline_usec = deadline_usec};
    int r, k;

    d.directory = mounts_path(id, NULL);
    if (!d.directory)
        return -ENOMEM;
    r = remove_all(&d, names, ret_failure);
    k = dm_settle(&d.cookie, step(&d));
    if (k < 0)
        log_errno_full(LOG_WARNING, id, k, "udev did not finish with the removed devices");
    return r < 0 ? r : d.n_removed > 0;
}

int storage_lingering(const char *id, uint64_t timeout_usec, size_t *ret)
{
    char prefix[DM_NAME_SIZE];
    DmDevice *devices;
    int r;

    dm_prefix(id, prefix);
    r = dm_list(prefix, timeout_usec, &devices, ret);
    if (r >= 0)
        free(devices);
    return r;
}
