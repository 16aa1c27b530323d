/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "device.h"

#include "strv.h"

#include <inttypes.h>
#include <libudev.h>

#define DISKS_MAX 4096 /* a bound on what is remembered; LUNs per target end far below */

DEFINE_CLEANUP(struct udev *, udev_unref)
DEFINE_CLEANUP(struct udev_enumerate *, udev_enumerate_unref)
DEFINE_CLEANUP(struct udev_device *, udev_device_unref)

struct DeviceWatch {
    struct udev *udev;
    struct udev_monitor *monitor;
    sd_event_source *io;
    char **disks;    /* kernel names */
    char **prefixes; /* "/session12/": a part of the sysfs path of each of our disks */
    DeviceChanged changed;
    void *userdata;
};

DeviceWatch *device_watch_free(DeviceWatch *w)
{
    if (!w)
        return NULL;
    sd_event_source_disable_unref(w->io);
    if (w->monitor)
        udev_monitor_unref(w->monitor);
    if (w->udev)
        udev_unref(w->udev);
    strv_free(w->disks);
    strv_free(w->prefixes);
    free(w);
    return NULL;
}
DEFINE_CLEANUP(DeviceWatch *, device_watch_free)

static bool is_ours(const DeviceWatch *w, struct udev_device *d)
{
    const char *type = udev_device_get_devtype(d), *path = udev_device_get_syspath(d);
    char **p;

    if (!type || !streq(type, "disk") || !path)
        return false;
    STRV_FOREACH (p, w->prefixes)
        if (strstr(path, *p))
            return true;
    return false;
}

static bool forget(DeviceWatch *w, const char *name)
{
    char **p;

    STRV_FOREACH (p, w->disks)
        if (streq(*p, name)) {
            free(*p);
            for (; p[0]; p++)
                p[0] = p[1];
            return true;
        }
    return false;
}

/* 1: that was news. */
static int remember(DeviceWatch *w, const char *name)
{
    int r;

    if (strv_contains(w->disks, name) || strv_length(w->disks) >= DISKS_MAX)
        return 0;
    r = strv_extend(&w->disks, name);
    return r < 0 ? r : 1;
}

static int on_event(sd_event_source *s, int fd, uint32_t revents, void *userdata)
{
    DeviceWatch *w = userdata;
    _cleanup_(udev_device_unrefp) struct udev_device *d = udev_monitor_receive_device(w->monitor);
    const char *action, *name;

    if (!d || !is_ours(w, d))
        return 0;
    action = udev_device_get_action(d);
    name = udev_device_get_sysname(d);
    if (!action || !name)
        return 0;
    if (streq(action, "remove")) {
        if (forget(w, name))
            w->changed(w, strv_length(w->disks), name, w->userdata);
    } else if (remember(w, name) > 0)
        w->changed(w, strv_length(w->disks), NULL, w->userdata);
    return 0;
}

static int enumerate(DeviceWatch *w)
{
    _cleanup_(udev_enumerate_unrefp) struct udev_enumerate *e = udev_enumerate_new(w->udev);
    struct udev_list_entry *i;
    int r;

    if (!e)
        return -ENOMEM;
    r = udev_enumerate_add_match_subsystem(e, "block");
    if (r >= 0)
        r = udev_enumerate_scan_devices(e);
    if (r < 0)
        return r;
    udev_list_entry_foreach(i, udev_enumerate_get_list_entry(e))
    {
        _cleanup_(udev_device_unrefp) struct udev_device *d =
            udev_device_new_from_syspath(w->udev, udev_list_entry_get_name(i));

        if (d && is_ours(w, d) && udev_device_get_is_initialized(d)) {
            r = remember(w, udev_device_get_sysname(d));
            if (r < 0)
                return r;
        }
    }
    return 0;
}

int device_watch_new(DeviceWatch **ret, sd_event *event, const int64_t *sids, size_t n_sids,
                     DeviceChanged changed, void *userdata)
{
    _cleanup_(device_watch_freep) DeviceWatch *w = calloc(1, sizeof(*w));
    size_t i;
    int r;

    if (!w)
        return -ENOMEM;
    w->changed = changed;
    w->userdata = userdata;
    for (i = 0; i < n_sids; i++) {
        r = strv_extendf(&w->prefixes, "/session%" PRId64 "/", sids[i]);
        if (r < 0)
            return r;
    }
    w->udev = udev_new();
    if (!w->udev)
        return -ENOMEM;
    /* Subscribe first, look around after: nothing falls between. */
    w->monitor = udev_monitor_new_from_netlink(w->udev, "udev");
    if (!w->monitor)
        return -ENOMEM;
    r = udev_monitor_filter_add_match_subsystem_devtype(w->monitor, "block", "disk");
    if (r >= 0)
        r = udev_monitor_enable_receiving(w->monitor);
    if (r < 0)
        return r;
    r = sd_event_add_io(event, &w->io, udev_monitor_get_fd(w->monitor), EPOLLIN, on_event, w);
    if (r < 0)
        return r;
    r = enumerate(w);
    if (r < 0)
        return r;
    *ret = TAKE_PTR(w);
    return 0;
}
