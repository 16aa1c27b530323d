/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "names.h"

#include <ctype.h>

#define NAME_CHARACTERS "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-"

static bool has_own_form(const char *s)
{
    const char *p = startswith(s, "disk"), *q;

    if (!p || !isdigit((unsigned char)*p))
        return false;
    p += strspn(p, "0123456789");
    if (!*p)
        return true;
    q = startswith(p, "-part");
    return q && isdigit((unsigned char)*q) && q[strspn(q, "0123456789")] == '\0';
}

bool volume_name_usable(const char *s)
{
    size_t n = s ? strlen(s) : 0;

    return n > 0 && n <= VOLUME_NAME_MAX && *s != '.' && *s != '-' && strspn(s, NAME_CHARACTERS) == n &&
           !has_own_form(s);
}

static const char *wanted(const Volume *v)
{
    return volume_name_usable(v->label)             ? v->label
           : volume_name_usable(v->partition_label) ? v->partition_label
                                                    : NULL;
}

static int name_plain(const Volume *v, char **ret)
{
    int r = v->partition > 0 ? asprintf(ret, "disk%zu-part%d", v->disk + 1, v->partition)
                             : asprintf(ret, "disk%zu", v->disk + 1);

    return r < 0 ? -ENOMEM : 0;
}

static int name_suffixed(const Volume *v, const char *base, char **ret)
{
    int r = v->partition > 0 ? asprintf(ret, "%s-disk%zup%d", base, v->disk + 1, v->partition)
                             : asprintf(ret, "%s-disk%zu", base, v->disk + 1);

    return r < 0 ? -ENOMEM : 0;
}

int volumes_name(Volume *volumes, size_t n)
{
    size_t i, j;
    int r;

    for (i = 0; i < n; i++) {
        const char *want = wanted(&volumes[i]);
        bool taken = false;
        char *name = NULL;

        for (j = 0; want && j < n && !taken; j++)
            taken = j != i && streq_ptr(wanted(&volumes[j]), want);
        if (!want)
            r = name_plain(&volumes[i], &name);
        else if (taken)
            r = name_suffixed(&volumes[i], want, &name);
        else
            r = (name = strdup(want)) ? 0 : -ENOMEM;
        if (r < 0)
            return r;
        free_and_replace(&volumes[i].name, name);
    }
    /* A label may look like another one's name with its suffix. Plain names are never given to a label, so
     * they are free for both. */
    for (i = 0; i < n; i++)
        for (j = i + 1; j < n; j++)
            if (streq(volumes[i].name, volumes[j].name)) {
                char *a, *b;

                r = name_plain(&volumes[i], &a);
                if (r < 0)
                    return r;
                free_and_replace(&volumes[i].name, a);
                r = name_plain(&volumes[j], &b);
                if (r < 0)
                    return r;
                free_and_replace(&volumes[j].name, b);
            }
    return 0;
}
