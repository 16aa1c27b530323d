/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* A number of places that sessions take in the order in which they came. Knows no session. Whoever gets a
 * place later is told from the event loop, so that nobody's turn begins inside somebody else's end. */

#include "list.h"
#include "util.h"
#include <systemd/sd-event.h>

typedef struct Places Places;

/* What wants a place, embedded; all zero to begin with. */
typedef struct Place {
    Places *places; /* NULL: has none and waits for none */
    bool taken;
    void (*ready)(void *userdata);
    /* It waits, as the position'th: 1 is the next. Called, from the event loop, whenever that may have
     * changed. */
    void (*waiting)(unsigned position, void *userdata);
    void *userdata;
    LIST_FIELDS(struct Place);
} Place;

int places_new(Places **ret, sd_event *event, unsigned max);
/* Whoever waits is forgotten; places still taken must be given back before. Returns NULL. */
Places *places_free(Places *p);
DEFINE_CLEANUP(Places *, places_free)

/* 1: taken, also if it was before. 0: waits, ready comes once. */
int places_take(Places *p, Place *place, void (*ready)(void *userdata),
                void (*waiting)(unsigned position, void *userdata), void *userdata);
/* It had one already, before this program was started. */
void places_adopt(Places *p, Place *place);
/* Gives it back, or leaves the queue; nothing if neither. */
void place_give_back(Place *place);
