/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Units of sessions that the service manager has in memory and that are not plainly inactive; of helpers and
 * hooks, which come and go by themselves, what has failed or does not end. And the processes that are in no
 * unit that still runs. */

#include "leftover.h"
#include "process.h"
#include "systemd.h"

#include <poll.h>

/* For a process that was told to end, and for the manager to hear of it. */
#define ENDING_TRIES 10
#define ENDING_WAIT_MSEC 100

/* The process is no leftover. */
static void drop(Leftovers *processes, size_t i)
{
    free(processes->items[i].name);
    free(processes->items[i].detail);
    free(processes->items[i].unit);
    processes->n--;
    memmove(&processes->items[i], &processes->items[i + 1], (processes->n - i) * sizeof(*processes->items));
}

static void drop_of_unit(Leftovers *processes, const char *unit)
{
    size_t i;

    for (i = processes->n; i-- > 0;)
        if (streq_ptr(processes->items[i].unit, unit))
            drop(processes, i);
}

/* Of those that are in some unit of a helper or hooks: how many are still there? */
static size_t drop_gone(Leftovers *processes)
{
    size_t i, n = 0;

    for (i = processes->n; i-- > 0;) {
        const Leftover *p = &processes->items[i];

        if (!p->unit)
            continue;
        if (process_exists((pid_t)p->number, p->since))
            n++;
        else
            drop(processes, i);
    }
    return n;
}

static bool has_process(const Leftovers *processes, const char *unit)
{
    size_t i;

    for (i = 0; i < processes->n; i++)
        if (streq_ptr(processes->items[i].unit, unit))
            return true;
    return false;
}

int leftover_unit_listed(LeftoverUnits *u, const char *unit, const char *active, const char *sub)
{
    Leftover item = {.kind = LEFTOVER_UNIT, .ours = true, .number = -1};
    Leftovers *to = u->found;

    if (streq(active, "inactive"))
        return 0;
    /* A hook is not the session's: that of its end runs when nobody has the session any more. */
    if (startswith(unit, "ilr-helper@") ||
        leftover_session_of_hook(unit, "ilr-hook@", ".service", item.session)) {
        if (streq(active, "deactivating"))
            to = &u->ending;
        else if (!streq(active, "failed")) {
            drop_of_unit(u->processes, unit);
            return 0;
        }
    } else
        (void)leftover_session_of_unit(unit, ".service", item.session);
    return leftovers_addf(to, item, unit, "%s (%s)", active, sub);
}

static int take(Leftovers *from, size_t i, Leftovers *to)
{
    Leftover item = from->items[i];

    from->items[i] = (Leftover){};
    return leftovers_add(to, item);
}

int leftover_units_finish(LeftoverUnits *u)
{
    size_t i;
    int r = 0;

    for (i = 0; drop_gone(u->processes) > 0 && i < ENDING_TRIES; i++)
        (void)poll(NULL, 0, ENDING_WAIT_MSEC);
    for (i = 0; r >= 0 && i < u->ending.n; i++)
        if (has_process(u->processes, u->ending.items[i].name))
            r = take(&u->ending, i, u->found);
    for (i = 0; r >= 0 && i < u->processes->n; i++)
        r = take(u->processes, i, u->found);
    u->found->cut = u->found->cut || u->processes->cut;
    leftovers_done(&u->ending);
    leftovers_done(u->processes);
    return r;
}

static int on_unit(const char *unit, const char *active, const char *sub, void *userdata)
{
    return leftover_unit_listed(userdata, unit, active, sub);
}

int leftover_add_units(Leftovers *l, Leftovers *processes)
{
    static char *const patterns[] = {(char *)"ilr-connection@*.service", (char *)"ilr-session@*.service",
                                     (char *)"ilr-hook@*.service", (char *)"ilr-helper@*.service", NULL};
    LeftoverUnits units = {.found = l, .processes = processes, .ending.filter = l->filter};
    _cleanup_bus_ sd_bus *bus = NULL;
    int r = systemd_connect(&bus), k;

    if (r >= 0)
        r = systemd_list(bus, patterns, on_unit, &units);
    k = leftover_units_finish(&units);
    return r < 0 ? r : k;
}
