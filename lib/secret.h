/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* A string that must not leak: a token, a CHAP secret, the connection script. It has no print function, is
 * wiped when freed, and lives in memory that is kept out of core dumps and swap where the system allows it.
 */

#include "util.h"

typedef struct Secret Secret;

/* Copies size bytes (at most 64 MiB; a NUL is put behind them) and wipes nothing of the source. NULL: no
 * memory. */
Secret *secret_new(const char *bytes, size_t size);
/* Copies and wipes the source. */
Secret *secret_new_take(char *bytes, size_t size);
Secret *secret_ref(Secret *s);
/* Drops a reference; the last one wipes. Returns NULL. */
Secret *secret_unref(Secret *s);
DEFINE_CLEANUP(Secret *, secret_unref)
#define _cleanup_secret_ _cleanup_(secret_unrefp)

/* Borrowed, NUL-terminated. */
const char *secret_text(const Secret *s);
size_t secret_size(const Secret *s);

/* Reads a secret from a file: a regular file of at most max bytes, without any of the forbidden bits in its
 * mode (077: its owner's only; -EPERM otherwise). One trailing newline is cut. -ENODATA: empty. Otherwise the
 * errno of open or read. */
int secret_read_file(const char *path, mode_t forbidden, size_t max, Secret **ret);

/* Reads until the end of the file; may wait. -EFBIG: more than max bytes, -ENODATA: nothing, or an errno. */
int secret_read_fd(int fd, size_t max, Secret **ret);
/* The whole of what memfd_create(2) made, from whoever: reading that waits for nobody. -EINVAL: it is
 * something else. Otherwise as above. */
int secret_read_memfd(int fd, size_t max, Secret **ret);
/* A sealed one with this content; the caller's. */
int secret_to_memfd(const Secret *s, int *ret);

/* Wipes and frees a string. For _cleanup_. */
static inline void erase_and_freep(char **p)
{
    if (*p)
        explicit_bzero(*p, strlen(*p));
    free(*p);
}
#define _cleanup_erase_ _cleanup_(erase_and_freep)
