/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "overlay.h"

#include "child.h"
#include "dm.h"
#include "files.h"
#include "paths.h"

#include <fcntl.h>
#include <linux/loop.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#define LOOP_TRIES 64
#define STORES_DIRECTORY "cow"

int device_open(dev_t device, int flags)
{
    char path[64];
    int fd, r;

    snprintf(path, sizeof(path), "/dev/.ilr-%u-%u-%d", major(device), minor(device), getpid());
    if (mknod(path, S_IFBLK | 0600, device) < 0)
        return -errno;
    fd = open(path, flags | O_CLOEXEC | O_NOFOLLOW);
    r = fd < 0 ? -errno : fd;
    (void)unlink(path);
    return r;
}

int device_sectors(dev_t device, uint64_t *ret)
{
    _cleanup_free_ char *path = NULL, *line = NULL;
    unsigned long long n;
    int r;

    if (asprintf(&path, "%s/dev/block/%u:%u/size", paths.sysfs, major(device), minor(device)) < 0)
        return (path = NULL), -ENOMEM;
    r = file_read_line(path, &line);
    if (r < 0)
        return r;
    if (sscanf(line, "%llu", &n) != 1)
        return -EBADMSG;
    if (n == 0)
        return -ENODATA;
    *ret = n;
    return 0;
}

typedef struct MountCall {
    const char *source, *directory, *options;
} MountCall;

static int stores_mount_child(void *userdata, int fd)
{
    const MountCall *c = userdata;

    return mount(c->source, c->directory, "tmpfs", MS_NOSUID | MS_NODEV | MS_NOEXEC, c->options) < 0 ? -errno
                                                                                                     : 0;
}

/* Is there a mount on this directory? Its parent is on another device then. */
static int is_mounted(const char *directory, const char *parent)
{
    struct stat a, b;

    if (lstat(directory, &a) < 0)
        return errno == ENOENT ? 0 : -errno;
    if (lstat(parent, &b) < 0)
        return -errno;
    return a.st_dev != b.st_dev;
}

uint64_t overlay_store_bytes(uint64_t configured_bytes, uint64_t disk_bytes)
{
    /* Each chunk has 16 bytes in the tables of the snapshot target, which has a header as well. */
    uint64_t whole = disk_bytes + disk_bytes / 128 + MIB;

    return MIN(configured_bytes, (whole + MIB - 1) / MIB * MIB);
}

static uint64_t half_of_memory(void)
{
    long pages = sysconf(_SC_PHYS_PAGES), size = sysconf(_SC_PAGESIZE);

    return pages > 0 && size > 0 ? (uint64_t)pages * (uint64_t)size / 2 : UINT64_MAX;
}

int overlay_stores_mount(const char *id, const Disk *disks, size_t n_disks, const Config *config,
                         uint64_t timeout_usec)
{
    uint64_t total = 0;
    size_t i;
    _cleanup_free_ char *parent = private_path(id, NULL), *directory = private_path(id, STORES_DIRECTORY);
    char options[96], source[32];
    MountCall call = {.source = source, .directory = directory, .options = options};
    int r;

    if (!parent || !directory)
        return -ENOMEM;
    r = is_mounted(directory, parent);
    if (r != 0)
        return r < 0 ? r : 0;
    r = dir_make(directory, 0700, 0, 0);
    if (r < 0)
        return r;
    snprintf(source, sizeof(source), "ilr_%s_cow", id);
    /* More for each file than a full store needs: the bound of one disk alone never costs another one's. */
    for (i = 0; i < n_disks; i++)
        total +=
            overlay_store_bytes(config->overlay_size_bytes, disks[i].size_bytes) + 2 * OVERLAY_STORE_OFFSET;
    total = MIN(total, MIN(config->overlay_total_bytes, half_of_memory()));
    snprintf(options, sizeof(options), "mode=0700,size=%llu,nr_inodes=%zu", (unsigned long long)total,
             n_disks + 8);
    return child_call(stores_mount_child, &call, timeout_usec, NULL);
}

/* A free loop device on the open file, which frees itself when nobody has it open any more. */
static int loop_attach(int file, dev_t *ret)
{
    struct loop_config config = {.fd = (uint32_t)file, .info = {.lo_flags = LO_FLAGS_AUTOCLEAR}};
    _cleanup_close_ int control = open("/dev/loop-control", O_RDWR | O_CLOEXEC);
    struct stat st;
    int i;

    if (control < 0)
        return -errno;
    for (i = 0; i < LOOP_TRIES; i++) {
        _cleanup_close_ int fd = -EBADF;
        char path[32];
        int n = ioctl(control, LOOP_CTL_GET_FREE);

        if (n < 0)
            return -errno;
        snprintf(path, sizeof(path), "/dev/loop%d", n);
        fd = open(path, O_RDWR | O_CLOEXEC);
        if (fd < 0)
            return -errno;
        if (ioctl(fd, LOOP_CONFIGURE, &config) >= 0) {
            if (fstat(fd, &st) < 0)
                return -errno;
            *ret = st.st_rdev;
            return TAKE_FD(fd);
        }
        if (errno != EBUSY) /* somebody else was faster */
            return -errno;
    }
    return -EBUSY;
}

static int fail(Failure **ret_failure, int r, const Disk *disk, const char *what, const char *message)
{
    *ret_failure = failure_new(FAILURE_OVERLAY_FAILED, "%s of %s (target %s, LUN %llu): %s: %s", what,
                               disk->name, disk->target, (unsigned long long)disk->lun, strerror(-r),
                               message ? message : "no more is known");
    return r;
}

int overlay_make(const char *id, unsigned number, Disk *disk, uint64_t size_bytes, uint64_t timeout_usec,
                 uint32_t *cookie, Failure **ret_failure)
{
    _cleanup_free_ char *rest = NULL, *path = NULL, *message = NULL, *message2 = NULL;
    _cleanup_close_ int file = -EBADF, loop = -EBADF;
    char name[DM_NAME_SIZE], uuid[DM_NAME_SIZE], params[DM_PARAMS_SIZE];
    dev_t loop_device = 0, store = 0;
    int r;

    if (asprintf(&rest, STORES_DIRECTORY "/%s", disk->name) < 0)
        return (rest = NULL), -ENOMEM;
    path = private_path(id, rest);
    if (!path)
        return -ENOMEM;
    file = open(path, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (file < 0 || ftruncate(file, (off_t)(size_bytes + OVERLAY_STORE_OFFSET)) < 0)
        return fail(ret_failure, -errno, disk, "the store for changes", path);
    loop = loop_attach(file, &loop_device);
    if (loop < 0)
        return fail(ret_failure, loop, disk, "a loop device for the store", path);

    dm_name(id, number, -1, name);
    dm_uuid(id, number, -1, uuid);
    dm_params_linear(loop_device, OVERLAY_STORE_OFFSET / 512, params);
    r = dm_create(name, uuid, size_bytes / 512, "linear", params, timeout_usec, cookie, &store, &message);
    if (r < 0)
        return fail(ret_failure, r, disk, "the store for changes", message);

    dm_name(id, number, 0, name);
    dm_uuid(id, number, 0, uuid);
    dm_params_snapshot(disk->device, store, params);
    r = dm_create(name, uuid, disk->size_bytes / 512, "snapshot", params, timeout_usec, cookie,
                  &disk->overlay, &message2);
    if (r < 0)
        return fail(ret_failure, r, disk, "the overlay", message2);
    disk->overlay_bytes = size_bytes;
    return 0;
}

int overlay_status_parse(const char *status, uint64_t *ret)
{
    unsigned long long used, total;

    if (startswith(status, "Invalid") || startswith(status, "Overflow"))
        return -ENOSPC;
    if (sscanf(status, "%llu/%llu", &used, &total) != 2 || used > total)
        return -EBADMSG;
    *ret = used * 512;
    return 0;
}

int overlay_used(const char *id, unsigned number, uint64_t timeout_usec, uint64_t *ret)
{
    _cleanup_free_ char *status = NULL;
    char name[DM_NAME_SIZE];
    int r;

    dm_name(id, number, 0, name);
    r = dm_status(name, timeout_usec, &status);
    return r < 0 ? r : overlay_status_parse(status, ret);
}

static int stores_release_child(void *userdata, int fd)
{
    const MountCall *c = userdata;
    _cleanup_free_ char *sys = NULL;
    _cleanup_(closedirp) DIR *dir = NULL;
    struct dirent *e;

    /* With AUTOCLEAR they are gone already, unless a helper died between two steps. */
    if (asprintf(&sys, "%s/block", paths.sysfs) < 0)
        return (sys = NULL), -ENOMEM;
    dir = opendir(sys);
    while (dir && (e = readdir(dir))) {
        _cleanup_free_ char *attribute = NULL, *file = NULL;
        _cleanup_close_ int loop = -EBADF;
        char path[300];
        const char *rest;

        if (!startswith(e->d_name, "loop"))
            continue;
        if (asprintf(&attribute, "%s/%s/loop/backing_file", sys, e->d_name) < 0)
            return (attribute = NULL), -ENOMEM;
        if (file_read_line(attribute, &file) < 0 || !(rest = startswith(file, c->directory)) || *rest != '/')
            continue;
        snprintf(path, sizeof(path), "/dev/%s", e->d_name);
        loop = open(path, O_RDWR | O_CLOEXEC);
        if (loop >= 0)
            (void)ioctl(loop, LOOP_CLR_FD);
    }
    if (umount2(c->directory, UMOUNT_NOFOLLOW | (c->options ? MNT_DETACH : 0)) < 0)
        return errno == EINVAL || errno == ENOENT ? 0 : -errno;
    return 0;
}

int overlay_stores_release(const char *id, bool forced, uint64_t timeout_usec)
{
    _cleanup_free_ char *directory = private_path(id, STORES_DIRECTORY);
    MountCall call = {.directory = directory, .options = forced ? "" : NULL};
    int r;

    if (!directory)
        return -ENOMEM;
    r = child_call(stores_release_child, &call, timeout_usec, NULL);
    if (r >= 0 && rmdir(directory) < 0 && errno != ENOENT)
        return -errno;
    return r;
}
