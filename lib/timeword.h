/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Times in a person's words, in the time zone of the caller (TZ): "now", "today", "yesterday", "monday" (the
 * last such day before today), "2026-11-20", "22:00" (today), a day and a time together ("yesterday 22:00",
 * "2026-11-20 22:00:30"), "-2h", "2 hours ago", "3 days ago", and RFC 3339 with Z or an offset. */

#include "util.h"
#include <time.h>

/* A day without a time is a span; which end of it is meant? */
typedef enum TimewordEdge {
    TIMEWORD_START, /* its first moment */
    TIMEWORD_END,   /* its last one */
} TimewordEdge;

/* What is understood, for messages. */
#define TIMEWORD_UNDERSTOOD                                                                                  \
    "now, today, yesterday, monday, 2026-11-20, 22:00, \"yesterday 22:00\", \"2026-11-20 22:00:30\", -2h, "  \
    "\"3 days ago\", 2026-11-20T22:00:00Z"

/* now: seconds since 1970. Microseconds since 1970. Days and weeks ago keep the time of the clock on the
 * wall, also over a change of summer time; hours and less are counted. Returns 0; -EINVAL: not understood;
 * -ERANGE: before 1970, or not within 9999. */
int timeword_parse(const char *s, time_t now, TimewordEdge edge, uint64_t *ret_usec);
