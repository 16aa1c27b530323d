/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "unit-watch.h"

#include "list.h"
#include "log.h"

#define SYSTEMD "org.freedesktop.systemd1"
#define RETRY_USEC (2 * USEC_PER_SEC)

struct UnitWatch {
    sd_bus_slot *match, *get;
    char *unit, *path;
    UnitBus *bus;
    bool told, changing; /* gone was called; the state was asked for because of a change */
    UnitGone gone;
    UnitChanged changed;
    void *userdata;
    LIST_FIELDS(UnitWatch);
};

struct UnitBus {
    sd_event *event;
    sd_bus *bus; /* NULL: there is none at present */
    sd_bus_slot *lost;
    sd_event_source *retry;
    bool missed; /* there was none for a while */
    UnitWatch *watches;
};

/* ---- the bus ---- */

static int watch_start(UnitWatch *w);
static void bus_open(UnitBus *b);

static void watch_stop(UnitWatch *w)
{
    w->match = sd_bus_slot_unref(w->match);
    w->get = sd_bus_slot_unref(w->get);
}

static void bus_drop(UnitBus *b)
{
    UnitWatch *w;

    LIST_FOREACH (w, b->watches)
        watch_stop(w);
    b->lost = sd_bus_slot_unref(b->lost);
    b->bus = sd_bus_close_unref(b->bus); /* a flush would wait for a bus that hangs */
}

static int on_retry(sd_event_source *source, uint64_t usec, void *userdata)
{
    UnitBus *b = userdata;

    b->retry = sd_event_source_disable_unref(b->retry);
    bus_drop(b);
    bus_open(b);
    return 0;
}

static void bus_again(UnitBus *b)
{
    if (!b->retry && sd_event_add_time_relative(b->event, &b->retry, CLOCK_MONOTONIC, RETRY_USEC,
                                                USEC_PER_SEC / 4, on_retry, b) < 0)
        log_oom();
}

/* It is not given back in here: it is the one that calls. */
static int on_lost(sd_bus_message *m, void *userdata, sd_bus_error *e)
{
    UnitBus *b = userdata;

    log_warning("The system bus is gone: ends of units are not noticed until it is there again");
    b->missed = true;
    bus_again(b);
    return 0;
}

static int on_subscribed(sd_bus_message *m, void *userdata, sd_bus_error *e)
{
    return 0; /* "already subscribed" is fine, too */
}

static void bus_open(UnitBus *b)
{
    UnitWatch *w;
    int r;

    r = sd_bus_open_system(&b->bus);
    if (r >= 0)
        r = sd_bus_attach_event(b->bus, b->event, SD_EVENT_PRIORITY_NORMAL);
    if (r >= 0)
        r = sd_bus_match_signal_async(b->bus, &b->lost, "org.freedesktop.DBus.Local", NULL,
                                      "org.freedesktop.DBus.Local", "Disconnected", on_lost, NULL, b);
    if (r >= 0)
        r = sd_bus_call_method_async(b->bus, NULL, SYSTEMD, "/org/freedesktop/systemd1", SYSTEMD ".Manager",
                                     "Subscribe", on_subscribed, NULL, NULL);
    /* What has ended or changed meanwhile is told by the first question. */
    LIST_FOREACH (w, b->watches)
        if (r >= 0) {
            w->changing = w->changing || b->missed;
            r = watch_start(w);
        }
    if (r >= 0) {
        if (b->missed)
            log_notice("The system bus is there again");
        b->missed = false;
        return;
    }
    if (!b->missed)
        log_warning_errno(r, "No system bus: the end of a connection is noticed late");
    b->missed = true;
    bus_drop(b);
    bus_again(b);
}

int unit_bus_new(UnitBus **ret, sd_event *event)
{
    UnitBus *b = calloc(1, sizeof(*b));

    if (!b)
        return -ENOMEM;
    b->event = event;
    bus_open(b);
    *ret = b;
    return 0;
}

UnitBus *unit_bus_free(UnitBus *b)
{
    if (!b)
        return NULL;
    bus_drop(b);
    sd_event_source_disable_unref(b->retry);
    free(b);
    return NULL;
}

/* ---- one unit ---- */

UnitWatch *unit_watch_free(UnitWatch *w)
{
    if (!w)
        return NULL;
    watch_stop(w);
    if (w->bus)
        LIST_REMOVE(w->bus->watches, w);
    free(w->unit);
    free(w->path);
    free(w);
    return NULL;
}
DEFINE_CLEANUP(UnitWatch *, unit_watch_free)

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

    /* A unit that is not loaded any more has no object: it is not active. Any other error says nothing of the
     * unit, a lost bus for one. */
    if (sd_bus_message_is_method_error(m, SD_BUS_ERROR_UNKNOWN_OBJECT) ||
        sd_bus_message_is_method_error(m, SYSTEMD ".NoSuchUnit"))
        state = "inactive";
    else if (sd_bus_message_is_method_error(m, NULL)) {
        bus_again(w->bus);
        return 0;
    } else if (sd_bus_message_enter_container(m, 'v', "s") < 0 || sd_bus_message_read(m, "s", &state) < 0)
        return 0;
    judge(w, state);
    return 0;
}

static int ask(UnitWatch *w)
{
    w->get = sd_bus_slot_unref(w->get);
    return sd_bus_call_method_async(w->bus->bus, &w->get, SYSTEMD, w->path, "org.freedesktop.DBus.Properties",
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

static int watch_start(UnitWatch *w)
{
    int r =
        sd_bus_match_signal_async(w->bus->bus, &w->match, SYSTEMD, w->path, "org.freedesktop.DBus.Properties",
                                  "PropertiesChanged", on_changed, NULL, w);

    return r < 0 ? r : ask(w);
}

int unit_watch_new(UnitWatch **ret, UnitBus *bus, const char *unit, UnitGone gone, UnitChanged changed,
                   void *userdata)
{
    _cleanup_(unit_watch_freep) UnitWatch *w = calloc(1, sizeof(*w));
    int r;

    if (!w)
        return -ENOMEM;
    w->gone = gone;
    w->changed = changed;
    w->userdata = userdata;
    w->unit = strdup(unit);
    if (!w->unit)
        return -ENOMEM;
    r = sd_bus_path_encode("/org/freedesktop/systemd1/unit", unit, &w->path);
    if (r < 0)
        return r;
    w->bus = bus;
    LIST_PREPEND(bus->watches, w);
    if (bus->bus && watch_start(w) < 0) {
        watch_stop(w);
        bus_again(bus);
    }
    *ret = TAKE_PTR(w);
    return 0;
}
