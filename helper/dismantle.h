/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The reverse of storage_up() without the iSCSI sessions: mounts, device-mapper, stores, directories. Goes by
 * what the system has under the session's name, not by any record, so every half-built state is understood.
 */

#include "failure.h"

/* deadline_usec: of CLOCK_MONOTONIC, for all of it. Not forced: -EBUSY with a failure that names the holders;
 * if a process holds a volume nothing at all was touched. Forced: what is held goes when its holder lets go.
 * -ETIMEDOUT: the kernel waits for a disk that does not answer; log out and call it again. Nothing there: 0.
 */
int storage_dismantle(const char *id, bool forced, uint64_t deadline_usec, Failure **ret_failure);
