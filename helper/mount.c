/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "mount.h"

#include "child.h"
#include "ext-journal.h"
#include "mount-cleanup.h"
#include "overlay.h"
#include "paths.h"
#include "tool.h"

#include <fcntl.h>
#include <sys/mount.h>
#include <sys/sysmacros.h>

#define KERNEL_LINES_MAX 3
#define REASON_MAX 1024

static const struct {
    const char *type, *options, *no_replay;
} types[] = {
    /* The superblock may say that the kernel shall panic over an error. Not remount-ro: an error in the list
     * of files to be removed, which the kernel works off although it mounts read-only, would end the mount.
     */
    {"ext2", "errors=continue", NULL},
    {"ext3", "errors=continue", "noload"},
    {"ext4", "errors=continue", "noload"},
    /* The kernel remembers the UUID of an XFS mounted without nouuid and refuses the next one. */
    {"xfs", "nouuid", "norecovery"},
    /* Always from the top: another default subvolume would hide the others. */
    {"btrfs", "subvolid=5", "rescue=nologreplay"},
    {"f2fs", NULL, "norecovery"},
    /* These have neither owners nor modes, or those of another system: directory and group of the session
     * decide who gets here. */
    {"vfat", "uid=0,gid=0,umask=0022,utf8", NULL},
    {"exfat", "uid=0,gid=0,umask=0022", NULL},
    {"ntfs", "uid=0,gid=0,umask=0022", NULL},
    {"iso9660", "uid=0,gid=0,mode=0444,dmode=0555", NULL},
    {"udf", "uid=0,gid=0,mode=0444,dmode=0555", NULL},
};

char *mount_options(const Volume *v, bool replay)
{
    _cleanup_strv_free_ char **words = NULL;
    char **partner;
    size_t i;
    int r = strv_extend(&words, "ro,nosuid,nodev,noexec");

    for (i = 0; r >= 0 && i < ELEMENTSOF(types); i++) {
        if (!streq(v->type, types[i].type))
            continue;
        if (types[i].options)
            r = strv_extend(&words, types[i].options);
        if (r >= 0 && !replay && types[i].no_replay)
            r = strv_extend(&words, types[i].no_replay);
    }
    if (r >= 0 && v->degraded && streq(v->type, "btrfs"))
        r = strv_extend(&words, "degraded");
    for (partner = v->partners; r >= 0 && partner && *partner; partner++)
        r = strv_extendf(&words, "device=/dev/mapper/%s", *partner);
    return r < 0 ? NULL : strv_join(words, ",");
}

/* "<7>,seq,usec,-;text": the text of a record of /dev/kmsg, ended at its first line. */
static char *kmsg_text(char *record)
{
    char *text = strchr(record, ';');

    if (!text)
        return NULL;
    text++;
    text[strcspn(text, "\n")] = '\0';
    return text;
}

static bool names_device(const char *line, const char *name)
{
    const char *p = line;
    size_t n = strlen(name);

    while ((p = strstr(p, name))) {
        if (!(p[n] >= '0' && p[n] <= '9'))
            return true;
        p += n;
    }
    return false;
}

bool kernel_line_replayed(const char *line, const char *name)
{
    static const char *const says[] = {
        "recovery complete",     /* ext3, ext4 */
        "Starting recovery",     /* XFS */
        "start tree-log replay", /* btrfs */
    };
    size_t i;

    if (!names_device(line, name))
        return false;
    for (i = 0; i < ELEMENTSOF(says); i++)
        if (strstr(line, says[i]))
            return true;
    return false;
}

/* What the kernel said about the device since kmsg was opened: the first lines go into what, which is freed
 * by the caller. Returns whether a journal was replayed. */
static bool kernel_said(int kmsg, const char *name, char **what)
{
    char record[2048];
    bool replayed = false;
    int lines = 0;

    while (kmsg >= 0) {
        ssize_t n = read(kmsg, record, sizeof(record) - 1);
        char *text;

        if (n < 0 && errno == EPIPE) /* overwritten before we came */
            continue;
        if (n <= 0)
            break;
        record[n] = '\0';
        text = kmsg_text(record);
        if (!text || !names_device(text, name))
            continue;
        replayed = replayed || kernel_line_replayed(text, name);
        if (lines++ < KERNEL_LINES_MAX) {
            _cleanup_free_ char *clean = text_clean(text, 200);
            char *all;

            if (clean && asprintf(&all, "%s%s%s", *what ? *what : "", *what ? "; " : "", clean) >= 0)
                free_and_replace(what, all);
        }
    }
    return replayed;
}

typedef struct MountCall {
    const char *node, *type, *directory, *options;
    dev_t device;
} MountCall;

/* What the child says first. */
#define SAYS_REPLAYED 1
#define SAYS_JOURNAL_ELSEWHERE 2

static int journal_elsewhere(const MountCall *c)
{
    _cleanup_close_ int fd = -EBADF;

    if (!streq(c->type, "ext3") && !streq(c->type, "ext4"))
        return 0;
    fd = device_open(c->device, O_RDONLY);
    return fd < 0 ? fd : ext_journal_elsewhere(fd);
}

static int elsewhere_child(void *userdata, int fd)
{
    int r = journal_elsewhere(userdata);

    return r < 0 ? r : r && dprintf(fd, "1") < 0 ? -errno : 0;
}

bool volume_journal_elsewhere(const Volume *v, uint64_t timeout_usec)
{
    MountCall call = {.type = v->type, .device = v->device};
    _cleanup_free_ char *text = NULL;

    return child_call(elsewhere_child, &call, timeout_usec, &text) >= 0 && !isempty(text);
}

static int mount_child(void *userdata, int fd)
{
    const MountCall *c = userdata;
    _cleanup_(mnt_free_contextp) struct libmnt_context *context = mnt_new_context();
    _cleanup_close_ int kmsg = open("/dev/kmsg", O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    _cleanup_free_ char *said = NULL;
    int r, elsewhere = journal_elsewhere(c);
    char name[16];
    bool replayed;

    if (!context)
        return -ENOMEM;
    if (elsewhere < 0)
        return elsewhere;
    if (kmsg >= 0)
        (void)lseek(kmsg, 0, SEEK_END);
    if (mnt_context_set_source(context, c->node) < 0 || mnt_context_set_target(context, c->directory) < 0 ||
        mnt_context_set_fstype(context, c->type) < 0 || mnt_context_set_options(context, c->options) < 0 ||
        (elsewhere && mnt_context_append_options(context, "noload") < 0) ||
        mnt_context_set_optsmode(context, MNT_OMODE_NOTAB) < 0 ||
        mnt_context_disable_helpers(context, true) < 0 || mnt_context_disable_mtab(context, true) < 0)
        return -ENOMEM;
    r = mnt_context_mount(context);
    if (r != 0 && mnt_context_syscall_called(context) && mnt_context_get_syscall_errno(context) > 0)
        r = -mnt_context_get_syscall_errno(context);
    else if (r > 0)
        r = -EIO;
    snprintf(name, sizeof(name), "dm-%u", minor(c->device));
    replayed = kernel_said(kmsg, name, &said);
    dprintf(fd, "%d%s", (replayed ? SAYS_REPLAYED : 0) | (elsewhere ? SAYS_JOURNAL_ELSEWHERE : 0),
            said ? said : "");
    return r;
}

static int reason_make(char **ret, int error, const char *type, const char *said)
{
    const char *why = error == -ENODEV      ? "this kernel has no driver for it"
                      : error == -ETIMEDOUT ? "mounting took longer than MountTimeoutSec"
                      : error == -EUCLEAN   ? "its structure needs cleaning"
                      : error == -EBADMSG   ? "a checksum does not fit, it is damaged"
                      : error == -EINVAL    ? "the kernel does not take it for a valid file system"
                      : error == -EIO
                          ? "it cannot be read to the end: it is damaged, its disk does not answer, or "
                            "its journal does not fit into OverlaySizeBytes"
                      : error == -ENOSPC     ? "no room for its journal: see OverlaySizeBytes"
                      : error == -EOPNOTSUPP ? "it uses a feature that this kernel does not know"
                                             : strerror(-error);
    int r = asprintf(ret, "the kernel refused to mount this %s: %s (errno %d)%s%.*s", type, why, -error,
                     isempty(said) ? "" : ": ", REASON_MAX, said);

    return r < 0 ? -ENOMEM : 0;
}

/* NTFS is read by a program of its own, in which hostile bytes meet no kernel. */
static int mount_ntfs(const char *node, const char *directory, const char *options, uint64_t timeout_usec,
                      char **ret_reason)
{
    char *const argv[] = {(char *)"ntfs-3g", (char *)"-o",      (char *)options,
                          (char *)node,      (char *)directory, NULL};
    const ChildOptions how = {.timeout_usec = timeout_usec};
    _cleanup_child_ ChildResult result = {};
    _cleanup_free_ char *words = NULL;
    int r;

    if (!tool_exists(argv[0]))
        return (*ret_reason =
                    strdup("NTFS needs the program ntfs-3g, which is not installed (package ntfs-3g)"))
                   ? 0
                   : -ENOMEM;
    r = child_run(argv, &how, &result);
    if (r < 0 || result.status == 0)
        return r;
    words = tool_last_words(&result);
    return words && asprintf(ret_reason, "ntfs-3g refused to mount it: %s", words) >= 0 ? 0 : -ENOMEM;
}

int volume_mount(const Volume *v, const char *directory, bool replay, uint64_t timeout_usec,
                 char **ret_reason, bool *ret_replayed, bool *ret_journal_elsewhere)
{
    _cleanup_free_ char *text = NULL, *node = NULL, *options = mount_options(v, replay);
    MountCall call = {.type = v->type, .directory = directory, .device = v->device};
    int r;

    *ret_reason = NULL;
    *ret_replayed = *ret_journal_elsewhere = false;
    if (!options || asprintf(&node, "/dev/mapper/%s", v->node) < 0)
        return (node = NULL), -ENOMEM;
    if (streq(v->type, "ntfs"))
        return mount_ntfs(node, directory, options, timeout_usec, ret_reason);
    call.node = node;
    call.options = options;
    r = child_call(mount_child, &call, timeout_usec, &text);
    if (r == -ENOMEM && isempty(text))
        return r;
    if (r < 0)
        return reason_make(ret_reason, r, v->type, isempty(text) ? "" : text + 1);
    *ret_replayed = (text[0] - '0') & SAYS_REPLAYED;
    *ret_journal_elsewhere = (text[0] - '0') & SAYS_JOURNAL_ELSEWHERE;
    return 0;
}

static int forbid_child(void *userdata, int fd)
{
    struct mount_attr attributes = {.attr_set = MOUNT_ATTR_NOSYMFOLLOW};

    return mount_setattr(AT_FDCWD, userdata, AT_SYMLINK_NOFOLLOW, &attributes, sizeof(attributes)) < 0
               ? -errno
               : 0;
}

int mount_forbid_links(const char *directory, uint64_t timeout_usec)
{
    return child_call(forbid_child, (void *)directory, timeout_usec, NULL);
}

void mounts_free(MountPoint *mounts, size_t n)
{
    size_t i;

    for (i = 0; i < n; i++)
        free(mounts[i].path);
    free(mounts);
}

int mounts_below(const char *directory, MountPoint **ret, size_t *ret_n)
{
    _cleanup_(mnt_free_iterp) struct libmnt_iter *iter = mnt_new_iter(MNT_ITER_FORWARD);
    _cleanup_(mnt_unref_tablep) struct libmnt_table *table = NULL;
    _cleanup_free_ char *path = NULL;
    MountPoint *mounts = NULL;
    struct libmnt_fs *fs;
    size_t n = 0;

    if (asprintf(&path, "%s/self/mountinfo", paths.proc) < 0)
        return (path = NULL), -ENOMEM;
    table = mnt_new_table_from_file(path);
    if (!iter || !table)
        return errno == ENOMEM ? -ENOMEM : -EIO;
    while (mnt_table_next_fs(table, iter, &fs) == 0) {
        const char *target = mnt_fs_get_target(fs), *rest = target ? startswith(target, directory) : NULL;
        MountPoint *more;

        if (!rest || (*rest && *rest != '/'))
            continue;
        more = realloc(mounts, (n + 1) * sizeof(*more));
        if (more)
            mounts = more;
        if (!more || !(mounts[n].path = strdup(target))) {
            mounts_free(mounts, n);
            return -ENOMEM;
        }
        mounts[n].id = mnt_fs_get_id(fs);
        mounts[n++].device = mnt_fs_get_devno(fs);
    }
    *ret = mounts;
    *ret_n = n;
    return 0;
}

typedef struct UnmountCall {
    const char *path;
    bool detach;
} UnmountCall;

static int unmount_child(void *userdata, int fd)
{
    const UnmountCall *c = userdata;

    if (umount2(c->path, UMOUNT_NOFOLLOW | (c->detach ? MNT_DETACH : 0)) < 0)
        return errno == EINVAL || errno == ENOENT ? 0 : -errno;
    return 0;
}

int path_unmount(const char *path, bool detach, uint64_t timeout_usec)
{
    UnmountCall call = {.path = path, .detach = detach};

    return child_call(unmount_child, &call, timeout_usec, NULL);
}
