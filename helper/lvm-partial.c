/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Volume groups with missing physical volumes. LVM itself would bring one up under its old identity only,
 * which may be that of a live group of the host. So lvm is only asked where the segments lie, and
 * device-mapper is told the rest: linear and striped volumes, with holes that give errors where a physical
 * volume is missing; a mirror from its first whole copy; raid4 and raid5 with enough members. */

#include "log.h"
#include "lvm-report.h"
#include "lvm.h"

#include <sys/sysmacros.h>

#define DEPTH_MAX 4
#define MISSING "[unknown]"

typedef struct Partial {
    Group *g;
    LvmSegment *segments;
    size_t n_segments;
} Partial;

/* What one volume is made of. */
typedef struct Build {
    DmTarget *targets;
    size_t n;
    char **params; /* of the targets */
    bool holes, degraded;
    char reason[160]; /* "": it can be made */
} Build;

static void build_done(Build *b)
{
    free(b->targets);
    strv_free(b->params);
    *b = (Build){};
}

static int build_add(Build *b, uint64_t start, uint64_t sectors, const char *type, const char *params)
{
    DmTarget *more = realloc(b->targets, (b->n + 1) * sizeof(*more));
    size_t i;

    if (!more)
        return -ENOMEM;
    b->targets = more;
    b->targets[b->n++] = (DmTarget){.start = start, .sectors = sectors, .type = type};
    if (strv_extend(&b->params, params) < 0)
        return -ENOMEM;
    for (i = 0; i < b->n; i++) /* the vector may have moved */
        b->targets[i].params = b->params[i];
    return 0;
}

/* "M:m SECTOR" of a piece on a physical volume. 0: it is missing. */
static int piece_place(const Partial *p, const char *piece, char buf[static DM_PARAMS_SIZE])
{
    char name[256];
    uint64_t extent;
    size_t i, k;

    if (lvm_piece_parse(piece, name, &extent) < 0)
        return -EBADMSG;
    for (i = 0; i < p->g->n_pvs; i++) {
        const LvmPv *pv = &p->g->pvs[i];

        if (!streq(pv->name, name) || pv->missing)
            continue;
        for (k = 0; k < p->g->n_members; k++) {
            const Volume *v = &p->g->a->volumes[p->g->members[k]];

            if (!streq(v->node, name + MIN(strlen(name), strlen("/dev/mapper/"))))
                continue;
            dm_params_linear(v->device, pv->pe_start + extent * pv->extent_sectors, buf);
            return 1;
        }
    }
    return 0;
}

static int make_device(Partial *p, const DmTarget *targets, size_t n, dev_t *ret, char **ret_node)
{
    _cleanup_free_ char *message = NULL;
    char suffix[32];

    snprintf(suffix, sizeof(suffix), "l%u", ++p->g->a->n_made);
    return assembly_make(p->g->a, suffix, targets, n, ret, ret_node, &message);
}

/* Stands where a stripe is missing. */
static int make_hole(Partial *p, uint64_t sectors, char buf[static DM_PARAMS_SIZE])
{
    DmTarget target = {.sectors = sectors, .type = "error", .params = ""};
    _cleanup_free_ char *node = NULL;
    dev_t device;
    int r = make_device(p, &target, 1, &device, &node);

    if (r >= 0)
        dm_params_linear(device, 0, buf);
    return r;
}

static int add_striped(Partial *p, const LvmSegment *s, Build *b)
{
    _cleanup_strv_free_ char **words = NULL;
    _cleanup_free_ char *params = NULL;
    size_t i, n = strv_length(s->pieces);
    char place[DM_PARAMS_SIZE];
    int r = 0;

    if (n > 1)
        r = strv_extendf(&words, "%zu %llu", n, (unsigned long long)s->stripe_sectors);
    for (i = 0; r >= 0 && i < n; i++) {
        r = piece_place(p, s->pieces[i], place);
        if (r == 0) {
            b->holes = true;
            if (n == 1)
                return build_add(b, s->start, s->sectors, "error", "");
            r = make_hole(p, s->sectors / n, place);
        }
        if (r >= 0)
            r = strv_extend(&words, place);
    }
    if (r < 0)
        return r;
    params = strv_join(words, " ");
    return params ? build_add(b, s->start, s->sectors, n > 1 ? "striped" : "linear", params) : -ENOMEM;
}

static int build(Partial *p, const char *lv, unsigned depth, Build *b);

/* A hidden volume as a device. 0: it is not whole. */
static int make_image(Partial *p, const char *piece, unsigned depth, dev_t *ret)
{
    _cleanup_(build_done) Build b = {};
    _cleanup_free_ char *node = NULL;
    uint64_t extent;
    char name[256];
    int r = lvm_piece_parse(piece, name, &extent);

    if (r >= 0)
        r = streq(name, MISSING) ? 0 : build(p, name, depth + 1, &b);
    if (r < 0 || b.n == 0 || b.holes || *b.reason)
        return r < 0 ? r : 0;
    r = make_device(p, b.targets, b.n, ret, &node);
    return r < 0 ? r : 1;
}

static int add_mirror(Partial *p, const LvmSegment *s, unsigned depth, Build *b)
{
    char params[DM_PARAMS_SIZE];
    char **piece;
    dev_t device;

    STRV_FOREACH (piece, s->pieces) {
        int r = make_image(p, *piece, depth, &device);

        if (r < 0)
            return r;
        if (r == 0)
            continue;
        b->degraded = true;
        dm_params_linear(device, 0, params);
        return build_add(b, s->start, s->sectors, "linear", params);
    }
    snprintf(b->reason, sizeof(b->reason), "none of its copies is whole");
    return 0;
}

static int add_raid(Partial *p, const LvmSegment *s, unsigned depth, Build *b)
{
    _cleanup_strv_free_ char **words = NULL;
    _cleanup_free_ char *params = NULL;
    const char *type = streq(s->type, "raid5") ? "raid5_ls" : s->type;
    char **piece;
    int r;

    r = strv_extendf(&words, "%s 2 %llu nosync %zu", type, (unsigned long long)s->stripe_sectors,
                     strv_length(s->pieces));
    STRV_FOREACH (piece, s->pieces) {
        dev_t device;

        if (r < 0)
            return r;
        r = make_image(p, *piece, depth, &device);
        if (r > 0)
            r = strv_extendf(&words, "- %u:%u", major(device), minor(device));
        else if (r == 0) {
            b->degraded = true;
            r = strv_extend(&words, "- -");
        }
    }
    params = r < 0 ? NULL : strv_join(words, " ");
    return params ? build_add(b, s->start, s->sectors, "raid", params) : -ENOMEM;
}

static int build(Partial *p, const char *lv, unsigned depth, Build *b)
{
    size_t i;
    int r = 0;

    for (i = 0; r >= 0 && i < p->n_segments && !*b->reason; i++) {
        const LvmSegment *s = &p->segments[i];

        if (!streq(s->lv, lv))
            continue;
        if (depth < DEPTH_MAX && (streq(s->type, "linear") || streq(s->type, "striped")))
            r = add_striped(p, s, b);
        else if (depth < DEPTH_MAX && (streq(s->type, "raid1") || streq(s->type, "mirror")))
            r = add_mirror(p, s, depth, b);
        else if (depth < DEPTH_MAX && (startswith(s->type, "raid4") || startswith(s->type, "raid5")))
            r = add_raid(p, s, depth, b);
        else
            snprintf(b->reason, sizeof(b->reason), "volumes of type %s need the whole group", s->type);
    }
    return r;
}

static int volume_do(Partial *p, const char *lv, uint64_t sectors)
{
    Group *g = p->g;
    size_t total = g->n_missing + g->n_members;
    _cleanup_(build_done) Build b = {};
    _cleanup_free_ char *top = NULL;
    Volume *v;
    int r, k;

    r = build(p, lv, 0, &b);
    if (r == -ENOMEM)
        return r;
    if (asprintf(&top,
                 b.holes || b.degraded ? "LV %s/%s (%s: %zu of %zu physical volumes are missing)"
                                       : "LV %s/%s",
                 g->first->vg, lv, b.holes ? "with holes" : "degraded", g->n_missing, total) < 0)
        return (top = NULL), -ENOMEM;
    v = assembly_add(g->a, g->a->volumes[g->members[0]].disk, 0, sectors * 512);
    if (!v)
        return -ENOMEM;
    v->base = strdup(lv);
    v->group = strdup(g->first->vg);
    v->layers = assembly_layers(g->a, g->members, g->n_members, top);
    v->degraded = b.holes || b.degraded;
    if (!v->base || !v->group || !v->layers)
        return -ENOMEM;
    if (r >= 0 && !*b.reason)
        r = make_device(p, b.targets, b.n, &v->device, &v->node);
    if (r == -ENOMEM)
        return r;
    k = 0;
    if (*b.reason || r < 0)
        k = asprintf(&v->reason, "volume group %s misses %zu of %zu physical volumes: %s", g->first->vg,
                     g->n_missing, total, *b.reason ? b.reason : strerror(-r));
    return k < 0 ? -ENOMEM : 0;
}

/* What holds files itself: no pool, no snapshot's store. */
static bool holds_files(const LvmSegment *s)
{
    return !s->hidden && !strstr(s->type, "-pool");
}

int lvm_partial(Group *g)
{
    _cleanup_free_ char *select = NULL;
    _cleanup_child_ ChildResult result = {};
    Partial p = {.g = g};
    size_t i, k;
    int r;

    if (asprintf(&select, "vg_uuid=%s", g->first->vg_uuid) < 0)
        return (select = NULL), -ENOMEM;
    {
        char *const argv[] = {(char *)"lvm",
                              (char *)"lvs",
                              (char *)"-a",
                              (char *)"--segments",
                              (char *)"--foreign",
                              (char *)"--reportformat",
                              (char *)"json",
                              (char *)"--units",
                              (char *)"s",
                              (char *)"--nosuffix",
                              (char *)"--select",
                              select,
                              (char *)"-o",
                              (char *)LVM_SEGMENT_FIELDS,
                              NULL};

        r = lvm_run(g->a, g->members, g->n_members, g->first->system_id, argv, &result);
    }
    if (r >= 0)
        r = lvm_report_segments(result.output, &p.segments, &p.n_segments);
    if (r == -ENOMEM)
        return r;
    k = assembly_settle(
            g->a, g->members, g->n_members, true,
            r < 0 ? "physical volume of LVM, volume group %s, of which %zu of %zu are missing and whose "
                    "volumes cannot be listed"
                  : "physical volume of LVM, volume group %s, of which %zu of %zu are missing",
            g->first->vg, g->n_missing, g->n_missing + g->n_members) < 0;
    log_full(LOG_NOTICE, g->a->id, "Volume group %s misses %zu physical volumes", g->first->vg, g->n_missing);
    if (r < 0 || k)
        return k ? -ENOMEM : 0;
    for (i = 0; r >= 0 && i < p.n_segments && g->a->n_volumes < VOLUMES_MAX; i = k) {
        uint64_t end = 0;

        for (k = i; k < p.n_segments && streq(p.segments[k].lv, p.segments[i].lv); k++)
            end = MAX(end, p.segments[k].start + p.segments[k].sectors);
        if (holds_files(&p.segments[i]))
            r = volume_do(&p, p.segments[i].lv, end);
    }
    lvm_segments_free(p.segments, p.n_segments);
    return r;
}
