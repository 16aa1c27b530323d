/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Descriptors that come with messages (SCM_RIGHTS). Bounded: those of one message that is being read. What
 * they are is the sender's choice, and closing one may hang for ever (a FUSE file system is asked first), so
 * that is done where it hangs nobody. */

#include "varlink-internal.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/socket.h>

/* Descriptors that hang in close(). While there are so many, no more are taken from anybody. */
#define CLOSING_MAX 16

static atomic_uint n_closing;

static void *closer(void *argument)
{
    close((int)(intptr_t)argument);
    atomic_fetch_sub(&n_closing, 1);
    return NULL;
}

/* What lives in the kernel's own memory asks nobody: memfd_create(2), pipes. */
static bool closes_at_once(int fd)
{
    return fcntl(fd, F_GET_SEALS) >= 0 || fcntl(fd, F_GETPIPE_SZ) >= 0;
}

int varlink_fd_close(int fd)
{
    pthread_attr_t attributes;
    pthread_t thread;

    if (fd < 0)
        return -EBADF;
    if (closes_at_once(fd)) {
        close(fd);
        return -EBADF;
    }
    atomic_fetch_add(&n_closing, 1);
    /* Without a thread it stays open, and counts as one that hangs. */
    if (pthread_attr_init(&attributes) != 0)
        return -EBADF;
    if (pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED) == 0)
        (void)pthread_create(&thread, &attributes, closer, (void *)(intptr_t)fd);
    pthread_attr_destroy(&attributes);
    return -EBADF;
}

void varlink_fds_close(VarlinkFds *f)
{
    while (f->n > 0)
        (void)varlink_fd_close(f->fds[--f->n]);
}

/* False: there were too many. */
static bool take(VarlinkFds *f, const struct cmsghdr *m)
{
    size_t i, n = (m->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    bool good = true;

    for (i = 0; i < n; i++) {
        int fd;

        memcpy(&fd, CMSG_DATA(m) + i * sizeof(int), sizeof(int));
        if (f->n < VARLINK_FDS_MAX)
            f->fds[f->n++] = fd;
        else {
            (void)varlink_fd_close(fd);
            good = false;
        }
    }
    return good;
}

ssize_t varlink_fds_receive(VarlinkConnection *c)
{
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(VARLINK_FDS_MAX * sizeof(int))];
    } room;
    /* Without room the kernel drops what comes and says so: that closes nothing here. */
    bool wanted = !c->denied && atomic_load(&n_closing) < CLOSING_MAX;
    struct msghdr message = {.msg_control = wanted ? room.bytes : NULL,
                             .msg_controllen = wanted ? sizeof(room.bytes) : 0};
    ssize_t n = framing_receive(&c->in, c->fd, &message);
    struct cmsghdr *m;
    bool good = true;

    if (n < 0)
        return n;
    if (wanted)
        for (m = CMSG_FIRSTHDR(&message); m; m = CMSG_NXTHDR(&message, m))
            if (m->cmsg_level == SOL_SOCKET && m->cmsg_type == SCM_RIGHTS)
                good = take(&c->fds, m) && good;
    return good && !(message.msg_flags & MSG_CTRUNC) ? n : -E2BIG;
}
