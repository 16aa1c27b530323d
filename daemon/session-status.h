/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Holds a session of a record against what the helper says of the host. Asks nobody and changes nothing. */

#include "session.h"

/* entries: the array of the helper's answer to status. Do the units stand, and what they are about as well?
 * Somebody may have logged out or unmounted all by hand. A part that is missing ends nothing: the rest may be
 * in use. */
bool session_stands(Session *s, json_object *entries);
