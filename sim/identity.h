/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Names and secrets of a registration, in the shapes that the service makes. */

#include "backend.h"

#define GUID_SIZE 37

/* A random GUID in lower case. */
void guid_make(char buf[static GUID_SIZE]);
/* n random characters of the set and a NUL. buf holds n + 1. */
void random_text(char *buf, size_t n, const char *set);
/* 100 ns ticks since the year 1. */
uint64_t ticks_from_usec(uint64_t realtime_usec);

/* Fills id, target, user, passwords and script id of r; recovery_point is set. */
int identity_make(Registration *r, uint64_t now_usec);
/* The answer's scriptNameSuffix: VM_1_GEO_OWNER_TICKS_GUID+PASSWORD+INITIATORPASSWORD. NULL: out of memory.
 */
char *identity_suffix(const Registration *r);
/* The one line that the .txt entry of a Windows VM has. NULL: out of memory. */
char *identity_windows_text(const Registration *r);
