/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What ilr-connect wrote last of a session: its failure, and whether the script runs yet. The directory is
 * its own, so it may have put anything there: what is no plain file of its user, too long or not understood
 * counts as nothing. */

#include "failure.h"

/* The caller's to free; NULL: it says nothing. */
Failure *connection_failure(const char *connect_dir, const char *session);
/* The script waits for others to have started: 1. It runs, or did: 0. -ENOENT: it does not say. */
int connection_waits(const char *connect_dir, const char *session);
