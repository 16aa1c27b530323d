/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The calls of Doctor: is all there that a recovery needs, on this host and at Azure? Each examination
 * belongs to its call and ends with it. Changes nothing. */

#include "manager.h"
#include "varlink.h"

typedef struct Doctor Doctor;

/* event, manager and config are borrowed. */
int doctor_new(Doctor **ret, sd_event *event, Manager *manager, const Config *config);
/* Ends all examinations; their calls are forgotten, not answered. */
Doctor *doctor_free(Doctor *d);
DEFINE_CLEANUP(Doctor *, doctor_free)

/* Handler, see VarlinkMethod. */
int doctor_examine(Doctor *d, VarlinkCall *call, json_object *parameters);
