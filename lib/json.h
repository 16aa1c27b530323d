/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* json-c with the two things it lacks for foreign input: limits, and types that are checked instead of
 * coerced. */

#include "util.h"
#include <json-c/json.h>

#define JSON_DEPTH_MAX 32
#define JSON_PARTS_MAX 100000 /* objects and arrays; json-c takes up to 800 bytes for each */

static inline void json_putp(json_object **o)
{
    json_object_put(*o);
}
#define _cleanup_json_ _cleanup_(json_putp)

/* Parses exactly one JSON value of size bytes (RFC 8259, strict, at most JSON_DEPTH_MAX deep, nothing after
 * it but white space, valid UTF-8). Returns 0 and a reference owned by the caller; -EBADMSG: not JSON;
 * -E2BIG: too deep, or more than JSON_PARTS_MAX objects and arrays; -ENOMEM. */
int json_parse(const char *text, size_t size, json_object **ret);

/* Fields of an object. An absent field and an explicit null are the same.
 * Return 1: there; 0: absent, *ret untouched; -EINVAL: there with another type (or o is not an object).
 * Strings are borrowed from o and contain no NUL byte. */
int json_get_string(json_object *o, const char *key, const char **ret);
int json_get_int64(json_object *o, const char *key, int64_t *ret);
int json_get_bool(json_object *o, const char *key, bool *ret);
int json_get_object(json_object *o, const char *key, json_object **ret);
int json_get_array(json_object *o, const char *key, json_object **ret);

/* Looks one key up ignoring the case of ASCII letters (some Azure providers answer in capitals). Borrowed, or
 * NULL. */
json_object *json_get_nocase(json_object *o, const char *key);

/* The first key of o that is not in the NULL-terminated list, or NULL: for refusing what is not known. */
const char *json_unknown_key(json_object *o, const char *const *known);

/* Adders. A NULL string adds nothing; bytes that are no UTF-8 become "?". Return 0 or -ENOMEM. json_add and
 * json_append take ownership of value in every case, and NULL is -ENOMEM. */
int json_add(json_object *o, const char *key, json_object *value);
/* To an array. */
int json_append(json_object *array, json_object *value);
int json_add_string(json_object *o, const char *key, const char *value);
int json_add_int64(json_object *o, const char *key, int64_t value);
int json_add_bool(json_object *o, const char *key, bool value);
int json_add_strv(json_object *o, const char *key, char *const *v);

/* One line of text, owned by the object. */
static inline const char *json_text(json_object *o)
{
    return json_object_to_json_string_ext(o, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE);
}
