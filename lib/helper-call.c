/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "helper-call.h"

#include "base64.h"
#include "framing.h"
#include "local-socket.h"

/* A session with as many volumes as the helper looks at (RECORD_SIZE_MAX); a bound, not an expectation. */
#define ANSWER_MAX (24 * MIB) /* the longest list of what is left has 17 */

struct HelperCall {
    sd_event_source *io, *timer, *defer;
    Secret *message; /* NULL: sent */
    size_t sent;     /* bytes of message that are written, its NUL included */
    Framing answer;
    int fd;
    Failure *failure; /* to be told by the defer source */
    HelperDone done;
    void *userdata;
};

HelperCall *helper_call_free(HelperCall *call)
{
    if (!call)
        return NULL;
    sd_event_source_disable_unref(call->io);
    sd_event_source_disable_unref(call->timer);
    sd_event_source_disable_unref(call->defer);
    secret_unref(call->message);
    framing_done(&call->answer);
    failure_free(call->failure);
    safe_close(call->fd);
    free(call);
    return NULL;
}

/* The last thing a call does: the callback may free it. */
static void finish(HelperCall *call, json_object *answer, Failure *failure)
{
    sd_event_source_set_enabled(call->io, SD_EVENT_OFF);
    sd_event_source_set_enabled(call->timer, SD_EVENT_OFF);
    call->done(call, answer, failure, call->userdata);
}

static void finish_failed(HelperCall *call, const char *what, int r)
{
    _cleanup_failure_ Failure *f = NULL;
    char buf[128];

    f = failure_new(FAILURE_HELPER_FAILED, "The helper %s: %s", what, strerror_r(-r, buf, sizeof(buf)));
    finish(call, NULL, f);
}

static void on_answer(HelperCall *call, const char *text, size_t size)
{
    _cleanup_json_ json_object *o = NULL;
    _cleanup_failure_ Failure *f = NULL;
    json_object *failure;
    int r;

    r = json_parse(text, size, &o);
    if (r >= 0 && !json_object_is_type(o, json_type_object))
        r = -EBADMSG;
    if (r < 0) {
        finish_failed(call, "answered nonsense", r);
        return;
    }
    if (json_object_object_get_ex(o, "failure", &failure) && failure) {
        if (failure_from_json(failure, &f) < 0)
            f = failure_new(FAILURE_HELPER_FAILED, "The helper failed without saying how");
        finish(call, NULL, f);
        return;
    }
    finish(call, o, NULL);
}

static int on_io(sd_event_source *s, int fd, uint32_t revents, void *userdata)
{
    HelperCall *call = userdata;
    const char *text;
    ssize_t n;
    size_t size;
    int r;

    if (call->message) {
        size_t total = secret_size(call->message) + 1;

        n = send(fd, secret_text(call->message) + call->sent, total - call->sent,
                 MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n < 0 && errno != EAGAIN && errno != EINTR) {
            finish_failed(call, "did not take the request", -errno);
            return 0;
        }
        call->sent += MAX(n, 0);
        if (call->sent == total) {
            (void)sd_event_source_set_io_events(s, EPOLLIN);
            call->message = secret_unref(call->message);
        }
        return 0;
    }
    n = framing_read(&call->answer, fd);
    if (n == -EAGAIN)
        return 0;
    if (n <= 0) {
        finish_failed(call, n == 0 ? "ended without an answer" : "could not be heard",
                      n == 0 ? -EPIPE : (int)n);
        return 0;
    }
    r = framing_next(&call->answer, &text, &size);
    if (r < 0)
        finish_failed(call, "answered too much", r);
    else if (r > 0)
        on_answer(call, text, size);
    return 0;
}

static int on_timeout(sd_event_source *s, uint64_t usec, void *userdata)
{
    finish_failed(userdata, "did not answer in time", -ETIMEDOUT);
    return 0;
}

static int on_defer(sd_event_source *s, void *userdata)
{
    HelperCall *call = userdata;
    /* Not the call's any more: whoever is told may free the call before looking at the failure. */
    _cleanup_failure_ Failure *f = TAKE_PTR(call->failure);

    call->done(call, NULL, f, call->userdata);
    return 0;
}

/* {"a":1} and secret -> {"a":1,"key":"base64"} as one Secret. */
static int make_message(json_object *request, const char *key, Secret *secret, Secret **ret)
{
    const char *text = json_text(request);
    size_t base = strlen(text), size;
    _cleanup_free_ char *buf = NULL;
    int n;

    if (!secret) {
        *ret = secret_new(text, base);
        return *ret ? 0 : -ENOMEM;
    }
    size = base + strlen(key) + BASE64_SIZE(secret_size(secret)) + 16;
    buf = malloc(size);
    if (!buf)
        return -ENOMEM;
    n = snprintf(buf, size, "%.*s%s\"%s\":\"", (int)base - 1, text, base > 2 ? "," : "", key);
    n += (int)base64_encode(secret_text(secret), secret_size(secret), buf + n);
    memcpy(buf + n, "\"}", 2);
    *ret = secret_new_take(buf, n + 2);
    return *ret ? 0 : -ENOMEM;
}

int helper_call_new(HelperCall **ret, sd_event *event, const char *socket_path, json_object *request,
                    const char *secret_key, Secret *secret, uint64_t timeout_usec, HelperDone done,
                    void *userdata)
{
    _cleanup_(helper_call_freep) HelperCall *call = calloc(1, sizeof(*call));
    char buf[128];
    int r;

    if (!call)
        return -ENOMEM;
    call->fd = -EBADF;
    call->done = done;
    call->userdata = userdata;
    framing_init(&call->answer, ANSWER_MAX);
    r = make_message(request, secret_key, secret, &call->message);
    if (r < 0)
        return r;
    call->fd = local_socket_connect(socket_path, SOCK_NONBLOCK);
    if (call->fd < 0) {
        call->failure = failure_new(FAILURE_HELPER_FAILED, "The helper cannot be reached at %s: %s",
                                    socket_path, strerror_r(-call->fd, buf, sizeof(buf)));
        if (!call->failure)
            return -ENOMEM;
        r = sd_event_add_defer(event, &call->defer, on_defer, call);
        if (r < 0)
            return r;
        *ret = TAKE_PTR(call);
        return 0;
    }
    r = sd_event_add_io(event, &call->io, call->fd, EPOLLOUT, on_io, call);
    if (r < 0)
        return r;
    r = sd_event_add_time_relative(event, &call->timer, CLOCK_MONOTONIC, timeout_usec, 0, on_timeout, call);
    if (r < 0)
        return r;
    *ret = TAKE_PTR(call);
    return 0;
}
