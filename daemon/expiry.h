/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What has to happen how long before Azure ends a session. Knows times only: no session, no clock, no timer.
 *
 * Both times are on CLOCK_BOOTTIME. Azure gives 12 hours from its answer, which is a span and not a time of
 * day: so that is what counts, on a clock that nobody sets and that goes on while the machine sleeps. A host
 * whose time of day jumps by hours (a battery that was empty, somebody's date -s, a summer time) loses no
 * session to it and misses no end. That clock stands still only while a hypervisor keeps the whole machine
 * paused. The time of day that people are told is Azure's, learnt from its answers (azure-clock.h). */

#include "config.h"

typedef enum ExpiryStage {
    EXPIRY_NONE,
    EXPIRY_NOTICE,  /* ExpiryNoticeSec=: it is told */
    EXPIRY_WARNING, /* ExpiryWarningSec=: it is told once more */
    EXPIRY_RELEASE, /* ExpiryReleaseSec=: it is released; who uses a volume is waited for */
    EXPIRY_FORCE,   /* ExpiryForceSec=: nobody is waited for any more */
    EXPIRY_STAGE_MAX,
    EXPIRY_STAGE_INVALID = -EINVAL,
} ExpiryStage;

const char *expiry_stage_to_string(ExpiryStage stage);

/* The stage at a time, and when a later one begins (USEC_INFINITY: never). A stage that is long over counts
 * until the next one: whoever slept through a warning hears the latest one only. */
ExpiryStage expiry_stage(const Config *config, uint64_t end_usec, uint64_t now_usec, uint64_t *ret_next_usec);
