/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Tells when a systemd unit is no longer active, whoever ended it. Over the system bus, as any user may. A
 * bus that is not there, or goes (it is restarted), is waited for; then all units are looked at again. */

#include "util.h"
#include <systemd/sd-bus.h>
#include <systemd/sd-event.h>

typedef struct UnitBus UnitBus;
typedef struct UnitWatch UnitWatch;

/* The unit is inactive or failed. Called once; the watch may be freed inside. */
typedef void (*UnitGone)(UnitWatch *w, const char *unit, void *userdata);

/* Something about it changed, and it is active. */
typedef void (*UnitChanged)(UnitWatch *w, void *userdata);

/* A bus for all watches, attached to event. Returns 0 or -ENOMEM. */
int unit_bus_new(UnitBus **ret, sd_event *event);
/* After all watches. Returns NULL. */
UnitBus *unit_bus_free(UnitBus *b);

/* unit: the full name. bus: borrowed. If it is already inactive, gone is called (later, from the event loop).
 * changed may be NULL. */
int unit_watch_new(UnitWatch **ret, UnitBus *bus, const char *unit, UnitGone gone, UnitChanged changed,
                   void *userdata);
UnitWatch *unit_watch_free(UnitWatch *w);
