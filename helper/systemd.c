/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "systemd.h"

#include "timeutil.h"

#include <poll.h>

#define DESTINATION "org.freedesktop.systemd1"
#define MANAGER_PATH "/org/freedesktop/systemd1"
#define MANAGER "org.freedesktop.systemd1.Manager"
#define PRIVATE_ADDRESS "unix:path=/run/systemd/private"
#define CALL_TIMEOUT_USEC (30 * USEC_PER_SEC)

static int connect_private(sd_bus **ret)
{
    sd_bus *bus = NULL;
    int r = sd_bus_new(&bus);

    if (r >= 0)
        r = sd_bus_set_address(bus, PRIVATE_ADDRESS);
    if (r >= 0)
        r = sd_bus_start(bus);
    if (r < 0) {
        sd_bus_unref(bus);
        return r;
    }
    *ret = bus;
    return 0;
}

int systemd_connect(sd_bus **ret)
{
    _cleanup_bus_ sd_bus *bus = NULL;
    int r = connect_private(&bus);

    if (r < 0)
        r = sd_bus_open_system(&bus);
    if (r < 0)
        return r;
    (void)sd_bus_set_method_call_timeout(bus, CALL_TIMEOUT_USEC);
    *ret = TAKE_PTR(bus);
    return 0;
}

static int call_failed(const sd_bus_error *e, int r)
{
    return sd_bus_error_has_name(e, "org.freedesktop.systemd1.NoSuchUnit") ? -ENOENT : r;
}

typedef struct Job {
    char *path;   /* its object */
    char *result; /* what JobRemoved said; NULL: still under way */
} Job;

static int on_job_removed(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
    const char *path, *unit, *result;
    Job *job = userdata;
    uint32_t id;

    if (sd_bus_message_read(m, "uoss", &id, &path, &unit, &result) < 0)
        return 0;
    if (job->path && !job->result && streq(path, job->path))
        job->result = strdup(result);
    return 0;
}

bool caller_gone(int fd)
{
    struct pollfd p = {.fd = fd, .events = 0};

    return fd >= 0 && poll(&p, 1, 0) > 0 && (p.revents & (POLLHUP | POLLERR | POLLNVAL));
}

static int job_wait(sd_bus *bus, const Job *job, uint64_t deadline, int caller_fd)
{
    for (;;) {
        struct pollfd fds[2] = {{.fd = sd_bus_get_fd(bus)}, {.fd = caller_fd}};
        uint64_t now, wake;
        int r = sd_bus_process(bus, NULL);

        if (r < 0)
            return r;
        if (job->result)
            return 0;
        if (r > 0)
            continue;
        if (caller_gone(caller_fd))
            return -ECANCELED;
        now = now_usec(CLOCK_MONOTONIC);
        if (now >= deadline)
            return -ETIMEDOUT;
        r = sd_bus_get_events(bus);
        if (r < 0)
            return r;
        fds[0].events = (short)r;
        if (sd_bus_get_timeout(bus, &wake) <= 0 || wake > deadline)
            wake = deadline;
        wake = wake > now ? MIN((wake - now) / USEC_PER_MSEC + 1, UINT64_C(3600000)) : 0;
        if (poll(fds, 2, (int)wake) < 0 && errno != EINTR)
            return -errno;
    }
}

static int unit_job(sd_bus *bus, const char *method, const char *unit, uint64_t timeout_usec, int caller_fd)
{
    _cleanup_(sd_bus_message_unrefp) sd_bus_message *reply = NULL;
    _cleanup_(sd_bus_error_free) sd_bus_error error = SD_BUS_ERROR_NULL;
    _cleanup_(sd_bus_slot_unrefp) sd_bus_slot *slot = NULL;
    uint64_t deadline = now_usec(CLOCK_MONOTONIC) + timeout_usec;
    _cleanup_free_ char *path = NULL, *result = NULL;
    Job job = {};
    const char *p;
    int r;

    r = sd_bus_match_signal(bus, &slot, NULL, MANAGER_PATH, MANAGER, "JobRemoved", on_job_removed, &job);
    if (r < 0)
        return r;
    r = sd_bus_call_method(bus, DESTINATION, MANAGER_PATH, MANAGER, "Subscribe", NULL, NULL, NULL);
    if (r < 0 && r != -EINVAL) /* subscribed already on this connection */
        return r;
    r = sd_bus_call_method(bus, DESTINATION, MANAGER_PATH, MANAGER, method, &error, &reply, "ss", unit,
                           "replace");
    if (r < 0)
        return call_failed(&error, r);
    r = sd_bus_message_read(reply, "o", &p);
    if (r < 0)
        return r;
    /* Signals that came before this answer wait in the queue until they are processed, so none is missed. */
    path = strdup(p);
    if (!path)
        return -ENOMEM;
    job.path = path;
    r = job_wait(bus, &job, deadline, caller_fd);
    result = job.result;
    if (r < 0)
        return r;
    return streq(result, "done") || streq(result, "skipped") ? 0 : -ENOEXEC;
}

int systemd_start(sd_bus *bus, const char *unit, uint64_t timeout_usec, int caller_fd)
{
    return unit_job(bus, "StartUnit", unit, timeout_usec, caller_fd);
}

int systemd_stop(sd_bus *bus, const char *unit, uint64_t timeout_usec)
{
    int r = unit_job(bus, "StopUnit", unit, timeout_usec, -EBADF);

    return r == -ENOENT ? 0 : r;
}

int systemd_reload(sd_bus *bus, const char *unit, uint64_t timeout_usec)
{
    return unit_job(bus, "ReloadUnit", unit, timeout_usec, -EBADF);
}

void systemd_reset_failed(sd_bus *bus, const char *unit)
{
    (void)sd_bus_call_method(bus, DESTINATION, MANAGER_PATH, MANAGER, "ResetFailedUnit", NULL, NULL, "s",
                             unit);
}

static int unit_path(sd_bus *bus, const char *method, const char *unit, char **ret)
{
    _cleanup_(sd_bus_message_unrefp) sd_bus_message *reply = NULL;
    _cleanup_(sd_bus_error_free) sd_bus_error error = SD_BUS_ERROR_NULL;
    const char *path;
    int r;

    r = sd_bus_call_method(bus, DESTINATION, MANAGER_PATH, MANAGER, method, &error, &reply, "s", unit);
    if (r < 0)
        return call_failed(&error, r);
    r = sd_bus_message_read(reply, "o", &path);
    if (r < 0)
        return r;
    *ret = strdup(path);
    return *ret ? 0 : -ENOMEM;
}

int systemd_active_state(sd_bus *bus, const char *unit, char **ret)
{
    _cleanup_free_ char *path = NULL;
    int r;

    r = unit_path(bus, "GetUnit", unit, &path);
    if (r >= 0)
        r = sd_bus_get_property_string(bus, DESTINATION, path, "org.freedesktop.systemd1.Unit", "ActiveState",
                                       NULL, ret);
    if (r == -ENOENT) {
        *ret = strdup("inactive");
        return *ret ? 0 : -ENOMEM;
    }
    return r < 0 ? r : 0;
}

int systemd_refresh(sd_bus *bus, const char *unit)
{
    _cleanup_free_ char *path = NULL;
    int r, needed = 0;

    r = unit_path(bus, "LoadUnit", unit, &path);
    if (r >= 0)
        r = sd_bus_get_property_trivial(bus, DESTINATION, path, "org.freedesktop.systemd1.Unit",
                                        "NeedDaemonReload", NULL, 'b', &needed);
    if (r >= 0 && needed)
        r = sd_bus_call_method(bus, DESTINATION, MANAGER_PATH, MANAGER, "Reload", NULL, NULL, NULL);
    return r < 0 ? r : 0;
}

int systemd_list(sd_bus *bus, char *const *patterns,
                 int (*found)(const char *unit, const char *active, const char *sub, void *userdata),
                 void *userdata)
{
    _cleanup_(sd_bus_message_unrefp) sd_bus_message *call = NULL, *reply = NULL;
    const char *unit, *active, *sub;
    int r;

    r = sd_bus_message_new_method_call(bus, &call, DESTINATION, MANAGER_PATH, MANAGER, "ListUnitsByPatterns");
    if (r >= 0)
        r = sd_bus_message_append_strv(call, NULL); /* in any state */
    if (r >= 0)
        r = sd_bus_message_append_strv(call, (char **)patterns);
    if (r >= 0)
        r = sd_bus_call(bus, call, 0, NULL, &reply);
    if (r >= 0)
        r = sd_bus_message_enter_container(reply, 'a', "(ssssssouso)");
    while (r >= 0 && (r = sd_bus_message_read(reply, "(ssssssouso)", &unit, NULL, NULL, &active, &sub, NULL,
                                              NULL, NULL, NULL, NULL)) > 0)
        r = found(unit, active, sub, userdata);
    return r < 0 ? r : 0;
}
