/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* One copy-on-write overlay per disk: a persistent device-mapper snapshot whose origin is the attached disk,
 * which is only ever read, and whose store is a slice of a sparse file on a tmpfs of the session. The store
 * is bounded; when it is full the overlay gives EIO, and no other one suffers unless the total is used up. */

#include "config.h"
#include "volume.h"

/* The store begins this far into its file: what is written first must not look like a signature at its start.
 */
#define OVERLAY_STORE_OFFSET MIB

/* How much one disk's store may hold: what is configured, but never more than a full copy of the disk takes.
 */
uint64_t overlay_store_bytes(uint64_t configured_bytes, uint64_t disk_bytes);
/* Mounts the tmpfs of the session's stores, if it is not there. It is big enough for all of them, but for
 * what is configured as their total, and half of the machine's memory. It takes only what is written. */
int overlay_stores_mount(const char *id, const Disk *disks, size_t n_disks, const Config *config,
                         uint64_t timeout_usec);
/* Makes the overlay of a disk (number counts from 1) and sets disk->overlay. cookie: see
 * dm.h. */
int overlay_make(const char *id, unsigned number, Disk *disk, uint64_t size_bytes, uint64_t timeout_usec,
                 uint32_t *cookie, Failure **ret_failure);
/* How much of the store of a disk's overlay is in use, bytes. -ENXIO: there is no overlay; -ENOSPC: it is
 * full and of no use any more. */
int overlay_used(const char *id, unsigned number, uint64_t timeout_usec, uint64_t *ret);
/* The same from the words of device-mapper: "96/524288 32". */
int overlay_status_parse(const char *status, uint64_t *ret);

/* Frees the loop devices whose file is below the session's stores and unmounts the tmpfs; lazily if forced.
 * Nothing there: 0. -EBUSY: a store is still used. */
int overlay_stores_release(const char *id, bool forced, uint64_t timeout_usec);

/* A descriptor on a block device by its number: its name in /dev may be gone or may not be ours. */
int device_open(dev_t device, int flags);
/* The size of a block device, by sysfs, in sectors of 512 bytes. -ENODATA: it has none, -ENOENT: it is not
 * there; one of device-mapper may have no table yet. */
int device_sectors(dev_t device, uint64_t *ret);
