/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The few macros that every file uses: ownership (_cleanup_, TAKE_PTR), sizes, units of time.
 * Nothing here logs or knows what the program is for. */

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define _cleanup_(f) __attribute__((cleanup(f)))
#define _printf_(a, b) __attribute__((format(printf, a, b)))
#define _noreturn_ __attribute__((noreturn))
#define _sentinel_ __attribute__((sentinel))

#define ELEMENTSOF(a) (sizeof(a) / sizeof((a)[0]))
#define MIN(a, b) ((a) < (b) ? (a) : (b))
#define MAX(a, b) ((a) > (b) ? (a) : (b))

/* Hands a value on and forgets it here, so that _cleanup_ leaves it alone. */
#define TAKE_GENERIC(var, type, nullvalue)                                                                   \
    ({                                                                                                       \
        type *_pvar_ = &(var);                                                                               \
        type _var_ = *_pvar_;                                                                                \
        *_pvar_ = (nullvalue);                                                                               \
        _var_;                                                                                               \
    })
#define TAKE_PTR(ptr) TAKE_GENERIC(ptr, typeof(ptr), NULL)
#define TAKE_FD(fd) TAKE_GENERIC(fd, int, -EBADF)

/* Defines x_freep() for use with _cleanup_. */
#define DEFINE_CLEANUP(type, func)                                                                           \
    static inline void func##p(type *p)                                                                      \
    {                                                                                                        \
        if (*p)                                                                                              \
            func(*p);                                                                                        \
    }

static inline void freep(void *p)
{
    free(*(void **)p);
}

/* *ret: a copy of s, NULL for NULL. 0 or -ENOMEM. */
static inline int str_copy(const char *s, char **ret)
{
    *ret = s ? strdup(s) : NULL;
    return s && !*ret ? -ENOMEM : 0;
}

static inline void closep(int *fd)
{
    if (*fd >= 0)
        close(*fd);
}

DEFINE_CLEANUP(FILE *, fclose)

/* Closes a descriptor if there is one, keeps errno. Returns -EBADF, to be assigned to the variable. */
static inline int safe_close(int fd)
{
    if (fd >= 0) {
        int saved = errno;
        close(fd);
        errno = saved;
    }
    return -EBADF;
}

#define _cleanup_free_ _cleanup_(freep)
#define _cleanup_close_ _cleanup_(closep)
#define _cleanup_fclose_ _cleanup_(fclosep)

static inline bool streq(const char *a, const char *b)
{
    return strcmp(a, b) == 0;
}

/* Two strings that may be NULL. */
static inline bool streq_ptr(const char *a, const char *b)
{
    return a && b ? streq(a, b) : a == b;
}

static inline bool isempty(const char *s)
{
    return !s || !*s;
}

/* Returns what follows the prefix, or NULL. */
static inline const char *startswith(const char *s, const char *prefix)
{
    size_t n = strlen(prefix);
    return strncmp(s, prefix, n) == 0 ? s + n : NULL;
}

static inline bool endswith(const char *s, const char *suffix)
{
    size_t a = strlen(s), b = strlen(suffix);
    return a >= b && streq(s + a - b, suffix);
}

static inline int free_and_replace(char **p, char *s)
{
    free(*p);
    *p = s;
    return 0;
}

#define USEC_PER_MSEC UINT64_C(1000)
#define USEC_PER_SEC UINT64_C(1000000)
#define USEC_PER_MINUTE (60 * USEC_PER_SEC)
#define USEC_PER_HOUR (60 * USEC_PER_MINUTE)
#define USEC_INFINITY UINT64_MAX

#define KIB (UINT64_C(1024))
#define MIB (UINT64_C(1024) * KIB)
#define GIB (UINT64_C(1024) * MIB)
