/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "listener.h"

#include "files.h"
#include "paths.h"
#include "strv.h"

#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>

#define TABLE_SIZE_MAX (32 * MIB)
/* Descriptors looked at: a unit that opens that many wants to keep us busy. */
#define DESCRIPTORS_MAX 100000
#define STATE_LISTEN 0x0A
#define LOOPBACK 0x0100007FU /* 127.0.0.1 as the kernel prints it on a little-endian machine */

static uint32_t loopback(void)
{
    return __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__ ? LOOPBACK : __builtin_bswap32(LOOPBACK);
}

bool tcp_table_line(const char **text, char ret[static TCP_LINE_MAX])
{
    const char *line = strchr(*text, '\n');
    size_t n;

    if (!line || !line[1])
        return false;
    n = MIN(strcspn(++line, "\n"), TCP_LINE_MAX - 1);
    memcpy(ret, line, n);
    ret[n] = '\0';
    *text = line;
    return true;
}

/* "  sl  local_address rem_address   st tx_queue:rx_queue tr:tm->when retrnsmt   uid  timeout inode ..." */
int listener_inodes(const char *text, int port, uint64_t ret[static LISTENERS_MAX])
{
    char line[TCP_LINE_MAX];
    uint64_t any[LISTENERS_MAX];
    int n = 0, n_any = 0;

    while (tcp_table_line(&text, line)) {
        unsigned address, local_port, state;
        uint64_t inode;

        if (sscanf(line, " %*u: %8x:%4x %*8x:%*4x %2x %*x:%*x %*x:%*x %*x %*u %*d %" SCNu64, &address,
                   &local_port, &state, &inode) != 4)
            return -EBADMSG;
        if (state != STATE_LISTEN || local_port != (unsigned)port)
            continue;
        if ((address == loopback() ? n : n_any) == LISTENERS_MAX)
            return -E2BIG;
        if (address == loopback())
            ret[n++] = inode;
        else if (address == 0)
            any[n_any++] = inode;
    }
    if (n == 0) {
        memcpy(ret, any, n_any * sizeof(*any));
        n = n_any;
    }
    return n;
}

/* Looks through a process's descriptors. Returns how many of the wanted it holds; marks them. */
static int process_holds(pid_t pid, const uint64_t *inodes, bool *found, int n, size_t *budget)
{
    _cleanup_(closedirp) DIR *dir = NULL;
    _cleanup_free_ char *path = NULL;
    struct dirent *e;
    int i, held = 0;

    if (asprintf(&path, "%s/%d/fd", paths.proc, (int)pid) < 0)
        return -ENOMEM;
    dir = opendir(path);
    if (!dir)
        return errno == ENOENT || errno == ESRCH ? 0 : -errno;
    while ((e = readdir(dir))) {
        char link[64];
        ssize_t size;
        uint64_t inode;

        if ((*budget)-- == 0)
            return -E2BIG;
        size = readlinkat(dirfd(dir), e->d_name, link, sizeof(link) - 1);
        if (size < 0)
            continue;
        link[size] = '\0';
        if (sscanf(link, "socket:[%" SCNu64 "]", &inode) != 1)
            continue;
        for (i = 0; i < n; i++)
            if (inodes[i] == inode) {
                found[i] = true;
                held++;
            }
    }
    return held;
}

int listener_owner(int port, const char *cgroup, pid_t *ret)
{
    _cleanup_free_ char *path = NULL, *text = NULL, *procs = NULL;
    _cleanup_strv_free_ char **pids = NULL;
    uint64_t inodes[LISTENERS_MAX];
    bool found[LISTENERS_MAX] = {};
    size_t budget = DESCRIPTORS_MAX;
    pid_t owner = 0;
    char **pid;
    int n, i, r;

    if (asprintf(&path, "%s/net/tcp", paths.proc) < 0)
        return -ENOMEM;
    r = file_read(AT_FDCWD, path, TABLE_SIZE_MAX, &text, NULL);
    if (r < 0)
        return r;
    n = listener_inodes(text, port, inodes);
    if (n <= 0)
        return n < 0 ? n : -ECONNREFUSED;
    free_and_replace(&path, NULL);
    if (asprintf(&path, "%s/fs/cgroup%s/cgroup.procs", paths.sysfs, cgroup) < 0) {
        path = NULL;
        return -ENOMEM;
    }
    r = file_read(AT_FDCWD, path, MIB, &procs, NULL);
    if (r < 0)
        return r;
    r = strv_split(procs, "\n", &pids);
    if (r < 0)
        return r;
    STRV_FOREACH (pid, pids) {
        pid_t p = (pid_t)strtol(*pid, NULL, 10);

        if (p <= 0) /* a process of another pid namespace: none of ours */
            continue;
        r = process_holds(p, inodes, found, n, &budget);
        if (r < 0)
            return r;
        /* Several may hold it after a fork; the youngest is the one that serves. */
        if (r > 0 && p > owner)
            owner = p;
    }
    for (i = 0; i < n; i++) /* with SO_REUSEPORT any of them could be given the connection */
        if (!found[i])
            return -EPERM;
    *ret = owner;
    return 0;
}

int listener_of_process(pid_t pid, const int *ranges)
{
    _cleanup_free_ char *path = NULL, *text = NULL;
    size_t budget = DESCRIPTORS_MAX;
    int port;

    if (asprintf(&path, "%s/%d/net/tcp", paths.proc, (int)pid) < 0)
        return (path = NULL), -ENOMEM;
    if (file_read(AT_FDCWD, path, TABLE_SIZE_MAX, &text, NULL) < 0)
        return 0;
    for (; *ranges; ranges += 2)
        for (port = ranges[0]; port <= ranges[1]; port++) {
            uint64_t inodes[LISTENERS_MAX];
            bool found[LISTENERS_MAX] = {};
            int n = listener_inodes(text, port, inodes);

            if (n > 0 && process_holds(pid, inodes, found, n, &budget) > 0)
                return port;
        }
    return 0;
}
