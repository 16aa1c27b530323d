/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The few things that the helper asks of the service manager. Speaks with it directly (no D-Bus daemon
 * needed, as systemctl does it for root), with the D-Bus daemon in between where that is not possible. */

#include "util.h"
#include <systemd/sd-bus.h>

static inline void bus_unrefp(sd_bus **bus)
{
    sd_bus_flush_close_unref(*bus);
}
#define _cleanup_bus_ _cleanup_(bus_unrefp)

int systemd_connect(sd_bus **ret);

/* Starts or stops a unit and waits for the job. caller_fd (-EBADF: none): the wait ends with -ECANCELED once
 * that socket was closed by its other end; the job is left to go on. Returns 0; -ENOEXEC: the job failed (the
 * unit ended in failure); -ETIMEDOUT: no end in time; -ENOENT: no such unit; or the errno of the
 * conversation. Stopping what is not there is success. */
int systemd_start(sd_bus *bus, const char *unit, uint64_t timeout_usec, int caller_fd);
int systemd_stop(sd_bus *bus, const char *unit, uint64_t timeout_usec);
/* The same for its ExecReload=; the unit must be active. */
int systemd_reload(sd_bus *bus, const char *unit, uint64_t timeout_usec);

/* Has the caller closed his socket? Only a full close counts: he may have ended his half after the request.
 */
bool caller_gone(int fd);

/* Makes a failed unit an inactive one. What is not failed or not there stays as it is. */
void systemd_reset_failed(sd_bus *bus, const char *unit);

/* "active", "inactive", "failed", "activating", "deactivating"; a unit that nobody knows is "inactive". */
int systemd_active_state(sd_bus *bus, const char *unit, char **ret);

/* Lets the manager read unit files anew if the unit was in memory already, and its drop-ins have changed
 * since. Loads the unit. */
int systemd_refresh(sd_bus *bus, const char *unit);

/* Calls found for each unit in memory whose name matches one of the patterns; its negative return ends it and
 * is returned. */
int systemd_list(sd_bus *bus, char *const *patterns,
                 int (*found)(const char *unit, const char *active, const char *sub, void *userdata),
                 void *userdata);
