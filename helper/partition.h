/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The partition table of a disk (GPT, MBR with logical partitions), read with libblkid from an open device or
 * image. Knows no device-mapper. Tables inside partitions are not followed. Foreign bytes: call it in a child
 * with a deadline. */

#include "volume.h"

typedef struct Partition {
    int number;
    uint64_t start_bytes, size_bytes;
    char *type;  /* GUID, or 0x83 */
    char *label; /* GPT only, cleaned; or NULL */
    char *uuid;  /* PARTUUID; or NULL */
} Partition;

typedef struct PartitionTable {
    char *type;            /* "gpt", "dos", another of libblkid's; NULL: there is none */
    unsigned sector_bytes; /* that the table counts in: not always the device's own */
    Partition *partitions; /* by number; those that reach beyond the disk are not in it */
    size_t n_partitions;
} PartitionTable;

/* Returns 0 (also: no table), -EIO or another errno when the disk cannot be read. */
int partition_table_read(int fd, PartitionTable *ret);
void partition_table_done(PartitionTable *t);

/* {"table","sectorBytes","partitions":[...]} and back, between child and parent. */
int partition_table_to_json(const PartitionTable *t, json_object **ret);
int partition_table_from_json(json_object *o, PartitionTable *ret);

/* Why a partition of this type can hold no file system, or NULL. ret_part: it is a part of something that is
 * not put together, and what a probe finds in it is not to be believed. */
const char *partition_type_reason(const char *type, bool *ret_part);
