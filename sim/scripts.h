/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The clientScripts of an ended provision, as the service words them, with the faults asked for. */

#include "state.h"

/* With the state's lock held. An array; NULL: the recovery is not active any more, or out of memory. */
json_object *operation_scripts(const Operation *o);
