/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "port-lock.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/prctl.h>
#include <sys/wait.h>

struct PortLock {
    sd_event_source *child;
    pid_t pid; /* waits for the lock; 0: no longer */
    int fd;
    PortLockDone done;
    void *userdata;
};

static int on_child(sd_event_source *s, const siginfo_t *si, void *userdata)
{
    PortLock *l = userdata;

    l->pid = 0;
    l->done(l->userdata, si->si_code == CLD_EXITED ? -si->si_status : -EIO);
    return 0;
}

int port_lock_new(PortLock **ret, sd_event *event, const char *path, PortLockDone done, void *userdata)
{
    _cleanup_(port_lock_freep) PortLock *l = NULL;
    pid_t parent = getpid();
    int r;

    l = calloc(1, sizeof(*l));
    if (!l)
        return -ENOMEM;
    l->done = done;
    l->userdata = userdata;
    l->fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (l->fd < 0)
        return -errno;
    /* A lock of flock(2) belongs to the open file, which parent and child share: the child may wait for it
     * and go. */
    l->pid = fork();
    if (l->pid < 0) {
        l->pid = 0;
        return -errno;
    }
    if (l->pid == 0) {
        sigset_t none;

        sigemptyset(&none);
        sigprocmask(SIG_SETMASK, &none, NULL);
        signal(SIGTERM, SIG_DFL);
        if (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0 || getppid() != parent)
            _exit(EIO);
        do
            r = flock(l->fd, LOCK_EX);
        while (r < 0 && errno == EINTR);
        _exit(r < 0 ? errno & 0xff : 0);
    }
    r = sd_event_add_child(event, &l->child, l->pid, WEXITED, on_child, l);
    if (r < 0)
        return r;
    *ret = TAKE_PTR(l);
    return 0;
}

PortLock *port_lock_free(PortLock *l)
{
    if (!l)
        return NULL;
    sd_event_source_disable_unref(l->child);
    if (l->pid > 0) {
        (void)kill(l->pid, SIGKILL);
        (void)waitpid(l->pid, NULL, 0);
    }
    safe_close(l->fd);
    free(l);
    return NULL;
}
