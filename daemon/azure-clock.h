/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Azure's time of day, learnt from the Date of its answers: what is told in it (the end of a session) is
 * right also on a host whose own clock is not. Knows no requests; asks nobody. */

#include "util.h"

typedef struct AzureClock {
    bool known;
    int64_t offset_usec; /* Azure's time of day minus CLOCK_BOOTTIME */
} AzureClock;

/* An answer came at boot_usec (CLOCK_BOOTTIME); date: its Date, or NULL. What cannot be read says nothing. */
void azure_clock_heard(AzureClock *c, const char *date, uint64_t boot_usec);
/* Azure's time of day at boot_usec; as long as nothing was heard, the host's. */
uint64_t azure_clock_at(const AzureClock *c, uint64_t boot_usec);
