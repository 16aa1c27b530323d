/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "md.h"

#include "child.h"
#include "log.h"
#include "md-super.h"
#include "overlay.h"

#include <fcntl.h>
#include <sys/sysmacros.h>

/* Room for a superblock and a bitmap that nobody keeps. */
#define RAID10_METADATA_SECTORS 16384

typedef struct ReadCall {
    int fd;
    uint64_t sectors;
} ReadCall;

/* Answers "PLACE HEX" for the first superblock that belongs where it is. */
static int read_child(void *userdata, int fd)
{
    const ReadCall *c = userdata;
    uint8_t bytes[MD_SUPER_SIZE];
    uint64_t places[MD_PLACES];
    MdSuper super;
    size_t i;

    md_places(c->sectors, places);
    for (i = 0; i < MD_PLACES; i++) {
        ssize_t n = pread(c->fd, bytes, sizeof(bytes), (off_t)(places[i] * 512));

        if (n < 0)
            return -errno;
        if (n < (ssize_t)sizeof(bytes) || md_super_parse(bytes, places[i], c->sectors, &super) < 0)
            continue;
        dprintf(fd, "%llu ", (unsigned long long)places[i]);
        return child_put_hex(fd, bytes, sizeof(bytes));
    }
    return -ENOENT;
}

static int read_super(int fd, uint64_t sectors, uint64_t timeout_usec, MdSuper *ret)
{
    ReadCall call = {.fd = fd, .sectors = sectors};
    _cleanup_free_ char *text = NULL;
    uint8_t bytes[MD_SUPER_SIZE];
    unsigned long long at;
    int r, skip = 0;

    r = child_call(read_child, &call, timeout_usec, &text);
    if (r < 0)
        return r;
    if (sscanf(text, "%llu %n", &at, &skip) < 1)
        return -EPROTO;
    r = child_get_hex(text + skip, sizeof(bytes), bytes);
    if (r < 0)
        return r;
    return md_super_parse(bytes, at, sectors, ret);
}

int md_disk_is_member(int fd, uint64_t size_bytes, uint64_t timeout_usec)
{
    MdSuper super;
    int r = read_super(fd, size_bytes / 512, timeout_usec, &super);

    if (r < 0)
        return r == -ETIMEDOUT ? r : 0;
    /* A superblock of 1.x knows its place, one of 0.90 does not: the last partition's may lie there, too. Its
     * data then ends well before. */
    return super.minor_version != 90 || super.level < 1 ||
           super.data_size - MIN(super.size, super.data_size) < 2048;
}

typedef struct Member {
    size_t volume;
    MdSuper super;
    bool done;
} Member;

/* One array. */
typedef struct Array {
    Assembly *a;
    unsigned number;
    size_t *volumes; /* of its members */
    MdSuper *supers;
    size_t n;
    MdPlan plan;
    char *message; /* of device-mapper */
} Array;

static int make(Array *m, const char *suffix, const DmTarget *targets, size_t n, dev_t *ret, char **ret_node)
{
    free(m->message);
    m->message = NULL;
    return assembly_make(m->a, suffix, targets, n, ret, ret_node, &m->message);
}

/* The data of a member as a device, or the device itself. */
static int make_leg(Array *m, unsigned leg, dev_t *ret)
{
    const MdSuper *s = &m->supers[m->plan.legs[leg]];
    const Volume *v = &m->a->volumes[m->volumes[m->plan.legs[leg]]];
    char suffix[32], params[DM_PARAMS_SIZE];
    DmTarget target = {.sectors = m->plan.leg_sectors, .type = "linear", .params = params};
    _cleanup_free_ char *node = NULL;

    snprintf(suffix, sizeof(suffix), "m%ul%u", m->number, leg);
    dm_params_linear(v->device, s->data_offset, params);
    return make(m, suffix, &target, 1, ret, &node);
}

static int make_filler(Array *m, char kind, const char *type, uint64_t sectors, dev_t *ret)
{
    DmTarget target = {.sectors = sectors, .type = type, .params = ""};
    _cleanup_free_ char *node = NULL;
    char suffix[32];

    snprintf(suffix, sizeof(suffix), "m%u%c", m->number, kind);
    return make(m, suffix, &target, 1, ret, &node);
}

/* dm-raid takes the layout of a raid10 only for a set that it believes to be new, and a new set must be
 * complete. So each leg gets metadata that is always empty and forgets what is written, and for a missing one
 * stands a device that gives errors, which the first read finds out. */
static int raid10_words(Array *m, char ***words)
{
    dev_t metadata, hole = 0, leg;
    unsigned i;
    int r = make_filler(m, 'z', "zero", RAID10_METADATA_SECTORS, &metadata);

    for (i = 0; r >= 0 && i < m->plan.n_legs; i++) {
        if (m->plan.legs[i] >= 0)
            r = make_leg(m, i, &leg);
        else {
            if (!hole)
                r = make_filler(m, 'e', "error", m->plan.leg_sectors, &hole);
            leg = hole;
        }
        if (r >= 0)
            r = strv_extendf(words, "%u:%u %u:%u", major(metadata), minor(metadata), major(leg), minor(leg));
    }
    return r;
}

static int make_redundant(Array *m, const char *suffix, dev_t *ret, char **ret_node)
{
    _cleanup_strv_free_ char **words = NULL;
    _cleanup_free_ char *params = NULL;
    DmTarget target = {.sectors = m->plan.sectors, .type = "raid"};
    unsigned i, used = 0, only = 0;
    int r;

    for (i = 0; i < m->plan.n_legs; i++)
        if (m->plan.legs[i] >= 0) {
            used++;
            only = i;
        }
    if (used == 1 && streq(m->plan.type, "raid1")) {
        const MdSuper *s = &m->supers[m->plan.legs[only]];
        char linear[DM_PARAMS_SIZE];

        dm_params_linear(m->a->volumes[m->volumes[m->plan.legs[only]]].device, s->data_offset, linear);
        target.type = "linear";
        target.params = linear;
        return make(m, suffix, &target, 1, ret, ret_node);
    }
    r = strv_extendf(&words, "%s %s %u", m->plan.type, m->plan.options, m->plan.n_legs);
    if (r >= 0 && streq(m->plan.type, "raid10"))
        r = raid10_words(m, &words);
    for (i = 0; r >= 0 && i < m->plan.n_legs && !streq(m->plan.type, "raid10"); i++) {
        dev_t leg;

        if (m->plan.legs[i] < 0)
            r = strv_extend(&words, "- -");
        else {
            r = make_leg(m, i, &leg);
            if (r >= 0)
                r = strv_extendf(&words, "- %u:%u", major(leg), minor(leg));
        }
    }
    if (r < 0)
        return r;
    params = strv_join(words, " ");
    if (!params)
        return -ENOMEM;
    target.params = params;
    return make(m, suffix, &target, 1, ret, ret_node);
}

static char *zone_params(const Array *m, const MdZone *z)
{
    _cleanup_strv_free_ char **words = NULL;
    unsigned i;
    int r = 0;

    if (z->n_legs > 1)
        r = strv_extendf(&words, "%u %u", z->n_legs, m->supers[z->legs[0]].chunk_sectors);
    for (i = 0; r >= 0 && i < z->n_legs; i++) {
        dev_t device = m->a->volumes[m->volumes[z->legs[i]]].device;

        r = strv_extendf(&words, "%u:%u %llu", major(device), minor(device),
                         (unsigned long long)(m->supers[z->legs[i]].data_offset + z->leg_start));
    }
    return r < 0 ? NULL : strv_join(words, " ");
}

static int make_plain(Array *m, const char *suffix, dev_t *ret, char **ret_node)
{
    _cleanup_strv_free_ char **params = NULL;
    _cleanup_free_ MdZone *zones = NULL;
    _cleanup_free_ DmTarget *targets = NULL;
    size_t i, n = 0;
    int r;

    r = md_zones(m->supers, &m->plan, &zones, &n);
    if (r < 0)
        return r;
    targets = calloc(n, sizeof(*targets));
    if (!targets)
        return -ENOMEM;
    for (i = 0; i < n; i++) {
        _cleanup_free_ char *text = zone_params(m, &zones[i]);

        if (!text || strv_extend(&params, text) < 0)
            return -ENOMEM;
        targets[i] = (DmTarget){.start = zones[i].start,
                                .sectors = zones[i].sectors,
                                .type = zones[i].n_legs > 1 ? "striped" : "linear",
                                .params = params[i]};
        m->plan.sectors = zones[i].start + zones[i].sectors;
    }
    return make(m, suffix, targets, n, ret, ret_node);
}

/* As mdadm writes it: four words, which 0.90 keeps in the byte order of the machine. */
static char *uuid_text(const MdSuper *s)
{
    char text[36], *p = text;
    unsigned i, flip = s->minor_version == 90 ? 3 : 0;

    for (i = 0; i < 16; i++)
        p += sprintf(p, "%s%02x", i > 0 && i % 4 == 0 ? ":" : "", s->uuid[i ^ flip]);
    return strdup(text);
}

static int array_add(Array *m, dev_t device, char *node)
{
    const MdSuper *s = &m->supers[0];
    _cleanup_free_ char *name = text_clean(s->name, sizeof(s->name));
    Volume *v;
    int r;

    r = !name ? -ENOMEM
              : assembly_settle(m->a, m->volumes, m->n, true, "member of a Linux RAID (array %s)",
                                *name ? name : "md");
    v = r < 0 ? NULL : assembly_add(m->a, m->a->volumes[m->volumes[0]].disk, 0, m->plan.sectors * 512);
    if (!v) {
        free(node);
        return -ENOMEM;
    }
    v->node = node;
    v->device = device;
    v->base = strdup(*name ? name : "md");
    v->by_id = uuid_text(s);
    v->degraded = m->plan.degraded;
    v->layers = assembly_layers(m->a, m->volumes, m->n, m->plan.text);
    return v->base && v->by_id && v->layers ? 0 : -ENOMEM;
}

/* Members that were inside of LUKS volumes, of which the others may be still locked. */
static bool lies_in_luks(const Array *m)
{
    size_t i;

    for (i = 0; i < m->n; i++) {
        char **layers = m->a->volumes[m->volumes[i]].layers, **l;

        STRV_FOREACH (l, layers)
            if (streq(*l, "LUKS"))
                return true;
    }
    return false;
}

static int array_do(Array *m, bool last)
{
    bool locked = assembly_anything_locked(m->a);
    char reason[160], suffix[32];
    _cleanup_free_ char *node = NULL;
    dev_t device = 0;
    int r;

    r = md_plan(m->supers, m->n, &m->plan, reason);
    if (!last && (r < 0 || m->plan.degraded))
        return 0; /* the others may be inside of what is still to be assembled */
    if (r < 0)
        return assembly_settle(m->a, m->volumes, m->n, !locked,
                               "member of a Linux RAID (array %s), which stays down: %s%s", m->supers[0].name,
                               reason, locked ? "; a locked volume may hold one" : "");
    /* Beside something locked that has nothing to do with it an array is what it is. */
    if (m->plan.degraded && locked && lies_in_luks(m))
        return assembly_settle(m->a, m->volumes, m->n, false,
                               "member of a Linux RAID (array %s), of which %u of %u are there; unlock the "
                               "locked volumes, which may hold the others",
                               m->supers[0].name, m->plan.n_present, m->plan.n_legs);
    if (assembly_full(m->a))
        return assembly_settle(m->a, m->volumes, m->n, true,
                               "member of a Linux RAID (array %s): there are too many volumes already",
                               m->supers[0].name);
    m->number = ++m->a->n_made;
    snprintf(suffix, sizeof(suffix), "m%u", m->number);
    r = m->plan.leg_sectors > 0 ? make_redundant(m, suffix, &device, &node)
                                : make_plain(m, suffix, &device, &node);
    if (r == -ENOMEM)
        return r;
    if (r < 0)
        return assembly_settle(m->a, m->volumes, m->n, true,
                               "member of a Linux RAID (array %s), which device-mapper refuses (%s): %s %s",
                               m->supers[0].name, m->plan.text, strerror(-r), m->message ? m->message : "");
    log_full(LOG_INFO, m->a->id, "Array %s: %s", m->supers[0].name, m->plan.text);
    return array_add(m, device, TAKE_PTR(node));
}

/* Those of the same array; of the copies of one member only the first, the others are an array of their own.
 */
static int array_collect(Assembly *a, Member *members, size_t n, size_t first, bool last)
{
    Array m = {.a = a};
    size_t i, k;
    int r;

    m.volumes = calloc(n, sizeof(*m.volumes));
    m.supers = calloc(n, sizeof(*m.supers));
    r = m.volumes && m.supers ? 0 : -ENOMEM;
    for (i = first; r >= 0 && i < n; i++) {
        if (members[i].done || memcmp(members[i].super.uuid, members[first].super.uuid, 16) != 0)
            continue;
        for (k = 0; k < m.n && memcmp(m.supers[k].device_uuid, members[i].super.device_uuid, 16) != 0; k++)
            ;
        if (k < m.n)
            continue;
        members[i].done = true;
        m.volumes[m.n] = members[i].volume;
        m.supers[m.n++] = members[i].super;
    }
    if (r >= 0)
        r = array_do(&m, last);
    free(m.volumes);
    free(m.supers);
    free(m.message);
    return r;
}

int md_assemble(Assembly *a, bool last)
{
    _cleanup_free_ size_t *volumes = NULL;
    _cleanup_free_ Member *members = NULL;
    size_t i, n, known = 0;
    int r;

    volumes = assembly_members(a, "linux_raid_member", &n);
    if (!volumes)
        return -ENOMEM;
    r = assembly_map_members(a, volumes, &n);
    if (r < 0 || n == 0)
        return r;
    members = calloc(n, sizeof(*members));
    if (!members)
        return -ENOMEM;
    for (i = 0; i < n; i++) {
        Volume *v = &a->volumes[volumes[i]];
        _cleanup_close_ int fd = device_open(v->device, O_RDONLY);

        r = fd < 0 ? fd : read_super(fd, v->size_bytes / 512, assembly_timeout(a), &members[known].super);
        if (r == -ETIMEDOUT && assembly_keep_open(a, v->device) < 0)
            r = -ENOMEM;
        if (r >= 0)
            members[known++].volume = volumes[i];
        else if (r == -ENOMEM ||
                 (r = assembly_settle(a, &volumes[i], 1, true,
                                      "member of a Linux RAID whose superblock cannot be understood")) < 0)
            return r;
    }
    r = 0;
    for (i = 0; r >= 0 && i < known; i++)
        if (!members[i].done)
            r = array_collect(a, members, known, i, last);
    return r;
}
