/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Block devices that are or stand on recovery disks, and those with names of ours, as sysfs has them. */

#include "files.h"
#include "leftover.h"
#include "paths.h"

#include <sys/sysmacros.h>

#define DEPTH_MAX 32
#define BLOCKS_MAX 8192

void leftover_blocks_done(LeftoverBlocks *b)
{
    free(b->items);
    *b = (LeftoverBlocks){};
}

static int read_below(const char *directory, const char *attribute, char **ret)
{
    _cleanup_free_ char *path = NULL;

    if (asprintf(&path, "%s/%s", directory, attribute) < 0)
        return (path = NULL), -ENOMEM;
    return file_read_line(path, ret);
}

static bool exists_below(const char *directory, const char *name)
{
    _cleanup_free_ char *path = NULL;

    if (asprintf(&path, "%s/%s", directory, name) < 0)
        return (path = NULL), false;
    return access(path, F_OK) == 0;
}

LeftoverBlock *leftover_block_named(const LeftoverBlocks *b, const char *name)
{
    size_t i;

    for (i = 0; i < b->n; i++)
        if (streq(b->items[i].name, name))
            return &b->items[i];
    return NULL;
}

/* What sysfs says of /sys/class/block/NAME. -ENOENT: it is gone. */
static int block_read(const char *name, LeftoverBlock *ret)
{
    _cleanup_free_ char *directory = NULL, *dev = NULL, *mapper = NULL;
    LeftoverBlock b = {.sid = -1, .kind = LEFTOVER_DISK};
    unsigned x, y;
    int r;

    if (strlen(name) >= sizeof(b.name))
        return -ENOENT;
    strcpy(b.name, name);
    if (asprintf(&directory, "%s/class/block/%s", paths.sysfs, name) < 0)
        return (directory = NULL), -ENOMEM;
    r = read_below(directory, "dev", &dev);
    if (r < 0)
        return r == -ENOMEM ? r : -ENOENT;
    if (sscanf(dev, "%u:%u", &x, &y) != 2)
        return -ENOENT;
    b.device = makedev(x, y);
    b.listed = !exists_below(directory, "partition");
    if (exists_below(directory, "md"))
        b.kind = LEFTOVER_MD;
    else if (startswith(name, "dm-")) {
        b.kind = LEFTOVER_DM;
        if (read_below(directory, "dm/name", &mapper) < 0)
            return -ENOENT;
        snprintf(b.mapper, sizeof(b.mapper), "%s", mapper);
        b.ours = leftover_session_of_mapper(b.mapper, b.session);
    } else if (startswith(name, "loop"))
        b.kind = LEFTOVER_LOOP;
    *ret = b;
    return 0;
}

static int block_add(LeftoverBlocks *b, const LeftoverBlock *block)
{
    LeftoverBlock *more;

    if (b->n >= BLOCKS_MAX) {
        b->cut = true;
        return 0;
    }
    more = realloc(b->items, (b->n + 1) * sizeof(*more));
    if (!more)
        return -ENOMEM;
    b->items = more;
    more[b->n++] = *block;
    return 0;
}

/* What the devices of a tower have in common. */
typedef struct Base {
    int64_t sid;
    dev_t disk;
    const char *session; /* "": it follows from sid */
} Base;

static int climb(LeftoverBlocks *b, const char *name, const Base *base, unsigned height);

/* All entries of a directory that are devices on this one. */
static int climb_all(LeftoverBlocks *b, const char *directory, const char *prefix, const Base *base,
                     unsigned height)
{
    _cleanup_(closedirp) DIR *dir = opendir(directory);
    struct dirent *e;
    int r = 0;

    while (r >= 0 && dir && (e = readdir(dir)))
        if (e->d_name[0] != '.' && startswith(e->d_name, prefix))
            r = climb(b, e->d_name, base, height);
    return r;
}

static int climb_above(LeftoverBlocks *b, const char *name, const Base *base, unsigned height)
{
    _cleanup_free_ char *directory = NULL, *holders = NULL;
    int r;

    if (asprintf(&directory, "%s/class/block/%s", paths.sysfs, name) < 0)
        return (directory = NULL), -ENOMEM;
    if (asprintf(&holders, "%s/holders", directory) < 0)
        return (holders = NULL), -ENOMEM;
    r = climb_all(b, holders, "", base, height + 1);
    /* partitions: sdb1 below sdb */
    return r < 0 ? r : climb_all(b, directory, name, base, height + 1);
}

static int climb(LeftoverBlocks *b, const char *name, const Base *base, unsigned height)
{
    LeftoverBlock *known = leftover_block_named(b, name), new;
    Base here = *base;
    int r;

    if (height >= DEPTH_MAX || (known && known->height >= height))
        return 0;
    if (known)
        known->height = height;
    else {
        r = block_read(name, &new);
        if (r < 0)
            return r == -ENOENT ? 0 : r;
        if (height == 0)
            here.disk = new.device;
        new.sid = base->sid;
        new.disk = here.disk;
        new.height = height;
        if (!*new.session)
            strcpy(new.session, base->session);
        r = block_add(b, &new);
        if (r < 0)
            return r;
    }
    return climb_above(b, name, &here, height);
}

/* "..../session7/target2:0:0/2:0:0:1" -> 7; -1: it is no iSCSI device */
static int64_t session_above(const char *device)
{
    _cleanup_free_ char *real = realpath(device, NULL);
    const char *p = real;
    long n = -1;
    int end;

    while (p && (p = strstr(p, "/session"))) {
        end = 0;
        if (sscanf(p, "/session%9ld%n", &n, &end) == 1 && end > 0 && p[end] == '/')
            return n;
        n = -1;
        p++;
    }
    return n;
}

static bool target_is_ours(int64_t sid)
{
    _cleanup_free_ char *path = NULL, *target = NULL;

    if (asprintf(&path, "%s/class/iscsi_session/session%lld/targetname", paths.sysfs, (long long)sid) < 0)
        return (path = NULL), false;
    return file_read_line(path, &target) >= 0 && startswith(target, TARGET_PREFIX);
}

static bool vendor_is_ours(const char *device)
{
    _cleanup_free_ char *vendor = NULL;
    size_t n;

    if (read_below(device, "vendor", &vendor) < 0)
        return false;
    for (n = strlen(vendor); n > 0 && vendor[n - 1] == ' '; n--)
        vendor[n - 1] = '\0';
    return streq(vendor, TARGET_VENDOR);
}

/* By the target, as its session is found: a disk says of itself what it likes. By the vendor only what is of
 * no iSCSI session. */
static int scsi_device(LeftoverBlocks *b, const char *address)
{
    _cleanup_free_ char *device = NULL, *block = NULL;
    Base base = {.session = ""};

    if (asprintf(&device, "%s/class/scsi_device/%s/device", paths.sysfs, address) < 0)
        return (device = NULL), -ENOMEM;
    base.sid = session_above(device);
    if (base.sid >= 0 ? !target_is_ours(base.sid) : !vendor_is_ours(device))
        return 0;
    if (asprintf(&block, "%s/block", device) < 0)
        return (block = NULL), -ENOMEM;
    return climb_all(b, block, "", &base, 0);
}

static int scsi_devices(LeftoverBlocks *b)
{
    _cleanup_free_ char *path = NULL;
    _cleanup_(closedirp) DIR *dir = NULL;
    struct dirent *e;
    int r = 0;

    if (asprintf(&path, "%s/class/scsi_device", paths.sysfs) < 0)
        return (path = NULL), -ENOMEM;
    dir = opendir(path);
    while (r >= 0 && dir && (e = readdir(dir)))
        if (e->d_name[0] != '.')
            r = scsi_device(b, e->d_name);
    return r;
}

static int backing_file(const char *loop, char **ret)
{
    _cleanup_free_ char *directory = NULL;

    if (asprintf(&directory, "%s/class/block/%s", paths.sysfs, loop) < 0)
        return (directory = NULL), -ENOMEM;
    return read_below(directory, "loop/backing_file", ret);
}

/* 1: it is on something that is known, and that is news. The kernel counts a loop device over another device
 * among nobody's holders, and names the node that was opened. */
static int loop_above(LeftoverBlocks *b, const char *name)
{
    _cleanup_free_ char *file = NULL;
    const LeftoverBlock *below;
    LeftoverBlock base;
    const char *node;
    int r;

    if (leftover_block_named(b, name))
        return 0;
    r = backing_file(name, &file);
    if (r < 0)
        return r == -ENOMEM ? r : 0;
    node = startswith(file, "/dev/");
    below = node ? leftover_block_named(b, node) : NULL;
    if (!below)
        return 0;
    base = *below; /* the array grows */
    r = climb(b, name, &(Base){.sid = base.sid, .disk = base.disk, .session = base.session}, base.height + 1);
    return r < 0 ? r : leftover_block_named(b, name) != NULL;
}

static int loops_above(LeftoverBlocks *b)
{
    _cleanup_free_ char *path = NULL;
    unsigned round;
    int r = 1;

    if (asprintf(&path, "%s/class/block", paths.sysfs) < 0)
        return (path = NULL), -ENOMEM;
    /* Each round may find what another loop device stands on. */
    for (round = 0; r > 0 && round < DEPTH_MAX; round++) {
        _cleanup_(closedirp) DIR *dir = opendir(path);
        struct dirent *e;
        int k;

        r = 0;
        while (r >= 0 && dir && (e = readdir(dir)))
            if (startswith(e->d_name, "loop")) {
                k = loop_above(b, e->d_name);
                r = k < 0 ? k : MAX(r, k);
            }
    }
    return r < 0 ? r : 0;
}

/* By name: device-mapper's of ours wherever they stand, and loop devices on files of ours. */
static int named_device(LeftoverBlocks *b, const char *name)
{
    _cleanup_free_ char *file = NULL;
    LeftoverBlock block;
    int r;

    if (leftover_block_named(b, name))
        return 0;
    r = block_read(name, &block);
    if (r < 0)
        return r == -ENOENT ? 0 : r;
    if (block.kind == LEFTOVER_LOOP) {
        if (backing_file(name, &file) < 0)
            return 0;
        block.ours = leftover_session_of_path(file, paths.private_dir, block.session) ||
                     leftover_session_of_path(file, paths.connect_dir, block.session);
    }
    if (!block.ours)
        return 0;
    r = block_add(b, &block);
    return r < 0 ? r : climb_above(b, name, &(Base){.sid = -1, .session = block.session}, 0);
}

int leftover_blocks_look(LeftoverBlocks *ret)
{
    _cleanup_(leftover_blocks_done) LeftoverBlocks b = {};
    _cleanup_free_ char *path = NULL;
    _cleanup_(closedirp) DIR *dir = NULL;
    struct dirent *e;
    int r;

    r = scsi_devices(&b);
    if (r >= 0)
        r = loops_above(&b);
    if (r < 0)
        return r;
    if (asprintf(&path, "%s/class/block", paths.sysfs) < 0)
        return (path = NULL), -ENOMEM;
    dir = opendir(path);
    while (r >= 0 && dir && (e = readdir(dir)))
        if (startswith(e->d_name, "dm-") || startswith(e->d_name, "loop"))
            r = named_device(&b, e->d_name);
    if (r < 0)
        return r;
    *ret = b;
    b = (LeftoverBlocks){};
    return 0;
}

/* Something whose iSCSI session was gone when that was looked for is on its way out. */
static bool stands(const LeftoverBlock *b)
{
    return b->sid < 0 || b->stands || *b->session;
}

const LeftoverBlock *leftover_block_find(const LeftoverBlocks *b, dev_t device, const char *source)
{
    const char *node = startswith(source, "/dev/"), *mapper = startswith(source, "/dev/mapper/");
    size_t i;

    for (i = 0; i < b->n; i++) {
        const LeftoverBlock *k = &b->items[i];

        if (!stands(k))
            continue;
        if (major(device) != 0
                ? k->device == device
                : (node && streq(node, k->name)) || (mapper && *k->mapper && streq(mapper, k->mapper)))
            return k;
    }
    return NULL;
}

static int add_block(Leftovers *l, const LeftoverBlock *b)
{
    Leftover item = {.kind = b->kind,
                     .ours = b->kind == LEFTOVER_DISK ? *b->session != '\0' : b->ours,
                     .number = b->sid,
                     .device = b->device,
                     .height = b->height};
    const char *name = *b->mapper ? b->mapper : b->name;

    strcpy(item.session, b->session);
    if (b->sid < 0)
        return leftovers_addf(l, item, name, "%s (%u:%u)", b->name, major(b->device), minor(b->device));
    return leftovers_addf(l, item, name, "%s (%u:%u), on iSCSI session %lld", b->name, major(b->device),
                          minor(b->device), (long long)b->sid);
}

int leftover_add_blocks(Leftovers *l, const LeftoverBlocks *blocks)
{
    size_t i;
    int r = 0;

    l->cut = l->cut || blocks->cut;
    for (i = 0; r >= 0 && i < blocks->n; i++)
        if (blocks->items[i].listed && stands(&blocks->items[i]))
            r = add_block(l, &blocks->items[i]);
    return r;
}
