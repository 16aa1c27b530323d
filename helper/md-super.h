/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Linux software RAID, from the members' superblocks (0.90, 1.0, 1.1, 1.2; the kernel's include/uapi/linux/
 * raid/md_p.h describes them) to what device-mapper needs to put the array together. The kernel's md and
 * mdadm have no part in it: nothing of the array's identity is used, so that a living original does not
 * matter, no superblock is written, nothing is resynchronised, and the host sees no array. Pure: foreign
 * bytes in, numbers out. Sectors are of 512 bytes. */

#include "util.h"

#define MD_SUPER_SIZE 4096
#define MD_DISKS_MAX 384
#define MD_ROLE_SPARE 0xffff
#define MD_ROLE_FAULTY 0xfffe
#define MD_ROLES_MAX ((MD_SUPER_SIZE - 256) / 2)

typedef struct MdSuper {
    uint8_t uuid[16], device_uuid[16];
    char name[64];            /* of the array, as its owner calls it; cleaned (text_clean()) */
    int level, minor_version; /* 90 for 0.90, else 0, 1 or 2 */
    uint32_t layout, chunk_sectors, raid_disks, features;
    uint64_t size, data_offset, data_size; /* of each member, in use; where the data is on this one */
    uint64_t events;
    bool clean, reshaping, recovering;
    uint32_t number; /* of this member in roles */
    uint16_t roles[MD_ROLES_MAX];
} MdSuper;

/* Where to look for superblocks on a device, in sectors, in this order. */
#define MD_PLACES 4
void md_places(uint64_t device_sectors, uint64_t ret[static MD_PLACES]);
/* bytes: what was read at this sector. -ENOENT: no superblock that belongs here. */
int md_super_parse(const uint8_t bytes[static MD_SUPER_SIZE], uint64_t at, uint64_t device_sectors,
                   MdSuper *ret);

/* How an array is put together of those members that are there. */
typedef struct MdPlan {
    uint64_t sectors;     /* of the array */
    uint64_t leg_sectors; /* of each leg; 0: legs have sizes of their own (linear, raid0) */
    unsigned n_legs, n_needed, n_present;
    int legs[MD_DISKS_MAX]; /* index of the member in this place; -1: missing */
    bool degraded;
    char type[16];    /* target or dm-raid type */
    char options[96]; /* dm-raid's parameters, counted, with the chunk first */
    char text[96];    /* "md raid1 (degraded, 1 of 2)" */
} MdPlan;

/* 0, or -EINVAL with a reason for people: it cannot be put together. */
int md_plan(const MdSuper *members, size_t n, MdPlan *ret, char reason[static 160]);

/* A piece of a raid0 or linear array: legs, each from a sector of its data on, striped if there are several.
 */
typedef struct MdZone {
    uint64_t start, sectors;
    unsigned n_legs;
    int legs[MD_DISKS_MAX];
    uint64_t leg_start;
} MdZone;

/* The zones of an array without redundancy; the caller's. -ENOMEM, or -EINVAL: sizes that cannot be. */
int md_zones(const MdSuper *members, const MdPlan *plan, MdZone **ret, size_t *ret_n);
