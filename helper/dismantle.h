/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The reverse of storage_up() without the iSCSI sessions: mounts, device-mapper, stores, directories. Goes by
 * what the system has under the session's name, not by any record, so every half-built state is understood.
 */

#include "failure.h"
#include <sys/types.h>

/* What had to be left to its users: gone for everybody else, and by itself when they let go. */
typedef struct StorageLeft {
    size_t devices;       /* of device-mapper; they give nothing but errors */
    json_object *holders; /* who had something open before (holder.h), or NULL */
} StorageLeft;

/* deadline_usec: of CLOCK_MONOTONIC, for all of it. Not forced: -EBUSY with a failure that names the holders;
 * if a process holds a volume nothing at all was touched. Forced: what is held goes when its holder lets go.
 * What was left to its users before is not in the way. left may be NULL; otherwise it is added to.
 * -ETIMEDOUT: the kernel waits for a disk that does not answer; log out and call it again. Nothing there: 0.
 */
int storage_dismantle(const char *id, bool forced, uint64_t deadline_usec, StorageLeft *left,
                      Failure **ret_failure);

/* Only devices of device-mapper, unforced, and not those of these names, which may be mounted, nor what they
 * stand on. 1: there were some. */
int storage_strip(const char *id, char *const *names, uint64_t deadline_usec, Failure **ret_failure);

/* How many devices of device-mapper there are under the session's name. */
int storage_lingering(const char *id, uint64_t timeout_usec, size_t *ret);
