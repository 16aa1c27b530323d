/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "assembly.h"

#include "btrfs-devices.h"
#include "log.h"
#include "luks.h"
#include "lvm.h"
#include "md.h"
#include "overlay.h"
#include "probe.h"
#include "timeutil.h"

#include <fcntl.h>
#include <stdarg.h>

/* A tower of this many layers is nobody's backup. */
#define ROUNDS_MAX 12
/* Partition tables in each other, within one of them. The kernel's stack is not made for hundreds of devices
 * on each other. */
#define TABLES_MAX 4
/* Of device-mapper, by one helper. */
#define DEVICES_MAX 4096
/* Of MountTimeoutSec=. ilr-session@.service has more than that by default. */
#define ALL_VOLUMES 4
#define TIMEOUT_MIN_USEC (100 * USEC_PER_MSEC)

void assembly_done(Assembly *a)
{
    disks_free(a->disks, a->n_disks);
    volumes_free(a->volumes, a->n_volumes);
}

void assembly_begin(Assembly *a)
{
    a->deadline_usec = now_usec(CLOCK_MONOTONIC) + ALL_VOLUMES * a->config->mount_timeout_usec;
}

static uint64_t time_left(const Assembly *a)
{
    uint64_t now = now_usec(CLOCK_MONOTONIC);

    return now < a->deadline_usec ? a->deadline_usec - now : 0;
}

uint64_t assembly_timeout(const Assembly *a)
{
    return MAX(MIN(time_left(a), a->config->mount_timeout_usec), TIMEOUT_MIN_USEC);
}

int assembly_late(const Assembly *a, Volume *v)
{
    char *reason;

    if (time_left(a) > 0)
        return 0;
    reason = strdup("there was no time left for it: the volumes before it took too long (MountTimeoutSec)");
    if (!reason)
        return -ENOMEM;
    free_and_replace(&v->reason, reason);
    return 1;
}

bool assembly_full(const Assembly *a)
{
    return a->n_volumes >= VOLUMES_MAX || a->n_devices >= DEVICES_MAX;
}

Volume *assembly_add(Assembly *a, size_t disk, uint64_t start_bytes, uint64_t size_bytes)
{
    Volume *more = realloc(a->volumes, (a->n_volumes + 1) * sizeof(*more));

    if (!more)
        return NULL;
    a->volumes = more;
    more += a->n_volumes++;
    *more = (Volume){.disk = disk, .start_bytes = start_bytes, .size_bytes = size_bytes};
    return more;
}

int assembly_make(Assembly *a, const char *suffix, const DmTarget *targets, size_t n_targets, dev_t *ret,
                  char **ret_node, char **ret_message)
{
    char name[DM_NAME_SIZE], uuid[DM_NAME_SIZE];
    int r;

    *ret_message = NULL;
    if (a->n_devices >= DEVICES_MAX)
        return -E2BIG;
    a->n_devices++;
    dm_own(a->id, suffix, name, uuid);
    r = dm_create_table(name, uuid, targets, n_targets, DEVICE_TIMEOUT_USEC, &a->cookie, ret, ret_message);
    if (r < 0)
        return r;
    *ret_node = strdup(name);
    return *ret_node ? 0 : -ENOMEM;
}

int assembly_keep_open(Assembly *a, dev_t device)
{
    _cleanup_free_ char *message = NULL, *node = NULL;
    char suffix[32], params[DM_PARAMS_SIZE];
    DmTarget target = {.type = "linear", .params = params};
    dev_t map;
    int r;

    snprintf(suffix, sizeof(suffix), "h%u", ++a->n_made);
    dm_params_linear(device, 0, params);
    r = device_sectors(device, &target.sectors);
    if (r >= 0)
        r = assembly_make(a, suffix, &target, 1, &map, &node, &message);
    if (r < 0 && r != -ENOMEM)
        log_errno_full(LOG_WARNING, a->id, r, "A device that does not answer cannot be kept open");
    return r == -ENOMEM ? r : 0;
}

int assembly_map(Assembly *a, Volume *v)
{
    _cleanup_free_ char *message = NULL;
    char suffix[32], params[DM_PARAMS_SIZE], name[DM_NAME_SIZE];
    DmTarget target = {.sectors = v->size_bytes / 512, .type = "linear", .params = params};
    const Disk *disk = &a->disks[v->disk];
    int r;

    if (v->node)
        return 0;
    if (v->partition == 0) {
        dm_name(a->id, (unsigned)v->disk + 1, 0, name);
        v->device = disk->overlay;
        v->node = strdup(name);
        return v->node ? 0 : -ENOMEM;
    }
    snprintf(suffix, sizeof(suffix), "d%zup%d", v->disk + 1, v->partition);
    dm_params_linear(disk->overlay, v->start_bytes / 512, params);
    r = assembly_make(a, suffix, &target, 1, &v->device, &v->node, &message);
    if (r >= 0 || r == -ENOMEM)
        return r;
    v->reason = (free(v->reason), NULL);
    return asprintf(&v->reason, "no map of the partition could be made: %s (%s)", strerror(-r),
                    message ? message : "no more is known") < 0
               ? -ENOMEM
               : 0;
}

int assembly_map_members(Assembly *a, size_t *members, size_t *n)
{
    size_t i, kept = 0;
    int r;

    for (i = 0; i < *n; i++) {
        Volume *v = &a->volumes[members[i]];

        r = assembly_map(a, v);
        if (r < 0)
            return r;
        if (v->node)
            members[kept++] = members[i];
        else
            v->used = true;
    }
    *n = kept;
    return 0;
}

void assembly_nodes(const Assembly *a, const size_t *members, size_t n, ToolNode *nodes)
{
    size_t i;

    for (i = 0; i < n; i++)
        nodes[i] = (ToolNode){.name = a->volumes[members[i]].node, .device = a->volumes[members[i]].device};
}

size_t *assembly_members(const Assembly *a, const char *type, size_t *ret_n)
{
    size_t *members = calloc(a->n_volumes + 1, sizeof(*members)), i, n = 0;

    for (i = 0; members && i < a->n_volumes; i++)
        if (!a->volumes[i].used && streq_ptr(a->volumes[i].type, type))
            members[n++] = i;
    *ret_n = n;
    return members;
}

int assembly_settle(Assembly *a, const size_t *members, size_t n, bool used, const char *format, ...)
{
    _cleanup_free_ char *reason = NULL;
    va_list ap;
    size_t i;
    int r;

    va_start(ap, format);
    r = vasprintf(&reason, format, ap);
    va_end(ap);
    if (r < 0)
        return (reason = NULL), -ENOMEM;
    for (i = 0; i < n; i++) {
        Volume *v = &a->volumes[members[i]];
        char *copy = strdup(reason);

        if (!copy)
            return -ENOMEM;
        free_and_replace(&v->reason, copy);
        v->used = used;
        v->waits = !used;
    }
    return 0;
}

bool assembly_anything_locked(const Assembly *a)
{
    size_t i;

    for (i = 0; i < a->n_volumes; i++)
        if (a->volumes[i].locked)
            return true;
    return false;
}

char **assembly_layers(const Assembly *a, const size_t *members, size_t n, const char *top)
{
    _cleanup_free_ Volume **list = calloc(n + 1, sizeof(*list));
    size_t i;

    for (i = 0; list && i < n; i++)
        list[i] = &a->volumes[members[i]];
    return list ? volumes_join_layers(list, n, top) : NULL;
}

static int add_partitions(Assembly *a, size_t disk, const PartitionTable *t)
{
    size_t i;

    for (i = 0; i < t->n_partitions && a->n_volumes < VOLUMES_MAX; i++) {
        const Partition *p = &t->partitions[i];
        Volume *v = assembly_add(a, disk, p->start_bytes, p->size_bytes);

        if (!v)
            return -ENOMEM;
        v->partition = p->number;
        v->partition_type = strdup(p->type);
        if (!v->partition_type || str_copy(p->label, &v->partition_label) < 0 ||
            str_copy(p->uuid, &v->partition_uuid) < 0)
            return -ENOMEM;
    }
    return 0;
}

/* Those from this one on lie on the disk. */
static int probe_on_disk(Assembly *a, const Disk *d, int fd, size_t first)
{
    bool kept = false;
    size_t i;
    int r;

    for (i = first; i < a->n_volumes; i++) {
        Volume *v = &a->volumes[i];

        r = assembly_late(a, v);
        if (r == 0 && (r = volume_probe(fd, v, assembly_timeout(a))) > 0 && !kept) {
            kept = true;
            r = assembly_keep_open(a, d->overlay);
        }
        if (r < 0)
            return r;
    }
    return 0;
}

/* Adds the volumes of a disk: its partitions, or itself. */
static int look_into_disk(Assembly *a, size_t disk)
{
    _cleanup_(partition_table_done) PartitionTable table = {};
    Disk *d = &a->disks[disk];
    _cleanup_close_ int fd = device_open(d->overlay, O_RDONLY);
    size_t first = a->n_volumes;
    Volume *v;
    int r, member = 0;

    if (fd < 0)
        return fd;
    r = device_read_table(fd, assembly_timeout(a), &table);
    if (r == -ETIMEDOUT && assembly_keep_open(a, d->overlay) < 0)
        r = -ENOMEM;
    if (r == -ENOMEM)
        return r;
    if (r < 0) { /* one unreadable disk does not take the others with it */
        v = assembly_add(a, disk, 0, d->size_bytes);
        if (!v || asprintf(&v->reason, "the disk cannot be read: %s", strerror(-r)) < 0)
            return -ENOMEM;
        return 0;
    }
    d->table = TAKE_PTR(table.type);
    /* The superblock of an array of whole disks may lie at their end, and its partition table, or a file
     * system, at the start of each. */
    if (table.n_partitions > 0)
        member = md_disk_is_member(fd, d->size_bytes, assembly_timeout(a));
    if (member < 0 && assembly_keep_open(a, d->overlay) < 0)
        return -ENOMEM;
    if (member > 0) {
        v = assembly_add(a, disk, 0, d->size_bytes);
        return v && (v->type = strdup("linux_raid_member")) &&
                       (v->reason = strdup("member of a Linux RAID that was not put together"))
                   ? 0
                   : -ENOMEM;
    }
    if (table.n_partitions > 0)
        r = add_partitions(a, disk, &table);
    else
        r = assembly_add(a, disk, 0, d->size_bytes) ? 0 : -ENOMEM;
    return r < 0 ? r : probe_on_disk(a, d, fd, first);
}

int assembly_look_into_disks(Assembly *a)
{
    size_t i;
    int r = 0;

    for (i = 0; r >= 0 && i < a->n_disks && a->n_volumes < VOLUMES_MAX; i++)
        r = look_into_disk(a, i);
    return r;
}

/* A partition table on something that is no disk: an array, a logical volume that was a machine's disk. */
static int add_nested(Assembly *a, size_t parent, const PartitionTable *t)
{
    _cleanup_free_ char *own = NULL, *message = NULL;
    size_t i;
    int r;

    own = a->volumes[parent].base ? strdup(a->volumes[parent].base) : volume_place(&a->volumes[parent]);
    if (!own)
        return -ENOMEM;
    for (i = 0; i < t->n_partitions && a->n_volumes < VOLUMES_MAX; i++) {
        const Partition *p = &t->partitions[i];
        char suffix[32], params[DM_PARAMS_SIZE], top[32];
        DmTarget target = {.sectors = p->size_bytes / 512, .type = "linear", .params = params};
        Volume *v = assembly_add(a, a->volumes[parent].disk, 0, p->size_bytes);

        if (!v)
            return -ENOMEM;
        snprintf(suffix, sizeof(suffix), "x%u", ++a->n_made);
        snprintf(top, sizeof(top), "partition %d", p->number);
        dm_params_linear(a->volumes[parent].device, p->start_bytes / 512, params);
        v->layers = assembly_layers(a, &parent, 1, top);
        v->degraded = a->volumes[parent].degraded;
        v->partition_type = strdup(p->type);
        if (str_copy(a->volumes[parent].group, &v->group) < 0 ||
            str_copy(p->label, &v->partition_label) < 0 || str_copy(p->uuid, &v->partition_uuid) < 0 ||
            !v->layers || !v->partition_type || asprintf(&v->base, "%s-part%d", own, p->number) < 0)
            return -ENOMEM;
        message = (free(message), NULL);
        r = assembly_make(a, suffix, &target, 1, &v->device, &v->node, &message);
        if (r == -ENOMEM ||
            (r < 0 && asprintf(&v->reason, "no map of the partition could be made: %s", strerror(-r)) < 0))
            return -ENOMEM;
    }
    return assembly_settle(a, &parent, 1, true, "partitioned");
}

/* Nothing was found in it, and this may be why. */
static int note_missing(Volume *v)
{
    char *reason;

    if (asprintf(&reason, "%s (a part of it is missing)", v->reason) < 0)
        return -ENOMEM;
    return free_and_replace(&v->reason, reason);
}

static int note_hanging(Assembly *a, Volume *v)
{
    char *reason = strdup("reading it took longer than MountTimeoutSec");

    if (!reason)
        return -ENOMEM;
    free_and_replace(&v->reason, reason);
    return assembly_keep_open(a, v->device);
}

/* Those from first to before end; tables: partition tables are looked for, too. */
static int probe_range(Assembly *a, size_t first, size_t end, bool tables)
{
    size_t i;
    int r = 0;

    for (i = first; r >= 0 && i < end; i++) {
        _cleanup_(partition_table_done) PartitionTable table = {};
        Volume *v = &a->volumes[i];
        _cleanup_close_ int fd = -EBADF;

        if (v->reason || !v->node)
            continue;
        r = assembly_late(a, v);
        if (r != 0)
            continue;
        fd = device_open(v->device, O_RDONLY);
        if (fd < 0) {
            r = asprintf(&v->reason, "cannot be read: %s", strerror(-fd)) < 0 ? -ENOMEM : 0;
            continue;
        }
        r = volume_probe(fd, v, assembly_timeout(a));
        if (r > 0) {
            r = assembly_keep_open(a, v->device);
            continue;
        }
        if (r >= 0 && v->degraded && v->group && v->reason && !v->type)
            r = note_missing(v);
        if (r < 0 || !tables || v->type || !v->reason)
            continue;
        r = device_read_table(fd, assembly_timeout(a), &table);
        if (r == -ETIMEDOUT)
            r = note_hanging(a, v);
        else if (r < 0)
            r = r == -ENOMEM ? r : 0;
        else if (table.n_partitions > 0)
            r = add_nested(a, i, &table);
    }
    return r;
}

int assembly_probe(Assembly *a, size_t first)
{
    unsigned depth;
    int r = 0;

    for (depth = 0; r >= 0 && first < a->n_volumes; depth++) {
        size_t end = a->n_volumes;

        r = probe_range(a, first, end, depth < TABLES_MAX);
        first = end;
    }
    return r;
}

/* One try for each kind, in this order, until one of them brings something new. */
static int one_round(Assembly *a)
{
    static const struct {
        int (*assemble)(Assembly *a, bool last);
        bool last;
    } steps[] = {{md_assemble, false},
                 {luks_assemble, false},
                 {lvm_assemble, false},
                 {md_assemble, true}, /* nothing more comes: what is incomplete stays so */
                 {lvm_assemble, true}};
    size_t i, before = a->n_volumes;
    int r = 0;

    for (i = 0; r >= 0 && i < ELEMENTSOF(steps) && a->n_volumes == before; i++)
        r = steps[i].assemble(a, steps[i].last);
    return r < 0 ? r : assembly_probe(a, before);
}

int assemble(Assembly *a)
{
    unsigned round;
    size_t before;
    int r;

    for (round = 0; round < ROUNDS_MAX; round++) {
        before = a->n_volumes;
        r = one_round(a);
        if (r < 0)
            return r;
        if (a->n_volumes == before)
            return btrfs_assemble(a);
    }
    log_full(LOG_WARNING, a->id, "Layers over layers: not looked into further");
    return btrfs_assemble(a);
}
