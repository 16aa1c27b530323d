/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The socket of the stand-in iscsiadm: takes one request per connection and gives one answer. Bounded: few
 * connections, short messages, a deadline for the request. Knows nothing of what is asked. */

#include "json.h"
#include <systemd/sd-event.h>

typedef struct Control Control;
typedef struct ControlClient ControlClient;

/* A well-formed request (an object), borrowed. Sooner or later control_reply() must be called, also from
 * inside. */
typedef void (*ControlRequest)(void *userdata, ControlClient *client, json_object *request);

/* Makes the socket at path (what was there goes). 0 or a negative errno. */
int control_new(Control **ret, sd_event *event, const char *path, ControlRequest on_request, void *userdata);
/* Ends all connections. Returns NULL. */
Control *control_free(Control *c);
DEFINE_CLEANUP(Control *, control_free)

/* Sends the answer (NULL: none, out of memory) and closes; client is gone then. */
void control_reply(ControlClient *client, json_object *answer);
