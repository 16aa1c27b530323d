/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "volume.h"

#include "strv.h"
#include "utf8.h"

#include <sys/sysmacros.h>

#define LAYER_MEMBERS_SHOWN 4
/* Each layer of several members tells all that is below each of them: without an end it would be four times
 * as long as the one below it. */
#define LAYER_TEXT_MAX 200

void disk_done(Disk *d)
{
    free(d->name);
    free(d->target);
    free(d->kernel_name);
    free(d->table);
}

void disks_free(Disk *disks, size_t n)
{
    size_t i;

    for (i = 0; i < n; i++)
        disk_done(&disks[i]);
    free(disks);
}

void volumes_free(Volume *volumes, size_t n)
{
    size_t i;

    for (i = 0; i < n; i++) {
        free(volumes[i].name);
        free(volumes[i].type);
        free(volumes[i].label);
        free(volumes[i].uuid);
        free(volumes[i].partition_label);
        free(volumes[i].partition_type);
        free(volumes[i].partition_uuid);
        free(volumes[i].by_id);
        json_object_put(volumes[i].subvolumes);
        free(volumes[i].reason);
        free(volumes[i].base);
        free(volumes[i].group);
        free(volumes[i].node);
        strv_free(volumes[i].layers);
        strv_free(volumes[i].partners);
    }
    free(volumes);
}

static int add_null(json_object *o, const char *key)
{
    return json_object_object_add(o, key, NULL) < 0 ? -ENOMEM : 0;
}

static int add_string_or_null(json_object *o, const char *key, const char *value)
{
    return value ? json_add_string(o, key, value) : add_null(o, key);
}

int disk_to_json(const Disk *d, json_object **ret)
{
    _cleanup_json_ json_object *o = json_object_new_object();
    char device[32];
    int r;

    if (!o)
        return -ENOMEM;
    snprintf(device, sizeof(device), "%u:%u", major(d->device), minor(d->device));
    if ((r = json_add_string(o, "name", d->name)) < 0 || (r = json_add_string(o, "target", d->target)) < 0 ||
        (r = json_add_int64(o, "lun", (int64_t)d->lun)) < 0 ||
        (r = json_add_int64(o, "sizeBytes", (int64_t)d->size_bytes)) < 0 ||
        (r = json_add_int64(o, "sectorBytes", d->sector_bytes)) < 0 ||
        (r = add_string_or_null(o, "table", d->table)) < 0 ||
        (r = json_add_string(o, "device", device)) < 0 ||
        (d->overlay_bytes > 0 &&
         ((r = json_add_int64(o, "overlaySizeBytes", (int64_t)d->overlay_bytes)) < 0 ||
          (r = json_add_int64(o, "overlayUsedBytes", (int64_t)d->overlay_used_bytes)) < 0)))
        return r;
    *ret = TAKE_PTR(o);
    return 0;
}

char *volume_place(const Volume *v)
{
    char *s;
    int r = v->partition > 0 ? asprintf(&s, "disk%zu-part%d", v->disk + 1, v->partition)
                             : asprintf(&s, "disk%zu", v->disk + 1);

    return r < 0 ? NULL : s;
}

/* "disk1-part2 > md raid1": all below one member in one word. */
static char *chain_text(const Volume *v)
{
    return v->layers ? strv_join(v->layers, " > ") : volume_place(v);
}

char **volumes_join_layers(Volume *const *members, size_t n, const char *top)
{
    _cleanup_strv_free_ char **layers = NULL, **words = NULL;
    _cleanup_free_ char *all = NULL;
    size_t i;
    int r = 0;

    if (n == 1 && members[0]->layers)
        r = strv_copy(members[0]->layers, &layers);
    else {
        for (i = 0; r >= 0 && i < MIN(n, (size_t)LAYER_MEMBERS_SHOWN); i++) {
            _cleanup_free_ char *word = chain_text(members[i]);

            r = word ? strv_extend(&words, word) : -ENOMEM;
        }
        if (r >= 0 && n > LAYER_MEMBERS_SHOWN)
            r = strv_extendf(&words, "%zu more", n - LAYER_MEMBERS_SHOWN);
        all = strv_join(words, " + ");
        if (all && strlen(all) > LAYER_TEXT_MAX) {
            char *cut = text_clean(all, LAYER_TEXT_MAX);

            free_and_replace(&all, cut);
            r = all && r >= 0 ? strv_extendf(&layers, "%s ...", all) : -ENOMEM;
        } else
            r = r < 0 || !all ? -ENOMEM : strv_extend(&layers, all);
    }
    if (r >= 0 && top)
        r = strv_extend(&layers, top);
    return r < 0 ? NULL : TAKE_PTR(layers);
}

static int add_layers(json_object *o, const Volume *v)
{
    _cleanup_strv_free_ char **plain = NULL;
    _cleanup_free_ char *place = NULL;

    if (v->layers)
        return json_add_strv(o, "layers", v->layers);
    place = volume_place(v);
    if (!place || strv_extend(&plain, place) < 0)
        return -ENOMEM;
    return json_add_strv(o, "layers", plain);
}

int volume_to_json(const Volume *v, const Disk *disks, const char *mounts, json_object **ret)
{
    _cleanup_json_ json_object *o = json_object_new_object();
    _cleanup_free_ char *path = NULL;
    int r;

    if (!o || (v->mounted && asprintf(&path, "%s/%s", mounts, v->name) < 0))
        return -ENOMEM;
    if ((r = json_add_string(o, "name", v->name)) < 0 ||
        (r = json_add_string(o, "disk", disks[v->disk].name)) < 0 ||
        (r = v->partition > 0 ? json_add_int64(o, "partition", v->partition) : add_null(o, "partition")) <
            0 ||
        (r = add_string_or_null(o, "type", v->type)) < 0 || (r = json_add_string(o, "label", v->label)) < 0 ||
        (r = json_add_string(o, "uuid", v->uuid)) < 0 ||
        (r = json_add_string(o, "partitionLabel", v->partition_label)) < 0 ||
        (r = json_add_string(o, "partitionType", v->partition_type)) < 0 ||
        (r = json_add_string(o, "partitionUuid", v->partition_uuid)) < 0 ||
        (r = json_add_int64(o, "sizeBytes", (int64_t)v->size_bytes)) < 0 ||
        (r = json_add_bool(o, "mounted", v->mounted)) < 0 || (r = add_string_or_null(o, "path", path)) < 0 ||
        (r = add_string_or_null(o, "reason", v->reason)) < 0 ||
        (r = json_add_bool(o, "replayed", v->replayed)) < 0 || (r = add_layers(o, v)) < 0 ||
        (r = json_add_bool(o, "locked", v->locked)) < 0 ||
        (r = json_add_bool(o, "degraded", v->degraded)) < 0 ||
        (v->subvolumes && (r = json_add(o, "subvolumes", json_object_get(v->subvolumes))) < 0))
        return r;
    *ret = TAKE_PTR(o);
    return 0;
}

char *text_clean(const char *s, size_t max)
{
    char *out = malloc(max + 1), *q = out;
    uint32_t c;
    int n;

    if (!out)
        return NULL;
    for (; (n = utf8_decode(s, &c)) != 0; s += MAX(n, 1)) {
        /* C0, DEL and C1 (U+0080..U+009F) would talk to a terminal. */
        bool bad = n < 0 || c < 0x20 || (c >= 0x7f && c < 0xa0);

        if ((size_t)(q - out) + (bad ? 1 : (size_t)n) > max)
            break;
        if (bad)
            *q++ = '?';
        else {
            memcpy(q, s, (size_t)n);
            q += n;
        }
    }
    *q = '\0';
    return out;
}
