/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "files.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>

DEFINE_CLEANUP(DIR *, closedir)

int file_read(int dirfd, const char *path, size_t max, char **ret, size_t *ret_size)
{
    _cleanup_close_ int fd = openat(dirfd, path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
    _cleanup_free_ char *data = NULL;
    size_t size = 0, allocated = 0;
    ssize_t n;

    if (fd < 0)
        return -errno;
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

static int remove_children(int fd, dev_t dev)
{
    _cleanup_(closedirp) DIR *dir = fdopendir(fd);
    struct dirent *e;
    int result = 0;

    if (!dir) {
        int r = -errno;
        close(fd);
        return r;
    }
    while ((e = readdir(dir))) {
        struct stat st;
        int r = 0;

        if (streq(e->d_name, ".") || streq(e->d_name, ".."))
            continue;
        if (fstatat(dirfd(dir), e->d_name, &st, AT_SYMLINK_NOFOLLOW) < 0)
            r = errno == ENOENT ? 0 : -errno;
        else if (!S_ISDIR(st.st_mode))
            r = unlinkat(dirfd(dir), e->d_name, 0) < 0 && errno != ENOENT ? -errno : 0;
        else if (st.st_dev != dev)
            r = -EBUSY; /* a mount point: whoever mounted it must unmount it */
        else {
            int child = openat(dirfd(dir), e->d_name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

            r = child < 0 ? -errno : remove_children(child, dev);
            if (r >= 0 && unlinkat(dirfd(dir), e->d_name, AT_REMOVEDIR) < 0)
                r = -errno;
        }
        if (r < 0)
            result = r;
    }
    return result;
}

int file_remove_tree(int dirfd, const char *path)
{
    int fd = openat(dirfd, path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    struct stat st;
    int r;

    if (fd < 0)
        return errno == ENOENT ? 0 : -errno;
    if (fstat(fd, &st) < 0) {
        r = -errno;
        close(fd);
        return r;
    }
    r = remove_children(fd, st.st_dev);
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
