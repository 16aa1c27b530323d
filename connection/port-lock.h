/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* One script at a time chooses its local port. A lock on a file, waited for without blocking the event loop;
 * it is held until port_lock_free(). */

#include "util.h"
#include <systemd/sd-event.h>

typedef struct PortLock PortLock;
/* Called once, never from inside port_lock_new(). r: 0, it is held; or a negative errno. */
typedef void (*PortLockDone)(void *userdata, int r);

/* -ENOENT: there is no such file. */
int port_lock_new(PortLock **ret, sd_event *event, const char *path, PortLockDone done, void *userdata);
PortLock *port_lock_free(PortLock *l);
DEFINE_CLEANUP(PortLock *, port_lock_free)
