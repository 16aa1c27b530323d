/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What ilr-connect wrote last of a session, if it failed. The directory is its own, so it may have put
 * anything there: what is no plain file of its user, too long or not understood counts as nothing. */

#include "failure.h"

/* The caller's to free; NULL: it says nothing. */
Failure *connection_failure(const char *connect_dir, const char *session);
