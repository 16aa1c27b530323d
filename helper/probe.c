/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "probe.h"

#include "child.h"

#include <blkid/blkid.h>
#include <sys/resource.h>

#define LABEL_MAX 256
/* libblkid takes a table at its word when it allocates. */
#define CHILD_MEMORY_MAX (512 * MIB)
#define EMPTY_CHECK_BYTES (1 * MIB)
#define PROBE_FLAGS (BLKID_SUBLKS_LABEL | BLKID_SUBLKS_UUID | BLKID_SUBLKS_TYPE | BLKID_SUBLKS_USAGE)

static const char *const mountable[] = {"ext2", "ext3",  "ext4", "xfs",     "btrfs", "f2fs",
                                        "vfat", "exfat", "ntfs", "iso9660", "udf"};

bool type_mountable(const char *type)
{
    size_t i;

    for (i = 0; i < ELEMENTSOF(mountable); i++)
        if (streq(type, mountable[i]))
            return true;
    return false;
}

static void probe_freep(blkid_probe *p)
{
    if (*p)
        blkid_free_probe(*p);
}

static void child_limit(void)
{
#if !defined(__SANITIZE_ADDRESS__)
    struct rlimit limit = {.rlim_cur = CHILD_MEMORY_MAX, .rlim_max = CHILD_MEMORY_MAX};

    (void)setrlimit(RLIMIT_AS, &limit);
#endif
}

static int answer(int fd, json_object *o)
{
    const char *text = json_text(o);

    return text && dprintf(fd, "%s", text) >= 0 ? 0 : -EIO;
}

static int table_child(void *userdata, int fd)
{
    _cleanup_(partition_table_done) PartitionTable t = {};
    _cleanup_json_ json_object *o = NULL;
    int r;

    child_limit();
    r = partition_table_read(*(int *)userdata, &t);
    if (r < 0)
        return r;
    r = partition_table_to_json(&t, &o);
    return r < 0 ? r : answer(fd, o);
}

int device_read_table(int fd, uint64_t timeout_usec, PartitionTable *ret)
{
    _cleanup_free_ char *text = NULL;
    _cleanup_json_ json_object *o = NULL;
    int r;

    r = child_call(table_child, &fd, timeout_usec, &text);
    if (r < 0)
        return r;
    r = json_parse(text, strlen(text), &o);
    return r < 0 ? r : partition_table_from_json(o, ret);
}

/* True if the first piece holds nothing but zeros: never used, as far as anybody can tell. */
static bool starts_empty(int fd, uint64_t start, uint64_t size)
{
    _cleanup_free_ char *buf = malloc(EMPTY_CHECK_BYTES);
    ssize_t n = buf ? pread(fd, buf, MIN(size, EMPTY_CHECK_BYTES), (off_t)start) : -1;

    return n > 0 && buf[0] == 0 && memcmp(buf, buf + 1, (size_t)n - 1) == 0;
}

/* struct f2fs_super_block (linux/f2fs_fs.h): 1024 bytes into each of the first two blocks, whose size is that
 * of the kernel's pages. */
#define F2FS_SUPER_OFFSET 1024
#define F2FS_MAGIC_LE "\x10\x20\xf5\xf2"
#define F2FS_DEVICES_OFFSET 2201 /* devs[0].path */

/* A f2fs over several devices has their paths in its superblock, and the kernel opens what these are here:
 * disks of this host. 1: it is one. */
static int f2fs_names_devices(int fd, uint64_t start)
{
    static const uint64_t blocks[] = {0, 4 * KIB, 16 * KIB, 64 * KIB};
    size_t i;

    for (i = 0; i < ELEMENTSOF(blocks); i++) {
        off_t at = (off_t)(start + blocks[i] + F2FS_SUPER_OFFSET);
        char magic[4] = {0}, path = 0;

        if (pread(fd, magic, sizeof(magic), at) < 0 || pread(fd, &path, 1, at + F2FS_DEVICES_OFFSET) < 0)
            return -errno;
        if (memcmp(magic, F2FS_MAGIC_LE, sizeof(magic)) == 0 && path)
            return 1;
    }
    return 0;
}

static int add_f2fs(json_object *o, int fd, uint64_t start)
{
    const char *type = NULL;
    int r;

    if (json_get_string(o, "type", &type) <= 0 || !streq(type, "f2fs"))
        return 0;
    r = f2fs_names_devices(fd, start);
    return r > 0 ? json_add_bool(o, "namesDevices", true) : r;
}

static int add_value(json_object *o, blkid_probe pr, const char *name, const char *key)
{
    _cleanup_free_ char *clean = NULL;
    const char *value;

    if (blkid_probe_lookup_value(pr, name, &value, NULL) < 0 || isempty(value))
        return 0;
    clean = text_clean(value, LABEL_MAX);
    return clean ? json_add_string(o, key, clean) : -ENOMEM;
}

/* Names all signatures of an ambivalent volume. */
static int add_ambiguous(json_object *o, blkid_probe pr)
{
    _cleanup_strv_free_ char **found = NULL;
    _cleanup_free_ char *all = NULL;
    const char *type;
    int i, r;

    blkid_reset_probe(pr);
    for (i = 0; i < 16 && blkid_do_probe(pr) == 0; i++)
        if (blkid_probe_lookup_value(pr, "TYPE", &type, NULL) >= 0 && !strv_contains(found, type)) {
            r = strv_extend(&found, type);
            if (r < 0)
                return r;
        }
    all = found ? strv_join(found, ", ") : strdup("?");
    return all ? json_add_string(o, "ambiguous", all) : -ENOMEM;
}

int content_probe(int fd, uint64_t start_bytes, uint64_t size_bytes, json_object **ret)
{
    _cleanup_(probe_freep) blkid_probe pr = blkid_new_probe();
    _cleanup_json_ json_object *o = json_object_new_object();
    int r;

    if (!pr || !o)
        return -ENOMEM;
    errno = 0;
    if (blkid_probe_set_device(pr, fd, (blkid_loff_t)start_bytes, (blkid_loff_t)size_bytes) < 0)
        return errno > 0 ? -errno : -EIO;
    blkid_probe_enable_superblocks(pr, 1);
    blkid_probe_set_superblocks_flags(pr, PROBE_FLAGS);
    errno = 0;
    r = blkid_do_safeprobe(pr);
    if (r == 1) { /* nothing that is whole: something that was? */
        blkid_reset_probe(pr);
        blkid_probe_set_superblocks_flags(pr, PROBE_FLAGS | BLKID_SUBLKS_BADCSUM);
        errno = 0;
        r = blkid_do_safeprobe(pr);
        if (r == 0 && json_add_bool(o, "damaged", true) < 0)
            return -ENOMEM;
    }
    if (r == -1)
        return errno > 0 ? -errno : -EIO;
    if (r == -2)
        r = add_ambiguous(o, pr);
    else if (r == 1)
        r = json_add_bool(o, "empty", starts_empty(fd, start_bytes, size_bytes));
    else if ((r = add_value(o, pr, "TYPE", "type")) >= 0 && (r = add_value(o, pr, "USAGE", "usage")) >= 0 &&
             (r = add_value(o, pr, "LABEL", "label")) >= 0)
        r = add_value(o, pr, "UUID", "uuid");
    if (r >= 0)
        r = add_f2fs(o, fd, start_bytes);
    if (r < 0)
        return r;
    *ret = TAKE_PTR(o);
    return 0;
}

typedef struct ContentCall {
    int fd;
    uint64_t start_bytes, size_bytes;
} ContentCall;

static int content_child(void *userdata, int fd)
{
    const ContentCall *c = userdata;
    _cleanup_json_ json_object *o = NULL;
    int r;

    child_limit();
    r = content_probe(c->fd, c->start_bytes, c->size_bytes, &o);
    return r < 0 ? r : answer(fd, o);
}

/* Why content of this type is not mounted, or NULL. */
static char *type_reason(const char *type, const char *usage)
{
    static const struct {
        const char *type, *reason;
    } known[] = {
        {"swap", "swap space: holds no files"},
        {"swsuspend", "swap space with a suspended system: holds no files"},
        {"LVM2_member", "physical volume of LVM that was not put together"},
        {"LVM1_member", "physical volume of LVM's first format, which is not supported any more"},
        {"linux_raid_member", "member of a Linux RAID that was not put together"},
        {"crypto_LUKS", "encrypted with LUKS: not unlocked"},
        {"BitLocker", "encrypted with BitLocker: not unlocked"},
    };
    char *s;
    size_t i;

    for (i = 0; i < ELEMENTSOF(known); i++)
        if (streq(type, known[i].type))
            return strdup(known[i].reason);
    return asprintf(&s,
                    "%s %s is not mounted: only ext2, ext3, ext4, XFS, btrfs, f2fs, vfat, exfat, "
                    "NTFS, ISO 9660 and UDF are",
                    streq_ptr(usage, "filesystem") ? "file system" : "content of type", type) < 0
               ? NULL
               : s;
}

static int copy(char **field, const char *s)
{
    char *c;

    if (str_copy(s, &c) < 0)
        return -ENOMEM;
    return free_and_replace(field, c);
}

static int understand(Volume *v, json_object *o)
{
    const char *type = NULL, *usage = NULL, *label = NULL, *uuid = NULL, *ambiguous = NULL, *why;
    bool empty = false, damaged = false, names_devices = false, part;
    int r;

    if (json_get_string(o, "type", &type) < 0 || json_get_string(o, "usage", &usage) < 0 ||
        json_get_string(o, "label", &label) < 0 || json_get_string(o, "uuid", &uuid) < 0 ||
        json_get_string(o, "ambiguous", &ambiguous) < 0 || json_get_bool(o, "empty", &empty) < 0 ||
        json_get_bool(o, "damaged", &damaged) < 0 || json_get_bool(o, "namesDevices", &names_devices) < 0)
        return -EBADMSG;
    if ((r = copy(&v->type, type)) < 0 || (r = copy(&v->label, label)) < 0 || (r = copy(&v->uuid, uuid)) < 0)
        return r;
    why = partition_type_reason(v->partition_type, &part);
    if (type && type_mountable(type) && !damaged && !part && !names_devices)
        return 0;
    if (names_devices)
        r = (v->reason = strdup("f2fs over several devices, which it names by paths: these would be this "
                                "host's, so it is not mounted"))
                ? 0
                : -1;
    else if (part)
        r = (v->reason = strdup(why)) ? 0 : -1;
    else if (ambiguous)
        r = asprintf(&v->reason, "several signatures at once (%s): what it is cannot be told", ambiguous);
    else if (damaged && type)
        r = asprintf(&v->reason, "%s with a damaged superblock: its checksum does not fit", type);
    else if (why && !type)
        r = (v->reason = strdup(why)) ? 0 : -1;
    else if (type)
        r = (v->reason = type_reason(type, usage)) ? 0 : -1;
    else
        r = (v->reason = strdup(empty ? "empty" : "unknown content: no file system was found")) ? 0 : -1;
    return r < 0 ? -ENOMEM : 0;
}

int volume_probe(int fd, Volume *v, uint64_t timeout_usec)
{
    ContentCall call = {.fd = fd, .start_bytes = v->start_bytes, .size_bytes = v->size_bytes};
    _cleanup_free_ char *text = NULL;
    _cleanup_json_ json_object *o = NULL;
    bool hangs;
    int r;

    v->reason = (free(v->reason), NULL);
    r = child_call(content_child, &call, timeout_usec, &text);
    hangs = r == -ETIMEDOUT;
    if (r == -ENOMEM)
        return r;
    if (r < 0) {
        r = asprintf(&v->reason,
                     r == -ETIMEDOUT ? "reading it took longer than MountTimeoutSec" : "cannot be read: %s",
                     strerror(-r));
        return r < 0 ? -ENOMEM : hangs;
    }
    r = json_parse(text, strlen(text), &o);
    return r < 0 ? r : understand(v, o);
}
