/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* NULL-terminated vectors of strings. A NULL vector is an empty one. */

#include "util.h"

#define STRV_FOREACH(s, v) for ((s) = (v); (s) && *(s); (s)++)

/* Frees the vector and its strings. Returns NULL. */
char **strv_free(char **v);
size_t strv_length(char *const *v);
/* Appends a copy of s. Returns 0 or -ENOMEM, the vector is then as it was. */
int strv_extend(char ***v, const char *s);
/* The same, formatted. */
int strv_extendf(char ***v, const char *format, ...) _printf_(2, 3);
bool strv_contains(char *const *v, const char *s);
/* A deep copy. Returns 0 or -ENOMEM. */
int strv_copy(char *const *v, char ***ret);
/* Cuts s at any of the separators, leaves out empty pieces. Returns 0 or -ENOMEM. */
int strv_split(const char *s, const char *separators, char ***ret);
/* One string with the separator between the pieces, owned by the caller. NULL: out of memory. */
char *strv_join(char *const *v, const char *separator);

static inline void strv_freep(char ***v)
{
    strv_free(*v);
}
#define _cleanup_strv_free_ _cleanup_(strv_freep)
