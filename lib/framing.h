/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Messages ended by a NUL byte, as Varlink has them, cut out of a byte stream. The buffer is bounded: a peer
 * that sends more than max bytes without a NUL gets -EMSGSIZE, never more memory. */

#include "util.h"
#include <sys/socket.h>

typedef struct Framing {
    char *data;
    size_t used;      /* bytes in data */
    size_t allocated; /* bytes */
    size_t consumed;  /* bytes at the start of data that were already handed out */
    size_t scanned; /* bytes behind consumed in which there is no NUL; so that each byte is looked at once */
    size_t max;     /* longest message without its NUL, bytes */
} Framing;

void framing_init(Framing *f, size_t max);
void framing_done(Framing *f);

/* Reads once from fd (a non-blocking or blocking stream socket).
 * Returns the bytes read, 0 at end of file, -EAGAIN, -EMSGSIZE, -ENOMEM or the errno of read(2). */
ssize_t framing_read(Framing *f, int fd);

/* The same with recvmsg(2), for who wants what comes beside the bytes: message has the room for that, and
 * gets it. Descriptors are CLOEXEC. It never waits: -EAGAIN. */
ssize_t framing_receive(Framing *f, int fd, struct msghdr *message);

/* The same with bytes from elsewhere. */
int framing_feed(Framing *f, const char *bytes, size_t size);

/* The next complete message: 1, borrowed until the next call of any function of this file; 0: none complete
 * yet; -EMSGSIZE: what is buffered is already longer than max. */
int framing_next(Framing *f, const char **ret, size_t *ret_size);

/* Writes text and its NUL byte completely to a blocking descriptor; MSG_NOSIGNAL on sockets. 0 or -errno. */
int framing_write(int fd, const char *text);
