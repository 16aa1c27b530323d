/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The listeners: https for Azure's side, plain http on a Unix socket or localhost for the control side. One
 * thread per connection. */

#include "state.h"

typedef struct Server Server;

/* Everything of the configuration listens when it returns 0. Certificate and key are read here. */
int server_start(State *state, Server **ret, char **ret_error);
/* Ends connections and listeners. state_interrupt() goes before. Returns NULL. */
Server *server_stop(Server *s);
