/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "child.h"

#include "timeutil.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#define GIVE_UP_USEC (2 * USEC_PER_SEC)

typedef struct Pipe {
    int fd;
    char *data;
    size_t size, max;
} Pipe;

static int pidfd_of(pid_t pid)
{
    return (int)syscall(SYS_pidfd_open, pid, 0);
}

/* Reads what is there; closes at end of file. More than max is read and dropped, so that the child never
 * blocks. */
static int pipe_drain(Pipe *p)
{
    char buf[16384];
    ssize_t n = read(p->fd, buf, sizeof(buf));

    if (n < 0)
        return errno == EINTR || errno == EAGAIN ? 0 : -errno;
    if (n == 0) {
        p->fd = safe_close(p->fd);
        return 0;
    }
    n = MIN((size_t)n, p->max - p->size);
    if (n > 0) {
        char *d = realloc(p->data, p->size + n + 1);

        if (!d)
            return -ENOMEM;
        memcpy(d + p->size, buf, n);
        p->data = d;
        p->size += n;
        d[p->size] = '\0';
    }
    return 0;
}

static int poll_timeout(uint64_t deadline)
{
    uint64_t now = now_usec(CLOCK_MONOTONIC);

    if (deadline == USEC_INFINITY)
        return -1;
    return now >= deadline ? 0 : (int)MIN((deadline - now) / 1000 + 1, (uint64_t)3600 * 1000);
}

/* Waits until the child is gone, feeding its input and collecting its output. The end of the child counts,
 * not the end of its pipes: a grandchild may keep those. Returns 0 with the wait status, -ETIMEDOUT if it
 * could not be reaped. */
static int collect(pid_t pid, int input_fd, const char *input, size_t left, Pipe pipes[2],
                   uint64_t timeout_usec, int *ret_status, bool *ret_timed_out)
{
    uint64_t now = now_usec(CLOCK_MONOTONIC);
    uint64_t deadline = timeout_usec > USEC_INFINITY - now ? USEC_INFINITY : now + timeout_usec;
    _cleanup_close_ int pidfd = pidfd_of(pid), in = input_fd;

    *ret_timed_out = false;
    if (pidfd < 0)
        return -errno;
    for (;;) {
        struct pollfd fds[4] = {
            {.fd = pidfd, .events = POLLIN},
            {.fd = pipes[0].fd, .events = POLLIN},
            {.fd = pipes[1].fd, .events = POLLIN},
            {.fd = in, .events = POLLOUT},
        };
        int n, i, r;

        n = poll(fds, 4, poll_timeout(deadline));
        if (n < 0) {
            if (errno == EINTR)
                continue;
            return -errno;
        }
        if (n == 0) {
            if (*ret_timed_out)
                return -ETIMEDOUT;
            *ret_timed_out = true;
            (void)kill(-pid, SIGKILL);
            deadline = now_usec(CLOCK_MONOTONIC) + GIVE_UP_USEC;
            continue;
        }
        if (fds[3].fd >= 0 && fds[3].revents) {
            ssize_t w = left > 0 ? write(in, input, left) : 0;

            if (w > 0) {
                input += w;
                left -= w;
            }
            if (left == 0 || (w < 0 && errno != EAGAIN && errno != EINTR))
                in = safe_close(in);
        }
        for (i = 0; i < 2; i++)
            if (fds[i + 1].fd >= 0 && fds[i + 1].revents) {
                r = pipe_drain(&pipes[i]);
                if (r < 0)
                    return r;
            }
        if (fds[0].revents) {
            if (waitpid(pid, ret_status, 0) != pid)
                return -errno;
            for (i = 0; i < 2; i++)
                while (pipes[i].fd >= 0) { /* what is left in the pipes, without waiting for grandchildren */
                    struct pollfd p = {.fd = pipes[i].fd, .events = POLLIN};

                    if (poll(&p, 1, 0) <= 0 || pipe_drain(&pipes[i]) < 0)
                        break;
                }
            return 0;
        }
    }
}

static void child_prepare(void)
{
    sigset_t none;
    int i;

    (void)setpgid(0, 0);
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    for (i = 1; i < NSIG; i++)
        (void)signal(i, SIG_DFL);
    sigemptyset(&none);
    (void)sigprocmask(SIG_SETMASK, &none, NULL);
}

static _noreturn_ void child_exec(char *const *argv, const ChildOptions *options, int in, int out, int err)
{
    static char *const clean[] = {(char *)"PATH=/usr/sbin:/usr/bin:/sbin:/bin", (char *)"LC_ALL=C.UTF-8",
                                  NULL};

    child_prepare();
    if (dup2(in, 0) < 0 || dup2(out, 1) < 0 || dup2(err, 2) < 0)
        _exit(127);
    (void)close_range(3, ~0U, 0);
    if (options->setup && options->setup(options->userdata) < 0)
        _exit(127);
    (void)clearenv();
    (void)setenv("PATH", "/usr/sbin:/usr/bin:/sbin:/bin", 1); /* execvpe() looks here */
    execvpe(argv[0], argv, options->environment ? options->environment : clean);
    dprintf(2, "%s: %m\n", argv[0]);
    _exit(127);
}

static int make_pipe(int fds[2])
{
    return pipe2(fds, O_CLOEXEC) < 0 ? -errno : 0;
}

int child_run(char *const *argv, const ChildOptions *options, ChildResult *ret)
{
    _cleanup_close_ int in_r = -EBADF, out_w = -EBADF, err_w = -EBADF;
    int in[2] = {-EBADF, -EBADF}, out[2] = {-EBADF, -EBADF}, err[2] = {-EBADF, -EBADF};
    size_t input_size = options->input_size > 0 ? options->input_size
                        : options->input        ? strlen(options->input)
                                                : 0;
    Pipe pipes[2];
    int r, status = 0;
    pid_t pid;

    *ret = (ChildResult){};
    if (options->input)
        r = make_pipe(in);
    else {
        in[0] = open("/dev/null", O_RDONLY | O_CLOEXEC);
        r = in[0] < 0 ? -errno : 0;
    }
    if (r >= 0)
        r = make_pipe(out);
    if (r >= 0)
        r = make_pipe(err);
    in_r = in[0];
    out_w = out[1];
    err_w = err[1];
    pipes[0] = (Pipe){.fd = out[0], .max = CHILD_OUTPUT_MAX};
    pipes[1] = (Pipe){.fd = err[0], .max = CHILD_OUTPUT_MAX};
    if (r >= 0 && in[1] >= 0 && fcntl(in[1], F_SETFL, O_NONBLOCK) < 0)
        r = -errno;
    if (r >= 0) {
        pid = fork();
        if (pid == 0)
            child_exec(argv, options, in_r, out_w, err_w);
        r = pid < 0 ? -errno : 0;
    }
    if (r < 0) {
        safe_close(in[1]);
        safe_close(out[0]);
        safe_close(err[0]);
        return r;
    }
    in_r = safe_close(in_r);
    out_w = safe_close(out_w);
    err_w = safe_close(err_w);
    r = collect(pid, in[1], options->input, input_size, pipes, options->timeout_usec, &status,
                &ret->timed_out);
    safe_close(pipes[0].fd);
    safe_close(pipes[1].fd);
    ret->output = pipes[0].data ? pipes[0].data : strdup("");
    ret->error = pipes[1].data ? pipes[1].data : strdup("");
    if (r == -ETIMEDOUT)
        ret->status = 128 + SIGKILL;
    else if (r < 0 || !ret->output || !ret->error) {
        child_result_done(ret);
        return r < 0 ? r : -ENOMEM;
    } else
        ret->status = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    return 0;
}

void child_result_done(ChildResult *r)
{
    free(r->output);
    free(r->error);
    *r = (ChildResult){};
}

typedef struct Call {
    pid_t pid;
    int answer, result;
} Call;

static int call_start(Call *c, int (*work)(void *userdata, int fd), void *userdata)
{
    int answer[2], result[2], r;

    *c = (Call){.answer = -EBADF, .result = -EBADF};
    r = make_pipe(answer);
    if (r < 0)
        return r;
    r = make_pipe(result);
    if (r < 0) {
        safe_close(answer[0]);
        safe_close(answer[1]);
        return r;
    }
    c->pid = fork();
    if (c->pid == 0) {
        child_prepare();
        r = work(userdata, answer[1]);
        if (write(result[1], &r, sizeof(r)) != sizeof(r))
            _exit(1);
        _exit(0);
    }
    r = c->pid < 0 ? -errno : 0;
    safe_close(answer[1]);
    safe_close(result[1]);
    if (r < 0) {
        safe_close(answer[0]);
        safe_close(result[0]);
        return r;
    }
    c->answer = answer[0];
    c->result = result[0];
    return 0;
}

static int call_finish(Call *c, uint64_t timeout_usec, char **ret)
{
    Pipe pipes[2] = {{.fd = c->answer, .max = CHILD_OUTPUT_MAX}, {.fd = c->result, .max = sizeof(int)}};
    bool timed_out;
    int r, status;

    r = collect(c->pid, -EBADF, NULL, 0, pipes, timeout_usec, &status, &timed_out);
    safe_close(pipes[0].fd);
    safe_close(pipes[1].fd);
    if (r >= 0) {
        if (timed_out)
            r = -ETIMEDOUT;
        else if (pipes[1].size != sizeof(int))
            r = -EPROTO;
        else
            memcpy(&r, pipes[1].data, sizeof(r));
    }
    free(pipes[1].data);
    if (ret) {
        *ret = pipes[0].data ? pipes[0].data : strdup("");
        if (!*ret && r >= 0)
            r = -ENOMEM;
    } else
        free(pipes[0].data);
    return r;
}

int child_call(int (*work)(void *userdata, int fd), void *userdata, uint64_t timeout_usec, char **ret)
{
    Call c;
    int r;

    r = call_start(&c, work, userdata);
    if (r >= 0)
        return call_finish(&c, timeout_usec, ret);
    if (ret)
        *ret = NULL;
    return r;
}

void child_call_each(int (*work)(void *userdata, int fd), ChildCall *calls, size_t n, uint64_t timeout_usec)
{
    Call started[CHILD_CALLS_MAX];
    uint64_t deadline;
    size_t first, i;

    for (first = 0; first < n; first += ELEMENTSOF(started)) {
        size_t count = MIN(n - first, ELEMENTSOF(started));

        deadline = now_usec(CLOCK_MONOTONIC) + timeout_usec;
        for (i = 0; i < count; i++) {
            calls[first + i].text = NULL;
            calls[first + i].result = call_start(&started[i], work, calls[first + i].userdata);
        }
        for (i = 0; i < count; i++) {
            uint64_t now = now_usec(CLOCK_MONOTONIC);

            if (calls[first + i].result >= 0)
                calls[first + i].result =
                    call_finish(&started[i], now < deadline ? deadline - now : 0, &calls[first + i].text);
        }
    }
}

int child_put_hex(int fd, const void *data, size_t size)
{
    _cleanup_free_ char *text = malloc(2 * size + 1);
    const uint8_t *bytes = data;
    size_t i;

    if (!text)
        return -ENOMEM;
    *text = '\0';
    for (i = 0; i < size; i++)
        sprintf(text + 2 * i, "%02x", bytes[i]);
    return dprintf(fd, "%s", text) < 0 ? -EIO : 0;
}

int child_get_hex(const char *text, size_t size, void *ret)
{
    static const char digits[] = "0123456789abcdef";
    uint8_t *bytes = ret;
    size_t i;

    if (strlen(text) < 2 * size)
        return -EPROTO;
    for (i = 0; i < size; i++, text += 2) {
        const char *high = strchr(digits, text[0]), *low = strchr(digits, text[1]);

        if (!high || !low)
            return -EPROTO;
        bytes[i] = (uint8_t)((high - digits) << 4 | (low - digits));
    }
    return 0;
}
