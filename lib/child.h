/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Runs a program to its end, with a deadline, and keeps a bounded piece of what it said. Blocking: for the
 * helper and for tests, not for event loops. */

#include "strv.h"

typedef struct ChildResult {
    int status;     /* exit status 0..255; 128 + N if signal N ended it */
    bool timed_out; /* it was killed because the deadline passed */
    char *output;   /* standard output, NUL-terminated, at most CHILD_OUTPUT_MAX bytes, the rest is dropped */
    char *error;    /* standard error, the same */
} ChildResult;

#define CHILD_OUTPUT_MAX (1 * MIB)

typedef struct ChildOptions {
    uint64_t timeout_usec;    /* from now; then SIGKILL to its process group; USEC_INFINITY: none */
    const char *input;        /* given on standard input (else /dev/null); up to 64 KiB; NULL: none */
    size_t input_size;        /* of input, bytes; 0: up to its NUL */
    char *const *environment; /* the whole environment; NULL: PATH and LC_ALL=C.UTF-8 only */
    /* Called in the child before exec (a private mount namespace); a negative errno ends it with status 127.
     */
    int (*setup)(void *userdata);
    void *userdata;
} ChildOptions;

/* argv[0] is an absolute path or looked up in a fixed PATH (/usr/sbin:/usr/bin:/sbin:/bin). The child gets
 * its own process group, PR_SET_PDEATHSIG(SIGKILL), only descriptors 0-2 and default signals. A child that
 * cannot be killed (state D) is left behind after 2 s more: *ret says timed_out and status 137. Returns 0
 * whatever the child's status, or a negative errno if it could not be started. */
int child_run(char *const *argv, const ChildOptions *options, ChildResult *ret);
void child_result_done(ChildResult *r);
#define _cleanup_child_ _cleanup_(child_result_done)

/* For functions of our own that may hang in the kernel (mount(2), an ioctl): runs work(userdata, fd) in a
 * forked child, which answers by writing at most CHILD_OUTPUT_MAX bytes to fd and by its return value (0 or
 * a negative errno). Returns what work returned, -ETIMEDOUT if the deadline passed (the child was killed, or
 * left behind in D), -EPROTO if it died. ret (may be NULL) gets what it wrote, NUL-terminated, the caller's.
 */
int child_call(int (*work)(void *userdata, int fd), void *userdata, uint64_t timeout_usec, char **ret);

/* What answers with bytes writes them as hexadecimal digits, since an answer is text. get: -EPROTO: the text
 * does not begin with so many. */
int child_put_hex(int fd, const void *data, size_t size);
int child_get_hex(const char *text, size_t size, void *ret);

/* The same as child_call() for several beside each other, CHILD_CALLS_MAX at a time, which have timeout_usec
 * together; so that one that hangs costs no more than all of them. */
#define CHILD_CALLS_MAX 24
typedef struct ChildCall {
    void *userdata; /* what work gets */
    int result;     /* as child_call() returns it */
    char *text;     /* what it wrote, the caller's; or NULL */
} ChildCall;
void child_call_each(int (*work)(void *userdata, int fd), ChildCall *calls, size_t n, uint64_t timeout_usec);
