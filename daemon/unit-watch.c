/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "unit-watch.h"

#define SYSTEMD "org.freedesktop.systemd1"

struct UnitWatch {
    sd_bus_slot *match, *get;
    char *unit, *path;
    sd_bus *bus;
    bool told, changing; /* gone was called; the state was asked for because of a change */
    UnitGone gone;
    UnitChanged changed;
    void *userdata;
};

UnitWatch *unit_watch_free(UnitWatch *w)
{
    if (!w)
        return NULL;
    sd_bus_slot_unref(w->match);
    sd_bus_slot_unref(w->get);
    sd_bus_unref(w->bus);
    free(w->unit);
    free(w->path);
    free(w);
    return NULL;
}
DEFINE_CLEANUP(UnitWatch *, unit_watch_free)

static int on_subscribed(sd_bus_message *m, void *userdata, sd_bus_error *e)
{
    return 0; /* "already subscribed" is fine, too */
}

int unit_watch_open_bus(sd_bus **ret, sd_event *event)
{
    sd_bus *bus = NULL;
    int r;

    r = sd_bus_open_system(&bus);
    if (r < 0)
        return r;
    r = sd_bus_attach_event(bus, event, SD_EVENT_PRIORITY_NORMAL);
    if (r >= 0)
        r = sd_bus_call_method_async(bus, NULL, SYSTEMD, "/org/freedesktop/systemd1", SYSTEMD ".Manager",
                                     "Subscribe", on_subscribed, NULL, NULL);
    if (r < 0) {
        sd_bus_flush_close_unref(bus);
        return r;
    }
    *ret = bus;
    return 0;
}

static void judge(UnitWatch *w, const char *state)
{
    if (w->changed && w->changing && streq(state, "active"))
        w->changed(w, w->userdata);
    if (w->told || (!streq(state, "inactive") && !streq(state, "failed")))
        return;
    w->told = true;
    w->gone(w, w->unit, w->userdata);
}

static int on_state(sd_bus_message *m, void *userdata, sd_bus_error *e)
{
    UnitWatch *w = userdata;
    const char *state;

    /* A unit that is not loaded any more has no object: it is not active. */
    if (sd_bus_message_is_method_error(m, NULL))
        state = "inactive";
    else if (sd_bus_message_enter_container(m, 'v', "s") < 0 || sd_bus_message_read(m, "s", &state) < 0)
        return 0;
    judge(w, state);
    return 0;
}

static int ask(UnitWatch *w)
{
    w->get = sd_bus_slot_unref(w->get);
    return sd_bus_call_method_async(w->bus, &w->get, SYSTEMD, w->path, "org.freedesktop.DBus.Properties",
                                    "Get", on_state, w, "ss", SYSTEMD ".Unit", "ActiveState");
}

/* Something about the unit changed: ask for its state instead of picking the message apart. */
static int on_changed(sd_bus_message *m, void *userdata, sd_bus_error *e)
{
    UnitWatch *w = userdata;

    w->changing = true;
    (void)ask(w);
    return 0;
}

int unit_watch_new(UnitWatch **ret, sd_bus *bus, const char *unit, UnitGone gone, UnitChanged changed,
                   void *userdata)
{
    _cleanup_(unit_watch_freep) UnitWatch *w = calloc(1, sizeof(*w));
    int r;

    if (!w)
        return -ENOMEM;
    w->bus = sd_bus_ref(bus);
    w->gone = gone;
    w->changed = changed;
    w->userdata = userdata;
    w->unit = strdup(unit);
    if (!w->unit)
        return -ENOMEM;
    r = sd_bus_path_encode("/org/freedesktop/systemd1/unit", unit, &w->path);
    if (r < 0)
        return r;
    r = sd_bus_match_signal_async(bus, &w->match, SYSTEMD, w->path, "org.freedesktop.DBus.Properties",
                                  "PropertiesChanged", on_changed, NULL, w);
    if (r < 0)
        return r;
    r = ask(w);
    if (r < 0)
        return r;
    *ret = TAKE_PTR(w);
    return 0;
}
