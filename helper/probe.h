/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What is in a volume: type, label and UUID as libblkid finds them, and whether it is one that gets mounted.
 * The bytes are foreign and the disk may hang: the work is done in children with a deadline. Reads only. */

#include "partition.h"

/* The partition table of a device; fd is open on it. */
int device_read_table(int fd, uint64_t timeout_usec, PartitionTable *ret);

/* Sets type, label, uuid and reason of the volume; no reason: it can be mounted. fd is open on its disk's
 * overlay. What is wrong with the content is a reason; an error is only what is wrong with the machine. 1: it
 * took too long, which is the reason; what was asked of the device is still under way. */
int volume_probe(int fd, Volume *volume, uint64_t timeout_usec);

/* For tests and for the child: the same in this process, as
 * {"type"?,"usage"?,"label"?,"uuid"?,"ambiguous"?,"empty"}. */
int content_probe(int fd, uint64_t start_bytes, uint64_t size_bytes, json_object **ret);

/* Is this a type that is mounted? The list is short: each one is a kernel driver on foreign bytes. */
bool type_mountable(const char *type);
