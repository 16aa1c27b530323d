/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "framing.h"

void framing_init(Framing *f, size_t max)
{
    *f = (Framing){.max = max};
}

void framing_done(Framing *f)
{
    if (f->data)
        explicit_bzero(f->data, f->allocated); /* messages may have carried a secret */
    free(f->data);
    *f = (Framing){};
}

/* Drops what was handed out, makes room for want more bytes. */
static int framing_reserve(Framing *f, size_t want)
{
    size_t size;
    char *data;

    if (f->consumed > 0) {
        memmove(f->data, f->data + f->consumed, f->used - f->consumed);
        f->used -= f->consumed;
        f->consumed = 0;
    }
    if (f->used + want <= f->allocated)
        return 0;
    size = MAX(f->used + want, MIN(2 * f->allocated, f->max + 1));
    /* Not realloc(): the old place may hold a secret. */
    data = malloc(size);
    if (!data)
        return -ENOMEM;
    if (f->data) {
        memcpy(data, f->data, f->used);
        explicit_bzero(f->data, f->allocated);
        free(f->data);
    }
    f->data = data;
    f->allocated = size;
    return 0;
}

/* Room for what is read at once; returns its bytes. */
static ssize_t framing_prepare(Framing *f)
{
    size_t pending = f->used - f->consumed, want;
    int r;

    if (pending > f->max)
        return -EMSGSIZE;
    want = MIN((size_t)4096, f->max + 1 - pending);
    r = framing_reserve(f, want);
    return r < 0 ? r : (ssize_t)want;
}

ssize_t framing_receive(Framing *f, int fd, struct msghdr *message)
{
    ssize_t want = framing_prepare(f), n;
    struct iovec iov;

    if (want < 0)
        return want;
    iov = (struct iovec){.iov_base = f->data + f->used, .iov_len = (size_t)want};
    message->msg_iov = &iov;
    message->msg_iovlen = 1;
    do
        n = recvmsg(fd, message, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
    while (n < 0 && errno == EINTR);
    message->msg_iov = NULL;
    message->msg_iovlen = 0;
    if (n < 0)
        return -errno;
    f->used += n;
    return n;
}

ssize_t framing_read(Framing *f, int fd)
{
    ssize_t want = framing_prepare(f), n;

    if (want < 0)
        return want;
    do
        n = read(fd, f->data + f->used, (size_t)want);
    while (n < 0 && errno == EINTR);
    if (n < 0)
        return -errno;
    f->used += n;
    return n;
}

int framing_feed(Framing *f, const char *bytes, size_t size)
{
    int r;

    if (f->used - f->consumed + size > f->max + 1)
        return -EMSGSIZE;
    r = framing_reserve(f, size);
    if (r < 0)
        return r;
    memcpy(f->data + f->used, bytes, size);
    f->used += size;
    return 0;
}

int framing_next(Framing *f, const char **ret, size_t *ret_size)
{
    size_t pending = f->used - f->consumed;
    const char *start = f->data + f->consumed, *end;

    end = pending > f->scanned ? memchr(start + f->scanned, 0, pending - f->scanned) : NULL;
    f->scanned = end ? 0 : pending;
    if (!end)
        return pending > f->max ? -EMSGSIZE : 0;
    f->consumed += end - start + 1;
    *ret = start;
    *ret_size = end - start;
    return 1;
}

int framing_write(int fd, const char *text)
{
    size_t left = strlen(text) + 1;

    while (left > 0) {
        ssize_t n = send(fd, text, left, MSG_NOSIGNAL);

        if (n < 0 && errno == ENOTSOCK)
            n = write(fd, text, left);
        if (n < 0) {
            if (errno == EINTR)
                continue;
            return -errno;
        }
        text += n;
        left -= n;
    }
    return 0;
}
