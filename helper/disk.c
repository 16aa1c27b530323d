/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "disk.h"

#include "child.h"
#include "files.h"
#include "overlay.h"
#include "paths.h"
#include "timeutil.h"

#include <fcntl.h>
#include <libudev.h>
#include <poll.h>
#include <scsi/sg.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#define SCAN_TIMEOUT_USEC (30 * USEC_PER_SEC)
#define COMMAND_TIMEOUT_MSEC 10000
/* A target may report a LUN before it can be used; then it is scanned for again. */
#define RESCAN_USEC (2 * USEC_PER_SEC)
/* udev keeps its records by device number: what it says of a disk may be of the one that had the number
 * before, until it gets to the new one. */
#define UNPROTECTED_USEC (3 * USEC_PER_SEC)
#define REPORT_LUNS_SIZE (16 + 8 * DISKS_MAX)

DEFINE_CLEANUP(struct udev *, udev_unref)
DEFINE_CLEANUP(struct udev_monitor *, udev_monitor_unref)
DEFINE_CLEANUP(struct udev_device *, udev_device_unref)
DEFINE_CLEANUP(struct udev_queue *, udev_queue_unref)

int report_luns_parse(const uint8_t *data, size_t size, uint64_t **ret, size_t *ret_n)
{
    _cleanup_free_ uint64_t *luns = NULL;
    size_t i, n, used = 0;

    if (size < 8)
        return -EBADMSG;
    n = ((size_t)data[0] << 24 | (size_t)data[1] << 16 | (size_t)data[2] << 8 | data[3]) / 8;
    n = MIN(n, (size - 8) / 8);
    luns = calloc(n + 1, sizeof(*luns));
    if (!luns)
        return -ENOMEM;
    for (i = 0; i < n; i++) {
        const uint8_t *p = data + 8 + 8 * i;
        uint64_t lun = 0;
        int k;

        if (p[0] == 0xc1) /* extended addressing, well-known logical unit */
            continue;
        for (k = 0; k < 8; k += 2) /* the kernel keeps pairs of bytes, the first pair lowest */
            lun |= (uint64_t)(p[k] << 8 | p[k + 1]) << (8 * k);
        luns[used++] = lun;
    }
    *ret = TAKE_PTR(luns);
    *ret_n = used;
    return 0;
}

static int report_luns_child(void *userdata, int fd)
{
    const dev_t *device = userdata;
    uint8_t command[12] = {0xa0}, answer[REPORT_LUNS_SIZE] = {}, sense[32];
    _cleanup_close_ int dev = device_open(*device, O_RDONLY | O_NONBLOCK);
    struct sg_io_hdr io = {
        .interface_id = 'S',
        .dxfer_direction = SG_DXFER_FROM_DEV,
        .cmd_len = sizeof(command),
        .mx_sb_len = sizeof(sense),
        .dxfer_len = sizeof(answer),
        .dxferp = answer,
        .cmdp = command,
        .sbp = sense,
        .timeout = COMMAND_TIMEOUT_MSEC,
    };

    if (dev < 0)
        return dev;
    command[8] = sizeof(answer) >> 8;
    command[9] = sizeof(answer) & 0xff;
    if (ioctl(dev, SG_IO, &io) < 0)
        return -errno;
    if (io.status != 0 || io.host_status != 0)
        return -EIO;
    return child_put_hex(fd, answer, sizeof(answer) - MIN((size_t)MAX(io.resid, 0), sizeof(answer)));
}

static int report_luns(dev_t device, uint64_t **ret, size_t *ret_n)
{
    uint8_t answer[REPORT_LUNS_SIZE];
    _cleanup_free_ char *hex = NULL;
    size_t size;
    int r;

    r = child_call(report_luns_child, &device, COMMAND_TIMEOUT_MSEC * USEC_PER_MSEC + USEC_PER_SEC, &hex);
    if (r < 0)
        return r;
    size = MIN(strlen(hex) / 2, sizeof(answer));
    r = child_get_hex(hex, size, answer);
    return r < 0 ? r : report_luns_parse(answer, size, ret, ret_n);
}

static int scan_child(void *userdata, int fd)
{
    return file_write_attribute(userdata, "- - -");
}

/* One logical unit of a target as sysfs has it now. */
typedef struct Unit {
    uint64_t lun;
    int type;       /* peripheral device type: 0 is a disk */
    char path[512]; /* of the SCSI device */
    char block[32]; /* "sdb"; "": none (yet) */
} Unit;

static int read_number(const char *dir, const char *name, uint64_t *ret)
{
    _cleanup_free_ char *path = NULL, *line = NULL;
    char *end;
    int r;

    if (asprintf(&path, "%s/%s", dir, name) < 0)
        return (path = NULL), -ENOMEM;
    r = file_read_line(path, &line);
    if (r < 0)
        return r;
    errno = 0;
    *ret = strtoull(line, &end, 10);
    return end == line || errno ? -EINVAL : 0;
}

static void unit_block(Unit *u)
{
    _cleanup_free_ char *path = NULL;
    _cleanup_(closedirp) DIR *dir = NULL;
    struct dirent *e;

    if (asprintf(&path, "%s/block", u->path) < 0) {
        path = NULL;
        return;
    }
    dir = opendir(path);
    while (dir && (e = readdir(dir)))
        if (e->d_name[0] != '.' && strlen(e->d_name) < sizeof(u->block))
            snprintf(u->block, sizeof(u->block), "%.31s", e->d_name);
}

/* <device>/targetH:B:T/H:B:T:L */
static int units_find(const IscsiSession *s, Unit **ret, size_t *ret_n)
{
    _cleanup_(closedirp) DIR *targets = opendir(s->device);
    _cleanup_free_ Unit *units = NULL;
    struct dirent *t, *e;
    size_t n = 0;

    while (targets && (t = readdir(targets))) {
        _cleanup_(closedirp) DIR *dir = NULL;
        char path[400];

        if (!startswith(t->d_name, "target"))
            continue;
        snprintf(path, sizeof(path), "%s/%s", s->device, t->d_name);
        dir = opendir(path);
        while (dir && (e = readdir(dir)) && n < DISKS_MAX) {
            unsigned h, b, i;
            uint64_t type;
            Unit u = {}, *more;
            unsigned long long lun;

            if (sscanf(e->d_name, "%u:%u:%u:%llu", &h, &b, &i, &lun) != 4)
                continue;
            snprintf(u.path, sizeof(u.path), "%s/%.64s", path, e->d_name);
            if (read_number(u.path, "type", &type) < 0)
                continue;
            u.lun = lun;
            u.type = (int)type;
            unit_block(&u);
            more = realloc(units, (n + 1) * sizeof(*more));
            if (!more)
                return -ENOMEM;
            units = more;
            units[n++] = u;
        }
    }
    *ret = TAKE_PTR(units);
    *ret_n = n;
    return 0;
}

static int block_number(const char *name, dev_t *ret)
{
    _cleanup_free_ char *path = NULL, *line = NULL;
    unsigned a, b;
    int r;

    if (asprintf(&path, "%s/class/block/%s/dev", paths.sysfs, name) < 0)
        return (path = NULL), -ENOMEM;
    r = file_read_line(path, &line);
    if (r < 0)
        return r;
    if (sscanf(line, "%u:%u", &a, &b) != 2)
        return -EINVAL;
    *ret = makedev(a, b);
    return 0;
}

/* 1: udev has been through with it and it is protected; 0: not yet; -EPERM: through, by what it says, and not
 * protected. */
static int udev_through(struct udev *udev, const char *name)
{
    _cleanup_(udev_device_unrefp) struct udev_device *d =
        udev_device_new_from_subsystem_sysname(udev, "block", name);
    const char *ro, *ours;

    if (!d || !udev_device_get_is_initialized(d))
        return 0;
    ro = udev_device_get_sysattr_value(d, "ro");
    ours = udev_device_get_property_value(d, "ILR");
    return streq_ptr(ro, "1") && streq_ptr(ours, "1") ? 1 : -EPERM;
}

/* The same for the disk and all its partitions. */
static int block_state(struct udev *udev, const char *name)
{
    _cleanup_free_ char *path = NULL;
    _cleanup_(closedirp) DIR *dir = NULL;
    struct dirent *e;
    int r = udev_through(udev, name);

    if (r <= 0)
        return r;
    if (asprintf(&path, "%s/class/block/%s", paths.sysfs, name) < 0)
        return (path = NULL), -ENOMEM;
    dir = opendir(path);
    while (dir && (e = readdir(dir)))
        if (startswith(e->d_name, name)) {
            r = udev_through(udev, e->d_name);
            if (r <= 0)
                return r;
        }
    return 1;
}

typedef struct Search {
    const IscsiSession *sessions;
    size_t n_sessions;
    bool *whole; /* of each session: all its disks are there */
    struct udev *udev;
    Disk *disks;
    size_t n_disks;
    char *missing;        /* what is being waited for, for the message */
    char unprotected[32]; /* the first disk that udev has been through with and that is not protected, and */
    uint64_t unprotected_usec; /* CLOCK_MONOTONIC: since when; "": none */
    bool any_unprotected;      /* in this look at them all */
} Search;

static void search_done(Search *s)
{
    disks_free(s->disks, s->n_disks);
    free(s->missing);
    free(s->whole);
}

/* Of the targets of which something is missing, all beside each other: the kernel waits for one that does not
 * answer. */
static int search_scan(Search *s, uint64_t timeout_usec)
{
    _cleanup_free_ ChildCall *calls = calloc(s->n_sessions + 1, sizeof(*calls));
    _cleanup_strv_free_ char **files = NULL;
    size_t i, n = 0;
    int r = calls ? 0 : -ENOMEM;

    for (i = 0; r >= 0 && i < s->n_sessions; i++)
        if (!s->whole[i]) {
            r = strv_extendf(&files, "%s/class/scsi_host/host%u/scan", paths.sysfs, s->sessions[i].host);
            n++;
        }
    if (r < 0)
        return r;
    for (i = 0; i < n; i++)
        calls[i].userdata = files[i];
    child_call_each(scan_child, calls, n, timeout_usec);
    for (i = 0; i < n; i++) {
        free(calls[i].text);
        if (r >= 0 && calls[i].result < 0 && calls[i].result != -ETIMEDOUT && calls[i].result != -ENOENT)
            r = calls[i].result;
    }
    return r;
}

static int disk_add(Search *s, const IscsiSession *session, const Unit *u, dev_t device, uint64_t size_bytes)
{
    Disk *more = realloc(s->disks, (s->n_disks + 1) * sizeof(*more)), *d;
    _cleanup_free_ char *path = NULL;
    uint64_t sector = 512;

    if (!more)
        return -ENOMEM;
    s->disks = more;
    if (asprintf(&path, "%s/class/block/%s/queue", paths.sysfs, u->block) < 0)
        return (path = NULL), -ENOMEM;
    (void)read_number(path, "logical_block_size", &sector);
    d = &s->disks[s->n_disks++];
    *d = (Disk){.target = strdup(session->target),
                .kernel_name = strdup(u->block),
                .sid = session->sid,
                .lun = u->lun,
                .device = device,
                .size_bytes = size_bytes,
                .sector_bytes = (unsigned)sector};
    return d->target && d->kernel_name ? 0 : -ENOMEM;
}

static int note_missing(Search *s, const IscsiSession *session, int64_t lun, const char *what)
{
    int r;

    if (s->missing)
        return 0;
    r = lun < 0 ? asprintf(&s->missing, "target %s: %s", session->target, what)
                : asprintf(&s->missing, "target %s, LUN %lld: %s", session->target, (long long)lun, what);
    if (r < 0)
        return (s->missing = NULL), -ENOMEM;
    return 0;
}

static bool udev_idle(struct udev *udev)
{
    _cleanup_(udev_queue_unrefp) struct udev_queue *q = udev_queue_new(udev);

    return !q || udev_queue_get_queue_is_empty(q);
}

/* 0: udev may still be about to; -EPERM. */
static int unit_unprotected(Search *s, const IscsiSession *session, const Unit *u, Failure **ret_failure)
{
    uint64_t now = now_usec(CLOCK_MONOTONIC);

    if (!s->any_unprotected && !streq(s->unprotected, u->block)) {
        memcpy(s->unprotected, u->block, sizeof(s->unprotected));
        s->unprotected_usec = now;
    }
    s->any_unprotected = true;
    if (!streq(s->unprotected, u->block) || now - s->unprotected_usec < UNPROTECTED_USEC ||
        !udev_idle(s->udev))
        return note_missing(s, session, (int64_t)u->lun, "udev has not made the disk read-only");
    *ret_failure = failure_new(FAILURE_DISK_NOT_PROTECTED,
                               "disk %s (target %s, LUN %llu) was not made read-only by ilrd's udev rules",
                               u->block, session->target, (unsigned long long)u->lun);
    return -EPERM;
}

/* 1: it is there; 0: not yet. */
static int unit_check(Search *s, const IscsiSession *session, const Unit *u, Failure **ret_failure)
{
    _cleanup_free_ char *path = NULL;
    uint64_t sectors = 0;
    dev_t device;
    int r;

    if (!*u->block || block_number(u->block, &device) < 0)
        return note_missing(s, session, (int64_t)u->lun, "the kernel has made no block device of it");
    if (asprintf(&path, "%s/class/block/%s", paths.sysfs, u->block) < 0)
        return (path = NULL), -ENOMEM;
    r = block_state(s->udev, u->block);
    if (r == -EPERM)
        return unit_unprotected(s, session, u, ret_failure);
    if (r < 0)
        return r;
    if (r == 0)
        return note_missing(s, session, (int64_t)u->lun, "udev has not finished with the disk");
    r = read_number(path, "size", &sectors);
    if (r < 0 || sectors == 0)
        return note_missing(s, session, (int64_t)u->lun, "the disk is there with no size");
    r = disk_add(s, session, u, device, sectors * 512);
    return r < 0 ? r : 1;
}

/* Looks at one target. 1: all of it is there; 0: something is missing, s->missing says what. */
static int target_check(Search *s, const IscsiSession *session, Failure **ret_failure)
{
    _cleanup_free_ Unit *units = NULL;
    _cleanup_free_ uint64_t *luns = NULL;
    size_t n_units, n_luns, i, k;
    bool waiting = false;
    dev_t device = 0;
    int r;

    r = units_find(session, &units, &n_units);
    if (r < 0)
        return r;
    for (i = 0; i < n_units; i++)
        if (units[i].type == 0) {
            r = unit_check(s, session, &units[i], ret_failure);
            if (r < 0)
                return r;
            waiting = waiting || r == 0;
            if (!device && *units[i].block)
                (void)block_number(units[i].block, &device);
        }
    if (!device)
        return note_missing(s, session, -1, "no disk");
    if (waiting) /* no need to ask yet */
        return 0;
    r = report_luns(device, &luns, &n_luns);
    if (r < 0)
        return note_missing(s, session, -1, "it does not answer REPORT LUNS");
    for (k = 0; k < n_luns; k++) {
        for (i = 0; i < n_units && units[i].lun != luns[k]; i++)
            ;
        if (i == n_units)
            return note_missing(s, session, (int64_t)luns[k],
                                "reported by the target, not found by the kernel");
    }
    return 1;
}

/* 1: all there. A target that is whole is not looked at again: udev tells of every disk, and many targets
 * would be looked at that many times. */
static int search_once(Search *s, Failure **ret_failure)
{
    size_t i;

    free_and_replace(&s->missing, NULL);
    s->any_unprotected = false;
    for (i = 0; i < s->n_sessions; i++) {
        size_t before = s->n_disks;
        int r = s->whole[i] ? 1 : target_check(s, &s->sessions[i], ret_failure);

        if (r < 0)
            return r;
        s->whole[i] = r > 0;
        for (; r == 0 && s->n_disks > before; s->n_disks--)
            disk_done(&s->disks[s->n_disks - 1]);
    }
    if (!s->any_unprotected)
        *s->unprotected = '\0';
    return !s->missing;
}

static int by_target_and_lun(const void *a, const void *b)
{
    const Disk *x = a, *y = b;
    int r = strverscmp(x->target, y->target);

    return r ? r : x->lun < y->lun ? -1 : x->lun > y->lun;
}

static int search_wait(Search *s, struct udev_monitor *monitor, uint64_t timeout_usec, Failure **ret_failure)
{
    uint64_t start = now_usec(CLOCK_MONOTONIC), scanned = 0;
    int r;

    for (;;) {
        struct pollfd p = {.fd = udev_monitor_get_fd(monitor), .events = POLLIN};
        uint64_t now = now_usec(CLOCK_MONOTONIC);
        struct udev_device *d;

        if (scanned == 0 || now - scanned >= RESCAN_USEC) {
            r = search_scan(s, MIN(SCAN_TIMEOUT_USEC, timeout_usec - MIN(now - start, timeout_usec)));
            if (r < 0)
                return r;
            scanned = now_usec(CLOCK_MONOTONIC);
        }
        r = search_once(s, ret_failure);
        if (r != 0)
            return r < 0 ? r : 0;
        now = now_usec(CLOCK_MONOTONIC);
        if (now - start >= timeout_usec)
            return -ETIMEDOUT;
        if (poll(&p, 1, (int)(MIN(RESCAN_USEC, timeout_usec - (now - start)) / USEC_PER_MSEC) + 1) < 0 &&
            errno != EINTR)
            return -errno;
        while ((d = udev_monitor_receive_device(monitor)))
            udev_device_unref(d);
    }
}

int disks_wait(const IscsiSession *sessions, size_t n_sessions, uint64_t timeout_usec, Disk **ret,
               size_t *ret_n, Failure **ret_failure)
{
    _cleanup_(search_done) Search s = {.sessions = sessions, .n_sessions = n_sessions};
    _cleanup_(udev_monitor_unrefp) struct udev_monitor *monitor = NULL;
    _cleanup_(udev_unrefp) struct udev *udev = udev_new();
    size_t i;
    int r;

    if (!udev)
        return -ENOMEM;
    s.udev = udev;
    s.whole = calloc(n_sessions + 1, sizeof(*s.whole));
    if (!s.whole)
        return -ENOMEM;
    monitor = udev_monitor_new_from_netlink(udev, "udev");
    if (!monitor || udev_monitor_filter_add_match_subsystem_devtype(monitor, "block", NULL) < 0 ||
        udev_monitor_enable_receiving(monitor) < 0)
        return -EIO;
    r = search_wait(&s, monitor, timeout_usec, ret_failure);
    if (r == -ETIMEDOUT)
        *ret_failure =
            failure_new(FAILURE_DISKS_MISSING, "not all disks came within %llu s: %s",
                        (unsigned long long)(timeout_usec / USEC_PER_SEC), s.missing ? s.missing : "?");
    if (r >= 0 && s.n_disks > 1)
        qsort(s.disks, s.n_disks, sizeof(*s.disks), by_target_and_lun);
    for (i = 0; r >= 0 && i < s.n_disks; i++)
        if (asprintf(&s.disks[i].name, "disk%zu", i + 1) < 0)
            r = (s.disks[i].name = NULL, -ENOMEM);
    if (r >= 0) {
        *ret = TAKE_PTR(s.disks);
        *ret_n = s.n_disks;
        s.n_disks = 0;
    }
    return r;
}

static int node_hide(const char *name)
{
    _cleanup_free_ char *path = NULL;
    struct stat st;
    dev_t device;
    int r;

    r = block_number(name, &device);
    if (r < 0)
        return r;
    if (asprintf(&path, "/dev/%s", name) < 0)
        return (path = NULL), -ENOMEM;
    if (lstat(path, &st) < 0)
        return errno == ENOENT ? 0 : -errno;
    if (!S_ISBLK(st.st_mode) || st.st_rdev != device)
        return -ENXIO;
    return unlink(path) < 0 && errno != ENOENT ? -errno : 0;
}

int disk_hide(const Disk *disk)
{
    _cleanup_free_ char *path = NULL;
    _cleanup_(closedirp) DIR *dir = NULL;
    struct dirent *e;
    int r;

    if (asprintf(&path, "%s/class/block/%s", paths.sysfs, disk->kernel_name) < 0)
        return (path = NULL), -ENOMEM;
    dir = opendir(path);
    while (dir && (e = readdir(dir)))
        if (startswith(e->d_name, disk->kernel_name)) {
            r = node_hide(e->d_name);
            if (r < 0)
                return r;
        }
    return node_hide(disk->kernel_name);
}
