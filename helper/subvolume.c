/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "subvolume.h"

#include "child.h"
#include "little-endian.h"
#include "strv.h"
#include "volume.h"

#include <fcntl.h>
#include <linux/btrfs.h>
#include <linux/btrfs_tree.h>
#include <sys/ioctl.h>

/* More than any list needs, and an end for one that is damaged. */
#define SEARCHES_MAX 4096
#define KNOWN_MAX 4096
#define DEPTH_MAX 32
#define PATH_LENGTH_MAX 255
/* What a child may answer. */
#define ANSWER_MAX (60 * KIB)

typedef struct Subvolume {
    uint64_t id, parent, directory;
    char name[256];
} Subvolume;

typedef struct List {
    Subvolume *items; /* by id: the tree is sorted */
    size_t n;
    uint64_t default_id;
} List;

/* sequence and the like of struct btrfs_root_ref: directory (8), sequence (8), length of the name (2) */
static int add_reference(List *l, const struct btrfs_ioctl_search_header *h, const uint8_t *data)
{
    size_t length;
    Subvolume *s;

    if (h->len < 18 || l->n == KNOWN_MAX)
        return 0;
    length = get16(data + 16);
    if (length == 0 || length >= sizeof(s->name) || length + 18 > h->len)
        return 0;
    s = &l->items[l->n++];
    *s = (Subvolume){.id = h->objectid, .parent = h->offset, .directory = get64(data)};
    memcpy(s->name, data + 18, length);
    return 0;
}

/* struct btrfs_dir_item: key (17, its first 8 are the id), transaction (8), lengths (2 and 2), type (1), name
 */
static int read_default(List *l, const struct btrfs_ioctl_search_header *h, const uint8_t *data)
{
    if (h->len >= 30 + 7 && get16(data + 27) == 7 && memcmp(data + 30, "default", 7) == 0)
        l->default_id = get64(data);
    return 0;
}

static int search(int fd, List *l, uint32_t type, uint64_t first, uint64_t last,
                  int (*found)(List *l, const struct btrfs_ioctl_search_header *h, const uint8_t *data))
{
    _cleanup_free_ struct btrfs_ioctl_search_args *args = malloc(sizeof(*args));
    struct btrfs_ioctl_search_key *key;
    unsigned turn;
    int r;

    if (!args)
        return -ENOMEM;
    key = &args->key;
    *key = (struct btrfs_ioctl_search_key){.tree_id = BTRFS_ROOT_TREE_OBJECTID,
                                           .min_objectid = first,
                                           .max_objectid = last,
                                           .min_type = type,
                                           .max_type = type,
                                           .max_offset = UINT64_MAX,
                                           .max_transid = UINT64_MAX};
    for (turn = 0; turn < SEARCHES_MAX; turn++) {
        size_t at = 0, i;

        key->nr_items = 4096;
        if (ioctl(fd, BTRFS_IOC_TREE_SEARCH, args) < 0)
            return -errno;
        if (key->nr_items == 0)
            return 0;
        for (i = 0; i < key->nr_items; i++) {
            struct btrfs_ioctl_search_header h;

            if (at + sizeof(h) > sizeof(args->buf))
                return -EBADMSG;
            memcpy(&h, args->buf + at, sizeof(h));
            at += sizeof(h);
            if (h.len > sizeof(args->buf) - at)
                return -EBADMSG;
            /* What lies between the keys asked for comes, too. */
            if (h.type == type && (r = found(l, &h, (const uint8_t *)args->buf + at)) < 0)
                return r;
            at += h.len;
            key->min_objectid = h.objectid;
            key->min_type = h.type;
            key->min_offset = h.offset;
        }
        if (key->min_offset++ == UINT64_MAX && key->min_type++ == UINT8_MAX && key->min_objectid++ == last)
            return 0;
    }
    return 0;
}

static const Subvolume *find(const List *l, uint64_t id)
{
    size_t i;

    for (i = 0; i < l->n; i++)
        if (l->items[i].id == id)
            return &l->items[i];
    return NULL;
}

/* The path from the top; the caller's. NULL: it has none, or too long a one, or no memory. */
static char *path_of(int fd, const List *l, uint64_t id, unsigned depth)
{
    const Subvolume *s = find(l, id);
    struct btrfs_ioctl_ino_lookup_args lookup = {};
    _cleanup_free_ char *above = NULL;
    char *path;

    if (!s || depth == DEPTH_MAX)
        return NULL;
    if (s->parent != SUBVOLUME_TOP && !(above = path_of(fd, l, s->parent, depth + 1)))
        return NULL;
    lookup.treeid = s->parent;
    lookup.objectid = s->directory;
    if (ioctl(fd, BTRFS_IOC_INO_LOOKUP, &lookup) < 0)
        return NULL;
    lookup.name[sizeof(lookup.name) - 1] = '\0';
    if (asprintf(&path, "%s%s%s%s", above ? above : "", above ? "/" : "", lookup.name, s->name) < 0)
        return NULL;
    if (strlen(path) <= PATH_LENGTH_MAX)
        return path;
    free(path);
    return NULL;
}

static int add(json_object *array, int fd, const List *l, uint64_t id, size_t *size)
{
    _cleanup_json_ json_object *o = json_object_new_object();
    _cleanup_free_ char *path = path_of(fd, l, id, 0), *clean = NULL;

    if (!path)
        return 0;
    clean = text_clean(path, PATH_LENGTH_MAX);
    if (!o || !clean || json_add_int64(o, "id", (int64_t)id) < 0 || json_add_string(o, "path", clean) < 0 ||
        json_add_bool(o, "default", id == l->default_id) < 0)
        return -ENOMEM;
    *size += strlen(json_text(o)) + 1;
    if (*size > ANSWER_MAX)
        return 0;
    return json_append(array, TAKE_PTR(o));
}

static int list_child(void *userdata, int out)
{
    _cleanup_close_ int fd = open(userdata, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    _cleanup_json_ json_object *array = json_object_new_array();
    _cleanup_free_ Subvolume *items = calloc(KNOWN_MAX, sizeof(*items));
    List l = {.items = items, .default_id = SUBVOLUME_TOP};
    size_t i, size = 0;
    int r;

    if (fd < 0)
        return -errno;
    if (!array || !items)
        return -ENOMEM;
    r = search(fd, &l, BTRFS_DIR_ITEM_KEY, BTRFS_ROOT_TREE_DIR_OBJECTID, BTRFS_ROOT_TREE_DIR_OBJECTID,
               read_default);
    if (r >= 0)
        r = search(fd, &l, BTRFS_ROOT_BACKREF_KEY, BTRFS_FIRST_FREE_OBJECTID, BTRFS_LAST_FREE_OBJECTID,
                   add_reference);
    /* The default one first, so that the limit does not take it away. */
    if (r >= 0 && l.default_id != SUBVOLUME_TOP)
        r = add(array, fd, &l, l.default_id, &size);
    for (i = 0; r >= 0 && i < l.n && json_object_array_length(array) < SUBVOLUMES_MAX; i++)
        if (l.items[i].id != l.default_id)
            r = add(array, fd, &l, l.items[i].id, &size);
    return r < 0 ? r : dprintf(out, "%s", json_text(array)) < 0 ? -EIO : 0;
}

static int by_id(const void *a, const void *b)
{
    int64_t x = 0, y = 0;

    (void)json_get_int64(*(json_object *const *)a, "id", &x);
    (void)json_get_int64(*(json_object *const *)b, "id", &y);
    return x < y ? -1 : x > y;
}

int subvolumes_list(const char *directory, uint64_t timeout_usec, json_object **ret)
{
    _cleanup_free_ char *text = NULL;
    _cleanup_json_ json_object *array = NULL;
    int r = child_call(list_child, (void *)directory, timeout_usec, &text);

    if (r >= 0)
        r = json_parse(text, strlen(text), &array);
    if (r < 0)
        return r;
    if (!json_object_is_type(array, json_type_array))
        return -EBADMSG;
    json_object_array_sort(array, by_id);
    *ret = TAKE_PTR(array);
    return 0;
}

const char *subvolume_path(json_object *list, uint64_t id)
{
    const char *path = NULL;
    size_t i;

    for (i = 0; list && i < json_object_array_length(list); i++) {
        json_object *o = json_object_array_get_idx(list, i);
        int64_t n;

        if (json_get_int64(o, "id", &n) > 0 && (uint64_t)n == id && json_get_string(o, "path", &path) > 0)
            return path;
    }
    return NULL;
}

const char *subvolume_default(json_object *list)
{
    const char *path = NULL;
    size_t i;

    for (i = 0; list && i < json_object_array_length(list); i++) {
        json_object *o = json_object_array_get_idx(list, i);
        bool is = false;

        if (json_get_bool(o, "default", &is) > 0 && is && json_get_string(o, "path", &path) > 0)
            return path;
    }
    return NULL;
}
