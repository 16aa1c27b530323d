/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "tower.h"

#include "files.h"
#include "paths.h"

#include <sys/sysmacros.h>

/* More than any session has, and an end for what sysfs never has: a ring. */
#define DEVICES_MAX 8192

/* Whatever link leads to it. NULL: there is no such device. */
static char *directory_of(dev_t device)
{
    char path[512];

    snprintf(path, sizeof(path), "%.400s/dev/block/%u:%u", paths.sysfs, major(device), minor(device));
    return realpath(path, NULL);
}

/* Those that are next to this one. */
static int neighbours(const char *directory, const char *direction, char ***ret)
{
    _cleanup_strv_free_ char **found = NULL;
    _cleanup_(closedirp) DIR *dir = NULL;
    _cleanup_free_ char *path = NULL;
    struct dirent *e;

    if (asprintf(&path, "%s/%s", directory, direction) < 0)
        return (path = NULL), -ENOMEM;
    dir = opendir(path);
    while (dir && (e = readdir(dir))) {
        _cleanup_free_ char *link = NULL, *real = NULL;

        if (e->d_name[0] == '.')
            continue;
        if (asprintf(&link, "%s/%s", path, e->d_name) < 0)
            return (link = NULL), -ENOMEM;
        real = realpath(link, NULL);
        if (real && strv_extend(&found, real) < 0)
            return -ENOMEM;
    }
    *ret = TAKE_PTR(found);
    return 0;
}

int tower_walk(dev_t device, const char *direction, char ***ret)
{
    _cleanup_strv_free_ char **seen = NULL;
    _cleanup_free_ char *first = directory_of(device);
    size_t i;

    if (first && strv_extend(&seen, first) < 0)
        return -ENOMEM;
    for (i = 0; seen && seen[i] && i < DEVICES_MAX; i++) {
        _cleanup_strv_free_ char **next = NULL;
        char **n;
        int r = neighbours(seen[i], direction, &next);

        if (r < 0)
            return r;
        STRV_FOREACH (n, next)
            if (!strv_contains(seen, *n) && strv_extend(&seen, *n) < 0)
                return -ENOMEM;
    }
    *ret = TAKE_PTR(seen);
    return 0;
}

bool tower_has(char *const *directories, dev_t device)
{
    _cleanup_free_ char *directory = directory_of(device);

    return directory && strv_contains(directories, directory);
}

/* One device stands right on the other. */
typedef struct Edge {
    size_t below, above;
} Edge;

typedef struct Edges {
    Edge *items;
    size_t n;
} Edges;

static int edge_add(Edges *e, size_t below, size_t above)
{
    Edge *more = realloc(e->items, (e->n + 1) * sizeof(*more));

    if (!more)
        return -ENOMEM;
    e->items = more;
    more[e->n++] = (Edge){below, above};
    return 0;
}

/* What is none of ours counts as somebody who is on it. */
static int look_above(DmDevice *devices, char *const *directories, size_t n, size_t i, Edges *e)
{
    _cleanup_strv_free_ char **above = NULL;
    char **a;
    int r = directories[i] ? neighbours(directories[i], "holders", &above) : 0;

    devices[i].height = above != NULL;
    STRV_FOREACH (a, above) {
        size_t k;

        for (k = 0; k < n && !streq_ptr(directories[k], *a); k++)
            ;
        if (r >= 0 && k < n)
            r = edge_add(e, i, k);
    }
    return r;
}

int tower_heights(DmDevice *devices, size_t n)
{
    _cleanup_free_ char **directories = calloc(n + 1, sizeof(*directories));
    bool changed = true;
    Edges e = {};
    size_t i, round;
    int r = directories ? 0 : -ENOMEM;

    for (i = 0; r >= 0 && i < n; i++)
        directories[i] = directory_of(devices[i].device);
    for (i = 0; r >= 0 && i < n; i++)
        r = look_above(devices, directories, n, i, &e);
    for (round = 0; r >= 0 && changed && round < n; round++) {
        changed = false;
        for (i = 0; i < e.n; i++) {
            DmDevice *below = &devices[e.items[i].below];
            unsigned height = devices[e.items[i].above].height + 1;

            changed = changed || below->height < height;
            below->height = MAX(below->height, height);
        }
    }
    for (i = 0; directories && i < n; i++)
        free(directories[i]);
    free(e.items);
    return r;
}
