/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "places.h"

struct Places {
    unsigned max, taken;
    Place *first, *last; /* who waits */
    sd_event_source *turn;
};

static void leave(Places *p, Place *place)
{
    if (p->last == place)
        p->last = place->list.prev;
    LIST_REMOVE(p->first, place);
}

static int on_turn(sd_event_source *source, void *userdata)
{
    Places *p = userdata;
    Place *place;
    unsigned n = 0;

    if (p->first && p->taken < p->max) {
        place = p->first;
        leave(p, place);
        place->taken = true;
        p->taken++;
        if (p->first)
            (void)sd_event_source_set_enabled(source, SD_EVENT_ONESHOT); /* one for each turn of the loop */
        place->ready(place->userdata);
        return 0;
    }
    LIST_FOREACH (place, p->first)
        place->waiting(++n, place->userdata);
    return 0;
}

int places_new(Places **ret, sd_event *event, unsigned max)
{
    _cleanup_(places_freep) Places *p = calloc(1, sizeof(*p));
    int r;

    if (!p)
        return -ENOMEM;
    p->max = max;
    r = sd_event_add_defer(event, &p->turn, on_turn, p);
    if (r >= 0)
        r = sd_event_source_set_enabled(p->turn, SD_EVENT_OFF);
    if (r < 0)
        return r;
    *ret = TAKE_PTR(p);
    return 0;
}

Places *places_free(Places *p)
{
    if (!p)
        return NULL;
    sd_event_source_disable_unref(p->turn);
    free(p);
    return NULL;
}

int places_take(Places *p, Place *place, void (*ready)(void *userdata),
                void (*waiting)(unsigned position, void *userdata), void *userdata)
{
    if (place->taken)
        return 1;
    place->places = p;
    if (p->taken < p->max && !p->first) {
        place->taken = true;
        p->taken++;
        return 1;
    }
    place->ready = ready;
    place->waiting = waiting;
    place->userdata = userdata;
    place->list.prev = p->last;
    place->list.next = NULL;
    if (p->last)
        p->last->list.next = place;
    else
        p->first = place;
    p->last = place;
    (void)sd_event_source_set_enabled(p->turn, SD_EVENT_ONESHOT);
    return 0;
}

void places_adopt(Places *p, Place *place)
{
    place->places = p;
    place->taken = true;
    p->taken++; /* may be more than max */
}

void place_give_back(Place *place)
{
    Places *p = place->places;

    if (!p)
        return;
    if (place->taken)
        p->taken--;
    else
        leave(p, place);
    place->taken = false;
    place->places = NULL;
    if (p->first)
        (void)sd_event_source_set_enabled(p->turn, SD_EVENT_ONESHOT);
}
