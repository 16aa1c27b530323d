/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "process.h"

#include "files.h"
#include "leftover.h"
#include "paths.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#define TUNNEL "SecureTCPTunnel"
#define CMDLINE_MAX (64 * KIB)

const int process_tunnel_ports[] = {5365, 5396, 3260, 3260, 0};

static bool is_of_session(const char *unit, char *buf)
{
    return leftover_session_of_unit(unit, ".service", buf);
}

static bool is_passing(const char *unit, char *buf)
{
    if (!endswith(unit, ".service") || !(startswith(unit, "ilr-helper@") || startswith(unit, "ilr-hook@")))
        return false;
    strcpy(buf, unit);
    return true;
}

/* "/system.slice/system-ilr\x2dconnection.slice/ilr-connection@abcd1234.service" */
static bool path_unit(const char *path, bool (*is)(const char *unit, char *buf), char *buf)
{
    const char *p = startswith(path, "/system.slice/");

    while (p) {
        char part[PROCESS_UNIT_MAX];
        size_t n = strcspn(p, "/\n");

        if (n < sizeof(part)) {
            memcpy(part, p, n);
            part[n] = '\0';
            if (is(part, buf))
                return true;
        }
        p = p[n] == '/' ? p + n + 1 : NULL;
    }
    return false;
}

static bool cgroup_unit(const char *cgroup, bool (*is)(const char *unit, char *buf), char *buf)
{
    const char *line = cgroup;

    *buf = '\0';
    while (line && *line) {
        const char *path = startswith(line, "0::");

        if (!path && (path = strstr(line, ":name=systemd:")))
            path = memchr(line, '\n', path - line) ? NULL : path + strlen(":name=systemd:");
        if (path && path_unit(path, is, buf))
            return true;
        line = strchr(line, '\n');
        line = line ? line + 1 : NULL;
    }
    return false;
}

bool process_session(const char *cgroup, char buf[static SESSION_ID_LENGTH + 1])
{
    return cgroup_unit(cgroup, is_of_session, buf);
}

bool process_passing_unit(const char *cgroup, char buf[static PROCESS_UNIT_MAX])
{
    return cgroup_unit(cgroup, is_passing, buf);
}

static const char *base(const char *path)
{
    const char *slash = strrchr(path, '/');

    return slash ? slash + 1 : path;
}

bool process_cmdline_is_tunnel(const char *text, size_t size)
{
    const char *end = text + size, *p = text;
    bool python = false;

    for (; p < end && *p; p += strnlen(p, end - p) + 1) {
        if (memchr(p, '\0', end - p) == NULL) /* cut off */
            return false;
        if (p == text) {
            python = startswith(base(p), "python");
            if (!python)
                return startswith(base(p), TUNNEL);
        } else if (*p != '-')
            return streq(base(p), TUNNEL ".py");
    }
    return false;
}

bool process_is_tunnel(int dir)
{
    _cleanup_free_ char *text = NULL;
    size_t size = 0;

    return file_read(dir, "cmdline", CMDLINE_MAX, &text, &size) >= 0 && process_cmdline_is_tunnel(text, size);
}

uint64_t process_since(int dir)
{
    _cleanup_free_ char *text = NULL;
    unsigned long long since;
    const char *p;

    if (file_read(dir, "stat", 4096, &text, NULL) < 0)
        return 0;
    p = strrchr(text, ')'); /* the name in front may hold anything */
    if (!p ||
        sscanf(p + 1, " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %*u %*u %*d %*d %*d %*d %*d %*d %llu",
               &since) != 1)
        return 0;
    return since;
}

/* Its directory in /proc, if it still is this very process. */
static int open_process(pid_t pid, uint64_t since)
{
    _cleanup_free_ char *path = NULL;
    _cleanup_close_ int dir = -EBADF;

    if (asprintf(&path, "%s/%d", paths.proc, (int)pid) < 0)
        return (path = NULL), -ENOMEM;
    dir = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return dir >= 0 && since != 0 && process_since(dir) == since ? TAKE_FD(dir) : -ESRCH;
}

bool process_exists(pid_t pid, uint64_t since)
{
    _cleanup_close_ int dir = open_process(pid, since);

    return dir >= 0;
}

static bool is_still_tunnel(pid_t pid, uint64_t since)
{
    _cleanup_close_ int dir = open_process(pid, since);

    return dir >= 0 && process_is_tunnel(dir);
}

int process_end(pid_t pid, uint64_t since, uint64_t wait_usec)
{
    static const int signals[] = {SIGTERM, SIGKILL};
    _cleanup_close_ int fd = (int)syscall(SYS_pidfd_open, pid, 0U);
    size_t i;

    if (fd < 0)
        return errno == ESRCH ? 0 : -errno;
    /* The descriptor is of one process for good; what it is, is looked at after that. */
    if (!is_still_tunnel(pid, since))
        return 0;
    for (i = 0; i < ELEMENTSOF(signals); i++) {
        struct pollfd p = {.fd = fd, .events = POLLIN};

        if (syscall(SYS_pidfd_send_signal, fd, signals[i], NULL, 0U) < 0)
            return errno == ESRCH ? 0 : -errno;
        if (poll(&p, 1, (int)(wait_usec / USEC_PER_MSEC)) > 0)
            return 0;
    }
    return -ETIMEDOUT;
}

int process_each(int (*look)(int dir, pid_t pid, void *userdata), void *userdata)
{
    _cleanup_(closedirp) DIR *proc = opendir(paths.proc);
    struct dirent *e;
    int r = 0;

    if (!proc)
        return -errno;
    while (r == 0 && (e = readdir(proc))) {
        _cleanup_close_ int dir = -EBADF;
        char *end;
        long long pid = strtoll(e->d_name, &end, 10);

        if (*end || pid <= 0 || pid == getpid() || pid == getppid())
            continue;
        dir = openat(dirfd(proc), e->d_name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (dir >= 0) /* else gone meanwhile */
            r = look(dir, (pid_t)pid, userdata);
    }
    return r;
}

void namespaces_init(Namespaces *n)
{
    _cleanup_free_ char *path = NULL;
    int dir;

    n->n = 0;
    if (asprintf(&path, "%s/self", paths.proc) < 0) {
        path = NULL;
        return;
    }
    dir = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (dir >= 0)
        (void)namespaces_first(n, dir);
    safe_close(dir);
}

bool namespaces_first(Namespaces *n, int dir)
{
    struct stat st;
    size_t i;

    if (fstatat(dir, "ns/mnt", &st, 0) < 0)
        return false;
    for (i = 0; i < n->n; i++)
        if (n->seen[i] == st.st_ino)
            return false;
    if (n->n < ELEMENTSOF(n->seen))
        n->seen[n->n++] = st.st_ino;
    return true;
}
