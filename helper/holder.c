/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "holder.h"

#include "child.h"
#include "files.h"
#include "mountinfo.h"
#include "process.h"
#include "volume.h"

#include <ctype.h>
#include <fcntl.h>
#include <limits.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#define PROC_FILE_MAX (4 * MIB)

static bool below(const HolderQuery *q, const char *path)
{
    const char *rest = startswith(path, q->directory);

    return rest && (*rest == '/' || *rest == '\0' || *rest == ' ');
}

static bool mount_device(const HolderQuery *q, dev_t device)
{
    size_t i;

    for (i = 0; i < q->n_mounts; i++)
        if (q->mounts[i].device == device)
            return true;
    return false;
}

static bool object_held(const HolderQuery *q, const struct statx *s)
{
    dev_t on = makedev(s->stx_dev_major, s->stx_dev_minor),
          is = makedev(s->stx_rdev_major, s->stx_rdev_minor);
    size_t i;

    for (i = 0; i < q->n_mounts; i++)
        if ((s->stx_mask & STATX_MNT_ID) && s->stx_mnt_id == (uint64_t)q->mounts[i].id)
            return true;
    for (i = 0; S_ISBLK(s->stx_mode) && i < q->n_devices; i++)
        if (q->devices[i] == is)
            return true;
    return mount_device(q, on);
}

/* Does the link in /proc/PID lead to one of ours? path gets what it shows. */
static bool link_held(const HolderQuery *q, int dir, const char *name, char path[static PATH_MAX])
{
    ssize_t n = readlinkat(dir, name, path, PATH_MAX - 1);
    struct statx s;

    if (n <= 0)
        return false;
    path[n] = '\0';
    if (*path != '/') /* socket:[1], pipe:[2] */
        return false;
    if (below(q, path))
        return true;
    /* What is cached will do: asking the file system could wait for somebody else's dead server. */
    if (statx(dir, name, AT_STATX_DONT_SYNC | AT_NO_AUTOMOUNT, STATX_TYPE | STATX_MNT_ID, &s) < 0)
        return false;
    return object_held(q, &s);
}

static bool descriptors_held(const HolderQuery *q, int dir, char path[static PATH_MAX])
{
    int fd = openat(dir, "fd", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    _cleanup_(closedirp) DIR *d = fd >= 0 ? fdopendir(fd) : NULL;
    struct dirent *e;

    if (!d)
        safe_close(fd);
    while (d && (e = readdir(d)))
        if (isdigit((unsigned char)e->d_name[0]) && link_held(q, dirfd(d), e->d_name, path))
            return true;
    return false;
}

/* "7f..-7f.. r-xp 00000000 fd:03 131 /path" */
static bool maps_held(const HolderQuery *q, int dir, char path[static PATH_MAX])
{
    _cleanup_free_ char *text = NULL;
    char *line, *save = NULL;
    size_t size;

    if (file_read(dir, "maps", PROC_FILE_MAX, &text, &size) < 0)
        return false;
    for (line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
        unsigned a, b;
        int at = 0;

        if (sscanf(line, "%*s %*s %*s %x:%x %*u %n", &a, &b, &at) < 2 || at == 0 || line[at] != '/')
            continue;
        if (below(q, line + at) || mount_device(q, makedev(a, b))) {
            snprintf(path, PATH_MAX, "%s", line + at);
            return true;
        }
    }
    return false;
}

/* A mount of ours in another namespace that does not follow the host's: an unmount here does not reach it. */
static bool namespace_held(const HolderQuery *q, int dir, char path[static PATH_MAX])
{
    _cleanup_free_ char *text = NULL;
    char *line, *save = NULL;
    MountLine m;
    size_t size;

    if (file_read(dir, "mountinfo", PROC_FILE_MAX, &text, &size) < 0)
        return false;
    for (line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save))
        if (mountinfo_parse(line, &m) >= 0 && !m.follows && mount_device(q, m.device)) {
            snprintf(path, PATH_MAX, "%s", m.path);
            return true;
        }
    return false;
}

static int add_holder(json_object *array, int dir, int64_t pid, const char *path)
{
    _cleanup_json_ json_object *o = json_object_new_object();
    _cleanup_free_ char *comm = NULL, *status = NULL, *command = NULL, *clean = NULL;
    const char *line;
    size_t size;
    long long uid = 0;
    int r;

    if (file_read(dir, "comm", 4096, &comm, &size) >= 0)
        comm[strcspn(comm, "\n")] = '\0';
    if (file_read(dir, "status", 64 * KIB, &status, &size) >= 0 && (line = strstr(status, "\nUid:")))
        uid = strtoll(line + strlen("\nUid:"), NULL, 10);
    command = text_clean(comm ? comm : "?", 64);
    clean = text_clean(path, 512);
    if (!o || !command || !clean)
        return -ENOMEM;
    if ((r = json_add_int64(o, "pid", pid)) < 0 || (r = json_add_string(o, "command", command)) < 0 ||
        (r = json_add_int64(o, "uid", uid)) < 0 || (r = json_add_string(o, "path", clean)) < 0)
        return r;
    return json_append(array, TAKE_PTR(o));
}

typedef struct Scan {
    const HolderQuery *q;
    json_object *found;
    Namespaces namespaces;
} Scan;

static int look_at(int dir, pid_t pid, void *userdata)
{
    Scan *s = userdata;
    const HolderQuery *q = s->q;
    char path[PATH_MAX];
    int r = 0;

    if (link_held(q, dir, "cwd", path) || link_held(q, dir, "root", path) || link_held(q, dir, "exe", path) ||
        descriptors_held(q, dir, path) || maps_held(q, dir, path) ||
        (namespaces_first(&s->namespaces, dir) && namespace_held(q, dir, path)))
        r = add_holder(s->found, dir, pid, path);
    return r < 0 ? r : json_object_array_length(s->found) >= HOLDERS_MAX;
}

int holders_scan(const HolderQuery *q, json_object **ret)
{
    _cleanup_json_ json_object *array = json_object_new_array();
    Scan s = {.q = q, .found = array};
    int r;

    if (!array)
        return -ENOMEM;
    namespaces_init(&s.namespaces);
    r = process_each(look_at, &s);
    if (r < 0)
        return r;
    *ret = TAKE_PTR(array);
    return 0;
}

static int scan_child(void *userdata, int fd)
{
    _cleanup_json_ json_object *array = NULL;
    const char *text;
    int r = holders_scan(userdata, &array);

    if (r < 0)
        return r;
    text = json_text(array);
    return text && dprintf(fd, "%s", text) >= 0 ? 0 : -EIO;
}

int holders_find(const HolderQuery *q, uint64_t timeout_usec, json_object **ret)
{
    _cleanup_free_ char *text = NULL;
    _cleanup_json_ json_object *array = NULL;
    int r;

    r = child_call(scan_child, (void *)q, timeout_usec, &text);
    if (r < 0)
        return r;
    r = json_parse(text, strlen(text), &array);
    if (r < 0)
        return r;
    if (!json_object_is_type(array, json_type_array))
        return -EBADMSG;
    *ret = TAKE_PTR(array);
    return 0;
}

char *holders_text(json_object *holders)
{
    _cleanup_strv_free_ char **pieces = NULL;
    size_t i, n = holders ? json_object_array_length(holders) : 0;

    for (i = 0; i < n; i++) {
        json_object *o = json_object_array_get_idx(holders, i);
        const char *command = "?";
        int64_t pid = 0;

        if (json_get_int64(o, "pid", &pid) < 0 || json_get_string(o, "command", &command) < 0 ||
            strv_extendf(&pieces, "pid %lld (%s)", (long long)pid, command) < 0)
            return NULL;
    }
    return pieces ? strv_join(pieces, ", ") : strdup("somebody who is no process that can be seen");
}
