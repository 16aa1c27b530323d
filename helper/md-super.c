/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "md-super.h"

#include "little-endian.h"
#include "volume.h"

#define MAGIC 0xa92b4efcU
#define SECTORS_MAX (UINT64_C(1) << 50)
#define FEATURE_RECOVERY_OFFSET 2
#define FEATURE_RESHAPE 4
#define FEATURE_REPLACEMENT 16
#define FEATURE_JOURNAL 512
#define FEATURE_PPL (1024 | 2048)

void md_places(uint64_t device_sectors, uint64_t ret[static MD_PLACES])
{
    ret[0] = 8;                                                                   /* 1.2 */
    ret[1] = 0;                                                                   /* 1.1 */
    ret[2] = device_sectors >= 16 ? (device_sectors - 16) & ~UINT64_C(7) : 0;     /* 1.0 */
    ret[3] = device_sectors >= 128 ? (device_sectors & ~UINT64_C(127)) - 128 : 0; /* 0.90 */
}

static uint32_t sum(const uint8_t *s, size_t size, size_t csum_at)
{
    uint64_t total = 0;
    size_t i;

    for (i = 0; i + 4 <= size; i += 4)
        if (i != csum_at)
            total += get32(s + i);
    if (size & 2)
        total += get16(s + size - 2);
    return (uint32_t)(total + (total >> 32));
}

/* "host:name" is called name, and a number mdN. What stands there may be anything: it is told to people. */
static void set_name(MdSuper *m, const char *given)
{
    _cleanup_free_ char *clean = text_clean(given, 32);
    const char *text = clean ? clean : "", *colon = strrchr(text, ':'), *name = colon ? colon + 1 : text;

    if (*name && name[strspn(name, "0123456789")] == '\0')
        snprintf(m->name, sizeof(m->name), "md%.32s", name);
    else
        snprintf(m->name, sizeof(m->name), "%.32s", name);
}

static int parse_1(const uint8_t *s, uint64_t at, uint64_t device_sectors, int minor, MdSuper *m)
{
    uint32_t max_dev = get32(s + 220), i;
    char name[33] = "";

    if (get32(s + 4) != 1 || get64(s + 144) != at || max_dev > MD_ROLES_MAX ||
        sum(s, 256 + 2 * (size_t)max_dev, 216) != get32(s + 216))
        return -ENOENT;
    memcpy(m->uuid, s + 16, 16);
    memcpy(m->device_uuid, s + 168, 16);
    memcpy(name, s + 32, 32);
    set_name(m, name);
    m->minor_version = minor;
    m->features = get32(s + 8);
    m->level = (int)get32(s + 72);
    m->layout = get32(s + 76);
    m->size = get64(s + 80);
    m->chunk_sectors = get32(s + 88);
    m->raid_disks = get32(s + 92);
    m->data_offset = get64(s + 128);
    m->data_size = get64(s + 136);
    m->number = get32(s + 160);
    m->events = get64(s + 200);
    m->clean = get64(s + 208) == UINT64_MAX;
    m->reshaping = m->features & FEATURE_RESHAPE;
    m->recovering = (m->features & FEATURE_RECOVERY_OFFSET) && get64(s + 152) != UINT64_MAX;
    for (i = 0; i < max_dev; i++)
        m->roles[i] = get16(s + 256 + 2 * i);
    for (; i < MD_ROLES_MAX; i++)
        m->roles[i] = MD_ROLE_SPARE;
    if (m->data_offset > device_sectors || m->data_size > device_sectors - m->data_offset)
        return -ENOENT;
    return 0;
}

#define WORD(n) get32(s + 4 * (size_t)(n))

static int parse_0(const uint8_t *s, uint64_t at, MdSuper *m)
{
    uint32_t i;

    if (WORD(1) != 0 || sum(s, MD_SUPER_SIZE, 4 * 38) != WORD(38))
        return -ENOENT;
    memcpy(m->uuid, s + 4 * 5, 4);
    memcpy(m->uuid + 4, s + 4 * 13, 12);
    snprintf(m->name, sizeof(m->name), "md%u", WORD(11) & 0xfffff);
    m->minor_version = 90;
    m->level = (int)WORD(7);
    m->size = (uint64_t)WORD(8) * 2;
    m->raid_disks = WORD(10);
    m->layout = WORD(64);
    m->chunk_sectors = WORD(65) / 512;
    m->data_size = at;
    m->clean = WORD(33) & 1;
    m->events = (uint64_t)WORD(40) << 32 | WORD(39);
    m->reshaping = WORD(2) > 90;
    m->number = WORD(992);
    memcpy(m->device_uuid, &m->number, sizeof(m->number));
    for (i = 0; i < MD_ROLES_MAX; i++)
        m->roles[i] = MD_ROLE_SPARE;
    for (i = 0; i < 27; i++) {
        uint32_t place = WORD(128 + 32 * i + 3), state = WORD(128 + 32 * i + 4);

        if (state & 1)
            m->roles[i] = MD_ROLE_FAULTY;
        else if ((state & 4) && place < MD_DISKS_MAX)
            m->roles[i] = (uint16_t)place;
    }
    return 0;
}

int md_super_parse(const uint8_t bytes[static MD_SUPER_SIZE], uint64_t at, uint64_t device_sectors,
                   MdSuper *ret)
{
    uint64_t places[MD_PLACES];
    int r;

    *ret = (MdSuper){};
    md_places(device_sectors, places);
    if (get32(bytes) != MAGIC)
        return -ENOENT;
    if (get32(bytes + 4) == 0)
        r = at == places[3] ? parse_0(bytes, at, ret) : -ENOENT;
    else
        r = parse_1(bytes, at, device_sectors, at == 8 ? 2 : at == 0 ? 1 : 0, ret);
    if (r < 0)
        return r;
    if (ret->raid_disks == 0 || ret->raid_disks > MD_DISKS_MAX || ret->size > SECTORS_MAX ||
        ret->data_size > SECTORS_MAX || ret->chunk_sectors > 1U << 21 || ret->number >= MD_ROLES_MAX)
        return -ENOENT;
    return 0;
}

/* The place of a member as the freshest one has it, or -1. */
static int place(const MdSuper *freshest, const MdSuper *m)
{
    uint16_t role = freshest->roles[m->number];

    return role < freshest->raid_disks && !m->recovering ? role : -1;
}

static const char *level_text(int level, char buf[static 16])
{
    if (level == -1)
        return "linear";
    snprintf(buf, 16, "raid%d", level);
    return buf;
}

/* dm-raid's name for the layouts of levels 4 and 5. */
static const char *parity_type(int level, uint32_t layout)
{
    static const char *const five[] = {"raid5_la", "raid5_ra", "raid5_ls", "raid5_rs", "raid4", "raid5_n"};

    if (level == 4)
        return "raid5_n"; /* all parity on the last one */
    return layout < ELEMENTSOF(five) ? five[layout] : NULL;
}

static bool chunk_valid(uint32_t chunk)
{
    return chunk >= 8 && (chunk & (chunk - 1)) == 0;
}

static int refuse(char reason[static 160], const char *why)
{
    snprintf(reason, 160, "%s", why);
    return -EINVAL;
}

static int plan_parity(const MdSuper *f, MdPlan *p, char reason[static 160])
{
    const char *type = parity_type(f->level, f->layout);

    if (!type || !chunk_valid(f->chunk_sectors) || f->raid_disks < 2)
        return refuse(reason, "its layout is not known");
    p->n_needed = f->raid_disks - 1;
    p->leg_sectors = f->size - f->size % f->chunk_sectors;
    p->sectors = p->leg_sectors * p->n_needed;
    snprintf(p->type, sizeof(p->type), "%s", type);
    snprintf(p->options, sizeof(p->options), "2 %u nosync", f->chunk_sectors);
    return 0;
}

/* Not clean: which of the copies is read would be chance, so all but the first are left out. */
static void drop_copies(MdPlan *p, unsigned copies)
{
    unsigned i, k;

    for (i = 0; i + copies <= p->n_legs; i += copies) {
        bool found = false;

        for (k = i; k < i + copies; k++) {
            if (found)
                p->legs[k] = -1;
            found = found || p->legs[k] >= 0;
        }
    }
}

static int plan_10(const MdSuper *f, MdPlan *p, char reason[static 160])
{
    unsigned near = f->layout & 0xff, far = f->layout >> 8 & 0xff, copies = near > 1 ? near : far, i, k;
    bool offset = f->layout >> 16 & 1;
    uint64_t chunks;

    if (near == 0 || far == 0 || (near > 1 && far > 1) || copies < 2 || copies > f->raid_disks ||
        f->layout >> 17 > 1 || !chunk_valid(f->chunk_sectors))
        return refuse(reason, "its layout is not known");
    chunks = f->size / f->chunk_sectors;
    p->leg_sectors = chunks * f->chunk_sectors;
    p->sectors = chunks / far * f->raid_disks / near * f->chunk_sectors;
    snprintf(p->type, sizeof(p->type), "raid10");
    snprintf(p->options, sizeof(p->options), "%u %u nosync raid10_copies %u raid10_format %s%s",
             near > 1 || f->layout >> 17 ? 6U : 7U, f->chunk_sectors, copies,
             near > 1 ? "near"
             : offset ? "offset"
                      : "far",
             near > 1 || f->layout >> 17 ? "" : " raid10_use_near_sets");
    /* Each run of neighbours that share their data needs one of them. */
    p->n_needed = 0;
    for (i = 0; i < p->n_legs; i++) {
        bool any = false;

        for (k = 0; k < copies; k++)
            any = any || p->legs[(i + k) % p->n_legs] >= 0;
        /* near copies with an even number of them lie in fixed groups */
        if (!any && (near == 1 || p->n_legs % copies != 0 || i % copies == 0))
            return refuse(reason, "all copies of a part of it are missing");
    }
    if (!f->clean && near > 1 && p->n_legs % copies == 0)
        drop_copies(p, copies);
    return 0;
}

static int plan_by_level(const MdSuper *f, MdPlan *p, char reason[static 160])
{
    switch (f->level) {
    case -1:
    case 0:
        p->n_needed = f->raid_disks;
        if (f->level == 0 && !chunk_valid(f->chunk_sectors))
            return refuse(reason, "its layout is not known");
        return 0;
    case 1:
        p->n_needed = 1;
        p->leg_sectors = p->sectors = f->size;
        snprintf(p->type, sizeof(p->type), "raid1");
        snprintf(p->options, sizeof(p->options), "2 0 nosync");
        if (!f->clean)
            drop_copies(p, p->n_legs);
        return 0;
    case 4:
    case 5:
        return plan_parity(f, p, reason);
    case 6: /* dm-raid has no name for mdadm's usual layout, and insists on computing all parity anew */
        return refuse(reason, "raid6 is not put together here");
    case 10:
        return plan_10(f, p, reason);
    }
    return refuse(reason, "its level is not known");
}

int md_plan(const MdSuper *members, size_t n, MdPlan *ret, char reason[static 160])
{
    const MdSuper *f = members;
    char buf[16];
    unsigned i;
    size_t k;
    int r;

    for (k = 1; k < n; k++)
        if (members[k].events > f->events)
            f = &members[k];
    *ret = (MdPlan){.n_legs = f->raid_disks};
    if (f->reshaping)
        return refuse(reason, "it was being reshaped when the copy was made");
    if (f->features & (FEATURE_JOURNAL | FEATURE_PPL))
        return refuse(reason, "it has a write journal, which would have to be replayed");
    for (i = 0; i < ret->n_legs; i++)
        ret->legs[i] = -1;
    for (k = 0; k < n; k++) {
        int at = place(f, &members[k]);

        /* One event less is a member that the others did not hear of any more when the power went. What does
         * not say the same of the array is none of its members, whatever it says. */
        if (at < 0 || members[k].events + 1 < f->events || members[k].raid_disks != f->raid_disks ||
            members[k].level != f->level || members[k].layout != f->layout ||
            members[k].chunk_sectors != f->chunk_sectors)
            continue;
        if (ret->legs[at] < 0 || (members[ret->legs[at]].features & FEATURE_REPLACEMENT))
            ret->legs[at] = (int)k;
    }
    for (i = 0; i < ret->n_legs; i++)
        ret->n_present += ret->legs[i] >= 0;
    r = plan_by_level(f, ret, reason);
    if (r < 0)
        return r;
    /* Only linear and raid0 have no size of their own, and only they have all their legs. */
    if (f->level >= 1 && (ret->leg_sectors == 0 || ret->sectors == 0))
        return refuse(reason, "its size is not known");
    if (ret->n_present < ret->n_needed || ret->n_present == 0) {
        snprintf(reason, 160, "%u of its %u members are there, it needs %u", ret->n_present, ret->n_legs,
                 MAX(ret->n_needed, 1U));
        return -EINVAL;
    }
    for (i = 0; i < ret->n_legs; i++)
        if (ret->legs[i] >= 0 && members[ret->legs[i]].data_size < ret->leg_sectors)
            return refuse(reason, "one of its members is smaller than it should be");
    ret->degraded = ret->n_present < ret->n_legs;
    snprintf(ret->text, sizeof(ret->text), "md %s", level_text(f->level, buf));
    if (ret->degraded)
        snprintf(ret->text + strlen(ret->text), sizeof(ret->text) - strlen(ret->text),
                 " (degraded, %u of %u%s)", ret->n_present, ret->n_legs, f->clean ? "" : ", not clean");
    else if (!f->clean)
        snprintf(ret->text + strlen(ret->text), sizeof(ret->text) - strlen(ret->text), " (not clean)");
    return 0;
}

static uint64_t usable(const MdSuper *m)
{
    return m->chunk_sectors ? m->data_size - m->data_size % m->chunk_sectors : m->data_size;
}

static int linear_zones(const MdSuper *members, const MdPlan *p, MdZone *zones, size_t *ret_n)
{
    uint64_t at = 0;
    unsigned i;

    for (i = 0; i < p->n_legs; i++) {
        zones[i] = (MdZone){.start = at, .sectors = usable(&members[p->legs[i]]), .n_legs = 1};
        zones[i].legs[0] = p->legs[i];
        at += zones[i].sectors;
        if (zones[i].sectors == 0)
            return -EINVAL;
    }
    *ret_n = p->n_legs;
    return 0;
}

/* raid0 over members of different sizes: each zone goes on with those that are not full yet. */
static int striped_zones(const MdSuper *members, const MdPlan *p, MdZone *zones, size_t *ret_n)
{
    const MdSuper *f = &members[p->legs[0]];
    uint64_t at = 0, used = 0;
    size_t n = 0;

    for (;;) {
        MdZone *z = &zones[n];
        uint64_t next = UINT64_MAX;
        unsigned i, k, turn;
        int legs[MD_DISKS_MAX];

        *z = (MdZone){.start = at, .leg_start = used};
        for (i = 0; i < p->n_legs; i++) {
            uint64_t size = usable(&members[p->legs[i]]);

            if (size <= used)
                continue;
            next = MIN(next, size);
            legs[z->n_legs++] = p->legs[i];
        }
        if (z->n_legs == 0)
            break;
        z->sectors = (next - used) * z->n_legs;
        /* The layout before Linux 3.14 counts the chunks of later zones from the start of the array. Its
         * superblock says so with 1; without a word (0) a current kernel refuses more than one zone. */
        turn = n > 0 && f->layout == 1 ? (unsigned)(at / f->chunk_sectors % z->n_legs) : 0;
        if (n > 0 && f->layout != 1 && f->layout != 2)
            return -EINVAL;
        for (k = 0; k < z->n_legs; k++)
            z->legs[k] = legs[(k + turn) % z->n_legs];
        at += z->sectors;
        used = next;
        n++;
    }
    *ret_n = n;
    return n > 0 ? 0 : -EINVAL;
}

int md_zones(const MdSuper *members, const MdPlan *p, MdZone **ret, size_t *ret_n)
{
    _cleanup_free_ MdZone *zones = calloc(p->n_legs + 1, sizeof(*zones));
    int r;

    if (!zones)
        return -ENOMEM;
    r = members[p->legs[0]].level == 0 ? striped_zones(members, p, zones, ret_n)
                                       : linear_zones(members, p, zones, ret_n);
    if (r < 0)
        return r;
    *ret = TAKE_PTR(zones);
    return 0;
}
