/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Device-mapper devices, each call in a child with a deadline, because the kernel may wait for a dead disk.
 * Table lines are in sectors of 512 bytes, whatever the disk's are. */

#include "util.h"
#include <sys/types.h>

#define DM_NAME_SIZE 128

typedef struct DmDevice {
    char name[DM_NAME_SIZE];
    dev_t device;
    int open_count;
    bool deferred;   /* it was given up: it goes when its user lets go */
    unsigned height; /* for who lists them; 0 */
} DmDevice;

/* ilr_ID_d1, ilr_ID_d1cow, ilr_ID_d1p2 (docs/architecture.md). part: 0 the overlay, -1 its store. The UUID is
 * made of the same parts; there is exactly one dash in it. */
void dm_name(const char *id, unsigned disk, int part, char buf[static DM_NAME_SIZE]);
void dm_uuid(const char *id, unsigned disk, int part, char buf[static DM_NAME_SIZE]);
/* ilr_ID_SUFFIX and LVM-ILRIDSUFFIX, for what is neither: the suffix is made of letters and digits. */
void dm_own(const char *id, const char *suffix, char name[static DM_NAME_SIZE],
            char uuid[static DM_NAME_SIZE]);
/* "ilr_ID_" */
void dm_prefix(const char *id, char buf[static DM_NAME_SIZE]);

#define DM_PARAMS_SIZE 96
void dm_params_linear(dev_t device, uint64_t start_sectors, char buf[static DM_PARAMS_SIZE]);
void dm_params_snapshot(dev_t origin, dev_t store, char buf[static DM_PARAMS_SIZE]);

/* udev makes and removes the nodes /dev/mapper/NAME and takes its time. Several changes are put under one
 * cookie (0 before the first one), and dm_settle() waits once until udev is through with all of them. By its
 * number a device can be used at once. */
int dm_settle(uint32_t *cookie, uint64_t timeout_usec);

/* Makes a device with one target. A device of this name or UUID is there: -EBUSY. ret_message (the caller's,
 * may be NULL) is what libdevmapper said if it went wrong. */
int dm_create(const char *name, const char *uuid, uint64_t sectors, const char *target, const char *params,
              uint64_t timeout_usec, uint32_t *cookie, dev_t *ret, char **ret_message);
typedef struct DmTarget {
    uint64_t start, sectors;
    const char *type, *params;
} DmTarget;

/* The same with several targets, in the order of their starts and without holes. */
int dm_create_table(const char *name, const char *uuid, const DmTarget *targets, size_t n_targets,
                    uint64_t timeout_usec, uint32_t *cookie, dev_t *ret, char **ret_message);
/* What the first target of a device says of itself (the line of dmsetup status behind its type); the
 * caller's. -ENXIO: no such device. */
int dm_status(const char *name, uint64_t timeout_usec, char **ret);
/* Says something to the first target of a device. -ENXIO: no such device. */
int dm_message(const char *name, const char *text, uint64_t timeout_usec);
/* Gone already: 0. -EBUSY: somebody has it open; with deferred it then goes when that one closes it, and that
 * is 0. */
int dm_remove(const char *name, bool deferred, uint64_t timeout_usec, uint32_t *cookie);
/* For what may be in use: whoever has it open gets I/O errors from now on, what is below it is free, and it
 * goes when he lets go. 0: it is gone, 1: that is to come. -ETIMEDOUT: the kernel waits for I/O that is under
 * way. */
int dm_give_up(const char *name, uint64_t timeout_usec, uint32_t *cookie);
/* All devices whose name begins with the prefix, in no order. No device-mapper in this kernel: none. */
int dm_list(const char *prefix, uint64_t timeout_usec, DmDevice **ret, size_t *ret_n);
