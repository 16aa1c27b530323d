/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "orphans.h"

#include "log.h"
#include "sweep.h"

struct Orphans {
    sd_event *event;
    OrphansOptions options;
    Sweep *sweep;
    sd_event_source *retry;
};

int orphans_new(Orphans **ret, sd_event *event, const OrphansOptions *options)
{
    Orphans *o = calloc(1, sizeof(*o));

    if (!o)
        return -ENOMEM;
    o->event = event;
    o->options = *options;
    *ret = o;
    return 0;
}

Orphans *orphans_free(Orphans *o)
{
    if (!o)
        return NULL;
    sweep_free(o->sweep);
    sd_event_source_disable_unref(o->retry);
    free(o);
    return NULL;
}

static int on_retry(sd_event_source *source, uint64_t usec, void *userdata)
{
    Orphans *o = userdata;

    if (o->sweep) /* what ended meanwhile may not be in its list */
        orphans_look_later(o);
    else
        orphans_look(o);
    return 0;
}

void orphans_look_later(Orphans *o)
{
    /* One that waits already is not put off: there may be reasons for it more often than that. */
    if (sd_event_source_get_enabled(o->retry, NULL) > 0)
        return;
    o->retry = sd_event_source_disable_unref(o->retry);
    if (sd_event_add_time_relative(o->event, &o->retry, CLOCK_MONOTONIC, o->options.retry_usec, 0, on_retry,
                                   o) < 0)
        log_oom();
}

/* One line for each session; items of one need not be together. Returns whether all are gone. */
static bool log_swept(const SweepItem *items, size_t n)
{
    _cleanup_strv_free_ char **told = NULL;
    bool all = true;
    size_t i, k;

    for (i = 0; i < n; i++) {
        const SweepItem *left = NULL;

        if (!items[i].session || strv_contains(told, items[i].session))
            continue;
        (void)strv_extend(&told, items[i].session);
        for (k = i; k < n && !left; k++)
            if (streq_ptr(items[k].session, items[i].session) && items[k].result != SWEEP_RESULT_REMOVED)
                left = &items[k];
        if (left)
            log_full(
                LOG_ERR, items[i].session,
                "The session stood without a record and could not be taken down, it will be tried again: "
                "%s %s: %s",
                left->kind, left->name, left->reason ? left->reason : "?");
        else
            log_full(LOG_NOTICE, items[i].session, "The session stood without a record and was taken down");
        all = all && !left;
    }
    return all;
}

static void on_swept(Sweep *sweep, const Failure *failure, void *userdata)
{
    const SweepItem *items;
    Orphans *o = userdata;
    size_t n;

    items = sweep_items(sweep, &n);
    if (failure)
        log_error("Cannot look for sessions without a record, it will be tried again: %s", failure->message);
    if (sweep_cut(sweep))
        log_warning(
            "More is left of recoveries than can be listed at a time, there may be sessions without a "
            "record beside those seen; see ilrctl doctor --leftovers");
    if (failure || !log_swept(items, n))
        orphans_look_later(o);
    o->sweep = sweep_free(o->sweep);
}

void orphans_look(Orphans *o)
{
    const SweepOptions options = {.helper_socket = o->options.helper_socket,
                                  .what = SWEEP_SESSIONS,
                                  .known = o->options.known,
                                  .known_userdata = o->options.userdata,
                                  .done = on_swept,
                                  .userdata = o};

    if (sweep_new(&o->sweep, o->event, &options) < 0) {
        log_oom();
        orphans_look_later(o);
    }
}
