/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "lvm-report.h"

#define ROWS_MAX 4096
#define NAME_CHARACTERS "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._+-"

/* The rows of {"report":[{KIND:[...]}]}. */
static int rows(const char *text, const char *kind, json_object **ret_document, json_object **ret)
{
    _cleanup_json_ json_object *o = NULL;
    json_object *report;
    int r = json_parse(text, strlen(text), &o);

    if (r < 0)
        return r == -ENOMEM ? r : -EBADMSG;
    if (json_get_array(o, "report", &report) <= 0 || json_object_array_length(report) != 1 ||
        json_get_array(json_object_array_get_idx(report, 0), kind, ret) <= 0 ||
        json_object_array_length(*ret) > ROWS_MAX)
        return -EBADMSG;
    *ret_document = TAKE_PTR(o);
    return 0;
}

/* All values are strings, absent ones empty. */
static int get(json_object *row, const char *key, const char *allowed, char *buf, size_t size)
{
    const char *s;

    if (json_get_string(row, key, &s) <= 0 || strlen(s) >= size || (allowed && s[strspn(s, allowed)]))
        return -EBADMSG;
    strcpy(buf, s);
    return 0;
}

static int get_number(json_object *row, const char *key, uint64_t *ret)
{
    char buf[24];

    if (get(row, key, "0123456789", buf, sizeof(buf)) < 0)
        return -EBADMSG;
    errno = 0;
    *ret = strtoull(buf, NULL, 10); /* "": 0 */
    return errno ? -EBADMSG : 0;
}

static int get_text(json_object *row, const char *key, char *buf, size_t size)
{
    return get(row, key, NULL, buf, size);
}

static int get_name(json_object *row, const char *key, char *buf, size_t size)
{
    return get(row, key, NAME_CHARACTERS, buf, size);
}

/* Reads each row into an element of a new array, which is the caller's also if one of them cannot be read. */
static int read_rows(const char *text, const char *kind, size_t element_size,
                     int (*read_row)(json_object *row, void *element), void **ret, size_t *ret_n)
{
    _cleanup_json_ json_object *document = NULL;
    json_object *array;
    size_t i, n;
    char *list;
    int r = rows(text, kind, &document, &array);

    if (r < 0)
        return r;
    n = json_object_array_length(array);
    list = calloc(n + 1, element_size);
    if (!list)
        return -ENOMEM;
    for (i = 0; r >= 0 && i < n; i++)
        r = read_row(json_object_array_get_idx(array, i), list + i * element_size);
    *ret = list;
    *ret_n = n;
    return r;
}

static int pv_read(json_object *row, void *element)
{
    LvmPv *p = element;
    char missing[16];

    if (get_text(row, "pv_name", p->name, sizeof(p->name)) < 0 ||
        get_name(row, "vg_name", p->vg, sizeof(p->vg)) < 0 ||
        get_name(row, "vg_uuid", p->vg_uuid, sizeof(p->vg_uuid)) < 0 ||
        get_name(row, "vg_systemid", p->system_id, sizeof(p->system_id)) < 0 ||
        get_name(row, "pv_fmt", p->format, sizeof(p->format)) < 0 ||
        get_text(row, "pv_missing", missing, sizeof(missing)) < 0 ||
        get_number(row, "pe_start", &p->pe_start) < 0 ||
        get_number(row, "vg_extent_size", &p->extent_sectors) < 0)
        return -EBADMSG;
    p->missing = *missing || *p->name != '/';
    return 0;
}

int lvm_report_pvs(const char *text, LvmPv **ret, size_t *ret_n)
{
    _cleanup_free_ void *list = NULL;
    int r = read_rows(text, "pv", sizeof(LvmPv), pv_read, &list, ret_n);

    if (r < 0)
        return r;
    *ret = TAKE_PTR(list);
    return 0;
}

static int lv_read(json_object *row, void *element)
{
    LvmLv *l = element;
    char active[32], health[64], major[16], minor[16];

    if (get_name(row, "lv_name", l->name, sizeof(l->name)) < 0 || !*l->name ||
        get_name(row, "lv_uuid", l->uuid, sizeof(l->uuid)) < 0 ||
        get_text(row, "segtype", l->type, sizeof(l->type)) < 0 ||
        get_number(row, "lv_size", &l->sectors) < 0 ||
        get_text(row, "lv_active", active, sizeof(active)) < 0 ||
        get_text(row, "lv_health_status", health, sizeof(health)) < 0 ||
        get_text(row, "lv_kernel_major", major, sizeof(major)) < 0 ||
        get_text(row, "lv_kernel_minor", minor, sizeof(minor)) < 0)
        return -EBADMSG;
    l->degraded = *health;
    l->active = streq(active, "active");
    if (l->active && (sscanf(major, "%u", &l->major) != 1 || sscanf(minor, "%u", &l->minor) != 1))
        return -EBADMSG;
    return 0;
}

int lvm_report_lvs(const char *text, LvmLv **ret, size_t *ret_n)
{
    _cleanup_free_ void *list = NULL;
    size_t i, n, used = 0;
    int r = read_rows(text, "lv", sizeof(LvmLv), lv_read, &list, &n);
    LvmLv *lvs = list;

    if (r < 0)
        return r;
    /* A volume of several segments comes once for each kind of them. */
    for (i = 0; i < n; i++)
        if (used == 0 || !streq(lvs[used - 1].name, lvs[i].name))
            lvs[used++] = lvs[i];
    *ret = TAKE_PTR(list);
    *ret_n = used;
    return 0;
}

/* A logical volume's name, or none. Hidden ones are told in brackets. */
static int get_lv(json_object *row, const char *key, char buf[static LVM_NAME_SIZE], bool *ret_hidden)
{
    char name[LVM_NAME_SIZE + 2];
    size_t n;

    if (get_text(row, key, name, sizeof(name)) < 0)
        return -EBADMSG;
    n = strlen(name);
    *ret_hidden = *name == '[';
    if (*ret_hidden && (n < 3 || name[n - 1] != ']'))
        return -EBADMSG;
    n -= *ret_hidden ? 2 : 0;
    if (n >= LVM_NAME_SIZE)
        return -EBADMSG;
    memcpy(buf, name + *ret_hidden, n);
    buf[n] = '\0';
    return buf[strspn(buf, NAME_CHARACTERS)] ? -EBADMSG : 0;
}

static int segment_read(json_object *row, void *element)
{
    LvmSegment *g = element;
    const char *devices;
    char merging[32];
    bool hidden;

    if (get_lv(row, "lv_name", g->lv, &g->hidden) < 0 || !*g->lv ||
        get_lv(row, "origin", g->origin, &hidden) < 0 || get_lv(row, "pool_lv", g->pool, &hidden) < 0 ||
        get_text(row, "cache_mode", g->cache_mode, sizeof(g->cache_mode)) < 0 ||
        get_text(row, "lv_merging", merging, sizeof(merging)) < 0 ||
        get_text(row, "segtype", g->type, sizeof(g->type)) < 0 ||
        get_number(row, "seg_start", &g->start) < 0 || get_number(row, "seg_size", &g->sectors) < 0 ||
        get_number(row, "stripe_size", &g->stripe_sectors) < 0 ||
        json_get_string(row, "devices", &devices) <= 0)
        return -EBADMSG;
    g->merging = streq(merging, "merging"); /* else empty, or "unknown" */
    return strv_split(devices, ",", &g->pieces);
}

static int by_volume_and_start(const void *a, const void *b)
{
    const LvmSegment *x = a, *y = b;
    int r = strcmp(x->lv, y->lv);

    return r ? r : x->start < y->start ? -1 : x->start > y->start;
}

void lvm_segments_free(LvmSegment *segments, size_t n)
{
    size_t i;

    for (i = 0; i < n; i++)
        strv_free(segments[i].pieces);
    free(segments);
}

int lvm_report_segments(const char *text, LvmSegment **ret, size_t *ret_n)
{
    void *list = NULL;
    size_t n = 0;
    int r = read_rows(text, "seg", sizeof(LvmSegment), segment_read, &list, &n);

    if (r < 0) {
        lvm_segments_free(list, n);
        return r;
    }
    if (n > 1)
        qsort(list, n, sizeof(LvmSegment), by_volume_and_start);
    *ret = list;
    *ret_n = n;
    return 0;
}

size_t lvm_segments_find(const LvmSegment *segments, size_t n, const char *lv)
{
    size_t low = 0, high = n;

    while (low < high) {
        size_t middle = low + (high - low) / 2;

        if (strcmp(segments[middle].lv, lv) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low < n && streq(segments[low].lv, lv) ? low : n;
}

int lvm_piece_parse(const char *piece, char name[static 256], uint64_t *ret_extent)
{
    const char *paren = strrchr(piece, '(');
    char *end;

    if (!paren || paren == piece || paren - piece >= 256 || paren[1] < '0' || paren[1] > '9')
        return -EBADMSG;
    errno = 0;
    *ret_extent = strtoull(paren + 1, &end, 10);
    if (errno || !streq(end, ")") || *ret_extent > UINT32_MAX)
        return -EBADMSG;
    memcpy(name, piece, (size_t)(paren - piece));
    name[paren - piece] = '\0';
    return 0;
}

#define WAY_DEPTH_MAX 8
/* Pieces that are looked at for one volume: metadata that somebody made up may lead to each of them in more
 * ways than anybody can go. */
#define WAY_STEPS_MAX 1000

static LvmWay worse(LvmWay a, LvmWay b)
{
    return MAX(a, b);
}

/* What lies over something that must not be activated cannot be activated either. */
static LvmWay way_above(LvmWay below)
{
    return below == LVM_WAY_ACTIVATE ? below : LVM_WAY_REFUSE;
}

static LvmWay way(const LvmSegment *segments, size_t n, const char *lv, unsigned depth, unsigned *steps,
                  const char **ret_why)
{
    LvmWay w = LVM_WAY_ACTIVATE;
    char **piece;
    size_t i;

    if ((*steps)++ >= WAY_STEPS_MAX)
        return LVM_WAY_REFUSE;
    if (depth >= WAY_DEPTH_MAX)
        return w;
    for (i = lvm_segments_find(segments, n, lv); i < n && streq(segments[i].lv, lv); i++) {
        const LvmSegment *s = &segments[i];

        if (streq(s->type, "mirror"))
            w = worse(w, LVM_WAY_MAP);
        else if (startswith(s->type, "cache") && !startswith(s->type, "cache-pool")) {
            bool through = streq(s->cache_mode, "writethrough") || streq(s->cache_mode, "passthrough");

            w = worse(w, through ? LVM_WAY_MAP : LVM_WAY_REFUSE);
            *ret_why = "it has a cache that holds what its origin misses, and each reading would change it";
        } else if (streq(s->type, "writecache")) {
            w = LVM_WAY_REFUSE;
            *ret_why = "it has a cache for writing, which would be written back";
        } else if (s->merging && !streq(s->type, "thin")) {
            /* How far the kernel is nobody can say: the origin alone may be a mixture. */
            w = LVM_WAY_REFUSE;
            *ret_why = "a snapshot of it was to be merged into it, which would go on here";
        }
        STRV_FOREACH (piece, s->pieces) {
            uint64_t extent;
            char name[256];

            if (lvm_piece_parse(*piece, name, &extent) < 0 || *name == '/' || *name == '[')
                continue;
            w = worse(w, way(segments, n, name, depth + 1, steps, ret_why));
        }
        if (*s->pool)
            w = worse(w, way_above(way(segments, n, s->pool, depth + 1, steps, ret_why)));
        if (*s->origin && !streq(s->type, "cache"))
            w = worse(w, way_above(way(segments, n, s->origin, depth + 1, steps, ret_why)));
    }
    return w;
}

LvmWay lvm_way(const LvmSegment *segments, size_t n, const char *lv, const char **ret_why)
{
    unsigned steps = 0;

    *ret_why = "it lies over a mirror or a cache that is not activated";
    return way(segments, n, lv, 0, &steps, ret_why);
}
