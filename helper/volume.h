/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What was found below the targets of a session: disks, and on them volumes, mounted or with the reason why
 * not. Plain data and its JSON form (docs/architecture.md); nothing here touches the system. */

#include "json.h"
#include <sys/types.h>

#define VOLUME_NAME_MAX 64
/* More partitions than a GPT of the usual size has are not looked at. */
#define DISK_PARTITIONS_MAX 128

typedef struct Disk {
    char *name;        /* "disk1" */
    char *target;      /* iSCSI name */
    int64_t sid;       /* of the kernel's iSCSI session */
    uint64_t lun;      /* as the kernel numbers it */
    char *kernel_name; /* "sdb" */
    dev_t device;
    uint64_t size_bytes;
    unsigned sector_bytes;
    char *table;   /* "gpt", "dos"; NULL: none */
    dev_t overlay; /* 0: not made yet */
} Disk;

typedef struct Volume {
    char *name;
    size_t disk;   /* index */
    int partition; /* 0: the whole disk */
    uint64_t start_bytes, size_bytes;
    char *type, *label, *uuid;
    char *partition_label, *partition_type;
    char *reason; /* why it is not mounted; NULL while it is, or while nobody has looked */
    bool mounted, replayed;
    dev_t device; /* its own map, or the overlay; 0: not made yet */
} Volume;

void disks_free(Disk *disks, size_t n);
void volumes_free(Volume *volumes, size_t n);

/* mounts: the directory of the volumes, for "path". */
int disk_to_json(const Disk *disk, json_object **ret);
int volume_to_json(const Volume *volume, const Disk *disks, const char *mounts, json_object **ret);

/* A foreign label for people: control characters and what is not UTF-8 become "?", at most max bytes stay.
 * NULL: no memory. */
char *text_clean(const char *s, size_t max);
