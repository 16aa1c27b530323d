/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Mounts of the host: ours by their place, others by the disk they are of, and the connection script's whose
 * disk is gone. */

#include "files.h"
#include "leftover.h"
#include "mountinfo.h"
#include "paths.h"

#include <ctype.h>
#include <fcntl.h>
#include <sys/sysmacros.h>

#define TABLE_SIZE_MAX (16 * MIB)
#define STAMP_DIGITS 14

/* Where the script mounts: ".../my-vm-20261120220000/Volume1", or LVM1. */
static bool script_place(const char *path)
{
    const char *last = strrchr(path, '/'), *p, *number;

    number = last ? startswith(last, "/Volume") : NULL;
    if (last && !number)
        number = startswith(last, "/LVM");
    if (!number || !*number || number[strspn(number, "0123456789")] || last - path < STAMP_DIGITS + 2)
        return false;
    for (p = last - STAMP_DIGITS; p < last; p++)
        if (!isdigit((unsigned char)*p))
            return false;
    return last[-STAMP_DIGITS - 1] == '-';
}

static bool sysfs_has(const char *format, unsigned a, unsigned b)
{
    _cleanup_free_ char *rest = NULL, *path = NULL;

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
    if (asprintf(&rest, format, a, b) < 0)
        return (rest = NULL), true;
#pragma GCC diagnostic pop
    if (asprintf(&path, "%s/%s", paths.sysfs, rest) < 0)
        return (path = NULL), true;
    return access(path, F_OK) == 0;
}

/* Device-mapper's device stands on nothing any more: its disks are gone. */
static bool stands_on_nothing(dev_t device)
{
    _cleanup_free_ char *path = NULL;
    _cleanup_(closedirp) DIR *dir = NULL;
    struct dirent *e;

    if (asprintf(&path, "%s/dev/block/%u:%u/slaves", paths.sysfs, major(device), minor(device)) < 0)
        return (path = NULL), false;
    dir = opendir(path);
    while (dir && (e = readdir(dir)))
        if (e->d_name[0] != '.' && faccessat(dirfd(dir), e->d_name, F_OK, 0) == 0)
            return false;
    return dir;
}

/* A file system keeps its mount when its disk goes, and what the disk was cannot be asked any more. */
static bool disk_gone(const MountLine *m)
{
    if (major(m->device) == 0) /* btrfs: by the name that it was mounted by */
        return startswith(m->source, "/dev/") && access(m->source, F_OK) < 0 && errno == ENOENT;
    if (!sysfs_has("dev/block/%u:%u", major(m->device), minor(m->device)))
        return true;
    return sysfs_has("dev/block/%u:%u/dm", major(m->device), minor(m->device)) &&
           stands_on_nothing(m->device);
}

static bool below(const char *path, const char *directory)
{
    const char *rest = startswith(path, directory);

    return rest && *rest == '/';
}

static int add_mount(Leftovers *l, const LeftoverBlocks *blocks, const MountLine *m)
{
    const char *const ours[] = {paths.mounts_dir, paths.private_dir, paths.connect_dir};
    Leftover item = {.kind = LEFTOVER_MOUNT, .number = -1, .device = m->device};
    const LeftoverBlock *block;
    size_t i;

    for (i = 0; i < ELEMENTSOF(ours); i++)
        if (below(m->path, ours[i])) {
            item.ours = true;
            (void)leftover_session_of_path(m->path, ours[i], item.session);
            return leftovers_addf(l, item, m->path, "%s of %s", m->type, m->source);
        }
    block = leftover_block_find(blocks, m->device, m->source);
    if (block) {
        strcpy(item.session, block->session);
        item.number = block->sid;
        return leftovers_addf(l, item, m->path, "%s of %s, which is on a recovery disk", m->type, m->source);
    }
    if (!script_place(m->path) || !disk_gone(m))
        return 0;
    item.dead = true;
    return leftovers_addf(l, item, m->path, "%s of %s, whose disk is gone; made by the connection script",
                          m->type, m->source);
}

int leftover_add_mounts(Leftovers *l, const LeftoverBlocks *blocks)
{
    _cleanup_free_ char *path = NULL, *text = NULL;
    char *line, *next;
    int r;

    if (asprintf(&path, "%s/self/mountinfo", paths.proc) < 0)
        return (path = NULL), -ENOMEM;
    r = file_read(AT_FDCWD, path, TABLE_SIZE_MAX, &text, NULL);
    for (line = text; r >= 0 && line && *line; line = next) {
        MountLine m;

        next = strchr(line, '\n');
        if (next)
            *next++ = '\0';
        if (mountinfo_parse(line, &m) >= 0)
            r = add_mount(l, blocks, &m);
    }
    return r;
}
