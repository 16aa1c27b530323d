/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "lvm.h"

#include "log.h"
#include "lvm-report.h"
#include "overlay.h"

#include <sys/sysmacros.h>

/* The tools find the other members of a mirror by themselves in it: nothing in it may be the host's. Missing
 * check programs are no reason not to activate, the overlay is thrown away. */
#define LVM_CONFIG                                                                                           \
    "devices { scan=[\"/dev\"] use_devicesfile=0 hints=\"none\" scan_lvs=1\n"                                \
    " obtain_device_list_from_udev=0 external_device_info_source=\"none\"\n"                                 \
    " multipath_component_detection=0 md_component_detection=0\n"                                            \
    " global_filter=[\"a|^/dev/mapper/ilr_%s_|\",\"r|.*|\"] }\n"                                             \
    "backup { backup=0 archive=0 }\n"                                                                        \
    "activation { monitoring=0 thin_pool_autoextend_threshold=100 snapshot_autoextend_threshold=100\n"       \
    " activation_mode=\"degraded\" }\n"                                                                      \
    "global { event_activation=0 use_lvmpolld=0 use_lvmlockd=0 locking_dir=\"/run/lvm/lock\"\n"              \
    " system_id_source=\"none\" thin_check_executable=\"\" cache_check_executable=\"\" }\n"                  \
    "local { extra_system_ids=[%s] }\n"

int lvm_run(Assembly *a, const size_t *members, size_t n, const char *system_id, char *const *argv,
            ChildResult *ret)
{
    _cleanup_free_ ToolNode *nodes = calloc(n + 1, sizeof(*nodes));
    _cleanup_free_ char *config = NULL;
    char ids[LVM_NAME_SIZE + 4] = "";

    if (!nodes)
        return -ENOMEM;
    if (!isempty(system_id))
        snprintf(ids, sizeof(ids), "\"%s\"", system_id);
    if (asprintf(&config, LVM_CONFIG, a->id, ids) < 0)
        return (config = NULL), -ENOMEM;
    assembly_nodes(a, members, n, nodes);
    return tool_run(nodes, n, argv, config, NULL, 0, 2 * DEVICE_TIMEOUT_USEC, ret);
}

/* The volume whose device this is, or -1. */
static ssize_t member_of_pv(const Assembly *a, const size_t *members, size_t n, const LvmPv *pv)
{
    const char *name = startswith(pv->name, "/dev/mapper/");
    size_t i;

    for (i = 0; name && i < n; i++)
        if (streq(a->volumes[members[i]].node, name))
            return (ssize_t)members[i];
    return -1;
}

static int lv_reason(Volume *v, const char *words)
{
    return asprintf(&v->reason, "LVM did not activate it: %s", words) < 0 ? -ENOMEM : 0;
}

/* A UUID as in dm-uuid-LVM-. The volume's stays what it was; the group's is a new one. */
static char *without_dashes(const char *uuid)
{
    char *s = strdup(uuid), *p = s;

    if (!s)
        return NULL;
    for (; *uuid; uuid++)
        if (*uuid != '-')
            *p++ = *uuid;
    *p = '\0';
    return s;
}

static int add_lv(Group *g, const LvmLv *lv, const char *words)
{
    _cleanup_free_ char *top = NULL;
    uint64_t sectors;
    Volume *v = assembly_add(g->a, g->a->volumes[g->members[0]].disk, 0, lv->sectors * 512);

    if (!v)
        return -ENOMEM;
    if (asprintf(&top, "LV %s/%s%s", g->first->vg, lv->name, lv->degraded ? " (degraded)" : "") < 0)
        return (top = NULL), -ENOMEM;
    v->base = strdup(lv->name);
    v->group = strdup(g->first->vg);
    v->by_id = without_dashes(lv->uuid);
    v->layers = assembly_layers(g->a, g->members, g->n_members, top);
    v->degraded = lv->degraded;
    if (!v->base || !v->group || !v->by_id || !v->layers)
        return -ENOMEM;
    if (!lv->active)
        return lv_reason(v, words);
    v->device = makedev(lv->major, lv->minor);
    /* Of a snapshot LVM tells the size of its store. */
    if (device_sectors(v->device, &sectors) >= 0)
        v->size_bytes = sectors * 512;
    return 0;
}

/* device-mapper's name of a logical volume: a dash in a part is two. */
static char *lv_node(const char *vg, const char *lv)
{
    char *node = malloc(2 * (strlen(vg) + strlen(lv)) + 2), *p = node;

    if (!node)
        return NULL;
    for (; *vg; *p++ = *vg++)
        if (*vg == '-')
            *p++ = '-';
    *p++ = '-';
    for (; *lv; *p++ = *lv++)
        if (*lv == '-')
            *p++ = '-';
    *p = '\0';
    return node;
}

static bool is_raid(const LvmSegment *s)
{
    return startswith(s->type, "raid") && !startswith(s->type, "raid0");
}

/* What is not in sync would be synchronized as soon as it is active, at the overlay's expense; reading needs
 * no such thing. LVM cannot activate it otherwise, so it is made slow before and stopped after. */
static int raid_slow(Group *g, const LvmSegment *segments, size_t n)
{
    _cleanup_strv_free_ char **argv = NULL;
    _cleanup_child_ ChildResult result = {};
    size_t i, n_raid = 0;
    int r;

    if ((r = strv_extend(&argv, "lvm")) < 0 || (r = strv_extend(&argv, "lvchange")) < 0 ||
        (r = strv_extend(&argv, "--yes")) < 0 || (r = strv_extend(&argv, "--minrecoveryrate")) < 0 ||
        (r = strv_extend(&argv, "1k")) < 0 || (r = strv_extend(&argv, "--maxrecoveryrate")) < 0 ||
        (r = strv_extend(&argv, "1k")) < 0)
        return r;
    for (i = 0; i < n; i++)
        if (is_raid(&segments[i]) && !segments[i].hidden) {
            r = strv_extendf(&argv, "%s/%s", g->name, segments[i].lv);
            if (r < 0)
                return r;
            n_raid++;
        }
    if (n_raid == 0)
        return 0;
    r = lvm_run(g->a, g->members, g->n_members, g->first->system_id, argv, &result);
    if (r >= 0 && result.status != 0) {
        _cleanup_free_ char *words = tool_last_words(&result);

        log_full(LOG_NOTICE, g->a->id, "Volume group %s: its arrays stay as fast as they are: %s",
                 g->first->vg, words ? words : "?");
    }
    return r < 0 ? r : 0;
}

static int raid_stop(Group *g, const LvmSegment *segments, size_t n)
{
    size_t i;
    int r;

    for (i = 0; i < n; i++) {
        _cleanup_free_ char *node = NULL;

        if (!is_raid(&segments[i]))
            continue;
        node = lv_node(g->name, segments[i].lv);
        if (!node)
            return -ENOMEM;
        r = dm_message(node, "frozen", DEVICE_TIMEOUT_USEC);
        if (r < 0 && r != -ENXIO)
            log_errno_full(LOG_WARNING, g->a->id, r,
                           "Volume group %s: the synchronization of %s cannot be stopped", g->first->vg,
                           segments[i].lv);
    }
    return 0;
}

static int lv_refuse(Group *g, const LvmLv *lv, const char *why)
{
    LvmLv inactive = *lv;

    inactive.active = false;
    return add_lv(g, &inactive, why);
}

static int add_lvs(Group *g, LvmSegment *segments, size_t n_segments, const char *words)
{
    char *const argv[] = {
        (char *)"lvm", (char *)"lvs", LVM_REPORT_OPTIONS, (char *)"-o", (char *)LVM_LV_FIELDS, g->name, NULL};
    _cleanup_child_ ChildResult result = {};
    _cleanup_free_ LvmLv *lvs = NULL;
    const char *why;
    size_t i, n = 0;
    int r;

    r = lvm_run(g->a, g->members, g->n_members, g->first->system_id, argv, &result);
    if (r >= 0)
        r = lvm_report_lvs(result.output, &lvs, &n);
    if (r == -EBADMSG)
        return assembly_settle(g->a, g->members, g->n_members, true,
                               "volume group %s: its logical volumes cannot be listed", g->first->vg);
    for (i = 0; r >= 0 && i < n && g->a->n_volumes < VOLUMES_MAX; i++) {
        if (strstr(lvs[i].type, "-pool")) /* holds no files itself */
            continue;
        switch (lvm_way(segments, n_segments, lvs[i].name, &why)) {
        case LVM_WAY_ACTIVATE:
            break;
        case LVM_WAY_MAP:
            r = lvm_map(g, segments, n_segments, lvs[i].name);
            continue;
        case LVM_WAY_REFUSE:
            r = lv_refuse(g, &lvs[i], why);
            continue;
        case LVM_WAY_MAX:
        case LVM_WAY_INVALID:
            return -EINVAL;
        }
        r = add_lv(g, &lvs[i], words);
        if (r >= 0 && lvs[i].active) {
            Volume *v = &g->a->volumes[g->a->n_volumes - 1];

            v->node = lv_node(g->name, lvs[i].name);
            r = v->node ? 0 : -ENOMEM;
        }
    }
    return r;
}

static int import(Group *g, ChildResult *ret)
{
    _cleanup_strv_free_ char **argv = NULL;
    size_t i;
    int r;

    if ((r = strv_extend(&argv, "lvm")) < 0 || (r = strv_extend(&argv, "vgimportclone")) < 0 ||
        (r = strv_extend(&argv, "--import")) < 0 || (r = strv_extend(&argv, "--basevgname")) < 0 ||
        (r = strv_extend(&argv, g->name)) < 0)
        return r;
    for (i = 0; i < g->n_members; i++) {
        r = strv_extendf(&argv, "/dev/mapper/%s", g->a->volumes[g->members[i]].node);
        if (r < 0)
            return r;
    }
    return lvm_run(g->a, g->members, g->n_members, g->first->system_id, argv, ret);
}

/* -K: also what is marked to be left out, as every thin snapshot is. If there is anything that must not be
 * active the others are named one by one; a pool and a snapshot come with their volumes. */
static int activation(const Group *g, const LvmSegment *segments, size_t n, char ***ret)
{
    static const char *const words[] = {"lvm", NULL, "-ay", "-K", "--yes", "--activationmode", "degraded"};
    _cleanup_strv_free_ char **argv = NULL;
    const char *why;
    bool all = true;
    size_t i, named = 0;
    int r = 0;

    for (i = 0; i < n; i++)
        all = all && lvm_way(segments, n, segments[i].lv, &why) == LVM_WAY_ACTIVATE;
    for (i = 0; r >= 0 && i < ELEMENTSOF(words); i++)
        r = strv_extend(&argv, words[i] ? words[i] : all ? "vgchange" : "lvchange");
    if (r >= 0 && all)
        r = strv_extend(&argv, g->name);
    for (i = 0; r >= 0 && i < n && !all; i++) {
        const LvmSegment *s = &segments[i];

        if (s->hidden || strstr(s->type, "-pool") || (i > 0 && streq(segments[i - 1].lv, s->lv)) ||
            (*s->origin && !streq(s->type, "thin")) || lvm_way(segments, n, s->lv, &why) != LVM_WAY_ACTIVATE)
            continue;
        r = strv_extendf(&argv, "%s/%s", g->name, s->lv);
        named++;
    }
    if (r < 0)
        return r;
    *ret = TAKE_PTR(argv);
    return all || named > 0;
}

/* Those that are hidden have devices, too. */
static unsigned volumes_count(const LvmSegment *segments, size_t n)
{
    unsigned count = 0;
    size_t i;

    for (i = 0; i < n; i++)
        count += i == 0 || !streq(segments[i - 1].lv, segments[i].lv);
    return count;
}

static int activate_segments(Group *g, LvmSegment *segments, size_t n)
{
    _cleanup_child_ ChildResult activated = {};
    _cleanup_strv_free_ char **argv = NULL;
    _cleanup_free_ char *words = NULL;
    int r;

    r = raid_slow(g, segments, n);
    if (r >= 0)
        r = activation(g, segments, n, &argv);
    if (r < 0)
        return r;
    if (r > 0) {
        g->a->n_devices += volumes_count(segments, n);
        r = lvm_run(g->a, g->members, g->n_members, g->first->system_id, argv, &activated);
        if (r >= 0)
            r = raid_stop(g, segments, n);
        if (r < 0)
            return r;
        words = tool_last_words(&activated);
        if (!words)
            return -ENOMEM;
        if (activated.status != 0)
            log_full(LOG_NOTICE, g->a->id, "Volume group %s: %s", g->first->vg, words);
    }
    r = assembly_settle(g->a, g->members, g->n_members, true, "physical volume of LVM, volume group %s",
                        g->first->vg);
    return r < 0 ? r : add_lvs(g, segments, n, words);
}

static int activate(Group *g)
{
    _cleanup_child_ ChildResult imported = {};
    LvmSegment *segments = NULL;
    size_t n = 0;
    int r;

    r = import(g, &imported);
    if (r < 0)
        return r;
    if (imported.status != 0) {
        _cleanup_free_ char *words = tool_last_words(&imported);

        return assembly_settle(g->a, g->members, g->n_members, true,
                               "volume group %s could not be given an identity of its own: %s", g->first->vg,
                               words ? words : "?");
    }
    r = lvm_segments(g, &segments, &n);
    if (r == -EBADMSG)
        return assembly_settle(g->a, g->members, g->n_members, true,
                               "volume group %s: what its logical volumes are made of cannot be listed",
                               g->first->vg);
    if (r >= 0)
        r = activate_segments(g, segments, n);
    lvm_segments_free(segments, n);
    return r;
}

static int group_do(Group *g, bool last)
{
    Assembly *a = g->a;
    bool late = false;
    size_t i;
    int r;

    if (!*g->first->vg)
        return assembly_settle(a, g->members, g->n_members, true,
                               "physical volume of LVM that belongs to no volume group");
    for (i = 0; i < g->n_members; i++) {
        r = assembly_late(a, &a->volumes[g->members[i]]);
        if (r < 0)
            return r;
        late = late || r > 0;
    }
    if (late)
        return 0;
    if (assembly_full(a))
        return assembly_settle(a, g->members, g->n_members, true,
                               "physical volume of LVM, volume group %s: there are too many volumes already",
                               g->first->vg);
    if (g->n_missing > 0) {
        if (!last) /* it may be inside of what is still to be assembled */
            return 0;
        if (assembly_anything_locked(a))
            return assembly_settle(a, g->members, g->n_members, false,
                                   "physical volume of LVM, volume group %s, of which %zu of %zu are "
                                   "missing; a locked volume may "
                                   "hold one",
                                   g->first->vg, g->n_missing, g->n_missing + g->n_members);
        return lvm_partial(g);
    }
    snprintf(g->name, sizeof(g->name), "ilr_%s_v%u", a->id, ++a->n_made);
    return activate(g);
}

/* Puts the rows of one report together to groups. The rows of a group have its UUID. */
static int groups_do(Assembly *a, const size_t *members, size_t n, const LvmPv *pvs, size_t n_pvs, bool last)
{
    _cleanup_free_ bool *done = calloc(n_pvs + 1, sizeof(*done));
    size_t i, k;
    int r = 0;

    if (!done)
        return -ENOMEM;
    for (i = 0; r >= 0 && i < n_pvs; i++) {
        _cleanup_free_ size_t *mine = NULL;
        Group g = {.a = a, .pvs = pvs, .n_pvs = n_pvs, .first = &pvs[i]};

        if (done[i])
            continue;
        mine = calloc(n_pvs, sizeof(*mine));
        if (!mine)
            return -ENOMEM;
        g.members = mine;
        for (k = i; k < n_pvs; k++) {
            ssize_t member;

            if (!streq(pvs[k].vg_uuid, pvs[i].vg_uuid))
                continue;
            done[k] = true;
            member = member_of_pv(a, members, n, &pvs[k]);
            if (member >= 0 && !pvs[k].missing)
                mine[g.n_members++] = (size_t)member;
            else
                g.n_missing++;
        }
        if (g.n_members > 0)
            r = group_do(&g, last);
    }
    return r;
}

/* One set: physical volumes of which no two have the same UUID. */
static int set_do(Assembly *a, size_t *members, size_t n, bool last)
{
    char *const argv[] = {(char *)"lvm", (char *)"pvs",         LVM_REPORT_OPTIONS,
                          (char *)"-o",  (char *)LVM_PV_FIELDS, (char *)"--foreign",
                          NULL};
    _cleanup_child_ ChildResult result = {};
    _cleanup_free_ LvmPv *pvs = NULL;
    size_t n_pvs = 0;
    int r;

    r = lvm_run(a, members, n, NULL, argv, &result);
    if (r == -ENOENT)
        return assembly_settle(a, members, n, true,
                               "physical volume of LVM: the program lvm is not installed (package lvm2)");
    if (r >= 0)
        r = lvm_report_pvs(result.output, &pvs, &n_pvs);
    if (r == -EBADMSG) {
        _cleanup_free_ char *words = tool_last_words(&result);

        return assembly_settle(a, members, n, true, "physical volume of LVM that lvm cannot read: %s",
                               words ? words : "?");
    }
    if (r >= 0)
        r = groups_do(a, members, n, pvs, n_pvs, last);
    return r;
}

int lvm_assemble(Assembly *a, bool last)
{
    _cleanup_free_ size_t *members = NULL, *set = NULL;
    size_t i, k, n, n_set, left;
    int r;

    members = assembly_members(a, "LVM2_member", &n);
    if (!members)
        return -ENOMEM;
    r = assembly_map_members(a, members, &n);
    if (r < 0 || n == 0)
        return r;
    set = calloc(n, sizeof(*set));
    if (!set)
        return -ENOMEM;
    /* The same disk may be in a point twice. The first ones of each belong together, then the second ones. */
    for (left = n; left > 0; left = n) {
        size_t kept = 0;

        n_set = 0;
        for (i = 0; i < n; i++) {
            for (k = 0; k < n_set; k++)
                if (streq_ptr(a->volumes[set[k]].uuid, a->volumes[members[i]].uuid))
                    break;
            if (k == n_set)
                set[n_set++] = members[i];
            else
                members[kept++] = members[i];
        }
        r = set_do(a, set, n_set, last);
        if (r < 0)
            return r;
        n = kept;
    }
    return 0;
}
