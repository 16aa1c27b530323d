/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* How full the overlays of a session are, and what becomes of the volumes on one that is full: device-mapper
 * then answers every read with an error, also of what was never changed. */

#include "up-state.h"

#include "child.h"
#include "dm.h"
#include "files.h"
#include "log.h"
#include "mount.h"
#include "overlay.h"
#include "paths.h"
#include "tower.h"

#include <fcntl.h>

#define WARN_PERCENT 80
#define LOOKS 64
#define LOOK_BYTES 4096 /* at least a sector, and aligned to one */

/* Is it the directory itself, or below it? */
static bool path_below(const char *path, const char *directory)
{
    const char *rest = startswith(path, directory);

    return rest && (!*rest || *rest == '/');
}

bool device_lies_on(dev_t device, const char *name)
{
    _cleanup_strv_free_ char **below = NULL;
    char **b;

    if (tower_walk(device, "slaves", &below) < 0)
        return false;
    STRV_FOREACH (b, below) {
        _cleanup_free_ char *path = NULL, *own = NULL;

        if (asprintf(&path, "%s/dm/name", *b) < 0)
            return (path = NULL), false;
        if (file_read_line(path, &own) >= 0 && streq(own, name))
            return true;
    }
    return false;
}

/* The other devices of a btrfs count, too. */
static bool volume_lies_on(const Assembly *a, const Volume *v, const char *name)
{
    char **partner;
    size_t i;

    if (device_lies_on(v->device, name))
        return true;
    STRV_FOREACH (partner, v->partners)
        for (i = 0; i < a->n_volumes; i++)
            if (streq_ptr(a->volumes[i].node, *partner) && device_lies_on(a->volumes[i].device, name))
                return true;
    return false;
}

static int look_child(void *userdata, int answer)
{
    _cleanup_close_ int fd = open(userdata, O_RDONLY | O_DIRECT | O_CLOEXEC);
    _cleanup_free_ void *buf = NULL;
    off_t pages;
    int i;

    (void)answer;
    if (fd < 0)
        return -errno;
    if (posix_memalign(&buf, LOOK_BYTES, LOOK_BYTES))
        return -ENOMEM;
    pages = lseek(fd, 0, SEEK_END) / LOOK_BYTES;
    for (i = 0; i < LOOKS && pages > 0; i++)
        if (pread(fd, buf, LOOK_BYTES, pages * i / LOOKS * LOOK_BYTES) != LOOK_BYTES)
            return -EIO;
    return 0;
}

/* A mirror has another half, and is read from that: it is not lost with one overlay. The page cache is not
 * asked, and the looks are spread over the volume, of which only a part may lie on that overlay. */
static bool readable_still(const Volume *v, uint64_t timeout_usec)
{
    _cleanup_free_ char *node = NULL;

    if (v->partners || asprintf(&node, "/dev/mapper/%s", v->node) < 0)
        return (node = NULL), false;
    return child_call(look_child, node, timeout_usec, NULL) >= 0;
}

/* Whoever is in there gets errors anyway. */
static int unmount_for_good(Up *u, const char *path)
{
    int r = path_unmount(path, false, u->config->mount_timeout_usec);

    if (r == -EBUSY)
        r = path_unmount(path, true, u->config->mount_timeout_usec);
    return r < 0 ? log_errno_full(LOG_WARNING, u->id, r, "Cannot unmount %s", path) : 0;
}

/* Of an unlock: the trees stand already. What is mounted of this volume in them goes, and what is mounted on
 * that with it; the last ones first. */
static int leave_trees(Up *u, const char *directory)
{
    _cleanup_free_ char *top = mounts_path(u->id, NULL);
    MountPoint *mounts = NULL;
    size_t n = 0, i, k, own;
    int r = top ? mounts_below(top, &mounts, &n) : -ENOMEM;

    for (own = 0; own < n && !streq(mounts[own].path, directory); own++)
        ;
    for (i = n; r >= 0 && own < n && i-- > 0;) {
        bool on_it = false;

        for (k = 0; k <= i && !on_it && !path_below(mounts[i].path, u->mounts); k++)
            on_it = mounts[k].device == mounts[own].device && path_below(mounts[i].path, mounts[k].path);
        if (on_it && (r = unmount_for_good(u, mounts[i].path)) >= 0)
            (void)rmdir(mounts[i].path); /* a tree's own directory */
    }
    mounts_free(mounts, n);
    return r;
}

static int give_up(Up *u, Volume *v, const Disk *d)
{
    _cleanup_free_ char *directory = NULL;
    char *reason;
    int r;

    if (asprintf(&directory, "%s/%s", u->mounts, v->name) < 0)
        return (directory = NULL), -ENOMEM;
    if (asprintf(&reason,
                 "the overlay of %s is full, nothing of it can be read any more: what its journal changes "
                 "does not fit (see OverlaySizeBytes= and OverlayTotalBytes=), or lies where the disk has "
                 "errors; without replay nothing is changed",
                 d->name) < 0)
        return -ENOMEM;
    free_and_replace(&v->reason, reason);
    v->replayed = false;
    if (!v->mounted)
        return 0;
    r = leave_trees(u, directory);
    if (r >= 0)
        r = unmount_for_good(u, directory);
    if (r < 0)
        return r;
    v->mounted = false;
    (void)rmdir(directory);
    log_full(LOG_WARNING, u->id, "Volume %s: unmounted, %s", v->name, v->reason);
    return 0;
}

static int overlay_full(Up *u, size_t disk)
{
    char name[DM_NAME_SIZE];
    size_t i;
    int r = 0;

    dm_name(u->id, (unsigned)disk + 1, 0, name);
    for (i = 0; r >= 0 && i < u->a.n_volumes; i++) {
        Volume *v = &u->a.volumes[i];

        if (!(v->mounted || v->tried) || !volume_lies_on(&u->a, v, name))
            continue;
        if (v->mounted && readable_still(v, u->config->mount_timeout_usec))
            log_full(LOG_NOTICE, u->id, "Volume %s: has copies elsewhere than on %s and is read from those",
                     v->name, u->a.disks[disk].name);
        else
            r = give_up(u, v, &u->a.disks[disk]);
    }
    return r;
}

int up_measure_overlays(Up *u)
{
    size_t i;
    int r = 0, k;

    for (i = 0; r >= 0 && i < u->a.n_disks; i++) {
        Disk *d = &u->a.disks[i];

        k = overlay_used(u->id, (unsigned)i + 1, u->config->mount_timeout_usec, &d->overlay_used_bytes);
        if (k == -ENOSPC) {
            d->overlay_used_bytes = d->overlay_bytes;
            log_full(
                LOG_WARNING, u->id,
                "The overlay of %s is lost: full (see OverlaySizeBytes=), or the disk cannot be read where "
                "something was changed",
                d->name);
            r = overlay_full(u, i);
        } else if (k < 0)
            log_errno_full(LOG_WARNING, u->id, k, "Cannot tell how full the overlay of %s is", d->name);
        else if (d->overlay_bytes > 0 && d->overlay_used_bytes > d->overlay_bytes / 100 * WARN_PERCENT)
            log_full(
                LOG_WARNING, u->id,
                "The overlay of %s is full to %llu %%; when it is full its volumes can no longer be read",
                d->name, (unsigned long long)(d->overlay_used_bytes * 100 / d->overlay_bytes));
    }
    return r;
}
