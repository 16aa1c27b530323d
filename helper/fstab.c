/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "fstab.h"

#include "child.h"
#include "files.h"
#include "mount-cleanup.h"
#include "volume.h"

#include <fcntl.h>
#include <sys/stat.h>

#define FIELD_MAX 255

void fstab_done(Fstab *f)
{
    size_t i;

    for (i = 0; i < f->n_entries; i++) {
        free(f->entries[i].what);
        free(f->entries[i].where);
        free(f->entries[i].type);
        free(f->entries[i].options);
    }
    for (i = 0; i < f->n_crypts; i++) {
        free(f->crypts[i].name);
        free(f->crypts[i].what);
    }
    free(f->entries);
    free(f->crypts);
    *f = (Fstab){};
}

static int skip_line(struct libmnt_table *t, const char *name, int line)
{
    return 1;
}

bool fstab_has_option(const char *options, const char *name)
{
    char *value;
    size_t size;

    return options && mnt_optstr_get_option(options, name, &value, &size) == 0;
}

char *fstab_option(const char *options, const char *name)
{
    char *value = NULL;
    size_t size = 0;

    if (!options || mnt_optstr_get_option(options, name, &value, &size) != 0 || !value)
        return NULL;
    return strndup(value, size);
}

/* What is no file system of the backup's disks, or a view of one that is there already. */
static bool left_out(const char *what, const char *where, const char *type, const char *options)
{
    return isempty(what) || isempty(where) || *where != '/' || streq(type, "swap") ||
           mnt_fstype_is_pseudofs(type) || mnt_fstype_is_netfs(type) ||
           (startswith(type, "fuse") && !streq(type, "fuseblk")) || streq(type, "none") ||
           fstab_has_option(options, "bind") || fstab_has_option(options, "rbind");
}

static char *clean(const char *s)
{
    return text_clean(s ? s : "", FIELD_MAX);
}

static bool too_long(const char *field)
{
    return field && strlen(field) > FIELD_MAX;
}

static int entry_add(Fstab *f, const char *what, const char *where, const char *type, const char *options)
{
    FstabEntry *more = realloc(f->entries, (f->n_entries + 1) * sizeof(*more)), *e;

    if (!more)
        return -ENOMEM;
    f->entries = more;
    e = &more[f->n_entries++];
    *e = (FstabEntry){
        .what = clean(what), .where = clean(where), .type = clean(type), .options = clean(options)};
    return e->what && e->where && e->type && e->options ? 0 : -ENOMEM;
}

int fstab_parse(const char *text, size_t size, Fstab *f)
{
    _cleanup_(mnt_free_iterp) struct libmnt_iter *iter = mnt_new_iter(MNT_ITER_FORWARD);
    _cleanup_(mnt_unref_tablep) struct libmnt_table *table = mnt_new_table();
    _cleanup_fclose_ FILE *file = NULL;
    struct libmnt_fs *fs;
    int r = 0;

    if (size == 0)
        return 0;
    file = fmemopen((char *)text, size, "r");
    if (!iter || !table || !file)
        return -ENOMEM;
    if (mnt_table_set_parser_errcb(table, skip_line) < 0)
        return -ENOMEM;
    if (mnt_table_parse_stream(table, file, "fstab") != 0)
        return -EBADMSG;
    while (r >= 0 && f->n_entries < FSTAB_ENTRIES_MAX && mnt_table_next_fs(table, iter, &fs) == 0) {
        const char *what = mnt_fs_get_source(fs), *where = mnt_fs_get_target(fs),
                   *type = mnt_fs_get_fstype(fs), *options = mnt_fs_get_options(fs);

        /* Too long for a path of anybody: cut off it would be another one, or name another subvolume. */
        if (too_long(what) || too_long(where) || too_long(options))
            continue;
        if (!left_out(what, where, type ? type : "", options))
            r = entry_add(f, what, where, type, options);
    }
    return r;
}

int crypttab_parse(const char *text, Fstab *f)
{
    while (*text && f->n_crypts < FSTAB_ENTRIES_MAX) {
        size_t line = strcspn(text, "\n");
        char name[FIELD_MAX + 1], what[FIELD_MAX + 1];
        _cleanup_free_ char *copy = strndup(text, line);
        CrypttabEntry *more;

        if (!copy)
            return -ENOMEM;
        text += line + (text[line] == '\n');
        if (sscanf(copy, " %255s %255s", name, what) != 2 || *name == '#')
            continue;
        more = realloc(f->crypts, (f->n_crypts + 1) * sizeof(*more));
        if (!more)
            return -ENOMEM;
        f->crypts = more;
        more[f->n_crypts] = (CrypttabEntry){.name = clean(name), .what = clean(what)};
        if (!more[f->n_crypts].name || !more[f->n_crypts++].what)
            return -ENOMEM;
    }
    return 0;
}

static int row_add(json_object *list, const char *const *values, size_t n)
{
    _cleanup_json_ json_object *row = json_object_new_array();
    size_t i;

    for (i = 0; row && i < n; i++)
        if (json_append(row, json_object_new_string(values[i])) < 0)
            return -ENOMEM;
    return json_append(list, TAKE_PTR(row));
}

int fstab_to_json(const Fstab *f, json_object **ret)
{
    _cleanup_json_ json_object *o = json_object_new_object(), *entries = json_object_new_array(),
                               *crypts = json_object_new_array();
    size_t i;
    int r = o && entries && crypts ? 0 : -ENOMEM;

    for (i = 0; r >= 0 && i < f->n_entries; i++) {
        const FstabEntry *e = &f->entries[i];

        r = row_add(entries, (const char *const[]){e->what, e->where, e->type, e->options}, 4);
    }
    for (i = 0; r >= 0 && i < f->n_crypts; i++)
        r = row_add(crypts, (const char *const[]){f->crypts[i].name, f->crypts[i].what}, 2);
    if (r >= 0)
        r = json_add(o, "fstab", TAKE_PTR(entries));
    if (r >= 0)
        r = json_add(o, "crypttab", TAKE_PTR(crypts));
    if (r >= 0)
        *ret = TAKE_PTR(o);
    return r;
}

static const char *row_get(json_object *row, size_t i)
{
    json_object *s = json_object_is_type(row, json_type_array) ? json_object_array_get_idx(row, i) : NULL;

    return json_object_is_type(s, json_type_string) ? json_object_get_string(s) : NULL;
}

int fstab_from_json(json_object *o, Fstab *ret)
{
    _cleanup_(fstab_done) Fstab f = {};
    json_object *entries, *crypts;
    size_t i, n;

    if (json_get_array(o, "fstab", &entries) <= 0 || json_get_array(o, "crypttab", &crypts) <= 0 ||
        json_object_array_length(entries) > FSTAB_ENTRIES_MAX ||
        (n = json_object_array_length(crypts)) > FSTAB_ENTRIES_MAX)
        return -EBADMSG;
    for (i = 0; i < json_object_array_length(entries); i++) {
        json_object *row = json_object_array_get_idx(entries, i);
        const char *what = row_get(row, 0), *where = row_get(row, 1), *type = row_get(row, 2),
                   *options = row_get(row, 3);

        if (!what || !where || *where != '/' || !type || !options)
            return -EBADMSG;
        if (entry_add(&f, what, where, type, options) < 0)
            return -ENOMEM;
    }
    f.crypts = calloc(n + 1, sizeof(*f.crypts));
    if (!f.crypts)
        return -ENOMEM;
    for (i = 0; i < n; i++) {
        json_object *row = json_object_array_get_idx(crypts, i);
        const char *name = row_get(row, 0), *what = row_get(row, 1);

        if (!name || !what)
            return -EBADMSG;
        f.crypts[i] = (CrypttabEntry){.name = strdup(name), .what = strdup(what)};
        f.n_crypts++;
        if (!f.crypts[i].name || !f.crypts[i].what)
            return -ENOMEM;
    }
    *ret = f;
    f = (Fstab){};
    return 0;
}

typedef struct ReadCall {
    const char *directory, *below;
} ReadCall;

/* A regular file below the root, whatever links lead to it. The caller's. */
static int read_regular(int root, const char *path, char **ret, size_t *ret_size)
{
    _cleanup_close_ int fd = open_in_root(root, path, O_RDONLY | O_NONBLOCK | O_NOCTTY);
    char link[64];
    struct stat st;

    if (fd < 0)
        return fd;
    if (fstat(fd, &st) < 0)
        return -errno;
    if (!S_ISREG(st.st_mode))
        return -ENOENT;
    snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
    return file_read(AT_FDCWD, link, FSTAB_SIZE_MAX, ret, ret_size);
}

static int read_child(void *userdata, int out)
{
    const ReadCall *c = userdata;
    _cleanup_close_ int top = open(c->directory, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC),
                        root = -EBADF;
    _cleanup_free_ char *fstab = NULL, *crypttab = NULL;
    _cleanup_json_ json_object *o = NULL;
    _cleanup_(fstab_done) Fstab f = {};
    size_t size;
    int r;

    if (top < 0)
        return -errno;
    root = open_in_root(top, c->below, O_PATH | O_DIRECTORY);
    if (root < 0)
        return root;
    r = read_regular(root, "etc/fstab", &fstab, &size);
    if (r >= 0)
        r = fstab_parse(fstab, size, &f);
    if (r >= 0 && read_regular(root, "etc/crypttab", &crypttab, &size) >= 0)
        r = crypttab_parse(crypttab, &f);
    if (r >= 0)
        r = fstab_to_json(&f, &o);
    return r < 0 ? r : dprintf(out, "%s", json_text(o)) < 0 ? -EIO : 0;
}

int fstab_read(const char *directory, const char *below, uint64_t timeout_usec, Fstab *ret)
{
    ReadCall call = {.directory = directory, .below = isempty(below) ? "." : below};
    _cleanup_free_ char *text = NULL;
    _cleanup_json_ json_object *o = NULL;
    int r = child_call(read_child, &call, timeout_usec, &text);

    if (r == -ENOTDIR || r == -ELOOP)
        return -ENOENT;
    if (r >= 0)
        r = json_parse(text, strlen(text), &o);
    return r < 0 ? r : fstab_from_json(o, ret);
}
