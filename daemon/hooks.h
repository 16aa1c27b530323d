/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Has an administrator's programs told of what happens to sessions. The helper starts them, because ilrd may
 * start nothing; they are a notice, nothing depends on how they end. Events of one session come one after the
 * other in their order, a few sessions at a time; while none is installed nothing is asked. Hooks * may be
 * NULL: nobody is told. */

#include "json.h"
#include <systemd/sd-event.h>

#define HOOKS_PATH SYSCONFDIR "/ilrd/hooks.d:/usr/lib/ilrd/hooks.d"

typedef struct Hooks Hooks;

/* path: the directories, for a look whether there are any. Strings are copied. */
int hooks_new(Hooks **ret, sd_event *event, const char *helper_socket, const char *path);
/* What runs goes on, what waits is forgotten. Returns NULL. */
Hooks *hooks_free(Hooks *h);
DEFINE_CLEANUP(Hooks *, hooks_free)

/* event: "ready", "expiring", "closed". variables: an object of strings, taken; they come as ILR_NAME. */
void hooks_tell(Hooks *h, const char *session, const char *event, json_object *variables);
