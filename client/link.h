/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* One connection to ilrd and one call on it. Blocks in link_next() only, which an interrupt (SIGINT) ends. */

#include "failure.h"
#include "framing.h"

#define INTERFACE "io.ilrd.Recovery"
#define SOCKET_PATH "/run/ilrd/io.ilrd.Recovery"

typedef struct Link {
    int fd;
    Framing in;
} Link;

typedef struct Reply {
    json_object *message;    /* the whole answer */
    json_object *parameters; /* borrowed from it; an object */
    const char *error;       /* the full name, borrowed; NULL: no error */
    bool continues;
} Reply;

/* From here on SIGINT is only seen by link_next(). */
void link_block_interrupt(void);
/* As it was: before another program takes over. */
void link_unblock_interrupt(void);

/* Connects. Returns 0 or a negative errno. */
int link_open(Link *l, const char *path);
void link_close(Link *l);
/* method without the interface's name. parameters is consumed, may be NULL. */
int link_call(Link *l, const char *method, json_object *parameters, bool more);
/* The same with descriptors, which stay the caller's. At most 8. */
int link_call_fds(Link *l, const char *method, json_object *parameters, bool more, const int *fds, size_t n);
/* The next answer, owned by the caller. 1: there; 0: timeout_msec (-1: none) have passed without one; -EINTR:
 * SIGINT; -ECONNRESET: ilrd has closed the connection; -EBADMSG: what came is no answer; or another negative
 * errno. */
int link_next(Link *l, int timeout_msec, Reply *ret);
void reply_done(Reply *r);
