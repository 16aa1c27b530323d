/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "btrfs-devices.h"

#include "btrfs.h"
#include "child.h"
#include "overlay.h"

#include <fcntl.h>
#include <sys/random.h>

typedef struct Member {
    size_t volume;
    BtrfsSuper super;
    bool done;
} Member;

typedef struct ReadCall {
    dev_t device;
} ReadCall;

static int read_child(void *userdata, int fd)
{
    _cleanup_close_ int dev = device_open(((ReadCall *)userdata)->device, O_RDONLY);
    BtrfsSuper s;
    int r = dev < 0 ? dev : btrfs_read(dev, &s);

    if (r >= 0)
        r = child_put_hex(fd, s.fsid, sizeof(s.fsid));
    if (r < 0)
        return r;
    return dprintf(fd, " %llu %llu", (unsigned long long)s.n_devices, (unsigned long long)s.device) < 0 ? -EIO
                                                                                                        : 0;
}

static int read_super(dev_t device, uint64_t timeout_usec, BtrfsSuper *ret)
{
    ReadCall call = {.device = device};
    _cleanup_free_ char *text = NULL;
    unsigned long long n, number;
    int r;

    r = child_call(read_child, &call, timeout_usec, &text);
    if (r < 0)
        return r;
    r = child_get_hex(text, sizeof(ret->fsid), ret->fsid);
    if (r < 0)
        return r;
    if (sscanf(text + 2 * sizeof(ret->fsid), "%llu %llu", &n, &number) != 2)
        return -EPROTO;
    ret->n_devices = n;
    ret->device = number;
    return 0;
}

typedef struct FsidCall {
    dev_t device;
    uint64_t size_bytes;
    const uint8_t *fsid;
} FsidCall;

static int fsid_child(void *userdata, int answer)
{
    const FsidCall *c = userdata;
    _cleanup_close_ int fd = device_open(c->device, O_RDWR);

    return fd < 0 ? fd : btrfs_set_fsid(fd, c->size_bytes, c->fsid);
}

static int refuse(Assembly *a, size_t volume, int error)
{
    if (error == -ENOMEM)
        return error;
    if (error == -EOPNOTSUPP)
        return assembly_settle(
            a, &volume, 1, true,
            "btrfs with checksums that this kernel does not know: cannot be given an identity of its own");
    if (error == -EMEDIUMTYPE)
        return assembly_settle(a, &volume, 1, true, "btrfs whose first superblock is damaged");
    return assembly_settle(a, &volume, 1, true, "btrfs that could not be given an identity of its own: %s",
                           strerror(-error));
}

/* A clone gets an identity of its own before the kernel sees it. */
static int change_identity(Assembly *a, const size_t *volumes, size_t n)
{
    uint8_t fsid[16];
    size_t i;

    if (getrandom(fsid, sizeof(fsid), 0) != sizeof(fsid))
        return -EIO;
    fsid[6] = (uint8_t)((fsid[6] & 0x0f) | 0x40); /* a random UUID says that it is one */
    fsid[8] = (uint8_t)((fsid[8] & 0x3f) | 0x80);
    for (i = 0; i < n; i++) {
        Volume *v = &a->volumes[volumes[i]];
        FsidCall call = {.device = v->device, .size_bytes = v->size_bytes, .fsid = fsid};
        int r = child_call(fsid_child, &call, assembly_timeout(a), NULL);

        if (r < 0)
            return r;
    }
    return 0;
}

static int group_do(Assembly *a, const size_t *volumes, size_t n, uint64_t n_devices)
{
    Volume *v = &a->volumes[volumes[0]];
    _cleanup_free_ char *top = NULL, *place = NULL;
    char **layers;
    size_t i;
    int r;

    if (n < n_devices && assembly_anything_locked(a))
        return assembly_settle(a, volumes, n, false,
                               "btrfs of %llu devices, of which %zu are there; a locked volume may hold one",
                               (unsigned long long)n_devices, n);
    r = change_identity(a, volumes, n);
    if (r < 0) {
        for (i = 0; i < n; i++)
            if (refuse(a, volumes[i], r) < 0)
                return -ENOMEM;
        return 0;
    }
    v->used = true;
    v->reason = (free(v->reason), NULL);
    if (n_devices <= 1)
        return 0;
    v->degraded = v->degraded || n < n_devices;
    r = n < n_devices
            ? asprintf(&top, "btrfs (degraded, %zu of %llu devices)", n, (unsigned long long)n_devices)
            : asprintf(&top, "btrfs of %llu devices", (unsigned long long)n_devices);
    if (r < 0)
        return (top = NULL), -ENOMEM;
    place = v->base ? strdup(v->base) : volume_place(v);
    layers = assembly_layers(a, volumes, n, top);
    if (!place || !layers) {
        strv_free(layers);
        return -ENOMEM;
    }
    strv_free(v->layers);
    v->layers = layers;
    for (i = 1; i < n; i++) {
        r = strv_extend(&v->partners, a->volumes[volumes[i]].node);
        if (r < 0)
            return r;
    }
    return assembly_settle(a, volumes + 1, n - 1, true, "device of the btrfs on %s", place);
}

/* Those of the same file system. The same device once more is a file system of its own. */
static int group_collect(Assembly *a, Member *members, size_t n, size_t first)
{
    _cleanup_free_ size_t *volumes = calloc(n, sizeof(*volumes)), *chosen = calloc(n, sizeof(*chosen));
    size_t i, k, count = 0;

    if (!volumes || !chosen)
        return -ENOMEM;
    for (i = first; i < n; i++) {
        if (members[i].done || memcmp(members[i].super.fsid, members[first].super.fsid, 16) != 0)
            continue;
        for (k = 0; k < count && members[chosen[k]].super.device != members[i].super.device; k++)
            ;
        if (k < count)
            continue;
        members[i].done = true;
        chosen[count] = i;
        volumes[count++] = members[i].volume;
    }
    return group_do(a, volumes, count, members[first].super.n_devices);
}

int btrfs_assemble(Assembly *a)
{
    _cleanup_free_ size_t *volumes = NULL;
    _cleanup_free_ Member *members = NULL;
    size_t i, n, kept = 0, known = 0;
    int r;

    volumes = assembly_members(a, "btrfs", &n);
    if (!volumes)
        return -ENOMEM;
    for (i = 0; i < n; i++) /* a damaged one has its reason */
        if (!a->volumes[volumes[i]].reason || a->volumes[volumes[i]].waits)
            volumes[kept++] = volumes[i];
    n = kept;
    r = assembly_map_members(a, volumes, &n);
    if (r < 0 || n == 0)
        return r;
    members = calloc(n, sizeof(*members));
    if (!members)
        return -ENOMEM;
    for (i = 0; i < n; i++) {
        r = read_super(a->volumes[volumes[i]].device, assembly_timeout(a), &members[known].super);
        if (r >= 0)
            members[known++].volume = volumes[i];
        else if ((r = refuse(a, volumes[i], r)) < 0)
            return r;
    }
    r = 0;
    for (i = 0; r >= 0 && i < known; i++)
        if (!members[i].done)
            r = group_collect(a, members, known, i);
    return r;
}
