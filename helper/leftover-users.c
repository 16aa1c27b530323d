/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Who uses the disks of an iSCSI session, or one that is of none. What the kernel itself has over them comes
 * first: it shows even where nothing else leads from the disk to it, as with the second disk of a volume
 * group, or with a file system that is mounted in some other name space. Then the processes. */

#include "files.h"
#include "holder.h"
#include "leftover.h"
#include "mountinfo.h"
#include "paths.h"

#include <fcntl.h>

#define SWAPS_SIZE_MAX (256 * KIB)

/* Only what is asked about stays. */
static void keep(LeftoverBlocks *b, int64_t sid, dev_t disk)
{
    size_t i, n = 0;

    for (i = 0; i < b->n; i++)
        if (b->items[i].sid == sid && (sid >= 0 || b->items[i].disk == disk))
            b->items[n++] = b->items[i];
    b->n = n;
}

static int add_user(char ***who, const char *user)
{
    return strv_contains(*who, user) ? 0 : strv_extend(who, user);
}

/* "vg-lv (dm-0)", or only the kernel's name. */
static int add_device(char ***who, const char *name)
{
    _cleanup_free_ char *path = NULL, *mapper = NULL, *text = NULL;

    if (asprintf(&path, "%s/class/block/%s/dm/name", paths.sysfs, name) < 0)
        return (path = NULL), -ENOMEM;
    if (file_read_line(path, &mapper) < 0)
        return add_user(who, name);
    if (asprintf(&text, "%s (%s)", mapper, name) < 0)
        return (text = NULL), -ENOMEM;
    return add_user(who, text);
}

/* Devices over this one. */
static int add_above(char ***who, const LeftoverBlock *b)
{
    _cleanup_free_ char *path = NULL;
    _cleanup_(closedirp) DIR *dir = NULL;
    struct dirent *e;
    int r = 0;

    if (b->kind != LEFTOVER_DISK && b->listed) /* a loop device is no holder of what is below it */
        r = add_device(who, b->name);
    if (asprintf(&path, "%s/class/block/%s/holders", paths.sysfs, b->name) < 0)
        return (path = NULL), -ENOMEM;
    dir = opendir(path);
    while (r >= 0 && dir && (e = readdir(dir)))
        if (e->d_name[0] != '.')
            r = add_device(who, e->d_name);
    return r;
}

/* A file system of btrfs that has one of these devices: it is there as long as it is mounted
 * anywhere. Its mounts have a device number of their own, which is no disk's. */
static int add_btrfs(char ***who, const LeftoverBlocks *b, const char *uuid)
{
    _cleanup_free_ char *path = NULL;
    _cleanup_(closedirp) DIR *dir = NULL;
    struct dirent *e;
    bool found = false;

    if (asprintf(&path, "%s/fs/btrfs/%s/devices", paths.sysfs, uuid) < 0)
        return (path = NULL), -ENOMEM;
    dir = opendir(path);
    while (!found && dir && (e = readdir(dir)))
        found = leftover_block_named(b, e->d_name) != NULL;
    return found ? strv_extendf(who, "btrfs %s", uuid) : 0;
}

static int add_all_btrfs(char ***who, const LeftoverBlocks *b)
{
    _cleanup_free_ char *path = NULL;
    _cleanup_(closedirp) DIR *dir = NULL;
    struct dirent *e;
    int r = 0;

    if (asprintf(&path, "%s/fs/btrfs", paths.sysfs) < 0)
        return (path = NULL), -ENOMEM;
    dir = opendir(path);
    while (r >= 0 && dir && (e = readdir(dir)))
        if (e->d_name[0] != '.')
            r = add_btrfs(who, b, e->d_name);
    return r;
}

/* "/dev/sdb1    partition    1048572    0    -2" behind a line of titles. */
static int add_swap(char ***who, const LeftoverBlocks *b)
{
    _cleanup_free_ char *path = NULL, *text = NULL;
    char *line, *save = NULL;
    int r = 0;

    if (asprintf(&path, "%s/swaps", paths.proc) < 0)
        return (path = NULL), -ENOMEM;
    if (file_read(AT_FDCWD, path, SWAPS_SIZE_MAX, &text, NULL) < 0)
        return 0; /* a kernel without */
    for (line = strtok_r(text, "\n", &save); r >= 0 && line; line = strtok_r(NULL, "\n", &save)) {
        const char *node;

        line[strcspn(line, " \t")] = '\0';
        mountinfo_unescape(line);
        node = startswith(line, "/dev/");
        if (node && leftover_block_named(b, node))
            r = strv_extendf(who, "swap on %s", node);
    }
    return r;
}

static int add_processes(char ***who, const LeftoverBlocks *b, uint64_t timeout_usec)
{
    _cleanup_free_ MountPoint *mounts = calloc(b->n + 1, sizeof(*mounts));
    _cleanup_free_ dev_t *devices = calloc(b->n + 1, sizeof(*devices));
    HolderQuery q = {.directory = "//", .mounts = mounts, .devices = devices}; /* there is none */
    _cleanup_json_ json_object *holders = NULL;
    _cleanup_free_ char *text = NULL;
    size_t i;
    int r;

    if (!mounts || !devices)
        return -ENOMEM;
    for (i = 0; i < b->n; i++) {
        mounts[q.n_mounts++] = (MountPoint){.id = -1, .device = b->items[i].device};
        devices[q.n_devices++] = b->items[i].device;
    }
    r = holders_find(&q, timeout_usec, &holders);
    if (r < 0 || json_object_array_length(holders) == 0)
        return r;
    text = holders_text(holders);
    return text ? strv_extend(who, text) : -ENOMEM;
}

int leftover_disk_users(int64_t sid, dev_t disk, uint64_t timeout_usec, char **ret_who)
{
    _cleanup_(leftover_blocks_done) LeftoverBlocks b = {};
    _cleanup_strv_free_ char **who = NULL;
    size_t i;
    int r = leftover_blocks_look(&b), k;

    if (r >= 0 && b.cut) /* what is not seen may be in use */
        r = -E2BIG;
    keep(&b, sid, disk);
    for (i = 0; r >= 0 && i < b.n; i++)
        r = add_above(&who, &b.items[i]);
    if (r >= 0)
        r = add_all_btrfs(&who, &b);
    if (r >= 0)
        r = add_swap(&who, &b);
    if (r < 0)
        return r;
    k = add_processes(&who, &b, timeout_usec);
    if (k == -ENOMEM || (k < 0 && !who)) /* one that is known is enough */
        return k;
    *ret_who = NULL;
    if (who && !(*ret_who = strv_join(who, ", ")))
        return -ENOMEM;
    return who != NULL;
}
