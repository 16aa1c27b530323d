/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Standard base64 (RFC 4648 section 4), strict: padded, no white space, no other alphabet, no bits left over.
 */

#include "secret.h"

/* The characters that size bytes make. */
#define BASE64_SIZE(size) (((size) + 2) / 3 * 4)

/* Writes BASE64_SIZE(size) characters and no NUL; returns how many. */
size_t base64_encode(const char *bytes, size_t size, char *ret);

/* What a character stands for, 0 to 63; -EBADMSG: nothing (nor does the padding "="). */
int base64_digit(char c);

/* -EBADMSG: not base64, or empty. -EFBIG: more than max bytes. */
int base64_decode(const char *text, size_t max, Secret **ret);
