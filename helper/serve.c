/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "serve.h"

#include "framing.h"
#include "log.h"
#include "request.h"
#include "systemd.h"
#include "timeutil.h"

#include <poll.h>
#include <pwd.h>
#include <sys/socket.h>
#include <systemd/sd-login.h>

/* Enough for the largest script over a local socket, short enough that a silent caller frees its place. */
#define RECEIVE_TIMEOUT_USEC (30 * USEC_PER_SEC)
#define SEND_TIMEOUT_SEC 30

static uid_t user_uid(const char *name)
{
    const struct passwd *pw = getpwnam(name);

    return pw ? pw->pw_uid : (uid_t)-1;
}

static int caller_identify(int fd, Caller *ret, char **ret_unit)
{
    struct ucred cred;
    socklen_t size = sizeof(cred);

    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &size) < 0)
        return -errno;
    *ret_unit = NULL;
    if (sd_peer_get_unit(fd, ret_unit) < 0) /* a process outside of all units has none */
        *ret_unit = NULL;
    *ret = (Caller){
        .uid = cred.uid,
        .unit = *ret_unit,
        .daemon_uid = user_uid("ilrd"),
        .connection_uid = user_uid("ilr-connect"),
    };
    return 0;
}

/* A caller that is gone has closed its connection, and that is all: nothing is denied to it, and nobody is
 * there to be told. -ECANCELED is what ends a request without a word. */
static bool hung_up(int fd, ssize_t n)
{
    return (n == 0 || n == -ECONNRESET) && caller_gone(fd);
}

/* Reads until the first NUL byte. Only what came last is searched: 16 MiB arrive in thousands of pieces. */
static int receive(int fd, Framing *f, Failure **ret_failure)
{
    uint64_t start = now_usec(CLOCK_MONOTONIC), gone;

    for (;;) {
        struct pollfd p = {.fd = fd, .events = POLLIN};
        ssize_t n;

        gone = now_usec(CLOCK_MONOTONIC) - start;
        if (gone >= RECEIVE_TIMEOUT_USEC)
            return verb_fail(ret_failure, -ETIMEDOUT, FAILURE_INVALID_REQUEST,
                             "no complete request came within %llu seconds",
                             (unsigned long long)(RECEIVE_TIMEOUT_USEC / USEC_PER_SEC));
        if (poll(&p, 1, (int)((RECEIVE_TIMEOUT_USEC - gone) / USEC_PER_MSEC) + 1) < 0 && errno != EINTR)
            return -errno;
        if (!p.revents)
            continue;
        n = framing_read(f, fd);
        if (n == -EAGAIN)
            continue;
        if (n == -EMSGSIZE)
            return verb_fail(ret_failure, -EMSGSIZE, FAILURE_INVALID_REQUEST,
                             "the request is longer than %zu bytes", f->max);
        if (hung_up(fd, n))
            return -ECANCELED;
        if (n == 0)
            return verb_fail(ret_failure, -EBADMSG, FAILURE_INVALID_REQUEST,
                             "the request ended before its NUL byte");
        if (n < 0)
            return (int)n;
        if (memchr(f->data + f->used - n, 0, n))
            return 0;
    }
}

static int handle(int fd, json_object **ret_answer, Failure **ret_failure)
{
    _cleanup_(config_freep) Config *config = NULL;
    _cleanup_failure_ Failure *config_failure = NULL;
    _cleanup_(framing_done) Framing framing = {};
    _cleanup_json_ json_object *object = NULL;
    _cleanup_free_ char *unit = NULL;
    VerbFunction function;
    const char *text;
    Request request;
    Caller caller;
    size_t size;
    int r;

    r = caller_identify(fd, &caller, &unit);
    if (r < 0)
        return log_error_errno(r, "Cannot learn who is calling");
    framing_init(&framing, request_size_max(&caller));
    r = receive(fd, &framing, ret_failure);
    if (r < 0)
        return r;
    r = framing_next(&framing, &text, &size);
    if (r <= 0)
        return r < 0 ? r : -EBADMSG;
    r = request_parse(text, size, &caller, &request, &function, &object, ret_failure);
    /* Who was killed after it had asked has no unit any more. */
    if (r == -EPERM && !unit && caller_gone(fd))
        return -ECANCELED;
    if (r < 0)
        return r;
    r = config_load(NULL, &config, &config_failure);
    if (r < 0 && request.needs_config) {
        *ret_failure = TAKE_PTR(config_failure);
        return r;
    }
    request.fd = fd;
    request.config = config;
    log_full(LOG_DEBUG, request.session, "Verb %s for uid %u in %s", request.verb, (unsigned)caller.uid,
             unit ? unit : "no unit");
    r = function(&request, ret_answer, ret_failure);
    if (r < 0)
        (void)verb_fail(ret_failure, r, FAILURE_HELPER_FAILED, "%s%s%s failed: %s", request.verb,
                        request.session ? " of session " : "", request.session ? request.session : "",
                        strerror(-r));
    return r;
}

static int failure_answer(const Failure *failure, json_object **ret)
{
    _cleanup_json_ json_object *o = json_object_new_object(), *f = NULL;
    int r;

    if (!o)
        return -ENOMEM;
    r = failure_to_json(failure, &f);
    if (r >= 0)
        r = json_add(o, "failure", TAKE_PTR(f));
    if (r < 0)
        return r;
    *ret = TAKE_PTR(o);
    return 0;
}

int serve(int fd)
{
    struct timeval send_timeout = {.tv_sec = SEND_TIMEOUT_SEC};
    _cleanup_json_ json_object *answer = NULL;
    _cleanup_failure_ Failure *failure = NULL;
    int r;

    r = handle(fd, &answer, &failure);
    if (r == -ECANCELED) { /* the caller went away; what he wanted was taken back, or never begun */
        log_debug("The caller hung up");
        return 0;
    }
    if (r < 0) {
        (void)verb_fail(&failure, r, FAILURE_HELPER_FAILED, "ilr-helper failed: %s", strerror(-r));
        if (!failure)
            return log_oom();
        log_warning("%s: %s", failure_name_to_string(failure->name), failure->message);
        json_object_put(answer);
        answer = NULL;
        r = failure_answer(failure, &answer);
        if (r < 0)
            return log_error_errno(r, "Cannot make the answer");
    }
    (void)setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &send_timeout, sizeof(send_timeout));
    r = framing_write(fd, answer ? json_text(answer) : "{}");
    if (r == -EPIPE || r == -ECONNRESET) { /* what was done stands */
        log_debug("The caller hung up before its answer");
        return 0;
    }
    if (r < 0)
        log_warning_errno(r, "Cannot send the answer");
    return r;
}
