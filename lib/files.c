/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "files.h"

#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/stat.h>
#include <sys/syscall.h>

/* As deep as somebody who wants to keep us busy may go. */
#define REMOVE_PASSES_MAX 100000

static int read_all(int fd, size_t max, char **ret, size_t *ret_size)
{
    _cleanup_free_ char *data = NULL;
    size_t size = 0, allocated = 0;
    ssize_t n;

    for (;;) {
        if (allocated - size < 2) {
            size_t more = allocated ? 2 * allocated : 4096;
            char *p;

            if (more > max + 2)
                more = max + 2;
            p = realloc(data, more);
            if (!p)
                return -ENOMEM;
            data = p;
            allocated = more;
        }
        n = read(fd, data + size, allocated - size - 1);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -errno;
        if (n == 0)
            break;
        size += n;
        if (size > max)
            return -EFBIG;
    }
    data[size] = '\0';
    *ret = TAKE_PTR(data);
    if (ret_size)
        *ret_size = size;
    return 0;
}

int open_in_root(int dirfd, const char *path, int flags)
{
    struct open_how how = {.flags = (uint64_t)flags | O_CLOEXEC,
                           .resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS};
    int fd;

    do /* a rename elsewhere may be in the way of ".." */
        fd = (int)syscall(SYS_openat2, dirfd, path, &how, sizeof(how));
    while (fd < 0 && (errno == EINTR || errno == EAGAIN));
    return fd < 0 ? -errno : fd;
}

int file_read(int dirfd, const char *path, size_t max, char **ret, size_t *ret_size)
{
    _cleanup_close_ int fd = openat(dirfd, path, O_RDONLY | O_CLOEXEC | O_NOCTTY);

    return fd < 0 ? -errno : read_all(fd, max, ret, ret_size);
}

int file_read_foreign(int dirfd, const char *path, uid_t owner, size_t max, char **ret, size_t *ret_size)
{
    _cleanup_close_ int fd = openat(dirfd, path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC | O_NOCTTY);
    struct stat st;

    if (fd < 0)
        return errno == ELOOP || errno == ENXIO ? -EBADMSG : -errno; /* a link; a socket */
    if (fstat(fd, &st) < 0)
        return -errno;
    if (!S_ISREG(st.st_mode) || st.st_uid != owner || st.st_nlink != 1)
        return -EBADMSG;
    return read_all(fd, max, ret, ret_size);
}

int file_read_line(const char *path, char **ret)
{
    int r = file_read(AT_FDCWD, path, 64 * 1024, ret, NULL);

    if (r >= 0)
        (*ret)[strcspn(*ret, "\n")] = '\0';
    return r;
}

static int write_all(int fd, const char *data, size_t size)
{
    while (size > 0) {
        ssize_t n = write(fd, data, size);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -errno;
        data += n;
        size -= n;
    }
    return 0;
}

int file_write_atomic(int dirfd, const char *path, const char *data, size_t size, mode_t mode, uid_t uid,
                      gid_t gid)
{
    _cleanup_free_ char *tmp = NULL;
    _cleanup_close_ int fd = -EBADF;
    int r;

    if (asprintf(&tmp, "%s.tmp", path) < 0)
        return -ENOMEM;
    if (unlinkat(dirfd, tmp, 0) < 0 && errno != ENOENT)
        return -errno;
    fd = openat(dirfd, tmp, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0)
        return -errno;
    r = write_all(fd, data, size);
    if (r >= 0 && (uid != (uid_t)-1 || gid != (gid_t)-1) && fchown(fd, uid, gid) < 0)
        r = -errno;
    if (r >= 0 && fchmod(fd, mode) < 0)
        r = -errno;
    if (r >= 0 && fsync(fd) < 0)
        r = -errno;
    if (r >= 0 && renameat(dirfd, tmp, dirfd, path) < 0)
        r = -errno;
    if (r < 0)
        (void)unlinkat(dirfd, tmp, 0);
    return r;
}

int file_write_attribute(const char *path, const char *value)
{
    _cleanup_close_ int fd = open(path, O_WRONLY | O_CLOEXEC | O_NOCTTY);

    if (fd < 0)
        return -errno;
    return write(fd, value, strlen(value)) < 0 ? -errno : 0;
}

/* 0: gone; 1: a directory, which is left. */
static int remove_entry(int fd, const char *name, dev_t dev)
{
    struct stat st;

    if (streq(name, ".") || streq(name, ".."))
        return 0;
    if (fstatat(fd, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
        return errno == ENOENT ? 0 : -errno;
    if (S_ISDIR(st.st_mode)) /* a mount point: whoever mounted it must unmount it */
        return st.st_dev == dev ? 1 : -EBUSY;
    return unlinkat(fd, name, 0) < 0 && errno != ENOENT ? -errno : 0;
}

/* Removes the directory name in top; what directories it has move up to top, and are counted. */
static int remove_level(int top, const char *name, dev_t dev, unsigned *moved)
{
    int fd = openat(top, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC), r, result = 0;
    _cleanup_(closedirp) DIR *dir = fd < 0 ? NULL : fdopendir(fd);
    struct dirent *e;
    char free_name[32];

    if (!dir) {
        r = -errno;
        safe_close(fd);
        return r;
    }
    while ((e = readdir(dir))) {
        r = remove_entry(fd, e->d_name, dev);
        if (r > 0)
            do {
                snprintf(free_name, sizeof(free_name), ".removed-%u", (*moved)++);
                r = renameat2(fd, e->d_name, top, free_name, RENAME_NOREPLACE) < 0 ? -errno : 0;
            } while (r == -EEXIST);
        if (r < 0 && result >= 0)
            result = r;
    }
    if (result < 0)
        return result;
    return unlinkat(top, name, AT_REMOVEDIR) < 0 ? -errno : 0;
}

/* One look through top. Goes on after an error and returns the first one. */
static int remove_pass(DIR *dir, dev_t dev, unsigned *moved)
{
    struct dirent *e;
    int result = 0;

    rewinddir(dir);
    while ((e = readdir(dir))) {
        int r = remove_entry(dirfd(dir), e->d_name, dev);

        if (r > 0)
            r = remove_level(dirfd(dir), e->d_name, dev, moved);
        if (r < 0 && result >= 0)
            result = r;
    }
    return result;
}

/* Without recursion: whoever made the tree chose its depth, and each level would cost a descriptor. */
int file_empty_tree(int at, const char *path)
{
    int fd = openat(at, path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC), passes, r = 0;
    _cleanup_(closedirp) DIR *dir = NULL;
    unsigned moved = 1, before = 0;
    struct stat st;

    if (fd < 0)
        return errno == ENOENT ? 0 : -errno;
    dir = fdopendir(fd);
    if (!dir) {
        r = -errno;
        close(fd);
        return r;
    }
    if (fstat(fd, &st) < 0)
        return -errno;
    for (passes = 0; r >= 0 && moved != before; passes++) {
        before = moved;
        r = passes < REMOVE_PASSES_MAX ? remove_pass(dir, st.st_dev, &moved) : -ELOOP;
    }
    return r;
}

int file_remove_tree(int dirfd, const char *path)
{
    int r = file_empty_tree(dirfd, path);

    if (r == -ENOTDIR || r == -ELOOP) /* a file, or a link */
        return unlinkat(dirfd, path, 0) < 0 && errno != ENOENT ? -errno : 0;
    if (r < 0)
        return r;
    return unlinkat(dirfd, path, AT_REMOVEDIR) < 0 && errno != ENOENT ? -errno : 0;
}

int dir_make(const char *path, mode_t mode, uid_t uid, gid_t gid)
{
    _cleanup_close_ int fd = -EBADF;

    if (mkdir(path, 0700) < 0 && errno != EEXIST)
        return -errno;
    fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    if (fchown(fd, uid, gid) < 0 || fchmod(fd, mode) < 0)
        return -errno;
    return 0;
}
