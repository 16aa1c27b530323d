/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Text as UTF-8 (RFC 3629), whatever the locale of the program: names of machines are in any script. */

#include "util.h"

/* The character at s. Returns its length, 1..4 bytes; 0 at the end; -EINVAL: no UTF-8 (overlong forms and
 * surrogates are none). */
int utf8_decode(const char *s, uint32_t *ret);
/* Is all of it UTF-8? */
bool utf8_valid(const char *s);
/* Puts by in the place of what a terminal would obey, byte by byte: control characters, also those above
 * ASCII. The text may be anything. */
void utf8_disarm(char *s, char by);
/* Are both the same but for the case of letters? Bytes that are no UTF-8 are equal to themselves only. */
bool utf8_equal_nocase(const char *a, const char *b);
/* Letters that must be changed, put in or left out to make one of the other, ignoring case; max if it is more
 * than that or a text is longer than 64 characters. */
unsigned utf8_distance(const char *a, const char *b, unsigned max);
