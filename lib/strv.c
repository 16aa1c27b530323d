/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "strv.h"

#include <stdarg.h>

char **strv_free(char **v)
{
    char **s;

    STRV_FOREACH (s, v)
        free(*s);
    free(v);
    return NULL;
}

size_t strv_length(char *const *v)
{
    size_t n = 0;

    while (v && v[n])
        n++;
    return n;
}

/* Takes ownership of s in every case. */
static int strv_consume(char ***v, char *s)
{
    size_t n = strv_length(*v);
    char **more;

    if (!s)
        return -ENOMEM;
    more = reallocarray(*v, n + 2, sizeof(char *));
    if (!more) {
        free(s);
        return -ENOMEM;
    }
    more[n] = s;
    more[n + 1] = NULL;
    *v = more;
    return 0;
}

int strv_extend(char ***v, const char *s)
{
    return strv_consume(v, strdup(s));
}

int strv_extendf(char ***v, const char *format, ...)
{
    char *s = NULL;
    va_list ap;
    int n;

    va_start(ap, format);
    n = vasprintf(&s, format, ap);
    va_end(ap);
    return n < 0 ? -ENOMEM : strv_consume(v, s);
}

bool strv_contains(char *const *v, const char *s)
{
    char *const *i;

    STRV_FOREACH (i, v)
        if (streq(*i, s))
            return true;
    return false;
}

int strv_copy(char *const *v, char ***ret)
{
    _cleanup_strv_free_ char **copy = NULL;
    char *const *i;
    int r;

    STRV_FOREACH (i, v) {
        r = strv_extend(&copy, *i);
        if (r < 0)
            return r;
    }
    *ret = TAKE_PTR(copy);
    return 0;
}

int strv_split(const char *s, const char *separators, char ***ret)
{
    _cleanup_strv_free_ char **v = NULL;
    int r;

    while (*(s += strspn(s, separators))) {
        size_t n = strcspn(s, separators);

        r = strv_consume(&v, strndup(s, n));
        if (r < 0)
            return r;
        s += n;
    }
    *ret = TAKE_PTR(v);
    return 0;
}

char *strv_join(char *const *v, const char *separator)
{
    size_t size = 1, sep = strlen(separator);
    char *const *i;
    char *joined, *p;

    STRV_FOREACH (i, v)
        size += strlen(*i) + sep;
    joined = malloc(size);
    if (!joined)
        return NULL;
    *joined = '\0';
    p = joined;
    STRV_FOREACH (i, v) {
        if (i != v)
            p = stpcpy(p, separator);
        p = stpcpy(p, *i);
    }
    return joined;
}
