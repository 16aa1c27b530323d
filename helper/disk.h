/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The disks of a session: scanned for on the SCSI hosts of its own iSCSI sessions, as many as the targets'
 * REPORT LUNS say, each seen by udev and read-only. Looks at nothing that is not below these sessions in
 * sysfs. */

#include "failure.h"
#include "iscsi.h"
#include "volume.h"

#define DISKS_MAX 256

/* Blocks until all are there or the time is over: DisksMissing, DiskNotProtected. Sorted by target and LUN,
 * and named disk1, disk2... in that order. */
int disks_wait(const IscsiSession *sessions, size_t n_sessions, uint64_t timeout_usec, Disk **ret,
               size_t *ret_n, Failure **ret_failure);

/* Takes the names of the disk and its partitions out of /dev, so that no tool that looks there finds a clone
 * of what the host has. Nobody needs them: device-mapper is given numbers. */
int disk_hide(const Disk *disk);

/* The LUNs in a REPORT LUNS answer of size bytes, as the kernel numbers them; well-known logical units left
 * out. ret is the caller's. -EBADMSG: it is none. */
int report_luns_parse(const uint8_t *data, size_t size, uint64_t **ret, size_t *ret_n);
