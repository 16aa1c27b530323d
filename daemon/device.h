/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Follows the disks of one session's iSCSI sessions in udev: how many are there, and which one vanishes. Only
 * looks; what is done with the disks is the helper's. */

#include "util.h"
#include <systemd/sd-event.h>

typedef struct DeviceWatch DeviceWatch;

/* present: disks there now. removed: the kernel name of a disk that has just gone, or NULL. The watch must
 * not be freed inside. */
typedef void (*DeviceChanged)(DeviceWatch *w, size_t present, const char *removed, void *userdata);

/* sids: the numbers of the iSCSI sessions (sysfs "session<N>"), copied. Disks that are there already count at
 * once (without a callback). Returns 0 or a negative errno. */
int device_watch_new(DeviceWatch **ret, sd_event *event, const int64_t *sids, size_t n_sids,
                     DeviceChanged changed, void *userdata);
DeviceWatch *device_watch_free(DeviceWatch *w);
