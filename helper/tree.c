/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "tree.h"

#include "child.h"
#include "files.h"
#include "guest.h"
#include "log.h"
#include "mount.h"
#include "paths.h"

#include <fcntl.h>
#include <limits.h>
#include <sys/mount.h>
#include <sys/stat.h>

#define ROOTS_MAX 8

typedef struct TreeCall {
    const Up *u;
    const char *directory; /* of the tree */
    size_t root;           /* volume */
    const char *place;     /* on it */
    const GuestPlan *plan;
} TreeCall;

static bool same_directory(const struct statx *a, const struct statx *b)
{
    return a->stx_dev_major == b->stx_dev_major && a->stx_dev_minor == b->stx_dev_minor &&
           a->stx_ino == b->stx_ino;
}

/* Mounts what is mounted elsewhere once more, and only it: the mount is private before it is anywhere, or
 * what is mounted below it later would appear in the other place as well. The target is what this descriptor
 * is, whatever the path to it has become. It may stand there already, by a helper before. -EEXIST: something
 * else does. */
static int mount_again(const TreeCall *c, const Volume *v, const char *place, int target)
{
    _cleanup_close_ int top = -EBADF, from = -EBADF, tree = -EBADF;
    struct mount_attr attributes = {.attr_set = MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV |
                                                MOUNT_ATTR_NOEXEC,
                                    .propagation = MS_PRIVATE};
    _cleanup_free_ char *path = NULL;
    struct statx there, here;

    if (!c->u->config->follow_symlinks)
        attributes.attr_set |= MOUNT_ATTR_NOSYMFOLLOW;
    if (asprintf(&path, "%s/%s", c->u->mounts, v->name) < 0)
        return (path = NULL), -ENOMEM;
    top = open(path, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (top < 0)
        return -errno;
    from = open_in_root(top, isempty(place) ? "." : place, O_PATH | O_DIRECTORY);
    if (from < 0)
        return from;
    if (statx(from, "", AT_EMPTY_PATH, STATX_INO, &here) < 0 ||
        statx(target, "", AT_EMPTY_PATH, STATX_INO, &there) < 0)
        return -errno;
    /* Twice in fstab, a link that leads to the top, or done. */
    if (there.stx_attributes & STATX_ATTR_MOUNT_ROOT)
        return same_directory(&there, &here) ? 0 : -EEXIST;
    tree = open_tree(from, "", OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_EMPTY_PATH);
    if (tree < 0 || mount_setattr(tree, "", AT_EMPTY_PATH, &attributes, sizeof(attributes)) < 0 ||
        move_mount(tree, "", target, "", MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH) < 0)
        return -errno;
    return 0;
}

/* Links may lead to where no path reaches: a mount there could be made by descriptor, and never be named
 * again to take it down. */
static int check_reach(int target)
{
    char link[64], path[PATH_MAX];
    ssize_t n;

    snprintf(link, sizeof(link), "/proc/self/fd/%d", target);
    n = readlink(link, path, sizeof(path));
    return n < 0 ? -errno : n >= (ssize_t)sizeof(path) - 1 ? -ENAMETOOLONG : 0;
}

static int mount_below(const TreeCall *c, int root, const GuestMount *m)
{
    _cleanup_close_ int target = open_in_root(root, m->entry->where, O_PATH | O_DIRECTORY);
    int r = target < 0 ? target : check_reach(target);

    return r < 0 ? r : mount_again(c, &c->u->a.volumes[m->volume], m->subvolume, target);
}

/* Answers with one number for the root and one for each mount: 0 or a negative errno. */
static int tree_child(void *userdata, int out)
{
    const TreeCall *c = userdata;
    _cleanup_close_ int at = open(c->directory, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC), root = -EBADF;
    size_t i;
    int r;

    if (at < 0)
        return -errno;
    r = mount_again(c, &c->u->a.volumes[c->root], c->place, at);
    if (r < 0)
        return r;
    root = open(c->directory, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (root < 0)
        return -errno;
    for (i = 0; i < c->plan->n_mounts; i++)
        if (dprintf(out, "%d\n", mount_below(c, root, &c->plan->mounts[i])) < 0)
            return -EIO;
    return 0;
}

static char *why_not(const Volume *v, int error)
{
    char *s;
    int r;

    if (error == -EEXIST)
        return strdup("something is mounted there already");
    if (error == -ELOOP)
        return strdup("a link is in the way, and none is followed here");
    if (error == -ENAMETOOLONG)
        return strdup("the path that its links lead to is too long to mount anything there");
    r = error == -ENOENT || error == -ENOTDIR
            ? asprintf(&s, "there is no such directory to mount volume %s on, and none can be made", v->name)
            : asprintf(&s, "volume %s could not be mounted there: %s", v->name, strerror(-error));
    return r < 0 ? NULL : s;
}

static int add_mount(json_object *mounts, const Volume *v, const GuestMount *m)
{
    _cleanup_json_ json_object *o = json_object_new_object();

    if (!o || json_add_string(o, "where", m->entry->where) < 0 || json_add_string(o, "volume", v->name) < 0 ||
        (!isempty(m->subvolume) && json_add_string(o, "subvolume", m->subvolume) < 0) ||
        json_append(mounts, TAKE_PTR(o)) < 0)
        return -ENOMEM;
    return 0;
}

/* What the child said, line by line; where it stopped, the rest is not mounted. */
static int read_results(const TreeCall *c, const char *text, int end, GuestPlan *plan, json_object *mounts)
{
    size_t i;
    int r = 0;

    for (i = 0; r >= 0 && i < plan->n_mounts; i++) {
        const GuestMount *m = &plan->mounts[i];
        const Volume *v = &c->u->a.volumes[m->volume];
        char *rest;
        long result = strtol(text, &rest, 10);

        if (*rest == '\n')
            text = rest + 1;
        else
            result = end < 0 ? end : -EPROTO;
        r = result == 0 ? add_mount(mounts, v, m)
                        : guest_missing_add(plan, m->entry, why_not(v, (int)result));
    }
    return r;
}

static int root_to_json(const TreeCall *c, const char *name, json_object *mounts, json_object **ret)
{
    _cleanup_json_ json_object *o = json_object_new_object(), *missing = json_object_new_array();
    size_t i;

    if (!o || !missing || json_add_string(o, "name", name) < 0 ||
        json_add_string(o, "path", c->directory) < 0 ||
        json_add_string(o, "volume", c->u->a.volumes[c->root].name) < 0 ||
        (!isempty(c->place) && json_add_string(o, "subvolume", c->place) < 0) ||
        json_add(o, "mounts", json_object_get(mounts)) < 0)
        return -ENOMEM;
    for (i = 0; i < c->plan->n_missing; i++) {
        const GuestMissing *m = &c->plan->missing[i];
        _cleanup_json_ json_object *e = json_object_new_object();

        if (!e || json_add_string(e, "where", m->entry->where) < 0 ||
            json_add_string(e, "what", m->entry->what) < 0 || json_add_string(e, "reason", m->reason) < 0 ||
            json_append(missing, TAKE_PTR(e)) < 0)
            return -ENOMEM;
    }
    if (json_add(o, "missing", TAKE_PTR(missing)) < 0)
        return -ENOMEM;
    *ret = TAKE_PTR(o);
    return 0;
}

/* The tree of one root; NULL: it could not be made. */
static int tree_build(Up *u, const char *name, size_t root, const char *place, const Fstab *fstab,
                      json_object **ret)
{
    _cleanup_free_ char *directory = mounts_path(u->id, name), *text = NULL;
    _cleanup_json_ json_object *mounts = json_object_new_array();
    _cleanup_(guest_plan_done) GuestPlan plan = {};
    TreeCall call = {.u = u, .directory = directory, .root = root, .place = place, .plan = &plan};
    int r, end;

    if (!directory || !mounts)
        return -ENOMEM;
    r = guest_plan(u->a.volumes, u->a.n_volumes, fstab, root, &plan);
    if (r >= 0)
        r = dir_make(directory, 0755, 0, 0);
    if (r < 0 && r != -EROFS) /* it is mounted already */
        return r;
    end = child_call(tree_child, &call, assembly_timeout(&u->a), &text);
    if (!text)
        return -ENOMEM;
    if (end < 0)
        log_errno_full(LOG_WARNING, u->id, end, "The tree %s of volume %s is not whole", name,
                       u->a.volumes[root].name);
    /* Nothing of it stands. rmdir refuses if something does. */
    if (end < 0 && !*text && rmdir(directory) >= 0)
        return 0;
    r = read_results(&call, text, end, &plan, mounts);
    if (r >= 0)
        r = root_to_json(&call, name, mounts, ret);
    if (r >= 0)
        log_full(LOG_INFO, u->id, "Root %s: volume %s and %zu mounts, %zu missing", name,
                 u->a.volumes[root].name, json_object_array_length(mounts), plan.n_missing);
    return r;
}

static json_object *find_root(json_object *roots, const char *key, const char *value)
{
    const char *s;
    size_t i;

    for (i = 0; i < json_object_array_length(roots); i++)
        if (json_get_string(json_object_array_get_idx(roots, i), key, &s) > 0 && streq(s, value))
            return json_object_array_get_idx(roots, i);
    return NULL;
}

/* The one that it has, or "root", "root-2" ... */
static void name_choose(const Up *u, json_object *old, json_object *new, char name[static 16])
{
    const char *had;
    unsigned k;

    if (old && json_get_string(old, "name", &had) > 0) {
        snprintf(name, 16, "%s", had);
        return;
    }
    strcpy(name, "root");
    for (k = 2; find_root(u->record->roots, "name", name) || find_root(new, "name", name); k++)
        snprintf(name, 16, "root-%u", k);
}

/* Is there a root on this volume? */
static int look(Up *u, size_t volume, json_object *roots)
{
    const Volume *v = &u->a.volumes[volume];
    json_object *old = find_root(u->record->roots, "volume", v->name), *o = NULL;
    _cleanup_(fstab_done) Fstab fstab = {};
    _cleanup_free_ char *directory = NULL;
    const char *place;
    char name[16];
    size_t i;
    int r = -ENOENT;

    if (asprintf(&directory, "%s/%s", u->mounts, v->name) < 0)
        return (directory = NULL), -ENOMEM;
    for (i = 0; r < 0 && r != -ETIMEDOUT && (place = guest_root_place(v, i)); i++)
        r = fstab_read(directory, place, assembly_timeout(&u->a), &fstab);
    if (r < 0 && r != -ENOENT && r != -ENOMEM)
        log_errno_full(LOG_INFO, u->id, r, "Volume %s has an fstab that is of no use", v->name);
    if (r >= 0) {
        name_choose(u, old, roots, name);
        r = tree_build(u, name, volume, place, &fstab, &o);
    } else if (r != -ENOMEM) {
        o = old ? json_object_get(old) : NULL;
        r = 0;
    }
    return r < 0 || !o ? r : json_append(roots, o);
}

int roots_build(Up *u)
{
    _cleanup_json_ json_object *roots = json_object_new_array();
    size_t disk, i;
    int r = roots ? 0 : -ENOMEM;

    /* The system's disk is the first one, whatever it lies on there. */
    for (disk = 0; disk < u->a.n_disks; disk++)
        for (i = 0; r >= 0 && i < u->a.n_volumes && json_object_array_length(roots) < ROOTS_MAX; i++)
            if (u->a.volumes[i].mounted && u->a.volumes[i].disk == disk)
                r = look(u, i, roots);
    if (r < 0)
        return r;
    json_object_put(u->record->roots);
    u->record->roots = TAKE_PTR(roots);
    return 0;
}
