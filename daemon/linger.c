/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "linger.h"

#include "helper-call.h"
#include "log.h"

#include <libudev.h>

#define STATUS_TIMEOUT_USEC (30 * USEC_PER_SEC)
#define ASK_MIN_USEC USEC_PER_SEC
#define ASK_MAX_USEC (60 * USEC_PER_SEC) /* a file may stay open for days */

DEFINE_CLEANUP(struct udev_device *, udev_device_unref)

struct Linger {
    sd_event *event;
    char *helper_socket, *session;
    struct udev *udev;
    struct udev_monitor *monitor;
    sd_event_source *io, *timer;
    HelperCall *call;
    bool again; /* a device went while the helper was asked */
    uint64_t wait_usec;
    LingerChanged changed;
    void *userdata;
};

Linger *linger_free(Linger *l)
{
    if (!l)
        return NULL;
    helper_call_free(l->call);
    sd_event_source_disable_unref(l->io);
    sd_event_source_disable_unref(l->timer);
    if (l->monitor)
        udev_monitor_unref(l->monitor);
    if (l->udev)
        udev_unref(l->udev);
    free(l->helper_socket);
    free(l->session);
    free(l);
    return NULL;
}
DEFINE_CLEANUP(Linger *, linger_free)

static int ask_in(Linger *l, uint64_t usec);

/* Of {"sessions":[{"session","lingering"?}]}; negative: it does not say. */
static int64_t count(const Linger *l, json_object *answer)
{
    json_object *sessions, *o;
    const char *session;
    int64_t n = 0;

    if (!answer || json_get_array(answer, "sessions", &sessions) <= 0)
        return -EBADMSG;
    if (json_object_array_length(sessions) == 0)
        return 0;
    o = json_object_array_get_idx(sessions, 0);
    if (json_get_string(o, "session", &session) <= 0 || !streq(session, l->session) ||
        json_get_int64(o, "lingering", &n) < 0 || n < 0)
        return -EBADMSG;
    return n;
}

static void on_status(HelperCall *call, json_object *answer, Failure *failure, void *userdata)
{
    Linger *l = userdata;
    int64_t n = count(l, answer);

    if (n < 0)
        log_full(LOG_WARNING, l->session, "The helper does not tell what is left, asking again: %s",
                 failure && failure->message ? failure->message : "no such word in its answer");
    l->call = helper_call_free(l->call);
    if (n != 0) {
        if (ask_in(l, l->again ? 0 : l->wait_usec) < 0)
            log_oom();
        l->wait_usec = MIN(l->wait_usec * 3 / 2, ASK_MAX_USEC);
        l->again = false;
    }
    if (n >= 0)
        l->changed(l, (size_t)n, l->userdata);
}

static int ask(Linger *l)
{
    _cleanup_json_ json_object *request = json_object_new_object();

    if (!request || json_add_string(request, "verb", "status") < 0 ||
        json_add_string(request, "session", l->session) < 0)
        return -ENOMEM;
    return helper_call_new(&l->call, l->event, l->helper_socket, request, NULL, NULL, STATUS_TIMEOUT_USEC,
                           on_status, l);
}

static int on_timer(sd_event_source *source, uint64_t usec, void *userdata)
{
    Linger *l = userdata;

    if (ask(l) < 0 && ask_in(l, ASK_MAX_USEC) < 0)
        log_oom();
    return 0;
}

static int ask_in(Linger *l, uint64_t usec)
{
    l->timer = sd_event_source_disable_unref(l->timer);
    return sd_event_add_time_relative(l->event, &l->timer, CLOCK_MONOTONIC, usec, 0, on_timer, l);
}

static int on_device(sd_event_source *source, int fd, uint32_t revents, void *userdata)
{
    Linger *l = userdata;
    _cleanup_(udev_device_unrefp) struct udev_device *d = udev_monitor_receive_device(l->monitor);
    const char *action = d ? udev_device_get_action(d) : NULL, *name = d ? udev_device_get_sysname(d) : NULL;

    if (!action || !name || !streq(action, "remove") || !startswith(name, "dm-"))
        return 0;
    if (l->call)
        l->again = true;
    else if (ask_in(l, 0) < 0)
        log_oom();
    return 0;
}

int linger_new(Linger **ret, sd_event *event, const char *helper_socket, const char *session,
               LingerChanged changed, void *userdata)
{
    _cleanup_(linger_freep) Linger *l = calloc(1, sizeof(*l));
    int r;

    if (!l)
        return -ENOMEM;
    l->event = event;
    l->changed = changed;
    l->userdata = userdata;
    l->wait_usec = ASK_MIN_USEC;
    l->helper_socket = strdup(helper_socket);
    l->session = strdup(session);
    l->udev = udev_new();
    l->monitor = l->udev ? udev_monitor_new_from_netlink(l->udev, "udev") : NULL;
    if (!l->helper_socket || !l->session || !l->monitor)
        return -ENOMEM;
    r = udev_monitor_filter_add_match_subsystem_devtype(l->monitor, "block", "disk");
    if (r >= 0)
        r = udev_monitor_enable_receiving(l->monitor);
    if (r >= 0)
        r = sd_event_add_io(event, &l->io, udev_monitor_get_fd(l->monitor), EPOLLIN, on_device, l);
    /* From the event loop, so that nothing is told from in here. */
    if (r >= 0)
        r = ask_in(l, 0);
    if (r < 0)
        return r;
    *ret = TAKE_PTR(l);
    return 0;
}
