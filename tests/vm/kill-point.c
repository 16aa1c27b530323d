/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* For the tests in the machine: loaded with LD_PRELOAD into a program of the project it counts the steps by
 * which the program changes the world, and kills or stops the program right after the Nth. No build of the
 * project has it, only the machine's tree: /usr/lib/ilr-vm/kill-point.so. tests/vm/kill-point.sh has the
 * driver's side.
 *
 * A point is one call, counted when it has returned, whether it succeeded or not (only exec is counted
 * before), in the program and in the children that it forks; programs that it executes are not watched.
 *
 *   record   rename to a file NAME.json
 *   mount    mount, umount2, move_mount; not in a name space that a child has made for itself
 *   dm       device-mapper's ioctls that change something
 *   loop     those of loop devices
 *   btrfs    those of btrfs
 *   exec     the execution of a program
 *   connect  connect to a socket       \
 *   dir      mkdir, rmdir               > not counted unless they are asked for
 *   node     mknod, unlink below /dev  /
 *
 * Environment (the loaded program's own one loses all of it):
 *   KILL_POINT_FILE     file of 256 KiB that is shared by all that count, made if it is not there (0666).
 *                       Numbers of 32 bits in the machine's order: count, reached (the pid that waits), go,
 *                       length of the text; from byte 64 on the text: a line "N PROGRAM KIND WORDS" for each
 *   KILL_POINT_AT       N
 *   KILL_POINT_MODE     count: only counts
 *                       self: point N is the last thing that the program's first process does, SIGKILL
 *                       barrier: at point N whoever is there waits until go is not 0, at most 20 s
 *   KILL_POINT_KINDS    kinds with commas between them; default record,mount,dm,loop,btrfs,exec
 *   KILL_POINT_PROGRAM  watch only if the program has this name */

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/dm-ioctl.h>
#include <linux/loop.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define FILE_SIZE (256 * 1024)
#define TEXT_AT 64
#define BARRIER_MSEC 20000
#define BTRFS_IOCTL 0x94
#define LOOP_IOCTL 0x4c

typedef struct Shared {
    uint32_t count, reached, go, text_size;
    char unused[TEXT_AT - 4 * sizeof(uint32_t)];
    char text[FILE_SIZE - TEXT_AT];
} Shared;

static Shared *shared;
static char kinds[256] = "record,mount,dm,loop,btrfs,exec", mode[16] = "count";
static uint32_t at;
static pid_t first;
static bool own_mounts; /* this process has made itself a mount name space */

static void wrong(const char *what)
{
    /* A test must not pass because nothing was counted. */
    dprintf(2, "kill-point: %s: %s\n", what, strerror(errno));
    _exit(99);
}

__attribute__((constructor)) static void begin(void)
{
    const char *file = getenv("KILL_POINT_FILE"), *program = getenv("KILL_POINT_PROGRAM"), *text;
    int fd;

    if (file && (!program || strcmp(program, program_invocation_short_name) == 0)) {
        if ((text = getenv("KILL_POINT_KINDS")))
            snprintf(kinds, sizeof(kinds), "%s", text);
        if ((text = getenv("KILL_POINT_MODE")))
            snprintf(mode, sizeof(mode), "%s", text);
        if ((text = getenv("KILL_POINT_AT")))
            at = (uint32_t)strtoul(text, NULL, 10);
        fd = open(file, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
        if (fd < 0 || ftruncate(fd, FILE_SIZE) < 0)
            wrong(file);
        (void)fchmod(fd, 0666);
        shared = mmap(NULL, FILE_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        if (shared == MAP_FAILED)
            wrong(file);
        close(fd);
        first = getpid();
    }
    unsetenv("LD_PRELOAD");
    unsetenv("KILL_POINT_FILE");
    unsetenv("KILL_POINT_MODE");
    unsetenv("KILL_POINT_AT");
    unsetenv("KILL_POINT_KINDS");
    unsetenv("KILL_POINT_PROGRAM");
}

static bool wanted(const char *kind)
{
    size_t n = strlen(kind);
    const char *p;

    for (p = kinds; (p = strstr(p, kind)); p += n)
        if ((p == kinds || p[-1] == ',') && (p[n] == ',' || p[n] == '\0'))
            return true;
    return false;
}

static void barrier(void)
{
    const struct timespec moment = {.tv_nsec = 5000000};
    unsigned i;

    __atomic_store_n(&shared->reached, (uint32_t)getpid(), __ATOMIC_SEQ_CST);
    for (i = 0; i < BARRIER_MSEC / 5 && !__atomic_load_n(&shared->go, __ATOMIC_SEQ_CST); i++)
        nanosleep(&moment, NULL);
}

__attribute__((format(printf, 2, 3))) static void point(const char *kind, const char *format, ...)
{
    char words[400], line[512];
    int saved = errno, n;
    uint32_t number, start;
    va_list ap;

    if (!shared || !wanted(kind) || (own_mounts && strcmp(kind, "mount") == 0))
        return;
    va_start(ap, format);
    vsnprintf(words, sizeof(words), format, ap);
    va_end(ap);
    number = __atomic_add_fetch(&shared->count, 1, __ATOMIC_SEQ_CST);
    n = snprintf(line, sizeof(line), "%u %s %s %s\n", number, program_invocation_short_name, kind, words);
    start = __atomic_fetch_add(&shared->text_size, (uint32_t)n, __ATOMIC_SEQ_CST);
    if (start + (uint32_t)n <= sizeof(shared->text))
        memcpy(shared->text + start, line, (size_t)n);
    if (number == at && strcmp(mode, "self") == 0)
        kill(first, SIGKILL);
    else if (number == at && strcmp(mode, "barrier") == 0)
        barrier();
    errno = saved;
}

static void *next(const char *name)
{
    void *f = dlsym(RTLD_NEXT, name);

    if (!f)
        wrong(name);
    return f;
}

/* The real function of this name, of the type of the one that stands for it. */
#define NEXT(name) ((__typeof__(&name))next(#name))

static const char *or_none(const char *s)
{
    return s ? s : "-";
}

static void renamed(const char *to)
{
    size_t n = strlen(to);

    if (n > 5 && strcmp(to + n - 5, ".json") == 0)
        point("record", "%s", to);
}

int rename(const char *from, const char *to)
{
    int r = NEXT(rename)(from, to);

    renamed(to);
    return r;
}

int renameat(int from_dir, const char *from, int to_dir, const char *to)
{
    int r = NEXT(renameat)(from_dir, from, to_dir, to);

    renamed(to);
    return r;
}

int renameat2(int from_dir, const char *from, int to_dir, const char *to, unsigned flags)
{
    int r = NEXT(renameat2)(from_dir, from, to_dir, to, flags);

    renamed(to);
    return r;
}

int unshare(int flags)
{
    int r = NEXT(unshare)(flags);

    if (r == 0 && (flags & CLONE_NEWNS))
        own_mounts = true;
    return r;
}

int mount(const char *source, const char *target, const char *type, unsigned long flags, const void *data)
{
    int r = NEXT(mount)(source, target, type, flags, data);

    point("mount", "mount %s %s", or_none(type), or_none(target));
    return r;
}

int umount2(const char *target, int flags)
{
    int r = NEXT(umount2)(target, flags);

    point("mount", "umount %s", or_none(target));
    return r;
}

int umount(const char *target)
{
    int r = NEXT(umount)(target);

    point("mount", "umount %s", or_none(target));
    return r;
}

int move_mount(int from_dir, const char *from, int to_dir, const char *to, unsigned flags)
{
    int r = NEXT(move_mount)(from_dir, from, to_dir, to, flags);

    point("mount", "move %s", or_none(to));
    return r;
}

static void ioctl_done(unsigned long request, const void *argument)
{
    static const char *const dm[] = {[DM_DEV_CREATE_CMD] = "create",
                                     [DM_DEV_REMOVE_CMD] = "remove",
                                     [DM_DEV_RENAME_CMD] = "rename",
                                     [DM_DEV_SUSPEND_CMD] = "suspend",
                                     [DM_TABLE_LOAD_CMD] = "load"};
    unsigned number = _IOC_NR(request);

    if (_IOC_TYPE(request) == DM_IOCTL && number < sizeof(dm) / sizeof(*dm) && dm[number])
        point("dm", "%s %s", dm[number], argument ? ((const struct dm_ioctl *)argument)->name : "-");
    else if (_IOC_TYPE(request) == BTRFS_IOCTL)
        point("btrfs", "%u", number);
    else if (request == LOOP_CTL_GET_FREE || request == LOOP_CONFIGURE || request == LOOP_SET_FD ||
             request == LOOP_CLR_FD)
        point("loop", "%#lx", request);
}

int ioctl(int fd, unsigned long request, ...)
{
    void *argument;
    va_list ap;
    int r;

    va_start(ap, request);
    argument = va_arg(ap, void *);
    va_end(ap);
    r = NEXT(ioctl)(fd, request, argument);
    ioctl_done(request, argument);
    return r;
}

static void executing(const char *path, char *const *argv)
{
    const char *slash = strrchr(path, '/');
    const char *second = argv && argv[0] ? argv[1] : NULL;

    point("exec", "%s %s", slash ? slash + 1 : path, or_none(second));
}

int execve(const char *path, char *const argv[], char *const environment[])
{
    executing(path, argv);
    return NEXT(execve)(path, argv, environment);
}

int execv(const char *path, char *const argv[])
{
    executing(path, argv);
    return NEXT(execv)(path, argv);
}

int execvp(const char *file, char *const argv[])
{
    executing(file, argv);
    return NEXT(execvp)(file, argv);
}

int execvpe(const char *file, char *const argv[], char *const environment[])
{
    executing(file, argv);
    return NEXT(execvpe)(file, argv, environment);
}

int connect(int fd, const struct sockaddr *address, socklen_t size)
{
    int r = NEXT(connect)(fd, address, size);

    if (address && address->sa_family == AF_UNIX)
        point("connect", "%.108s", ((const struct sockaddr_un *)address)->sun_path);
    else
        point("connect", "family %d", address ? address->sa_family : 0);
    return r;
}

int mkdir(const char *path, mode_t permissions)
{
    int r = NEXT(mkdir)(path, permissions);

    point("dir", "mkdir %s", path);
    return r;
}

int mkdirat(int dir, const char *path, mode_t permissions)
{
    int r = NEXT(mkdirat)(dir, path, permissions);

    point("dir", "mkdir %s", path);
    return r;
}

int rmdir(const char *path)
{
    int r = NEXT(rmdir)(path);

    point("dir", "rmdir %s", path);
    return r;
}

int mknod(const char *path, mode_t type, dev_t device)
{
    int r = NEXT(mknod)(path, type, device);

    point("node", "mknod %s", path);
    return r;
}

int unlink(const char *path)
{
    int r = NEXT(unlink)(path);

    if (strncmp(path, "/dev/", 5) == 0)
        point("node", "unlink %s", path);
    return r;
}

int unlinkat(int dir, const char *path, int flags)
{
    int r = NEXT(unlinkat)(dir, path, flags);

    if (flags & AT_REMOVEDIR)
        point("dir", "rmdir %s", path);
    return r;
}
