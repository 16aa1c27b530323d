/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Takes a JSON document of ours apart strictly: what is unknown, missing or of another type is refused with
 * its place
 * ("vaults[0].items[1].vm"), value and expectation. The first error stays; after it everything returns its
 * fallback. */

#include "json.h"
#include "strv.h"

typedef struct Document {
    char *error; /* malloc'ed, NULL: none yet */
} Document;

/* "path.key: message". key may be NULL. */
void document_refuse(Document *d, const char *path, const char *key, const char *format, ...) _printf_(4, 5);
/* o is an object that has no key but these (NULL-terminated). */
bool document_check(Document *d, json_object *o, const char *path, const char *const *known);
/* Borrowed from o; NULL: absent. An empty string is refused. */
const char *document_string(Document *d, json_object *o, const char *path, const char *key, bool required);
/* The same, copied. */
char *document_text(Document *d, json_object *o, const char *path, const char *key, bool required);
bool document_bool(Document *d, json_object *o, const char *path, const char *key, bool fallback);
double document_number(Document *d, json_object *o, const char *path, const char *key, double fallback,
                       double min, double max);
json_object *document_object(Document *d, json_object *o, const char *path, const char *key);
json_object *document_array(Document *d, json_object *o, const char *path, const char *key);
/* An array of strings; NULL: absent or empty. */
char **document_strv(Document *d, json_object *o, const char *path, const char *key);

#define DOCUMENT_PATH_MAX 256
/* "path.key[index]" into buf, returned. */
const char *document_path(char buf[static DOCUMENT_PATH_MAX], const char *path, const char *key,
                          size_t index);
