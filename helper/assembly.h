/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What is put together from the overlays of a session's disks: everything that may hold files is a Volume,
 * and each turn of assemble() makes new ones of the members that it found (arrays, logical volumes), until
 * nothing new comes. A foreign layout is never a failure of the session: it is a volume's reason. */

#include "config.h"
#include "dm.h"
#include "tool.h"
#include "volume.h"

/* device-mapper waits for udev, which may have many disks to look at. */
#define DEVICE_TIMEOUT_USEC (60 * USEC_PER_SEC)

typedef struct Assembly {
    const char *id;
    const Config *config;
    Disk *disks;
    size_t n_disks;
    Volume *volumes;
    size_t n_volumes;
    unsigned n_made;        /* numbers given to what is made, in device names */
    unsigned n_devices;     /* of device-mapper, made by this helper or by LVM for it */
    uint32_t cookie;        /* udev's part in what device-mapper made */
    uint64_t deadline_usec; /* CLOCK_MONOTONIC; for looking into volumes and mounting, all together */
} Assembly;

/* From now on all volumes together have the time of four: those that hang must not add up. */
void assembly_begin(Assembly *a);
/* For the next volume. */
uint64_t assembly_timeout(const Assembly *a);
/* 1: the time is over, which is now the volume's reason. */
int assembly_late(const Assembly *a, Volume *v);

/* There are as many volumes or devices as a session may have: nothing more is put together. */
bool assembly_full(const Assembly *a);

void assembly_done(Assembly *a);

/* A new volume; borrowed until the next one is added. NULL: no memory. */
Volume *assembly_add(Assembly *a, size_t disk, uint64_t start_bytes, uint64_t size_bytes);
/* Gives a volume a device of its own, if it has none. Returns 0 also if that could not be done: then with a
 * reason. */
int assembly_map(Assembly *a, Volume *v);
/* The same for all members of a list, and its nodes for a tool; what cannot be mapped drops out. */
int assembly_map_members(Assembly *a, size_t *members, size_t *n);
void assembly_nodes(const Assembly *a, const size_t *members, size_t n, ToolNode *nodes);
/* Makes the device ilr_ID_SUFFIX. As dm_create_table(). */
int assembly_make(Assembly *a, const char *suffix, const DmTarget *targets, size_t n_targets, dev_t *ret,
                  char **ret_node, char **ret_message);

/* A child that read from the device did not end in its time. Whoever closes a device last waits until it has
 * answered, with all who open it meanwhile, and cannot be killed; so before a descriptor on it is closed this
 * makes a map that keeps it open until all is taken down. -ENOMEM, or 0. */
int assembly_keep_open(Assembly *a, dev_t device);

/* All volumes of a type that are whole and are no member of anything yet; the caller's. NULL: no memory. */
size_t *assembly_members(const Assembly *a, const char *type, size_t *ret_n);
/* Is there a LUKS volume without its key? What is missing may be inside of it. */
bool assembly_anything_locked(const Assembly *a);
/* Sets the reason of all members, and whether they are dealt with (used) or wait for more. */
int assembly_settle(Assembly *a, const size_t *members, size_t n, bool used, const char *format, ...)
    _printf_(5, 6);
/* Layers of something made of these volumes. NULL: no memory. */
char **assembly_layers(const Assembly *a, const size_t *members, size_t n, const char *top);

/* Adds the volumes on the disks, whose overlays are there. */
int assembly_look_into_disks(Assembly *a);
/* What of the volumes and their numbers is kept for a helper that comes later (unlock); the rest is in
 * volume_to_json(). Load gives an assembly without disks' overlays, whose volumes are as they were. -EBADMSG:
 * the two do not fit. */
int assembly_parts_to_json(const Assembly *a, json_object **ret);
int assembly_load(Assembly *a, json_object *disks, json_object *volumes, json_object *parts);

/* Looks into the volumes from this one on, and into partition tables inside of them. */
int assembly_probe(Assembly *a, size_t first);
/* Assembles until nothing new comes. Names nothing and mounts nothing. Returns a negative errno only for what
 * is wrong with the machine. */
int assemble(Assembly *a);
