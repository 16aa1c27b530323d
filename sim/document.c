/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "document.h"
#include <stdarg.h>

void document_refuse(Document *d, const char *path, const char *key, const char *format, ...)
{
    _cleanup_free_ char *message = NULL;
    va_list ap;

    if (d->error)
        return;
    va_start(ap, format);
    if (vasprintf(&message, format, ap) < 0)
        message = NULL;
    va_end(ap);
    if (asprintf(&d->error, "%s%s%s: %s", path, *path && key ? "." : "",
                 key     ? key
                 : *path ? ""
                         : "document",
                 message ? message : "out of memory") < 0)
        d->error = NULL;
}

bool document_check(Document *d, json_object *o, const char *path, const char *const *known)
{
    const char *key;

    if (d->error)
        return false;
    if (!json_object_is_type(o, json_type_object)) {
        document_refuse(d, path, NULL, "is %s, an object is expected",
                        json_type_to_name(json_object_get_type(o)));
        return false;
    }
    key = json_unknown_key(o, known);
    if (key) {
        document_refuse(d, path, key, "unknown key");
        return false;
    }
    return true;
}

/* The value if it is there and has the type; NULL and perhaps an error otherwise. */
static json_object *typed(Document *d, json_object *o, const char *path, const char *key, json_type type)
{
    json_object *v;

    if (d->error || !json_object_object_get_ex(o, key, &v) || !v)
        return NULL;
    if (!json_object_is_type(v, type)) {
        document_refuse(d, path, key, "is %.80s, %s is expected", json_text(v), json_type_to_name(type));
        return NULL;
    }
    return v;
}

const char *document_string(Document *d, json_object *o, const char *path, const char *key, bool required)
{
    json_object *v = typed(d, o, path, key, json_type_string);

    if (!v) {
        if (required)
            document_refuse(d, path, key, "missing, a string is expected");
        return NULL;
    }
    if (json_object_get_string_len(v) == 0 ||
        strlen(json_object_get_string(v)) != (size_t)json_object_get_string_len(v)) {
        document_refuse(d, path, key, "is empty or holds a NUL byte, a string is expected");
        return NULL;
    }
    return json_object_get_string(v);
}

char *document_text(Document *d, json_object *o, const char *path, const char *key, bool required)
{
    const char *s = document_string(d, o, path, key, required);
    char *copy;

    if (str_copy(s, &copy) < 0)
        document_refuse(d, path, key, "out of memory");
    return copy;
}

bool document_bool(Document *d, json_object *o, const char *path, const char *key, bool fallback)
{
    json_object *v = typed(d, o, path, key, json_type_boolean);

    return v ? json_object_get_boolean(v) : fallback;
}

double document_number(Document *d, json_object *o, const char *path, const char *key, double fallback,
                       double min, double max)
{
    json_object *v;
    double number;

    if (d->error || !json_object_object_get_ex(o, key, &v) || !v)
        return fallback;
    if (!json_object_is_type(v, json_type_int) && !json_object_is_type(v, json_type_double)) {
        document_refuse(d, path, key, "is %.80s, a number is expected", json_text(v));
        return fallback;
    }
    number = json_object_get_double(v);
    /* Written so that NaN is refused as well. */
    if (!(number >= min && number <= max)) {
        document_refuse(d, path, key, "is %.80s, a number from %g to %g is expected", json_text(v), min, max);
        return fallback;
    }
    return number;
}

json_object *document_object(Document *d, json_object *o, const char *path, const char *key)
{
    return typed(d, o, path, key, json_type_object);
}

json_object *document_array(Document *d, json_object *o, const char *path, const char *key)
{
    return typed(d, o, path, key, json_type_array);
}

char **document_strv(Document *d, json_object *o, const char *path, const char *key)
{
    json_object *array = typed(d, o, path, key, json_type_array);
    char **v = NULL;

    for (size_t i = 0; array && i < json_object_array_length(array); i++) {
        json_object *s = json_object_array_get_idx(array, i);

        if (!json_object_is_type(s, json_type_string))
            document_refuse(d, path, key, "[%zu] is %.80s, a string is expected", i, json_text(s));
        else if (strv_extend(&v, json_object_get_string(s)) < 0)
            document_refuse(d, path, key, "out of memory");
    }
    return v;
}

const char *document_path(char buf[static DOCUMENT_PATH_MAX], const char *path, const char *key, size_t index)
{
    snprintf(buf, DOCUMENT_PATH_MAX, "%s%s%s[%zu]", path, *path ? "." : "", key, index);
    return buf;
}
