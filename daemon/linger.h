/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Waits until the devices of a session are gone that a forced release left to their users. udev says when one
 * goes, the helper says whether it was the last; it is asked now and then, too, in case udev's word is lost.
 * Changes nothing. */

#include "util.h"
#include <systemd/sd-event.h>

typedef struct Linger Linger;

/* left: how many there are, as the helper says. 0: nothing is left, and it is not called again; the Linger
 * may be freed inside then. */
typedef void (*LingerChanged)(Linger *l, size_t left, void *userdata);

/* helper_socket and session are copied. Returns 0 or a negative errno. */
int linger_new(Linger **ret, sd_event *event, const char *helper_socket, const char *session,
               LingerChanged changed, void *userdata);
Linger *linger_free(Linger *l);
