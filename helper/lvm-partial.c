/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Volume groups with missing physical volumes. LVM itself would bring one up under its old identity only,
 * which may be that of a live group of the host. So lvm is only asked where the segments lie, and
 * device-mapper is told the rest: linear and striped volumes, with holes that give errors where a physical
 * volume is missing; a mirror from its best whole copy; raid4 and raid5 with enough members.
 * The same for volumes of complete groups that would copy themselves into the overlay if LVM activated them:
 * mirrors, and the origin below a cache that holds nothing else. */

#include "child.h"
#include "log.h"
#include "lvm-report.h"
#include "lvm.h"
#include "overlay.h"

#include <endian.h>
#include <fcntl.h>
#include <sys/sysmacros.h>

#define RAID_MAGIC 0x64526d44

#define DEPTH_MAX 4
/* Volumes and their pieces that are looked at for one group: metadata that somebody made up may lead to each
 * of them in more ways than anybody can go. */
#define STEPS_MAX 32768
#define MISSING "[unknown]"

typedef struct Partial {
    Group *g;
    LvmSegment *segments;
    size_t n_segments;
    size_t steps;
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

static int make_image(Partial *p, const char *piece, unsigned depth, dev_t *ret);

/* The same of a hidden volume, whose extents are being moved to another physical volume. */
static int piece_place_any(Partial *p, const char *piece, unsigned depth, char buf[static DM_PARAMS_SIZE])
{
    uint64_t extent;
    char name[256];
    dev_t device;
    int r = lvm_piece_parse(piece, name, &extent);

    if (r < 0 || *name == '/' || *name == '[')
        return r < 0 ? r : piece_place(p, piece, buf);
    r = make_image(p, piece, depth, &device);
    if (r > 0)
        dm_params_linear(device, extent * p->g->first->extent_sectors, buf);
    return r;
}

static int add_striped(Partial *p, const LvmSegment *s, unsigned depth, Build *b)
{
    _cleanup_strv_free_ char **words = NULL;
    _cleanup_free_ char *params = NULL;
    size_t i, n = strv_length(s->pieces);
    char place[DM_PARAMS_SIZE];
    int r = 0;

    if (n > 1)
        r = strv_extendf(&words, "%zu %llu", n, (unsigned long long)s->stripe_sectors);
    for (i = 0; r >= 0 && i < n; i++) {
        r = piece_place_any(p, s->pieces[i], depth, place);
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

/* The head of what dm-raid keeps in the volume NAME_rmeta_N beside NAME_rimage_N. */
typedef struct RaidSuper {
    uint32_t magic, features, devices, position;
    uint64_t events, failed, recovery_offset;
} RaidSuper;

typedef struct SuperCall {
    dev_t device;
} SuperCall;

static int raid_super_child(void *userdata, int fd)
{
    _cleanup_close_ int dev = device_open(((SuperCall *)userdata)->device, O_RDONLY);
    RaidSuper s;

    if (dev < 0)
        return dev;
    if (pread(dev, &s, sizeof(s), 0) != sizeof(s) || le32toh(s.magic) != RAID_MAGIC)
        return -EBADMSG;
    dprintf(fd, "%llu %llu %d", (unsigned long long)le64toh(s.events), (unsigned long long)le64toh(s.failed),
            le64toh(s.recovery_offset) == UINT64_MAX);
    return 0;
}

/* What is known of one copy of a mirror. */
typedef struct Copy {
    dev_t device;
    unsigned number;
    unsigned long long events, failed;
    int whole;
} Copy;

/* A copy without such a superblock (of the old type of mirrors) is as good as any. */
static int copy_look(Partial *p, const char *image, unsigned depth, Copy *c)
{
    _cleanup_free_ char *text = NULL, *meta = NULL;
    const char *at = strstr(image, "_rimage_");
    SuperCall call;
    int r;

    c->whole = 1;
    if (!at)
        return 0;
    if (asprintf(&meta, "%.*s_rmeta_%u(0)", (int)(at - image), image, c->number) < 0)
        return (meta = NULL), -ENOMEM;
    r = make_image(p, meta, depth, &call.device);
    if (r <= 0)
        return r;
    r = child_call(raid_super_child, &call, assembly_timeout(p->g->a), &text);
    if (r == -ENOMEM)
        return r;
    if (r < 0 || sscanf(text, "%llu %llu %d", &c->events, &c->failed, &c->whole) != 3)
        c->whole = 0;
    return 0;
}

static bool copy_better(const Copy *a, const Copy *b)
{
    return a->events != b->events ? a->events > b->events : a->number < b->number;
}

static int add_mirror(Partial *p, const LvmSegment *s, unsigned depth, Build *b)
{
    char params[DM_PARAMS_SIZE], name[256];
    Copy copies[16], *best = NULL;
    unsigned long long failed = 0;
    uint64_t extent = 0;
    size_t i, n = 0, total = strv_length(s->pieces);
    int r;

    for (i = 0; i < total && n < ELEMENTSOF(copies); i++) {
        const char *at = strrchr(s->pieces[i], '_');

        copies[n] = (Copy){.number = at ? (unsigned)strtoul(at + 1, NULL, 10) : (unsigned)i};
        r = make_image(p, s->pieces[i], depth, &copies[n].device);
        if (r > 0)
            r = copy_look(p, s->pieces[i], depth, &copies[n]), n++;
        if (r < 0)
            return r;
    }
    /* Who has seen most knows who has failed. */
    for (i = 0; i < n; i++)
        if (!best || copy_better(&copies[i], best))
            best = &copies[i];
    failed = best ? best->failed : 0;
    best = NULL;
    for (i = 0; i < n; i++)
        if (copies[i].whole && (copies[i].number >= 64 || !(failed >> copies[i].number & 1)) &&
            (!best || copy_better(&copies[i], best)))
            best = &copies[i];
    b->degraded = b->degraded || n < total || (best && best->number > 0);
    if (!best) {
        snprintf(b->reason, sizeof(b->reason), "none of its copies is whole");
        return 0;
    }
    r = lvm_piece_parse(s->pieces[0], name, &extent);
    if (r < 0)
        return r;
    dm_params_linear(best->device, extent * p->g->first->extent_sectors, params);
    return build_add(b, s->start, s->sectors, "linear", params);
}

/* The volume below a cache that holds nothing which is not in it, too. */
static int add_cached(Partial *p, const LvmSegment *s, unsigned depth, Build *b)
{
    const char *why = "";
    char params[DM_PARAMS_SIZE];
    dev_t device;
    int r = 0;

    if (lvm_way(p->segments, p->n_segments, s->lv, &why) == LVM_WAY_MAP && strv_length(s->pieces) == 1)
        r = make_image(p, s->pieces[0], depth, &device);
    if (r > 0) {
        dm_params_linear(device, 0, params);
        return build_add(b, s->start, s->sectors, "linear", params);
    }
    if (r == 0)
        snprintf(b->reason, sizeof(b->reason), "%s", isempty(why) ? "a part of it is missing" : why);
    return r;
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

    p->steps++;
    for (i = lvm_segments_find(p->segments, p->n_segments, lv);
         r >= 0 && i < p->n_segments && streq(p->segments[i].lv, lv) && !*b->reason && p->steps <= STEPS_MAX;
         i++) {
        const LvmSegment *s = &p->segments[i];

        p->steps += strv_length(s->pieces);
        if (*s->origin && !streq(s->type, "thin") && !streq(s->type, "cache"))
            snprintf(b->reason, sizeof(b->reason), "a snapshot needs the whole group");
        else if (s->merging && !streq(s->type, "thin"))
            snprintf(b->reason, sizeof(b->reason), "a snapshot of it was to be merged into it");
        else if (depth < DEPTH_MAX && (streq(s->type, "linear") || streq(s->type, "striped")))
            r = add_striped(p, s, depth, b);
        else if (depth < DEPTH_MAX && streq(s->type, "cache"))
            r = add_cached(p, s, depth, b);
        else if (depth < DEPTH_MAX && (streq(s->type, "raid1") || streq(s->type, "mirror")))
            r = add_mirror(p, s, depth, b);
        else if (depth < DEPTH_MAX && (startswith(s->type, "raid4") || startswith(s->type, "raid5")))
            r = add_raid(p, s, depth, b);
        else
            snprintf(b->reason, sizeof(b->reason), "volumes of type %s need the whole group", s->type);
    }
    if (p->steps > STEPS_MAX && !*b->reason)
        snprintf(b->reason, sizeof(b->reason), "its volumes are made of more pieces than are looked at");
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
                 g->n_missing == 0       ? b.degraded ? "LV %s/%s (%s)" : "LV %s/%s"
                 : b.holes || b.degraded ? "LV %s/%s (%s: %zu of %zu physical volumes are missing)"
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
    if ((*b.reason || r < 0) && g->n_missing == 0)
        k = asprintf(&v->reason, "volume group %s: %s", g->first->vg, *b.reason ? b.reason : strerror(-r));
    else if (*b.reason || r < 0)
        k = asprintf(&v->reason, "volume group %s misses %zu of %zu physical volumes: %s", g->first->vg,
                     g->n_missing, total, *b.reason ? b.reason : strerror(-r));
    return k < 0 ? -ENOMEM : 0;
}

/* What holds files itself: no pool, no snapshot's store. */
static bool holds_files(const LvmSegment *s)
{
    return !s->hidden && !strstr(s->type, "-pool");
}

int lvm_map(Group *g, LvmSegment *segments, size_t n, const char *lv)
{
    Partial p = {.g = g, .segments = segments, .n_segments = n};
    uint64_t end = 0;
    size_t i;

    for (i = 0; i < n; i++)
        if (streq(segments[i].lv, lv))
            end = MAX(end, segments[i].start + segments[i].sectors);
    return volume_do(&p, lv, end);
}

int lvm_segments(Group *g, LvmSegment **ret, size_t *ret_n)
{
    _cleanup_free_ char *select = NULL;
    _cleanup_child_ ChildResult result = {};
    int r;

    if ((*g->name ? asprintf(&select, "vg_name=%s", g->name)
                  : asprintf(&select, "vg_uuid=%s", g->first->vg_uuid)) < 0)
        return (select = NULL), -ENOMEM;
    {
        char *const argv[] = {(char *)"lvm",
                              (char *)"lvs",
                              (char *)"-a",
                              (char *)"--segments",
                              (char *)"--foreign",
                              LVM_REPORT_OPTIONS,
                              (char *)"--select",
                              select,
                              (char *)"-o",
                              (char *)LVM_SEGMENT_FIELDS,
                              NULL};

        r = lvm_run(g->a, g->members, g->n_members, g->first->system_id, argv, &result);
    }
    return r < 0 ? r : lvm_report_segments(result.output, ret, ret_n);
}

int lvm_partial(Group *g)
{
    Partial p = {.g = g};
    size_t i, k;
    int r;

    r = lvm_segments(g, &p.segments, &p.n_segments);
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
