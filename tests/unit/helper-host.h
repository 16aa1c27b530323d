/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* A made-up host for the helper: all directories of paths.h but /proc are in the scratch directory, empty but
 * for the helper's own directory of one session.
 */

#include "scratch.h"

#define ID "abcd1234" /* the session */

/* Before all tests of a program; scratch_remove() ends it. */
int host_make(void **state);
/* The same, and /proc is there as well, empty. */
int host_make_with_proc(void **state);
