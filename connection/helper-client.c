/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "helper-client.h"

#include "framing.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>

#define ANSWER_MAX (1 * MIB)

struct HelperCall {
    sd_event_source *io, *timer, *early;
    int fd;
    Framing framing;
    HelperDone done;
    void *userdata;
    Failure *failure; /* to be told by early */
};

HelperCall *helper_call_free(HelperCall *c)
{
    if (!c)
        return NULL;
    sd_event_source_disable_unref(c->io);
    sd_event_source_disable_unref(c->timer);
    sd_event_source_disable_unref(c->early);
    safe_close(c->fd);
    framing_done(&c->framing);
    failure_free(c->failure);
    free(c);
    return NULL;
}

/* Nothing of c may be touched after this. */
static void call_end(HelperCall *c, json_object *answer, const Failure *failure)
{
    (void)sd_event_source_set_enabled(c->io, SD_EVENT_OFF);
    (void)sd_event_source_set_enabled(c->timer, SD_EVENT_OFF);
    c->done(c->userdata, answer, failure);
}

static void call_fail(HelperCall *c, const char *what, int r)
{
    _cleanup_failure_ Failure *f = NULL;
    char buf[128];

    f = failure_new(FAILURE_HELPER_FAILED, "ilr-helper %s: %s", what, strerror_r(-r, buf, sizeof(buf)));
    call_end(c, NULL, f);
}

static void call_answer(HelperCall *c, const char *text, size_t size)
{
    _cleanup_json_ json_object *answer = NULL;
    _cleanup_failure_ Failure *f = NULL;
    json_object *o = NULL;
    int r;

    r = json_parse(text, size, &answer);
    if (r >= 0 && !json_object_is_type(answer, json_type_object))
        r = -EBADMSG;
    if (r >= 0) {
        r = json_get_object(answer, "failure", &o);
        if (r > 0) {
            r = failure_from_json(o, &f);
            if (r >= 0) {
                call_end(c, NULL, f);
                return;
            }
        }
    }
    if (r < 0)
        call_fail(c, "answered what cannot be understood", r);
    else
        call_end(c, answer, NULL);
}

static int on_io(sd_event_source *s, int fd, uint32_t events, void *userdata)
{
    HelperCall *c = userdata;
    const char *text;
    ssize_t n;
    size_t size;
    int r;

    n = framing_read(&c->framing, fd);
    if (n == -EAGAIN)
        return 0;
    if (n <= 0) {
        call_fail(c, "gave no answer", n == 0 ? -ECONNRESET : (int)n);
        return 0;
    }
    r = framing_next(&c->framing, &text, &size);
    if (r > 0)
        call_answer(c, text, size);
    else if (r < 0)
        call_fail(c, "answered too much", r);
    return 0;
}

static int on_timeout(sd_event_source *s, uint64_t usec, void *userdata)
{
    call_fail(userdata, "did not answer in time", -ETIMEDOUT);
    return 0;
}

static int on_early(sd_event_source *s, void *userdata)
{
    HelperCall *c = userdata;

    call_end(c, NULL, c->failure);
    return 0;
}

static int helper_connect(const char *path, json_object *request)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    /* systemd accepts at once; this is for the machine that is too busy even for that. */
    struct timeval patience = {.tv_sec = 10};
    _cleanup_close_ int fd = -EBADF;
    int r;

    if (strlen(path) >= sizeof(address.sun_path))
        return -ENAMETOOLONG;
    strcpy(address.sun_path, path);
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -errno;
    if (setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience)) < 0)
        return -errno;
    if (connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0)
        return -errno;
    r = framing_write(fd, json_text(request));
    if (r < 0)
        return r;
    if (fcntl(fd, F_SETFL, O_NONBLOCK) < 0)
        return -errno;
    return TAKE_FD(fd);
}

int helper_call_start(HelperCall **ret, sd_event *event, const char *socket_path, json_object *request,
                      uint64_t timeout_usec, HelperDone done, void *userdata)
{
    _cleanup_(helper_call_freep) HelperCall *c = NULL;
    char buf[128];
    int r;

    c = calloc(1, sizeof(*c));
    if (!c)
        return -ENOMEM;
    c->fd = -EBADF;
    c->done = done;
    c->userdata = userdata;
    framing_init(&c->framing, ANSWER_MAX);
    c->fd = helper_connect(socket_path, request);
    if (c->fd < 0) {
        c->failure = failure_new(FAILURE_HELPER_FAILED, "ilr-helper cannot be asked through %s: %s",
                                 socket_path, strerror_r(-c->fd, buf, sizeof(buf)));
        if (!c->failure)
            return -ENOMEM;
        r = sd_event_add_defer(event, &c->early, on_early, c);
    } else {
        r = sd_event_add_io(event, &c->io, c->fd, EPOLLIN, on_io, c);
        if (r >= 0)
            r = sd_event_add_time_relative(event, &c->timer, CLOCK_MONOTONIC, timeout_usec, 0, on_timeout, c);
    }
    if (r < 0)
        return r;
    *ret = TAKE_PTR(c);
    return 0;
}
