/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* A directory of a test's own, and what it finds in there. */

/* "" while there is none. */
extern char scratch[];

/* Around one test, or around all of a program. */
int scratch_make(void **state);
int scratch_remove(void **state);
#define SCRATCH_TEST(name) cmocka_unit_test_setup_teardown(name, scratch_make, scratch_remove)

/* The directories on the way are made, too. */
void scratch_dir(const char *name);
void scratch_put(const char *name, const char *text);
