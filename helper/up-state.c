/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "up-state.h"

#include "files.h"
#include "log.h"
#include "mount.h"
#include "names.h"
#include "paths.h"
#include "subvolume.h"
#include "tree.h"

#include <grp.h>
#include <sys/stat.h>

/* Their list goes into the record, and to whoever asks. */
#define SUBVOLUMES_SESSION_MAX 1000

static gid_t group_of_users(const char *id)
{
    const struct group *g = getgrnam("ilr");

    if (!g)
        log_full(LOG_WARNING, id, "There is no group ilr, only root will reach the volumes");
    return g ? g->gr_gid : 0;
}

int up_init(Up *u, const char *id, const Config *config)
{
    int r;

    *u = (Up){.id = id, .config = config, .a = {.id = id, .config = config}};
    u->mounts = mounts_path(id, "volumes");
    if (!u->mounts)
        return -ENOMEM;
    r = record_load(id, &u->record);
    if (r < 0)
        return r;
    u->group = group_of_users(id);
    assembly_begin(&u->a);
    u->replay = u->record->replay < 0 ? config->replay : u->record->replay == REPLAY_OVERLAY;
    return 0;
}

void up_done(Up *u)
{
    record_free(u->record);
    free(u->mounts);
    assembly_done(&u->a);
}

int up_save(Up *u)
{
    _cleanup_json_ json_object *disks = json_object_new_array(), *volumes = json_object_new_array();
    json_object *o;
    size_t i;
    int r;

    if (!disks || !volumes)
        return -ENOMEM;
    for (i = 0; i < u->a.n_disks; i++) {
        r = disk_to_json(&u->a.disks[i], &o);
        if (r < 0 || (r = json_append(disks, o)) < 0)
            return r;
    }
    for (i = 0; i < u->a.n_volumes; i++) {
        r = volume_to_json(&u->a.volumes[i], u->a.disks, u->mounts, &o);
        if (r < 0 || (r = json_append(volumes, o)) < 0)
            return r;
    }
    r = assembly_parts_to_json(&u->a, &o);
    if (r < 0)
        return r;
    json_object_put(u->record->parts);
    u->record->parts = o;
    json_object_put(u->record->disks);
    json_object_put(u->record->volumes);
    u->record->disks = TAKE_PTR(disks);
    u->record->volumes = TAKE_PTR(volumes);
    return record_save(u->record);
}

static bool wanted(const Volume *v)
{
    return !v->reason && !v->mounted;
}

/* What cannot be listed can still be browsed. */
static void list_subvolumes(Up *u, Volume *v, const char *directory)
{
    size_t i, n = 0;
    int r;

    for (i = 0; i < u->a.n_volumes; i++)
        if (u->a.volumes[i].subvolumes)
            n += json_object_array_length(u->a.volumes[i].subvolumes);
    if (n >= SUBVOLUMES_SESSION_MAX)
        return;
    r = subvolumes_list(directory, assembly_timeout(&u->a), &v->subvolumes);
    if (r < 0)
        log_errno_full(LOG_WARNING, u->id, r, "Cannot list the subvolumes of %s", v->name);
}

/* Rather no files than other ones than the administrator expects. */
static int forbid_links(Up *u, Volume *v, const char *directory)
{
    int r = mount_forbid_links(directory, assembly_timeout(&u->a));

    if (r >= 0)
        return 0;
    (void)path_unmount(directory, true, assembly_timeout(&u->a));
    return asprintf(&v->reason, "links on it could not be forbidden (FollowSymlinks=no): %s", strerror(-r)) <
                   0
               ? -ENOMEM
               : 0;
}

/* Files may lack in it what was in the journal only, and may not fit to each other. */
static int note_lacking_journal(Volume *v)
{
    _cleanup_free_ char *top = NULL;
    char **layers;

    if (asprintf(&top, "%s without its journal, which is on another disk", v->type) < 0)
        return (top = NULL), -ENOMEM;
    layers = volumes_join_layers(&v, 1, top);
    if (!layers)
        return -ENOMEM;
    strv_free(v->layers);
    v->layers = layers;
    v->degraded = true;
    return 0;
}

/* What belongs to a mount besides it. */
static int mounted(Up *u, Volume *v, const char *directory, bool journal_elsewhere)
{
    int r = u->config->follow_symlinks ? 0 : forbid_links(u, v, directory);

    if (r < 0 || v->reason)
        return r;
    v->mounted = true;
    if (streq(v->type, "btrfs"))
        list_subvolumes(u, v, directory);
    return journal_elsewhere ? note_lacking_journal(v) : 0;
}

static int mount_one(Up *u, Volume *v)
{
    _cleanup_free_ char *directory = NULL;
    bool journal_elsewhere;
    int r;

    if (strchr(v->name, '/') || *v->name == '.') /* volumes_name() gives none such */
        return -EINVAL;
    if (asprintf(&directory, "%s/%s", u->mounts, v->name) < 0)
        return (directory = NULL), -ENOMEM;
    r = dir_make(directory, 0755, 0, 0);
    if (r < 0)
        return r;
    v->tried = true;
    r = volume_mount(v, directory, u->replay, assembly_timeout(&u->a), &v->reason, &v->replayed,
                     &journal_elsewhere);
    if (r >= 0 && !v->reason)
        r = mounted(u, v, directory, journal_elsewhere);
    if (r < 0)
        return r;
    if (!v->mounted)
        (void)rmdir(directory);
    log_full(LOG_INFO, u->id, "Volume %s: %s%s", v->name, v->mounted ? "mounted" : v->reason,
             v->replayed ? ", journal replayed" : "");
    return 0;
}

static int mount_volumes(Up *u)
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
        if (wanted(&u->a.volumes[i]))
            r = assembly_map(&u->a, &u->a.volumes[i]);
    k = dm_settle(&u->a.cookie, DEVICE_TIMEOUT_USEC);
    if (k < 0)
        log_errno_full(LOG_WARNING, u->id, k, "udev did not finish with the overlays");
    /* What is mounted shall be in the record: what is not in there may be removed (unlock). */
    if (r >= 0)
        r = up_save(u);
    for (i = 0; r >= 0 && i < u->a.n_volumes; i++)
        if (wanted(&u->a.volumes[i]) && (r = assembly_late(&u->a, &u->a.volumes[i])) == 0)
            r = mount_one(u, &u->a.volumes[i]);
    return r;
}

int up_note_mounts(Up *u)
{
    MountPoint *mounts = NULL;
    size_t n = 0, i, k;
    int r = mounts_below(u->mounts, &mounts, &n);

    for (i = 0; r >= 0 && i < u->a.n_volumes; i++) {
        Volume *v = &u->a.volumes[i];

        for (k = 0; r >= 0 && k < n && wanted(v); k++) {
            const char *name = startswith(mounts[k].path, u->mounts);

            if (name && *name == '/' && streq(name + 1, v->name))
                r = mounted(u, v, mounts[k].path, volume_journal_elsewhere(v, DEVICE_TIMEOUT_USEC));
        }
    }
    mounts_free(mounts, n);
    return r;
}

int up_assemble(Up *u)
{
    int r = assemble(&u->a);

    if (r >= 0)
        r = volumes_name(u->a.volumes, u->a.n_volumes);
    return r < 0 ? r : up_save(u);
}

int up_mount(Up *u)
{
    int r = mount_volumes(u);

    if (r >= 0)
        r = up_measure_overlays(u);
    if (r >= 0)
        r = roots_build(u);
    return r < 0 ? r : up_save(u);
}
