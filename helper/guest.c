/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "guest.h"

#include "strv.h"
#include "subvolume.h"

#include <ctype.h>

/* crypttab may lead to what crypttab opens. */
#define DEPTH_MAX 4

typedef bool (*Matches)(const Volume *v, const char *value);

static bool same(const char *a, const char *b)
{
    return a && *b && strcasecmp(a, b) == 0;
}

static bool by_uuid(const Volume *v, const char *value)
{
    return same(v->uuid, value);
}

static bool by_label(const Volume *v, const char *value)
{
    return *value && streq_ptr(v->label, value);
}

static bool by_partuuid(const Volume *v, const char *value)
{
    return same(v->partition_uuid, value);
}

static bool by_partlabel(const Volume *v, const char *value)
{
    return *value && streq_ptr(v->partition_label, value);
}

/* The group has a new UUID by now, the volume still has its own: 32 characters each. */
static bool by_lvm_uuid(const Volume *v, const char *value)
{
    return v->group && v->by_id && strlen(value) == 64 && streq(v->by_id, value + 32);
}

static bool by_md_uuid(const Volume *v, const char *value)
{
    return !v->group && same(v->by_id, value);
}

static bool by_md_name(const Volume *v, const char *value)
{
    const char *number = v->base && !v->group && v->by_id ? startswith(v->base, "md") : NULL;

    if (!v->base || v->group || !v->by_id || !*value)
        return false;
    /* Arrays with a number for a name are called so in many ways: md0, md/0, 0. */
    return streq(v->base, value) || (number && streq(number, value));
}

/* vg0/root */
static bool by_lv_path(const Volume *v, const char *value)
{
    const char *rest = v->group && v->base ? startswith(value, v->group) : NULL;

    return rest && *rest == '/' && streq(rest + 1, v->base);
}

/* vg0-root, in which a dash of a name is two */
static bool by_lv_map(const Volume *v, const char *value)
{
    const char *parts[] = {v->group, v->base}, *p;
    size_t i;

    if (!v->group || !v->base)
        return false;
    for (i = 0; i < ELEMENTSOF(parts); i++) {
        for (p = parts[i]; *p; p++) {
            if (*value++ != *p)
                return false;
            if (*p == '-' && *value++ != '-')
                return false;
        }
        if (i == 0 && *value++ != '-')
            return false;
    }
    return !*value;
}

static bool is_member(const Volume *v)
{
    return v->used && !v->mounted && !streq_ptr(v->type, "crypto_LUKS");
}

/* Of several the mounted one, and of these the one on the disk of whoever asks. */
static ssize_t pick(const Volume *volumes, size_t n, size_t disk, Matches matches, const char *value)
{
    ssize_t best = -ENOENT;
    int best_worth = -1;
    size_t i;

    for (i = 0; i < n; i++) {
        const Volume *v = &volumes[i];
        int worth = (v->mounted ? 2 : 0) + (v->disk == disk ? 1 : 0);

        if (!is_member(v) && matches(v, value) && worth > best_worth) {
            best = (ssize_t)i;
            best_worth = worth;
        }
    }
    return best;
}

static ssize_t match(const Volume *volumes, size_t n, const Fstab *f, size_t disk, const char *what,
                     unsigned depth, const char **why);

/* What was opened from a LUKS volume; or the volume itself, while it is locked. */
static ssize_t opened(const Volume *volumes, size_t n, ssize_t luks)
{
    size_t i;

    for (i = 0; luks >= 0 && i < n; i++)
        if (volumes[i].opened_from == (size_t)luks + 1)
            return (ssize_t)i;
    return luks;
}

static ssize_t match_map(const Volume *volumes, size_t n, const Fstab *f, size_t disk, const char *name,
                         unsigned depth, const char **why)
{
    const char *uuid = startswith(name, "luks-");
    ssize_t found = -ENOENT;
    size_t i;

    for (i = 0; i < f->n_crypts && !streq(f->crypts[i].name, name); i++)
        ;
    if (i < f->n_crypts) /* the first one: more of the same name are nobody's, and would be tried for long */
        found = opened(volumes, n, match(volumes, n, f, disk, f->crypts[i].what, depth + 1, why));
    if (found < 0 && uuid) /* as initramfs-tools and dracut call what is not in crypttab */
        found = opened(volumes, n, pick(volumes, n, disk, by_uuid, uuid));
    return found >= 0 ? found : pick(volumes, n, disk, by_lv_map, name);
}

static ssize_t match_md(const Volume *volumes, size_t n, size_t disk, const char *name, const char **why)
{
    const char *rest = startswith(name, "/") ? name + 1 : name;

    *why = "no array of this name was found, and the numbers of arrays are given anew at each start";
    return pick(volumes, n, disk, by_md_name, rest);
}

static ssize_t match_device(const Volume *volumes, size_t n, const Fstab *f, size_t disk, const char *path,
                            unsigned depth, const char **why)
{
    static const struct {
        const char *prefix;
        Matches matches;
    } links[] = {
        {"disk/by-uuid/", by_uuid},
        {"disk/by-label/", by_label},
        {"disk/by-partuuid/", by_partuuid},
        {"disk/by-partlabel/", by_partlabel},
        {"disk/by-id/dm-uuid-LVM-", by_lvm_uuid},
        {"disk/by-id/md-uuid-", by_md_uuid},
    };
    const char *rest;
    ssize_t found;
    size_t i;

    for (i = 0; i < ELEMENTSOF(links); i++)
        if ((rest = startswith(path, links[i].prefix)))
            return pick(volumes, n, disk, links[i].matches, rest);
    if ((rest = startswith(path, "mapper/")) || (rest = startswith(path, "disk/by-id/dm-name-")))
        return match_map(volumes, n, f, disk, rest, depth, why);
    if ((rest = startswith(path, "disk/by-id/md-name-"))) {
        const char *colon = strchr(rest, ':'); /* HOST:NAME */

        return match_md(volumes, n, disk, colon ? colon + 1 : rest, why);
    }
    found = pick(volumes, n, disk, by_lv_path, path);
    if (found >= 0)
        return found;
    if ((rest = startswith(path, "md")))
        return match_md(volumes, n, disk, rest, why);
    *why = startswith(path, "disk/cloud/azure_resource") || startswith(path, "disk/azure/resource")
               ? "the temporary disk of a virtual machine is in no backup"
               : "this name does not tell which disk it was";
    return -ENOENT;
}

/* udev's links have what is not usual in a name as \xNN. */
static void unescape(char *s)
{
    char *to = s;

    for (; *s; s++)
        if (s[0] == '\\' && s[1] == 'x' && isxdigit((unsigned char)s[2]) && isxdigit((unsigned char)s[3])) {
            const char digits[] = {s[2], s[3], '\0'};

            *to++ = (char)strtoul(digits, NULL, 16);
            s += 3;
        } else
            *to++ = *s;
    *to = '\0';
}

static ssize_t match(const Volume *volumes, size_t n, const Fstab *f, size_t disk, const char *what,
                     unsigned depth, const char **why)
{
    static const struct {
        const char *tag;
        Matches matches;
    } tags[] = {
        {"UUID=", by_uuid}, {"LABEL=", by_label}, {"PARTUUID=", by_partuuid}, {"PARTLABEL=", by_partlabel}};
    _cleanup_free_ char *copy = NULL;
    const char *rest;
    size_t i, size;
    char *value;

    *why = "no volume like this was found";
    if (depth > DEPTH_MAX)
        return -ENOENT;
    for (i = 0; i < ELEMENTSOF(tags); i++) {
        if (!(rest = startswith(what, tags[i].tag)))
            continue;
        copy = value = strdup(rest);
        if (!copy)
            return -ENOMEM;
        size = strlen(value);
        if (size >= 2 && *value == '"' && value[size - 1] == '"') {
            value[size - 1] = '\0';
            value++;
        }
        return pick(volumes, n, disk, tags[i].matches, value);
    }
    if (!(rest = startswith(what, "/dev/"))) {
        *why = "no device is meant";
        return -ENOENT;
    }
    copy = strdup(rest);
    if (!copy)
        return -ENOMEM;
    unescape(copy);
    return match_device(volumes, n, f, disk, copy, depth, why);
}

ssize_t guest_match(const Volume *volumes, size_t n, const Fstab *f, size_t disk, const char *what,
                    char **ret_reason)
{
    const char *why;
    ssize_t found = match(volumes, n, f, disk, what, 0, &why);

    if (found == -ENOENT && !(*ret_reason = strdup(why)))
        return -ENOMEM;
    if (found < 0 || volumes[found].mounted)
        return found;
    return asprintf(ret_reason, "volume %s is not mounted: %s", volumes[found].name,
                    volumes[found].reason ? volumes[found].reason : "nobody knows why") < 0
               ? -ENOMEM
               : -ENOENT;
}

const char *guest_root_place(const Volume *v, size_t n)
{
    static const char *const usual[] = {"@", "@rootfs", "root"};
    const char *place = v->subvolumes ? subvolume_default(v->subvolumes) : NULL;

    if (n == 0)
        return place ? place : "";
    return streq_ptr(v->type, "btrfs") && n <= ELEMENTSOF(usual) ? usual[n - 1] : NULL;
}

/* Which part of a volume is meant. NULL with a reason: one that is not there; without one: no memory. */
static char *part_of(const Volume *v, const FstabEntry *e, char **ret_reason)
{
    _cleanup_free_ char *path = fstab_option(e->options, "subvol"),
                        *id = fstab_option(e->options, "subvolid");
    const char *found;
    uint64_t number;
    char *end;

    if (!streq_ptr(v->type, "btrfs"))
        return strdup("");
    if (path)
        return strdup(path + strspn(path, "/"));
    if (!id)
        return (found = subvolume_default(v->subvolumes)) ? strdup(found) : strdup("");
    errno = 0;
    number = strtoull(id, &end, 0);
    if (!errno && !*end && (number == SUBVOLUME_TOP || number == 0))
        return strdup("");
    found = errno || *end ? NULL : subvolume_path(v->subvolumes, number);
    if (found)
        return strdup(found);
    return asprintf(ret_reason, "volume %s has no subvolume with the id %s", v->name, id) < 0
               ? (*ret_reason = NULL, NULL)
               : NULL;
}

static unsigned depth_of(const char *path)
{
    unsigned n = 0;

    for (; *path; path++)
        if (*path == '/' && path[1] && path[1] != '/')
            n++;
    return n;
}

int guest_missing_add(GuestPlan *p, const FstabEntry *entry, char *reason)
{
    GuestMissing *more = reason ? realloc(p->missing, (p->n_missing + 1) * sizeof(*more)) : NULL;

    if (!more) {
        free(reason);
        return -ENOMEM;
    }
    p->missing = more;
    more[p->n_missing++] = (GuestMissing){.entry = entry, .reason = reason};
    return 0;
}

/* In front of all that lie deeper, behind those that do not: what is written first goes first. */
static int mount_add(GuestPlan *p, const FstabEntry *entry, size_t volume, char *subvolume)
{
    GuestMount *more = realloc(p->mounts, (p->n_mounts + 1) * sizeof(*more));
    size_t i;

    if (!more) {
        free(subvolume);
        return -ENOMEM;
    }
    p->mounts = more;
    for (i = p->n_mounts++; i > 0 && depth_of(more[i - 1].entry->where) > depth_of(entry->where); i--)
        more[i] = more[i - 1];
    more[i] = (GuestMount){.entry = entry, .volume = volume, .subvolume = subvolume};
    return 0;
}

int guest_plan(const Volume *volumes, size_t n, const Fstab *f, size_t root, GuestPlan *ret)
{
    size_t i;
    int r = 0;

    *ret = (GuestPlan){};
    for (i = 0; r >= 0 && i < f->n_entries; i++) {
        const FstabEntry *e = &f->entries[i];
        char *reason = NULL, *part = NULL;
        ssize_t found;

        if (depth_of(e->where) == 0)
            continue;
        found = guest_match(volumes, n, f, volumes[root].disk, e->what, &reason);
        if (found >= 0)
            part = part_of(&volumes[found], e, &reason);
        if (part)
            r = mount_add(ret, e, (size_t)found, part);
        else if (!reason)
            r = -ENOMEM;
        /* Drives for what is put into them: nobody expects to see anything. */
        else if (found == -ENOENT && fstab_has_option(e->options, "noauto"))
            free(reason);
        else
            r = guest_missing_add(ret, e, reason);
    }
    if (r < 0)
        guest_plan_done(ret);
    return r;
}

void guest_plan_done(GuestPlan *p)
{
    size_t i;

    for (i = 0; i < p->n_mounts; i++)
        free(p->mounts[i].subvolume);
    for (i = 0; i < p->n_missing; i++)
        free(p->missing[i].reason);
    free(p->mounts);
    free(p->missing);
    *p = (GuestPlan){};
}
