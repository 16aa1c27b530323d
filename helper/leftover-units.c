/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Units of sessions that the service manager has in memory and that are not plainly inactive. */

#include "leftover.h"
#include "systemd.h"

static int on_unit(const char *unit, const char *active, const char *sub, void *userdata)
{
    Leftover item = {.kind = LEFTOVER_UNIT, .ours = true, .number = -1};

    if (streq(active, "inactive"))
        return 0;
    /* A hook is not the session's: that of its end runs when nobody has the session any more, and ends in
     * time by itself. */
    if (leftover_session_of_hook(unit, "ilr-hook@", ".service", item.session)) {
        if (endswith(active, "activating"))
            return 0;
    } else
        (void)leftover_session_of_unit(unit, ".service", item.session);
    return leftovers_addf(userdata, item, unit, "%s (%s)", active, sub);
}

int leftover_add_units(Leftovers *l)
{
    static char *const patterns[] = {(char *)"ilr-connection@*.service", (char *)"ilr-session@*.service",
                                     (char *)"ilr-hook@*.service", NULL};
    _cleanup_bus_ sd_bus *bus = NULL;
    int r = systemd_connect(&bus);

    return r < 0 ? r : systemd_list(bus, patterns, on_unit, l);
}
