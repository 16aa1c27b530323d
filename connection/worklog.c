/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "worklog.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

#define ENTRIES_MAX 64 /* looked at per directory: the script may make as many as it likes */
#define PAUSE_USEC (100 * USEC_PER_MSEC)

struct Worklog {
    sd_event_source *io, *timer;
    int notify_fd, work_fd;
    uint64_t limit_bytes;
};

/* One name in dir, no link, no other file system. Not openat2(), which could be told so: RestrictSUIDSGID= of
 * the unit takes it away altogether. The name is a single one, so that O_NOFOLLOW is about all of it. */
static int open_below(int dir, const char *name, int flags)
{
    _cleanup_close_ int fd = -EBADF;
    struct stat above, st;

    if (strchr(name, '/') || streq(name, ".."))
        return -EINVAL;
    fd = openat(dir, name, flags | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (fd < 0 || fstat(dir, &above) < 0 || fstat(fd, &st) < 0)
        return -errno;
    return st.st_dev == above.st_dev ? TAKE_FD(fd) : -EXDEV;
}

/* inotify takes paths only; this one means the open directory, whatever its name has become. */
static void watch_dir(Worklog *w, int fd, uint32_t mask)
{
    char path[64];

    snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    (void)inotify_add_watch(w->notify_fd, path, mask | IN_ONLYDIR);
}

static void trim_file(Worklog *w, int dir, const char *name)
{
    _cleanup_close_ int fd = -EBADF;
    struct stat st;

    if (!endswith(name, ".log"))
        return;
    fd = open_below(dir, name, O_WRONLY);
    if (fd < 0 || fstat(fd, &st) < 0 || !S_ISREG(st.st_mode))
        return;
    /* What it takes, not how long it says to be: a writer that does not append leaves a hole at the start. */
    if ((uint64_t)st.st_blocks * 512 > w->limit_bytes)
        (void)!ftruncate(fd, 0);
}

static void trim_scripts(Worklog *w, int dir)
{
    struct dirent *e;
    int n = 0;
    DIR *d;

    d = fdopendir(dir);
    if (!d) {
        safe_close(dir);
        return;
    }
    while (n++ < ENTRIES_MAX && (e = readdir(d)))
        trim_file(w, dirfd(d), e->d_name);
    closedir(d);
}

static void look(Worklog *w)
{
    struct dirent *e;
    int n = 0, fd;
    DIR *d;

    fd = open_below(w->work_fd, ".", O_RDONLY | O_DIRECTORY);
    d = fd >= 0 ? fdopendir(fd) : NULL;
    if (!d) {
        safe_close(fd);
        return;
    }
    while (n++ < ENTRIES_MAX && (e = readdir(d))) {
        _cleanup_close_ int sub = -EBADF;
        int scripts;

        if (e->d_name[0] == '.')
            continue;
        sub = open_below(dirfd(d), e->d_name, O_RDONLY | O_DIRECTORY);
        if (sub < 0)
            continue;
        watch_dir(w, sub, IN_CREATE | IN_MOVED_TO);
        scripts = open_below(sub, "Scripts", O_RDONLY | O_DIRECTORY);
        if (scripts < 0)
            continue;
        watch_dir(w, scripts, IN_CREATE | IN_MOVED_TO | IN_MODIFY);
        trim_scripts(w, scripts);
    }
    closedir(d);
}

static int on_notify(sd_event_source *s, int fd, uint32_t events, void *userdata)
{
    char buf[4096] __attribute__((aligned(__alignof__(struct inotify_event))));
    Worklog *w = userdata;

    /* What happened is not of interest, only that something did. */
    while (read(fd, buf, sizeof(buf)) > 0)
        ;
    look(w);
    /* A busy tunnel writes thousands of times a second: look again in a while, not each time. */
    (void)sd_event_source_set_enabled(w->io, SD_EVENT_OFF);
    (void)sd_event_source_set_time_relative(w->timer, PAUSE_USEC);
    (void)sd_event_source_set_enabled(w->timer, SD_EVENT_ONESHOT);
    return 0;
}

static int on_pause_over(sd_event_source *s, uint64_t usec, void *userdata)
{
    Worklog *w = userdata;

    (void)sd_event_source_set_enabled(w->io, SD_EVENT_ON);
    return 0;
}

int worklog_new(Worklog **ret, sd_event *event, const char *work_dir)
{
    _cleanup_(worklog_freep) Worklog *w = NULL;
    struct statvfs st;
    int r;

    w = calloc(1, sizeof(*w));
    if (!w)
        return -ENOMEM;
    w->notify_fd = w->work_fd = -EBADF;
    w->work_fd = open(work_dir, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (w->work_fd < 0 || fstatvfs(w->work_fd, &st) < 0)
        return -errno;
    w->limit_bytes = (uint64_t)st.f_blocks * st.f_frsize / 4;
    w->notify_fd = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
    if (w->notify_fd < 0)
        return -errno;
    r = sd_event_add_io(event, &w->io, w->notify_fd, EPOLLIN, on_notify, w);
    if (r < 0)
        return r;
    r = sd_event_add_time_relative(event, &w->timer, CLOCK_MONOTONIC, PAUSE_USEC, PAUSE_USEC / 10,
                                   on_pause_over, w);
    if (r < 0)
        return r;
    /* Later it looks without a word; that it cannot look at all must be seen. */
    r = open_below(w->work_fd, ".", O_RDONLY | O_DIRECTORY);
    if (r < 0)
        return r;
    safe_close(r);
    watch_dir(w, w->work_fd, IN_CREATE | IN_MOVED_TO);
    look(w);
    *ret = TAKE_PTR(w);
    return 0;
}

Worklog *worklog_free(Worklog *w)
{
    if (!w)
        return NULL;
    sd_event_source_disable_unref(w->io);
    sd_event_source_disable_unref(w->timer);
    safe_close(w->notify_fd);
    safe_close(w->work_fd);
    free(w);
    return NULL;
}
