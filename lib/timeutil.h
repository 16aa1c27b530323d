/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Clocks and times as text. All numbers are microseconds. */

#include "util.h"
#include <time.h>

/* Microseconds of the clock now. CLOCK_BOOTTIME for what must go on while the machine sleeps. */
uint64_t now_usec(clockid_t clock);

/* A time span: "90" (seconds), "500ms", "30s", "5min", "12h", several in a row ("1h 30min"). More than 0
 * units, at most 366 days. Returns 0, -EINVAL, -ERANGE. */
int timespan_parse(const char *s, uint64_t *ret_usec);

/* "2022-02-24T21:31:07.3906534Z" (RFC 3339, any number of fraction digits, Z or an offset; no zone at all
 * means UTC) as microseconds since 1970. Years before 1970 (Azure's "0001-01-01T00:00:00" for "not yet") give
 * -ERANGE. */
int timestamp_parse(const char *s, uint64_t *ret_usec);

#define TIMESTAMP_MAX 32
/* Microseconds since 1970 as "2026-11-22T21:51:13Z". */
const char *timestamp_format(uint64_t usec, char buf[static TIMESTAMP_MAX]);

/* "12 h 3 min", "45 s", "380 ms": for people. */
const char *timespan_format(uint64_t usec, char *buf, size_t size);
