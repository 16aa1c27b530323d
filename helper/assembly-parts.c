/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* What a later helper needs to go on where an earlier one stopped. The record is root's alone, but may be
 * anything after a crash. */

#include "assembly.h"

#include <sys/sysmacros.h>

int assembly_parts_to_json(const Assembly *a, json_object **ret)
{
    _cleanup_json_ json_object *o = json_object_new_object(), *list = json_object_new_array();
    size_t i;
    int r;

    if (!o || !list)
        return -ENOMEM;
    for (i = 0; i < a->n_volumes; i++) {
        const Volume *v = &a->volumes[i];
        _cleanup_json_ json_object *e = json_object_new_object();
        char device[32];

        snprintf(device, sizeof(device), "%u:%u", major(v->device), minor(v->device));
        if (!e || (r = json_add_int64(e, "disk", (int64_t)v->disk)) < 0 ||
            (r = json_add_int64(e, "start", (int64_t)v->start_bytes)) < 0 ||
            (r = json_add_string(e, "base", v->base)) < 0 ||
            (r = json_add_string(e, "group", v->group)) < 0 ||
            (r = json_add_string(e, "byId", v->by_id)) < 0 ||
            (r = json_add_int64(e, "openedFrom", (int64_t)v->opened_from)) < 0 ||
            (r = json_add_string(e, "node", v->node)) < 0 || (r = json_add_string(e, "device", device)) < 0 ||
            (r = json_add_bool(e, "used", v->used)) < 0 || (r = json_add_bool(e, "waits", v->waits)) < 0 ||
            (v->layers && (r = json_add_strv(e, "layers", v->layers)) < 0) ||
            (v->partners && (r = json_add_strv(e, "partners", v->partners)) < 0) ||
            json_append(list, TAKE_PTR(e)) < 0)
            return -ENOMEM;
    }
    if ((r = json_add_int64(o, "made", a->n_made)) < 0 || (r = json_add(o, "volumes", TAKE_PTR(list))) < 0)
        return r;
    *ret = TAKE_PTR(o);
    return 0;
}

static int get_copy(json_object *o, const char *key, char **ret)
{
    const char *s = NULL;

    if (json_get_string(o, key, &s) < 0)
        return -EBADMSG;
    return str_copy(s, ret);
}

static int get_strv(json_object *o, const char *key, char ***ret)
{
    json_object *array;
    size_t i;
    int r = json_get_array(o, key, &array);

    if (r <= 0)
        return r < 0 ? -EBADMSG : 0;
    for (i = 0; i < json_object_array_length(array); i++) {
        json_object *e = json_object_array_get_idx(array, i);

        if (!json_object_is_type(e, json_type_string))
            return -EBADMSG;
        r = strv_extend(ret, json_object_get_string(e));
        if (r < 0)
            return r;
    }
    return 0;
}

static int get_device(json_object *o, dev_t *ret)
{
    const char *s;
    unsigned a, b;

    if (json_get_string(o, "device", &s) <= 0 || sscanf(s, "%u:%u", &a, &b) != 2)
        return -EBADMSG;
    *ret = makedev(a, b);
    return 0;
}

static int volume_load(Assembly *a, json_object *o, json_object *part)
{
    int64_t size, disk, start, partition = 0, opened_from = 0;
    json_object *subvolumes;
    Volume *v;
    int r;

    if (json_get_int64(o, "sizeBytes", &size) <= 0 || json_get_int64(part, "disk", &disk) <= 0 || disk < 0 ||
        (size_t)disk >= a->n_disks || json_get_int64(part, "start", &start) <= 0 ||
        json_get_int64(o, "partition", &partition) < 0 ||
        json_get_int64(part, "openedFrom", &opened_from) < 0 || opened_from < 0 ||
        (size_t)opened_from > a->n_volumes)
        return -EBADMSG;
    v = assembly_add(a, (size_t)disk, (uint64_t)start, (uint64_t)size);
    if (!v)
        return -ENOMEM;
    v->partition = (int)partition;
    v->opened_from = (size_t)opened_from;
    if (json_get_array(o, "subvolumes", &subvolumes) > 0)
        v->subvolumes = json_object_get(subvolumes);
    if ((r = get_copy(o, "name", &v->name)) < 0 || (r = get_copy(o, "type", &v->type)) < 0 ||
        (r = get_copy(o, "label", &v->label)) < 0 || (r = get_copy(o, "uuid", &v->uuid)) < 0 ||
        (r = get_copy(o, "partitionLabel", &v->partition_label)) < 0 ||
        (r = get_copy(o, "partitionType", &v->partition_type)) < 0 ||
        (r = get_copy(o, "partitionUuid", &v->partition_uuid)) < 0 ||
        (r = get_copy(part, "byId", &v->by_id)) < 0 || (r = get_copy(o, "reason", &v->reason)) < 0 ||
        (r = get_copy(part, "base", &v->base)) < 0 || (r = get_copy(part, "group", &v->group)) < 0 ||
        (r = get_copy(part, "node", &v->node)) < 0 || (r = get_strv(part, "layers", &v->layers)) < 0 ||
        (r = get_strv(part, "partners", &v->partners)) < 0 || (r = get_device(part, &v->device)) < 0)
        return r;
    if (json_get_bool(o, "mounted", &v->mounted) < 0 || json_get_bool(o, "replayed", &v->replayed) < 0 ||
        json_get_bool(o, "locked", &v->locked) < 0 || json_get_bool(o, "degraded", &v->degraded) < 0 ||
        json_get_bool(part, "used", &v->used) < 0 || json_get_bool(part, "waits", &v->waits) < 0)
        return -EBADMSG;
    return v->name ? 0 : -EBADMSG;
}

static int disk_load(Disk *d, json_object *o)
{
    int64_t size, sector, lun, overlay = 0;
    int r;

    if (json_get_int64(o, "sizeBytes", &size) <= 0 || json_get_int64(o, "sectorBytes", &sector) <= 0 ||
        json_get_int64(o, "lun", &lun) <= 0 || json_get_int64(o, "overlaySizeBytes", &overlay) < 0)
        return -EBADMSG;
    d->size_bytes = (uint64_t)size;
    d->sector_bytes = (unsigned)sector;
    d->lun = (uint64_t)lun;
    d->overlay_bytes = (uint64_t)overlay;
    if ((r = get_copy(o, "name", &d->name)) < 0 || (r = get_copy(o, "target", &d->target)) < 0 ||
        (r = get_copy(o, "table", &d->table)) < 0)
        return r;
    return d->name && d->target ? get_device(o, &d->device) : -EBADMSG;
}

int assembly_load(Assembly *a, json_object *disks, json_object *volumes, json_object *parts)
{
    size_t i, n = json_object_array_length(volumes), n_disks = json_object_array_length(disks);
    json_object *list;
    int64_t made;
    int r = 0;

    if (json_get_int64(parts, "made", &made) <= 0 || json_get_array(parts, "volumes", &list) <= 0 ||
        json_object_array_length(list) != n || n > VOLUMES_MAX)
        return -EBADMSG;
    a->n_made = (unsigned)made;
    a->disks = calloc(n_disks + 1, sizeof(*a->disks));
    if (!a->disks)
        return -ENOMEM;
    for (i = 0; r >= 0 && i < n_disks; i++, a->n_disks++)
        r = disk_load(&a->disks[i], json_object_array_get_idx(disks, i));
    for (i = 0; r >= 0 && i < n; i++)
        r = volume_load(a, json_object_array_get_idx(volumes, i), json_object_array_get_idx(list, i));
    return r;
}
