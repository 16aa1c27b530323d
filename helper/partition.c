/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "partition.h"

#include <blkid/blkid.h>

#define LABEL_BYTES_MAX 108 /* 36 characters of UTF-16 as UTF-8 */
#define UUID_BYTES_MAX 64

static void probe_freep(blkid_probe *p)
{
    if (*p)
        blkid_free_probe(*p);
}

void partition_table_done(PartitionTable *t)
{
    size_t i;

    for (i = 0; i < t->n_partitions; i++) {
        free(t->partitions[i].type);
        free(t->partitions[i].label);
        free(t->partitions[i].uuid);
    }
    free(t->partitions);
    free(t->type);
    *t = (PartitionTable){};
}

static int by_number(const void *a, const void *b)
{
    return ((const Partition *)a)->number - ((const Partition *)b)->number;
}

static int add(PartitionTable *t, blkid_partition p, uint64_t disk_bytes)
{
    const char *type = blkid_partition_get_type_string(p), *label = blkid_partition_get_name(p),
               *uuid = blkid_partition_get_uuid(p);
    uint64_t start = (uint64_t)blkid_partition_get_start(p), size = (uint64_t)blkid_partition_get_size(p);
    Partition new = {.number = blkid_partition_get_partno(p)}, *more;

    if (blkid_partition_is_extended(p) || blkid_parttable_get_parent(blkid_partition_get_table(p)))
        return 0;
    /* libblkid counts in 512 bytes whatever the disk's sectors are. */
    if (size == 0 || start > disk_bytes / 512 || size > disk_bytes / 512 - start)
        return 0;
    new.start_bytes = start * 512;
    new.size_bytes = size * 512;
    if (type)
        new.type = strdup(type);
    else if (asprintf(&new.type, "0x%02x", (unsigned)blkid_partition_get_type(p) & 0xff) < 0)
        new.type = NULL;
    if (!isempty(label))
        new.label = text_clean(label, LABEL_BYTES_MAX);
    if (!isempty(uuid))
        new.uuid = text_clean(uuid, UUID_BYTES_MAX);
    more = realloc(t->partitions, (t->n_partitions + 1) * sizeof(*more));
    if (more)
        t->partitions = more;
    if (!more || !new.type || (!isempty(label) && !new.label) || (!isempty(uuid) && !new.uuid)) {
        free(new.type);
        free(new.label);
        free(new.uuid);
        return -ENOMEM;
    }
    t->partitions[t->n_partitions++] = new;
    return 0;
}

/* sector_bytes 0: the device's own. 1: a table was found; 0: none. */
static int read_with(int fd, unsigned sector_bytes, PartitionTable *t)
{
    _cleanup_(probe_freep) blkid_probe pr = blkid_new_probe();
    blkid_partlist list;
    blkid_parttable table;
    int i, n, r;

    if (!pr)
        return -ENOMEM;
    errno = 0;
    if (blkid_probe_set_device(pr, fd, 0, 0) < 0)
        return errno > 0 ? -errno : -EIO;
    if (sector_bytes > 0 && blkid_probe_set_sectorsize(pr, sector_bytes) < 0)
        return 0;
    blkid_probe_enable_superblocks(pr, 0);
    blkid_probe_enable_partitions(pr, 1);
    blkid_probe_set_partitions_flags(pr, BLKID_PARTS_ENTRY_DETAILS);
    errno = 0;
    list = blkid_probe_get_partitions(pr);
    if (!list)
        return errno == EIO || errno == ENOMEM ? -errno : 0;
    table = blkid_partlist_get_table(list);
    if (!table)
        return 0;
    t->type = strdup(blkid_parttable_get_type(table));
    if (!t->type)
        return -ENOMEM;
    t->sector_bytes = blkid_probe_get_sectorsize(pr);
    n = blkid_partlist_numof_partitions(list);
    for (i = 0; i < n && t->n_partitions < DISK_PARTITIONS_MAX; i++) {
        r = add(t, blkid_partlist_get_partition(list, i), (uint64_t)blkid_probe_get_size(pr));
        if (r < 0)
            return r;
    }
    return 1;
}

int partition_table_read(int fd, PartitionTable *ret)
{
    _cleanup_(partition_table_done) PartitionTable t = {}, other = {};
    int r = read_with(fd, 0, &t);

    if (r < 0)
        return r;
    /* A disk that was partitioned with sectors of the other size: its protective MBR is found, or nothing at
     * all. */
    if (t.n_partitions == 0) {
        r = read_with(fd, t.sector_bytes == 4096 ? 512 : 4096, &other);
        if (r == 0 && !t.type)
            r = read_with(fd, 512, &other);
        if (r < 0)
            return r;
        if (other.n_partitions > 0) {
            PartitionTable swap = t;

            t = other;
            other = swap;
        }
    }
    if (t.n_partitions > 1)
        qsort(t.partitions, t.n_partitions, sizeof(*t.partitions), by_number);
    *ret = t;
    t = (PartitionTable){};
    return 0;
}

int partition_table_to_json(const PartitionTable *t, json_object **ret)
{
    _cleanup_json_ json_object *o = json_object_new_object(), *list = json_object_new_array();
    size_t i;
    int r;

    if (!o || !list)
        return -ENOMEM;
    for (i = 0; i < t->n_partitions; i++) {
        const Partition *p = &t->partitions[i];
        _cleanup_json_ json_object *e = json_object_new_object();

        if (!e || (r = json_add_int64(e, "number", p->number)) < 0 ||
            (r = json_add_int64(e, "start", (int64_t)p->start_bytes)) < 0 ||
            (r = json_add_int64(e, "size", (int64_t)p->size_bytes)) < 0 ||
            (r = json_add_string(e, "type", p->type)) < 0 ||
            (r = json_add_string(e, "label", p->label)) < 0 ||
            (r = json_add_string(e, "uuid", p->uuid)) < 0 || json_append(list, TAKE_PTR(e)) < 0)
            return -ENOMEM;
    }
    if ((r = json_add_string(o, "table", t->type)) < 0 ||
        (r = json_add_int64(o, "sectorBytes", t->sector_bytes)) < 0 ||
        (r = json_add(o, "partitions", TAKE_PTR(list))) < 0)
        return r;
    *ret = TAKE_PTR(o);
    return 0;
}

int partition_table_from_json(json_object *o, PartitionTable *ret)
{
    _cleanup_(partition_table_done) PartitionTable t = {};
    const char *type = NULL;
    json_object *list;
    int64_t sector;
    size_t i, n;

    if (json_get_string(o, "table", &type) < 0 || json_get_int64(o, "sectorBytes", &sector) <= 0 ||
        json_get_array(o, "partitions", &list) <= 0 ||
        (n = json_object_array_length(list)) > DISK_PARTITIONS_MAX)
        return -EBADMSG;
    t.sector_bytes = (unsigned)sector;
    t.partitions = calloc(n + 1, sizeof(*t.partitions));
    if (!t.partitions || str_copy(type, &t.type) < 0)
        return -ENOMEM;
    for (i = 0; i < n; i++) {
        json_object *e = json_object_array_get_idx(list, i);
        const char *ptype, *label = NULL, *uuid = NULL;
        int64_t number, start, size;
        Partition *p = &t.partitions[i];

        if (json_get_int64(e, "number", &number) <= 0 || json_get_int64(e, "start", &start) <= 0 ||
            json_get_int64(e, "size", &size) <= 0 || json_get_string(e, "type", &ptype) <= 0 ||
            json_get_string(e, "label", &label) < 0 || json_get_string(e, "uuid", &uuid) < 0)
            return -EBADMSG;
        p->number = (int)number;
        p->start_bytes = (uint64_t)start;
        p->size_bytes = (uint64_t)size;
        t.n_partitions++;
        if (!(p->type = strdup(ptype)) || (label && !(p->label = strdup(label))) ||
            (uuid && !(p->uuid = strdup(uuid))))
            return -ENOMEM;
    }
    *ret = t;
    t = (PartitionTable){};
    return 0;
}

const char *partition_type_reason(const char *type, bool *ret_part)
{
    static const struct {
        const char *type, *reason;
        bool part;
    } table[] = {
        {"21686148-6449-6e6f-744e-656564454649", "BIOS boot partition: holds a boot loader, no files"},
        {"9e1a2d38-c612-4316-aa26-8b49521e5a8b", "PReP boot partition: holds a boot loader, no files"},
        {"e3c9e316-0b5c-4db8-817d-f92df00215ae", "Microsoft reserved partition: holds no files"},
        {"5808c8aa-7e8f-42e0-85d2-e1e90434cfb3", "database of a Windows dynamic disk: holds no files", true},
        {"0x42", "part of a Windows dynamic disk, which is not put together", true},
        {"af9b60a0-1431-4f62-bc68-3311714a69ad", "part of a Windows dynamic disk, which is not put together",
         true},
        {"e75caf8f-f680-4cee-afa3-b001e56efc2d", "part of Windows Storage Spaces, which are not put together",
         true},
    };
    size_t i;

    *ret_part = false;
    for (i = 0; type && i < ELEMENTSOF(table); i++)
        if (strcasecmp(type, table[i].type) == 0) {
            *ret_part = table[i].part;
            return table[i].reason;
        }
    return NULL;
}
