/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "json.h"

#include "utf8.h"

#include <limits.h>
#include <strings.h>

DEFINE_CLEANUP(json_tokener *, json_tokener_free)

/* What json-c would take and is not to be taken: 'keys' in single quotes, which it allows even when strict,
 * and more objects and arrays than there is memory for. */
static int look_over(const char *text, size_t size)
{
    bool in_string = false;
    size_t i, n = 0;

    for (i = 0; i < size; i++) {
        if (in_string && text[i] == '\\')
            i++;
        else if (text[i] == '"')
            in_string = !in_string;
        else if (in_string)
            continue;
        else if (text[i] == '\'')
            return -EBADMSG;
        else if ((text[i] == '{' || text[i] == '[') && ++n > JSON_PARTS_MAX)
            return -E2BIG;
    }
    return 0;
}

int json_parse(const char *text, size_t size, json_object **ret)
{
    _cleanup_(json_tokener_freep) json_tokener *tok = NULL;
    _cleanup_json_ json_object *o = NULL;
    enum json_tokener_error e;
    size_t end;
    int r;

    if (size == 0 || size > INT_MAX)
        return -EBADMSG;
    r = look_over(text, size);
    if (r < 0)
        return r;
    tok = json_tokener_new_ex(JSON_DEPTH_MAX);
    if (!tok)
        return -ENOMEM;
    json_tokener_set_flags(tok, JSON_TOKENER_STRICT | JSON_TOKENER_ALLOW_TRAILING_CHARS |
                                    JSON_TOKENER_VALIDATE_UTF8);
    o = json_tokener_parse_ex(tok, text, (int)size);
    e = json_tokener_get_error(tok);
    /* A bare number needs to see that the text is over. */
    if (e == json_tokener_continue) {
        o = json_tokener_parse_ex(tok, "\0", 1);
        e = json_tokener_get_error(tok);
        end = size;
    } else
        end = json_tokener_get_parse_end(tok);
    if (e == json_tokener_error_depth)
        return -E2BIG;
    if (e != json_tokener_success || !o)
        return -EBADMSG;
    for (; end < size; end++)
        if (!strchr(" \t\r\n", text[end]) || text[end] == '\0')
            return -EBADMSG;
    *ret = TAKE_PTR(o);
    return 0;
}

static int json_get(json_object *o, const char *key, enum json_type type, json_object **ret)
{
    json_object *v;

    if (!json_object_is_type(o, json_type_object))
        return -EINVAL;
    if (!json_object_object_get_ex(o, key, &v) || !v)
        return 0;
    if (!json_object_is_type(v, type))
        return -EINVAL;
    *ret = v;
    return 1;
}

int json_get_string(json_object *o, const char *key, const char **ret)
{
    json_object *v;
    int r = json_get(o, key, json_type_string, &v);

    if (r <= 0)
        return r;
    if (strlen(json_object_get_string(v)) != (size_t)json_object_get_string_len(v))
        return -EINVAL;
    *ret = json_object_get_string(v);
    return 1;
}

int json_get_int64(json_object *o, const char *key, int64_t *ret)
{
    json_object *v;
    int r = json_get(o, key, json_type_int, &v);

    if (r > 0)
        *ret = json_object_get_int64(v);
    return r;
}

int json_get_bool(json_object *o, const char *key, bool *ret)
{
    json_object *v;
    int r = json_get(o, key, json_type_boolean, &v);

    if (r > 0)
        *ret = json_object_get_boolean(v);
    return r;
}

int json_get_object(json_object *o, const char *key, json_object **ret)
{
    return json_get(o, key, json_type_object, ret);
}

int json_get_array(json_object *o, const char *key, json_object **ret)
{
    return json_get(o, key, json_type_array, ret);
}

json_object *json_get_nocase(json_object *o, const char *key)
{
    if (!json_object_is_type(o, json_type_object))
        return NULL;
    json_object_object_foreach(o, k, v)
    {
        if (strcasecmp(k, key) == 0)
            return v;
    }
    return NULL;
}

const char *json_unknown_key(json_object *o, const char *const *known)
{
    json_object_object_foreach(o, k, v)
    {
        const char *const *i;

        (void)v;
        for (i = known; *i; i++)
            if (streq(*i, k))
                break;
        if (!*i)
            return k;
    }
    return NULL;
}

int json_add(json_object *o, const char *key, json_object *value)
{
    if (!value)
        return -ENOMEM;
    if (json_object_object_add(o, key, value) < 0) {
        json_object_put(value);
        return -ENOMEM;
    }
    return 0;
}

int json_append(json_object *array, json_object *value)
{
    if (value && json_object_array_add(array, value) >= 0)
        return 0;
    json_object_put(value);
    return -ENOMEM;
}

/* What is no UTF-8 would make a text that json_parse() refuses as a whole: a name that somebody gave his
 * process or his disk shall not cost a record or an answer. */
static json_object *string_new(const char *value)
{
    _cleanup_free_ char *copy = NULL;
    uint32_t c;
    char *p;
    int n;

    if (utf8_valid(value))
        return json_object_new_string(value);
    copy = strdup(value);
    for (p = copy; copy && (n = utf8_decode(p, &c)) != 0; p += MAX(n, 1))
        if (n < 0)
            *p = '?';
    return copy ? json_object_new_string(copy) : NULL;
}

int json_add_string(json_object *o, const char *key, const char *value)
{
    return value ? json_add(o, key, string_new(value)) : 0;
}

int json_add_int64(json_object *o, const char *key, int64_t value)
{
    return json_add(o, key, json_object_new_int64(value));
}

int json_add_bool(json_object *o, const char *key, bool value)
{
    return json_add(o, key, json_object_new_boolean(value));
}

int json_add_strv(json_object *o, const char *key, char *const *v)
{
    _cleanup_json_ json_object *a = json_object_new_array();
    char *const *i;

    if (!a)
        return -ENOMEM;
    for (i = v; i && *i; i++)
        if (json_append(a, string_new(*i)) < 0)
            return -ENOMEM;
    return json_add(o, key, TAKE_PTR(a));
}
