/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The calls of Leftovers: what of recoveries is on this host, in ilrd's own records and, as far as ilrd owes
 * it, at Azure, and belongs to no session that is wanted; and its sweeping. Each belongs to its call and ends
 * with it. */

#include "manager.h"
#include "varlink.h"

typedef struct LeftoverCalls LeftoverCalls;

/* event and manager are borrowed. */
int leftover_calls_new(LeftoverCalls **ret, sd_event *event, Manager *manager);
/* Ends all of them; their calls are forgotten, not answered. */
LeftoverCalls *leftover_calls_free(LeftoverCalls *l);
DEFINE_CLEANUP(LeftoverCalls *, leftover_calls_free)

/* Handler, see VarlinkMethod. */
int leftovers_method(LeftoverCalls *l, VarlinkCall *call, json_object *parameters);
