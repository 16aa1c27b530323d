/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "secret.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>

#define SECRET_MAX (64 * MIB)

struct Secret {
    unsigned refs;
    size_t size;
    size_t mapped; /* bytes of the whole mapping, a multiple of the page size */
    char text[];
};

/* A mapping of its own, because MADV_DONTDUMP and mlock work on pages. */
static Secret *secret_allocate(size_t size)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    size_t mapped = (sizeof(Secret) + size + 1 + page - 1) / page * page;
    Secret *s;

    if (size > SECRET_MAX)
        return NULL;
    s = mmap(NULL, mapped, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (s == MAP_FAILED)
        return NULL;
    (void)madvise(s, mapped, MADV_DONTDUMP);
    (void)mlock(s, mapped); /* RLIMIT_MEMLOCK may say no; then it is only kept out of dumps */
    s->refs = 1;
    s->size = size;
    s->mapped = mapped;
    return s;
}

Secret *secret_new(const char *bytes, size_t size)
{
    Secret *s = secret_allocate(size);

    if (s)
        memcpy(s->text, bytes, size);
    return s;
}

Secret *secret_new_take(char *bytes, size_t size)
{
    Secret *s = secret_new(bytes, size);

    explicit_bzero(bytes, size);
    return s;
}

Secret *secret_ref(Secret *s)
{
    if (s)
        s->refs++;
    return s;
}

Secret *secret_unref(Secret *s)
{
    if (s && --s->refs == 0) {
        explicit_bzero(s->text, s->size);
        munmap(s, s->mapped);
    }
    return NULL;
}

const char *secret_text(const Secret *s)
{
    return s->text;
}

size_t secret_size(const Secret *s)
{
    return s->size;
}

/* From where the descriptor stands. s has room for max bytes. */
static int read_all(int fd, Secret *s, size_t max)
{
    size_t size = 0;
    char more;

    while (size < max) {
        ssize_t n = read(fd, s->text + size, max - size);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -errno;
        if (n == 0)
            break;
        size += (size_t)n;
    }
    s->size = size;
    s->text[size] = '\0';
    if (size == 0)
        return -ENODATA;
    return size == max && read(fd, &more, 1) > 0 ? -EFBIG : 0;
}

int secret_read_fd(int fd, size_t max, Secret **ret)
{
    _cleanup_secret_ Secret *s = secret_allocate(max);
    int r;

    if (!s)
        return -ENOMEM;
    r = read_all(fd, s, max);
    if (r < 0)
        return r;
    *ret = TAKE_PTR(s);
    return 0;
}

int secret_read_memfd(int fd, size_t max, Secret **ret)
{
    if (fcntl(fd, F_GET_SEALS) < 0 || lseek(fd, 0, SEEK_SET) < 0)
        return -EINVAL;
    return secret_read_fd(fd, max, ret);
}

int secret_to_memfd(const Secret *s, int *ret)
{
    _cleanup_close_ int fd = memfd_create("secret", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    size_t done = 0;

    if (fd < 0)
        return -errno;
    while (done < s->size) {
        ssize_t n = write(fd, s->text + done, s->size - done);

        if (n < 0)
            return -errno;
        done += (size_t)n;
    }
    if (fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE | F_SEAL_GROW | F_SEAL_SHRINK | F_SEAL_SEAL) < 0)
        return -errno;
    *ret = TAKE_FD(fd);
    return 0;
}

int secret_read_file(const char *path, mode_t forbidden, size_t max, Secret **ret)
{
    _cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
    _cleanup_secret_ Secret *s = NULL;
    struct stat st;
    int r;

    if (fd < 0)
        return -errno;
    if (fstat(fd, &st) < 0)
        return -errno;
    if (!S_ISREG(st.st_mode))
        return -EINVAL;
    if (st.st_mode & forbidden)
        return -EPERM;
    if ((uint64_t)st.st_size > max)
        return -EFBIG;
    r = secret_read_fd(fd, max, &s);
    if (r < 0)
        return r;
    if (s->text[s->size - 1] == '\n')
        s->text[--s->size] = '\0';
    if (s->size == 0)
        return -ENODATA;
    *ret = TAKE_PTR(s);
    return 0;
}
