/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Processes: those in the control groups of our units (of helpers and hooks, too, which are left if they
 * outlive their unit), tunnels of a connection script that somebody runs by hand, and whoever keeps a copy of
 * one of our mounts in a mount namespace of his own. Looked for in a child: what the kernel says of a process
 * that waits for a dead disk may wait itself. */

#include "child.h"
#include "dm-cookie.h"
#include "files.h"
#include "leftover.h"
#include "listener.h"
#include "log.h"
#include "mountinfo.h"
#include "paths.h"
#include "process.h"

#include <fcntl.h>
#include <sys/stat.h>

#define FOUND_SIZE_MAX (CHILD_OUTPUT_MAX - 16)
#define CUT "cut" /* a line of the child's: there was more */
#define TABLE_SIZE_MAX (16 * MIB)
#define COOKIE_OLD_SEC (10 * 60)
#define COOKIE_MAGIC 0x0D4D /* libdevmapper.h: the upper half of the key of each of its semaphores */

typedef struct Scan {
    const LeftoverFilter *filter;
    int fd;
    size_t size; /* what was written so far */
    bool cut;
    Namespaces namespaces;
} Scan;

/* A line for each. */
static int found_add(Scan *s, const Leftover *item, int64_t pid, const char *detail)
{
    _cleanup_json_ json_object *o = NULL;
    _cleanup_free_ char *clean = NULL;
    const char *text;

    if (!leftover_wanted(s->filter, item->session))
        return 0;
    o = json_object_new_object();
    clean = leftover_text(detail); /* a process may have any name */
    if (!o || !clean || json_add_int64(o, "kind", item->kind) < 0 || json_add_int64(o, "pid", pid) < 0 ||
        json_add_string(o, "detail", clean) < 0 || json_add_string(o, "session", item->session) < 0 ||
        json_add_bool(o, "ours", item->ours) < 0 || json_add_int64(o, "since", (int64_t)item->since) < 0 ||
        json_add_int64(o, "port", item->port) < 0 ||
        (item->unit && json_add_string(o, "unit", item->unit) < 0) || !(text = json_text(o)))
        return -ENOMEM;
    s->size += strlen(text) + 1;
    s->cut = s->size > FOUND_SIZE_MAX;
    return dprintf(s->fd, "%s\n", s->cut ? CUT : text) < 0 ? -EIO : 0;
}

static int look_at_unit(Scan *s, int dir, int64_t pid, const char *command)
{
    Leftover item = {.kind = LEFTOVER_PROCESS, .ours = true};
    _cleanup_free_ char *text = NULL, *detail = NULL;
    char unit[PROCESS_UNIT_MAX];
    int r;

    if (file_read(dir, "cgroup", 64 * KIB, &text, NULL) < 0)
        return 0;
    if (process_session(text, item.session))
        r = asprintf(&detail, "%s in a session's unit", command);
    else if (process_passing_unit(text, unit)) {
        item.unit = unit;
        (void)leftover_session_of_hook(unit, "ilr-hook@", ".service", item.session);
        r = asprintf(&detail, "%s, which has outlived %s", command, unit);
    } else
        return 0;
    if (r < 0)
        return (detail = NULL), -ENOMEM;
    item.since = process_since(dir);
    r = found_add(s, &item, pid, detail);
    return r < 0 ? r : 1;
}

static int look_at_tunnel(Scan *s, int dir, int64_t pid)
{
    Leftover item = {.kind = LEFTOVER_PROCESS};
    _cleanup_free_ char *detail = NULL;
    int r;

    if (!process_is_tunnel(dir))
        return 0;
    item.port = listener_of_process((pid_t)pid, process_tunnel_ports);
    item.since = process_since(dir);
    r = item.port > 0 ? asprintf(&detail, "tunnel of a connection script, at 127.0.0.1:%d", item.port)
                      : asprintf(&detail, "tunnel of a connection script, listens nowhere");
    if (r < 0)
        return (detail = NULL), -ENOMEM;
    return found_add(s, &item, pid, detail);
}

/* By place or by device. What follows others goes when theirs goes, and is told where it stands. */
static bool mount_is_ours(const MountLine *m, char session[static SESSION_ID_LENGTH + 1])
{
    const char *mapper = startswith(m->source, "/dev/mapper/");

    if (m->follows)
        return false;
    return leftover_session_of_path(m->path, paths.mounts_dir, session) ||
           leftover_session_of_path(m->path, paths.private_dir, session) ||
           leftover_session_of_path(m->path, paths.connect_dir, session) ||
           leftover_session_of_mapper(mapper ? mapper : m->source, session);
}

static int look_at_namespace(Scan *s, int dir, int64_t pid, const char *command)
{
    _cleanup_free_ char *text = NULL;
    char *line, *next;
    int r = 0;

    if (!namespaces_first(&s->namespaces, dir) ||
        file_read(dir, "mountinfo", TABLE_SIZE_MAX, &text, NULL) < 0)
        return 0;
    for (line = text; r >= 0 && line && *line; line = next) {
        Leftover item = {.kind = LEFTOVER_NAMESPACE};
        _cleanup_free_ char *detail = NULL;
        MountLine m;

        next = strchr(line, '\n');
        if (next)
            *next++ = '\0';
        if (mountinfo_parse(line, &m) < 0 || !mount_is_ours(&m, item.session))
            continue;
        if (asprintf(&detail, "%s keeps %.300s in a mount namespace of its own", command, m.path) < 0)
            return (detail = NULL), -ENOMEM;
        r = found_add(s, &item, pid, detail);
        break; /* one is enough to know whom to end */
    }
    return r;
}

static int look_at(int dir, pid_t pid, void *userdata)
{
    _cleanup_free_ char *comm = NULL;
    Scan *s = userdata;
    int r;

    if (file_read(dir, "comm", 4096, &comm, NULL) < 0)
        return 0; /* gone meanwhile */
    comm[strcspn(comm, "\n")] = '\0';
    r = look_at_unit(s, dir, pid, comm);
    if (r == 0) { /* else its namespace is its unit's matter */
        r = look_at_tunnel(s, dir, pid);
        if (r >= 0)
            r = look_at_namespace(s, dir, pid, comm);
    }
    return r < 0 ? r : s->cut;
}

static int scan_child(void *userdata, int fd)
{
    Scan s = {.filter = userdata, .fd = fd};
    int r;

    namespaces_init(&s.namespaces);
    r = process_each(look_at, &s);
    return r < 0 ? r : 0;
}

static int add_found(Leftovers *l, const char *line)
{
    _cleanup_json_ json_object *o = NULL;
    const char *detail = NULL, *session = "", *unit = NULL;
    int64_t kind, pid, since = 0, port = 0;
    Leftover item = {};
    char name[32];

    if (streq(line, CUT)) {
        l->cut = true;
        return 0;
    }
    if (json_parse(line, strlen(line), &o) < 0 || json_get_int64(o, "kind", &kind) <= 0 ||
        json_get_int64(o, "pid", &pid) <= 0 || json_get_string(o, "detail", &detail) <= 0)
        return -EBADMSG;
    (void)json_get_string(o, "session", &session);
    (void)json_get_string(o, "unit", &unit);
    (void)json_get_int64(o, "since", &since);
    (void)json_get_int64(o, "port", &port);
    (void)json_get_bool(o, "ours", &item.ours);
    item.kind = (LeftoverKind)kind;
    item.number = pid;
    item.since = (uint64_t)since;
    item.port = (int)port;
    if (session_id_valid(session))
        strcpy(item.session, session);
    if (unit && !(item.unit = strdup(unit)))
        return -ENOMEM;
    snprintf(name, sizeof(name), "%lld", (long long)pid);
    return leftovers_addf(l, item, name, "%s", detail);
}

int leftover_add_processes(Leftovers *l, uint64_t timeout_usec)
{
    _cleanup_free_ char *text = NULL;
    char *line, *next;
    int r;

    r = child_call(scan_child, &l->filter, timeout_usec, &text);
    if (r == -ETIMEDOUT) { /* what was seen until then counts */
        log_full(
            LOG_WARNING, NULL,
            "The kernel does not tell about one of the processes: those that are left are not all found");
        l->cut = true;
        r = 0;
    }
    for (line = text; r >= 0 && line && (next = strchr(line, '\n')); line = next) {
        *next++ = '\0';
        r = add_found(l, line);
    }
    return r;
}

/* What a helper that was killed in the middle of a change of device-mapper leaves: a semaphore that nobody
 * will wait for. Only what was noted as ours: the host's own LVM has them, too. */
int leftover_add_cookies(Leftovers *l, int64_t now_sec)
{
    _cleanup_free_ char *path = NULL, *text = NULL;
    const char *line;
    int r;

    if (asprintf(&path, "%s/sysvipc/sem", paths.proc) < 0)
        return (path = NULL), -ENOMEM;
    r = file_read(AT_FDCWD, path, TABLE_SIZE_MAX, &text, NULL);
    if (r < 0)
        return r == -ENOENT ? 0 : r; /* a kernel without */
    /* "key semid perms nsems uid gid cuid cgid otime ctime" */
    for (line = strchr(text, '\n'); r >= 0 && line && line[1]; line = strchr(line + 1, '\n')) {
        Leftover item = {.kind = LEFTOVER_UDEV_COOKIE, .ours = true};
        long long key, id, otime, ctime, age;
        char name[16];

        if (sscanf(line + 1, "%lld %lld %*s %*s %*s %*s %*s %*s %lld %lld", &key, &id, &otime, &ctime) != 4 ||
            ((uint32_t)key >> 16) != COOKIE_MAGIC)
            continue;
        age = now_sec - MAX(otime, ctime);
        if (age < COOKIE_OLD_SEC || !dm_cookie_session((int)id, (uint32_t)key, item.session))
            continue;
        item.number = id;
        snprintf(name, sizeof(name), "0x%x", (unsigned)(uint32_t)key);
        r = leftovers_addf(l, item, name, "semaphore %lld of device-mapper, untouched for %lld minutes", id,
                           age / 60);
    }
    return r;
}
