/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Arrays of Linux software RAID among the volumes: found by their members' superblocks, put together by
 * device-mapper alone (md-super.h says why). */

#include "assembly.h"

/* Puts the arrays together whose members are there, and adds them as volumes. last: also those that miss
 * members which may still come. */
int md_assemble(Assembly *a, bool last);
/* Is the whole of this disk a member, although something that looks like a partition table is on it? fd: open
 * on it. -ETIMEDOUT: it does not answer. */
int md_disk_is_member(int fd, uint64_t size_bytes, uint64_t timeout_usec);
