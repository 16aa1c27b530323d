/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* hook: runs an administrator's programs in ilr-hook@EVENT-ID.service. */

#include "json.h"

/* The text of the unit's EnvironmentFile=: ILR_EVENT=, ILR_SESSION= and, as ILR_NAME=, the variables (an
 * object of strings). What a shell or systemd could take for more than a letter is replaced: a session's
 * reason is anybody's text. -EINVAL: a name, a type or a number of them that is not allowed; -ENOMEM. ret is
 * the caller's. */
int hook_environment(const char *session, const char *event, json_object *variables, char **ret);
