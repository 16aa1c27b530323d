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
    char *table;            /* "gpt", "dos"; NULL: none */
    dev_t overlay;          /* 0: not made yet */
    uint64_t overlay_bytes; /* how much may be changed on it; 0: no overlay */
    uint64_t overlay_used_bytes;
} Disk;

/* What a session may have at most; more are not looked at. */
#define VOLUMES_MAX 1024

/* Anything that may hold files: a partition, a disk without partitions, an array, a logical volume, what a
 * LUKS volume holds. */
typedef struct Volume {
    char *name;
    size_t disk;   /* index; of the first one, where it lies on several */
    int partition; /* 0: no partition of a disk */
    uint64_t start_bytes, size_bytes;
    char *type, *label, *uuid;
    char *partition_label, *partition_type, *partition_uuid;
    char *base;  /* the name it has by itself (of a logical volume, an array); NULL: disk1-part2 */
    char *group; /* volume group of a logical volume, as the backup calls it */
    char *by_id; /* how the link of /dev/disk/by-id to a logical volume or array ends, on the machine that
                  * was backed up; NULL: not known */
    size_t opened_from; /* index + 1 of the LUKS volume that it was in; 0: none */
    char **layers;      /* what it is made of, from the disks up; NULL: just a disk or its partition */
    char *reason;       /* why it is not mounted; NULL while it is, or while nobody has looked */
    bool mounted, replayed;
    bool tried;              /* this helper has tried to mount it */
    bool locked;             /* LUKS, no key yet */
    bool degraded;           /* something that it is made of is missing */
    bool used;               /* dealt with: not to be looked at again */
    bool waits;              /* it has a reason that may pass, when something is unlocked */
    char *node;              /* its name in /dev/mapper; NULL: not made yet */
    dev_t device;            /* 0: not made yet */
    char **partners;         /* names in /dev/mapper of a btrfs's other devices */
    json_object *subvolumes; /* of a mounted btrfs (helper/subvolume.h); NULL: none */
} Volume;

/* What it holds, not itself. */
void disk_done(Disk *d);
void disks_free(Disk *disks, size_t n);
void volumes_free(Volume *volumes, size_t n);

/* mounts: the directory of the volumes, for "path". */
int disk_to_json(const Disk *disk, json_object **ret);
/* layers: what it lies on and is, for people; a plain partition is ["disk1-part2"]. */
int volume_to_json(const Volume *volume, const Disk *disks, const char *mounts, json_object **ret);

/* A foreign label for people: control characters and what is not UTF-8 become "?", at most max bytes stay.
 * NULL: no memory. */
char *text_clean(const char *s, size_t max);

/* "disk1-part2", "disk1": the name of a place on a disk. The caller's; NULL: no memory. */
char *volume_place(const Volume *volume);
/* The layers of something made of these volumes: their own layers, joined, and one more on top of them.
 * The caller's; NULL: no memory. */
char **volumes_join_layers(Volume *const *members, size_t n, const char *top);
