/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What of this host a session needs, looked at without changing anything: for "ilrctl doctor". Each check is
 * {"name","result":"ok"|"failed","message","hint"?}. */

#include "config.h"

/* Adds all of them to array. What cannot be found out is a failed check; an error is only -ENOMEM. */
int host_checks(const Config *config, json_object *array);

/* ---- for tests ---- */

/* Is the first "N.N" in text at least major.minor? "bubblewrap 0.8.0". */
bool version_at_least(const char *text, unsigned major, unsigned minor);
/* Does somebody listen at the abstract address @name, by the text of /proc/net/unix? */
bool abstract_listener(const char *proc_net_unix, const char *name);
