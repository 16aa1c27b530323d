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

/* A label as a name: every character that a name cannot have becomes "_", so that "System Reserved" keeps a
 * name that people know and shells like. Needs a letter or a digit that is its own. */
static bool name_from(const char *label, char ret[static VOLUME_NAME_MAX + 1])
{
    size_t n = 0;
    bool readable = false;

    for (; label && *label; label++) {
        if (((unsigned char)*label & 0xc0) == 0x80) /* the rest of a character */
            continue;
        if (n == VOLUME_NAME_MAX)
            return false;
        ret[n] =
            strchr(NAME_CHARACTERS, *label) && (n > 0 || (*label != '.' && *label != '-')) ? *label : '_';
        readable = readable || isalnum((unsigned char)ret[n]);
        n++;
    }
    ret[n] = '\0';
    return readable && volume_name_usable(ret);
}

/* The best name of a volume, or false. A member of something has its place only: its label, if it has one, is
 * that of the whole. */
static bool wish(const Volume *v, char ret[static VOLUME_NAME_MAX + 1])
{
    const char *wishes[] = {v->label, v->base, v->partition_label};
    bool member = v->used && v->reason && !v->locked;
    size_t i;

    for (i = 0; !member && i < ELEMENTSOF(wishes); i++)
        if (name_from(wishes[i], ret))
            return true;
    return false;
}

/* The name that an array has may be anything that somebody wrote into its superblock, and what it is called
 * here becomes a piece of a path: "../.." is "_._..". */
static void make_fit(char *s)
{
    char *to = s;

    for (; *s; s++)
        if (((unsigned char)*s & 0xc0) != 0x80) { /* else the rest of a character */
            *to = strchr(NAME_CHARACTERS, *s) ? *s : '_';
            to++;
        }
    *to = '\0';
}

/* What nothing else is called: its place on a disk, or GROUP-NAME. */
static char *name_plain(const Volume *v)
{
    char *s;

    if (!v->base)
        return volume_place(v);
    if (asprintf(&s, "%s%s%s", v->group ? v->group : "", v->group ? "-" : "", v->base) < 0)
        return NULL;
    make_fit(s);
    if (*s == '.' || *s == '-')
        *s = '_';
    return s;
}

static char *name_suffixed(const Volume *v, const char *base)
{
    _cleanup_free_ char *plain = v->base ? name_plain(v) : NULL;
    char *s;
    int r = plain              ? asprintf(&s, "%s-%s", base, plain)
            : v->partition > 0 ? asprintf(&s, "%s-disk%zup%d", base, v->disk + 1, v->partition)
                               : asprintf(&s, "%s-disk%zu", base, v->disk + 1);

    if (v->base && !plain) {
        if (r >= 0)
            free(s);
        return NULL;
    }
    return r < 0 ? NULL : s;
}

static char *name_choose(Volume *volumes, size_t n, size_t i)
{
    char want[VOLUME_NAME_MAX + 1], other[VOLUME_NAME_MAX + 1];
    bool taken = false;
    size_t j;

    if (!wish(&volumes[i], want))
        return name_plain(&volumes[i]);
    for (j = 0; j < n && !taken; j++)
        taken = j != i && wish(&volumes[j], other) && streq(other, want);
    if (!taken)
        return strdup(want);
    return streq_ptr(volumes[i].base, want) && volumes[i].group ? name_plain(&volumes[i])
                                                                : name_suffixed(&volumes[i], want);
}

static bool name_taken(const Volume *volumes, size_t n, size_t but, const char *name)
{
    size_t i;

    for (i = 0; i < n; i++)
        if (i != but && volumes[i].name && streq(volumes[i].name, name))
            return true;
    return false;
}

/* The last way out: plain, and with a number if even that is taken or too long for a directory. */
static int name_force(Volume *volumes, size_t n, size_t i)
{
    _cleanup_free_ char *plain = name_plain(&volumes[i]);
    char *name = plain ? strndup(plain, VOLUME_NAME_MAX) : NULL;
    unsigned k;

    if (!name)
        return -ENOMEM;
    for (k = 2; name_taken(volumes, n, i, name) || (volumes[i].base && !volume_name_usable(name)); k++) {
        free(name);
        if (asprintf(&name, "%.*s-%u", VOLUME_NAME_MAX - 8,
                     volumes[i].base && !volume_name_usable(plain) ? "volume" : plain, k) < 0)
            return -ENOMEM;
    }
    return free_and_replace(&volumes[i].name, name);
}

int volumes_name(Volume *volumes, size_t n)
{
    _cleanup_free_ bool *fixed = calloc(n + 1, sizeof(*fixed));
    size_t i, j;
    int r;

    if (!fixed)
        return -ENOMEM;
    for (i = 0; i < n; i++)
        fixed[i] = volumes[i].name;
    for (i = 0; i < n; i++)
        if (!fixed[i] && !(volumes[i].name = name_choose(volumes, n, i)))
            return -ENOMEM;
    /* A label may look like another one's name with its suffix. Plain names are never given to a label, so
     * they are free for both. */
    for (i = 0; i < n; i++)
        for (j = i + 1; j < n; j++)
            if (streq(volumes[i].name, volumes[j].name)) {
                if (!fixed[j] && (r = name_force(volumes, n, j)) < 0)
                    return r;
                if (!fixed[i] && (r = name_force(volumes, n, i)) < 0)
                    return r;
            }
    for (i = 0; i < n; i++)
        if (!fixed[i] &&
            (strlen(volumes[i].name) > VOLUME_NAME_MAX || name_taken(volumes, n, i, volumes[i].name) ||
             (volumes[i].base && !volume_name_usable(volumes[i].name))))
            if ((r = name_force(volumes, n, i)) < 0)
                return r;
    return 0;
}
