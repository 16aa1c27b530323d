/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* How block devices stand on each other, by sysfs. What stands on what is the choice of whoever made the
 * disks: each device is looked at once, however many ways lead to it. */

#include "dm.h"
#include "strv.h"

/* All devices that one gets to from this one, which is the first, by "holders" (up) or "slaves" (down), as
 * directories. The caller's; no such device: none. Negative: no memory. */
int tower_walk(dev_t device, const char *direction, char ***ret);
/* Is it one of these? */
bool tower_has(char *const *directories, dev_t device);

/* Sets how high the tower on each of these is; 0: nothing is on it. */
int tower_heights(DmDevice *devices, size_t n);
