/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Directories of sessions, drop-ins of their units, files that a helper keeps for a moment only and that one
 * which was killed leaves, and the host's own iSCSI records of recovery targets (ilrd makes none: the
 * connection script does, run by hand). */

#include "files.h"
#include "leftover.h"
#include "paths.h"
#include "timeutil.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>

#define SCRIPT_PORT_FIRST 5365
#define SCRIPT_PORT_LAST 5396

/* Longer than whoever makes such a file keeps it. By the time of day: were that set, it is told too early,
 * and a hook's environment is read when it starts. */
#define FILE_AGE_MIN_SEC 120

static bool old(DIR *dir, const char *name)
{
    int64_t now = (int64_t)(now_usec(CLOCK_REALTIME) / USEC_PER_SEC);
    struct stat st;

    return fstatat(dirfd(dir), name, &st, AT_SYMLINK_NOFOLLOW) >= 0 &&
           (st.st_mtime > now || now - st.st_mtime >= FILE_AGE_MIN_SEC);
}

/* The environment of a hook, or its first half, of a helper that was killed. */
static bool is_hook(const char *name, char session[static SESSION_ID_LENGTH + 1])
{
    return leftover_session_of_hook(name, "hook-", ".env", session) ||
           leftover_session_of_hook(name, "hook-", ".env.tmp", session);
}

/* Its helper removes it when the unit has ended. */
static int add_hook(Leftovers *l, DIR *dir, const char *name, const char *path, const char *session)
{
    Leftover item = {.kind = LEFTOVER_FILE, .ours = true, .number = -1};

    strcpy(item.session, session);
    return old(dir, name) ? leftovers_addf(l, item, path, "the environment of a hook that is over") : 0;
}

/* device_open() makes a node for a moment: /dev/.ilr-MAJOR-MINOR-PID. */
static int add_nodes_of_devices(Leftovers *l)
{
    _cleanup_(closedirp) DIR *dir = opendir(paths.dev);
    struct dirent *e;
    int r = 0;

    while (r >= 0 && dir && (e = readdir(dir))) {
        const Leftover item = {.kind = LEFTOVER_FILE, .ours = true, .number = -1};
        _cleanup_free_ char *path = NULL;
        unsigned a, b;
        int pid, n = -1;

        if (sscanf(e->d_name, ".ilr-%u-%u-%d%n", &a, &b, &pid, &n) != 3 || n < 0 || e->d_name[n] || pid <= 0)
            continue;
        if ((kill(pid, 0) >= 0 || errno != ESRCH) && !old(dir, e->d_name))
            continue;
        if (asprintf(&path, "%s/%s", paths.dev, e->d_name) < 0)
            return (path = NULL), -ENOMEM;
        r = leftovers_addf(l, item, path, "the node of device %u:%u, made by a helper that was ended", a, b);
    }
    return r;
}

static int add_directories(Leftovers *l, const char *root)
{
    _cleanup_(closedirp) DIR *dir = opendir(root);
    struct dirent *e;
    int r = 0;

    while (r >= 0 && dir && (e = readdir(dir))) {
        Leftover item = {.kind = LEFTOVER_DIRECTORY, .ours = true, .number = -1};
        _cleanup_free_ char *path = NULL;

        if (e->d_name[0] == '.') /* .lock */
            continue;
        if (asprintf(&path, "%s/%s", root, e->d_name) < 0)
            return (path = NULL), -ENOMEM;
        if (root == paths.private_dir && is_hook(e->d_name, item.session)) {
            r = add_hook(l, dir, e->d_name, path, item.session);
            continue;
        }
        item.ours = leftover_session_of_path(path, root, item.session);
        r = leftovers_addf(l, item, path, "%s",
                           item.ours ? "of a session" : "what nobody of ilrd puts there");
    }
    return r;
}

static int add_drop_ins(Leftovers *l)
{
    _cleanup_(closedirp) DIR *dir = opendir(paths.unit_dir);
    struct dirent *e;
    int r = 0;

    while (r >= 0 && dir && (e = readdir(dir))) {
        Leftover item = {.kind = LEFTOVER_DROP_IN, .ours = true, .number = -1};
        _cleanup_free_ char *path = NULL;

        if (!leftover_session_of_unit(e->d_name, ".service.d", item.session))
            continue;
        if (asprintf(&path, "%s/%s", paths.unit_dir, e->d_name) < 0)
            return (path = NULL), -ENOMEM;
        r = leftovers_addf(l, item, path, "of a session's unit");
    }
    return r;
}

static int add_nodes(Leftovers *l, const char *root)
{
    _cleanup_free_ char *nodes = NULL;
    _cleanup_(closedirp) DIR *dir = NULL;
    struct dirent *e;
    int r = 0;

    if (asprintf(&nodes, "%s/nodes", root) < 0)
        return (nodes = NULL), -ENOMEM;
    dir = opendir(nodes);
    while (r >= 0 && dir && (e = readdir(dir))) {
        _cleanup_free_ char *path = NULL;

        if (!startswith(e->d_name, TARGET_PREFIX))
            continue;
        if (asprintf(&path, "%s/%s", nodes, e->d_name) < 0)
            return (path = NULL), -ENOMEM;
        r = leftovers_addf(l, (Leftover){.kind = LEFTOVER_NODE_RECORD, .number = -1}, path,
                           "the host's record of a recovery target");
    }
    return r;
}

/* "127.0.0.1,5365" -> 5365; 0: it is no portal of a tunnel. */
static int tunnel_portal(const char *name)
{
    const char *p = startswith(name, "127.0.0.1,");
    char *end;
    long port;

    if (!p || *p < '0' || *p > '9')
        return 0;
    port = strtol(p, &end, 10);
    if (*end || (port != 3260 && (port < SCRIPT_PORT_FIRST || port > SCRIPT_PORT_LAST)))
        return 0;
    return (int)port;
}

/* Found through a tunnel: everything that was discovered there is a recovery target, and at 3260, where
 * anybody's target may be, at least one is. */
static bool discovery_of_tunnel(const char *path, int port)
{
    _cleanup_(closedirp) DIR *dir = opendir(path);
    bool any = false, other = false;
    struct dirent *e;

    while (dir && (e = readdir(dir))) {
        if (e->d_name[0] == '.' || streq(e->d_name, "st_config"))
            continue;
        if (startswith(e->d_name, TARGET_PREFIX))
            any = true;
        else
            other = true;
    }
    return dir && !other && (any || port != 3260);
}

static int add_discoveries(Leftovers *l, const char *root)
{
    _cleanup_free_ char *send_targets = NULL;
    _cleanup_(closedirp) DIR *dir = NULL;
    struct dirent *e;
    int r = 0;

    if (asprintf(&send_targets, "%s/send_targets", root) < 0)
        return (send_targets = NULL), -ENOMEM;
    dir = opendir(send_targets);
    while (r >= 0 && dir && (e = readdir(dir))) {
        _cleanup_free_ char *path = NULL;
        int port = tunnel_portal(e->d_name);

        if (port == 0)
            continue;
        if (asprintf(&path, "%s/%s", send_targets, e->d_name) < 0)
            return (path = NULL), -ENOMEM;
        if (discovery_of_tunnel(path, port))
            r = leftovers_addf(l, (Leftover){.kind = LEFTOVER_DISCOVERY_RECORD, .number = -1, .port = port},
                               path, "the host's record of a discovery through a tunnel");
    }
    return r;
}

int leftover_add_files(Leftovers *l)
{
    const char *const directories[] = {paths.mounts_dir, paths.private_dir, paths.connect_dir};
    _cleanup_free_ char *etc = NULL;
    const char *roots[2];
    size_t i;
    int r = 0;

    if (asprintf(&etc, "%s/iscsi", paths.etc) < 0)
        return (etc = NULL), -ENOMEM;
    roots[0] = etc;
    roots[1] = paths.var_iscsi;
    for (i = 0; r >= 0 && i < ELEMENTSOF(roots); i++) {
        r = add_nodes(l, roots[i]);
        if (r >= 0)
            r = add_discoveries(l, roots[i]);
    }
    if (r >= 0)
        r = add_drop_ins(l);
    if (r >= 0)
        r = add_nodes_of_devices(l);
    for (i = 0; r >= 0 && i < ELEMENTSOF(directories); i++)
        r = add_directories(l, directories[i]);
    return r;
}
