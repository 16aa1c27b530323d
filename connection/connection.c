/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "connection.h"

#include "log.h"
#include "sandbox.h"
#include "timeutil.h"

#include <signal.h>
#include <stdarg.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <systemd/sd-daemon.h>

#define SCRIPT_MAX (16 * MIB)
/* The lock on ports is for the moment of choosing; a script that hangs must not hold up the others for
 * longer. */
#define LOCK_HOLD_USEC (60 * USEC_PER_SEC)
/* A script whose tunnel ended may say why, but not wait for what cannot come. */
#define TUNNEL_GRACE_USEC (3 * USEC_PER_SEC)

static void status(Connection *c, const char *text)
{
    (void)sd_notifyf(0, "STATUS=%s", text);
    log_full(LOG_DEBUG, c->options->session, "%s", text);
}

static void kill_script(Connection *c)
{
    sd_event_source_disable_unref(c->child);
    c->child = NULL;
    if (c->script_pid <= 0)
        return;
    /* bubblewrap's first process inside dies with it, and with that one the whole pid namespace. */
    (void)kill(c->script_pid, SIGKILL);
    (void)waitpid(c->script_pid, NULL, 0);
    c->script_pid = 0;
}

void connection_fail(Connection *c, Failure *f)
{
    if (c->state == CONNECTION_FAILED) {
        failure_free(f);
        return;
    }
    c->state = CONNECTION_FAILED;
    if (!f)
        f = failure_new(FAILURE_INTERNAL, "Out of memory");
    c->failure = f;
    connection_save(c);
    log_full(LOG_ERR, c->options->session, "%s: %s", f ? failure_name_to_string(f->name) : "Internal",
             f ? f->message : "out of memory");
    (void)sd_notifyf(0, "STATUS=%s: %s", f ? failure_name_to_string(f->name) : "Internal",
                     f ? f->message : "out of memory");
    kill_script(c);
    (void)sd_event_exit(c->event, 1);
}

/* With the last lines, if there is a script that could have said something. */
static void _printf_(3, 4) fail(Connection *c, FailureName name, const char *format, ...)
{
    _cleanup_free_ char *text = NULL;
    Failure *f = NULL;
    va_list ap;
    int n;

    va_start(ap, format);
    n = vasprintf(&text, format, ap);
    va_end(ap);
    if (n >= 0)
        f = failure_new(name, "%s", text);
    if (f)
        (void)transcript_last(&c->transcript, CONNECTION_LINES, &f->lines);
    connection_fail(c, f);
}

static void fail_errno(Connection *c, int r, const char *what)
{
    char buf[128];

    fail(c, FAILURE_INTERNAL, "%s: %s", what, strerror_r(-r, buf, sizeof(buf)));
}

/* ---- deadlines ---- */

static int on_silence(sd_event_source *s, uint64_t usec, void *userdata)
{
    Connection *c = userdata;
    char buf[64];

    fail(c, FAILURE_SCRIPT_SILENT, "The connection script said nothing for %s",
         timespan_format(c->config->silence_timeout_usec, buf, sizeof(buf)));
    return 0;
}

static int on_deadline(sd_event_source *s, uint64_t usec, void *userdata)
{
    Connection *c = userdata;
    char buf[64];

    timespan_format(c->config->connect_timeout_usec, buf, sizeof(buf));
    if (c->state == CONNECTION_STARTING)
        fail(c, FAILURE_CONNECT_TIMEOUT, "Other connection scripts were starting for %s", buf);
    else
        fail(c, FAILURE_CONNECT_TIMEOUT, "The connection script was not connected within %s", buf);
    return 0;
}

static void lock_release(Connection *c)
{
    c->lock = port_lock_free(c->lock);
    sd_event_source_disable_unref(c->lock_hold);
    c->lock_hold = NULL;
}

static int on_lock_hold(sd_event_source *s, uint64_t usec, void *userdata)
{
    lock_release(userdata);
    return 0;
}

/* ---- the tunnel and the script ---- */

static int on_tunnel_grace(sd_event_source *s, uint64_t usec, void *userdata)
{
    Connection *c = userdata;

    connection_terminal_drain(c);
    connection_fail(c, connection_tunnel_failure(c));
    return 0;
}

/* Before everything is connected: a log in that is under way would try for half a minute, and the script may
 * sleep for longer. */
static int tunnel_ended(Connection *c)
{
    c->tunnel_ended = true;
    return sd_event_add_time_relative(c->event, &c->tunnel_grace, CLOCK_MONOTONIC, TUNNEL_GRACE_USEC, 0,
                                      on_tunnel_grace, c);
}

static int on_tunnel(sd_event_source *s, int fd, uint32_t events, void *userdata)
{
    Connection *c = userdata;
    int r;

    (void)sd_event_source_set_enabled(s, SD_EVENT_OFF);
    connection_terminal_drain(c);
    if (c->state == CONNECTION_RUNNING) {
        r = tunnel_ended(c);
        if (r < 0)
            fail_errno(c, r, "Cannot set a deadline");
    } else
        fail(c, FAILURE_CONNECTION_LOST, "The tunnel of the connection script (process %d) ended",
             (int)c->watched_pid);
    return 0;
}

/* From the first discovery through it on. A script that starts another one is taken at its word. */
static int watch_tunnel(Connection *c)
{
    int r;

    if (c->gate.tunnel_pid <= 0 || c->gate.tunnel_pid == c->watched_pid)
        return 0;
    sd_event_source_disable_unref(c->tunnel_io);
    sd_event_source_disable_unref(c->tunnel_grace);
    c->tunnel_io = c->tunnel_grace = NULL;
    c->tunnel_ended = false;
    safe_close(c->tunnel_fd);
    c->watched_pid = c->gate.tunnel_pid;
    c->tunnel_fd = (int)syscall(SYS_pidfd_open, c->watched_pid, 0);
    if (c->tunnel_fd < 0)
        return errno == ESRCH ? tunnel_ended(c) : -errno;
    r = sd_event_add_io(c->event, &c->tunnel_io, c->tunnel_fd, EPOLLIN, on_tunnel, c);
    return r < 0 ? r : 0;
}

static void become_connected(Connection *c)
{
    if (c->tunnel_ended) {
        fail(c, FAILURE_CONNECTION_LOST, "The tunnel of the connection script (process %d) ended at once",
             (int)c->watched_pid);
        return;
    }
    c->state = CONNECTION_CONNECTED;
    c->connected_usec = now_usec(CLOCK_REALTIME);
    c->gate.closed = true;
    (void)sd_event_source_set_enabled(c->silence, SD_EVENT_OFF);
    (void)sd_event_source_set_enabled(c->deadline, SD_EVENT_OFF);
    connection_save(c);
    log_full(LOG_INFO, c->options->session, "Connected: %zu targets through %s", c->gate.n_targets,
             c->gate.portal);
    (void)sd_notifyf(0, "READY=1\nSTATUS=Connected, %zu targets through %s", c->gate.n_targets,
                     c->gate.portal);
}

static int on_script_end(sd_event_source *s, const siginfo_t *si, void *userdata)
{
    Connection *c = userdata;
    int code = si->si_code == CLD_EXITED ? si->si_status : 128 + si->si_status;

    c->script_pid = 0; /* reaped by sd-event */
    connection_terminal_drain(c);
    transcript_end_line(&c->transcript);
    if (c->state == CONNECTION_CONNECTED)
        fail(c, FAILURE_CONNECTION_LOST, "The connection script ended with status %d", code);
    else if (c->state == CONNECTION_RUNNING)
        connection_fail(c, connection_end_failure(c, code));
    return 0;
}

/* ---- requests ---- */

static void on_gate_asked(void *userdata)
{
    Connection *c = userdata;

    if (c->state == CONNECTION_RUNNING)
        (void)sd_event_source_set_time_relative(c->silence, c->config->silence_timeout_usec);
}

static void on_gate_changed(void *userdata)
{
    Connection *c = userdata;
    int r;

    if (c->state == CONNECTION_FAILED)
        return;
    on_gate_asked(c);
    r = watch_tunnel(c);
    if (r < 0) {
        fail_errno(c, r, "Cannot watch the tunnel");
        return;
    }
    if (c->gate.portal)
        lock_release(c);
    if (c->state == CONNECTION_RUNNING && gate_connected(&c->gate))
        become_connected(c);
    else
        connection_save(c);
}

static void on_gate_secret(void *userdata, const char *secret)
{
    Connection *c = userdata;

    transcript_add_secret(&c->transcript, secret);
}

/* ---- start ---- */

static void start_script(Connection *c)
{
    SandboxOptions o = {
        .session = c->options->session,
        .session_dir = c->session_dir,
        .stand_in_dir = c->options->stand_in_dir,
        .portal_host = c->portal_host,
        .portal_addresses = c->portal_addresses,
        .script = secret_text(c->script),
        .script_size = secret_size(c->script),
    };
    int r;

    r = sandbox_start(&o, &c->script_pid, &c->terminal);
    if (r < 0) {
        fail_errno(c, r, "Cannot start the sandbox");
        return;
    }
    r = sd_event_add_child(c->event, &c->child, c->script_pid, WEXITED, on_script_end, c);
    if (r < 0) {
        fail_errno(c, r, "Cannot watch the sandbox");
        return;
    }
    c->state = CONNECTION_RUNNING;
    c->script = secret_unref(c->script);
    (void)sd_event_source_set_time_relative(c->deadline, c->config->connect_timeout_usec);
    r = sd_event_add_time_relative(c->event, &c->silence, CLOCK_MONOTONIC, c->config->silence_timeout_usec, 0,
                                   on_silence, c);
    if (r >= 0 && c->lock)
        r = sd_event_add_time_relative(c->event, &c->lock_hold, CLOCK_MONOTONIC, LOCK_HOLD_USEC, 0,
                                       on_lock_hold, c);
    if (r < 0) {
        fail_errno(c, r, "Cannot set deadlines");
        return;
    }
    connection_terminal_start(c);
    if (c->state == CONNECTION_RUNNING) {
        status(c, "The connection script runs");
        connection_save(c);
    }
}

static void on_lock(void *userdata, int r)
{
    Connection *c = userdata;

    if (r < 0)
        log_errno_full(LOG_WARNING, c->options->session, r,
                       "Cannot lock the choice of ports, going on without");
    start_script(c);
}

static int on_no_lock(sd_event_source *s, void *userdata)
{
    start_script(userdata);
    return 0;
}

static int wait_for_turn(Connection *c)
{
    _cleanup_free_ char *path = NULL;
    sd_event_source *once = NULL;
    int r;

    if (asprintf(&path, "%s/.lock", c->options->runtime_dir) < 0)
        return -ENOMEM;
    status(c, "Waiting for other connection scripts to start");
    r = port_lock_new(&c->lock, c->event, path, on_lock, c);
    if (r >= 0)
        return 0;
    log_errno_full(LOG_WARNING, c->options->session, r, "Cannot open %s, going on without", path);
    r = sd_event_add_defer(c->event, &once, on_no_lock, c);
    if (r >= 0)
        r = sd_event_source_set_floating(once, 1);
    sd_event_source_unref(once);
    return r;
}

/* What the helper has left for us. Fails the connection by itself. */
static int read_inputs(Connection *c)
{
    _cleanup_free_ char *path = NULL;
    int r;

    if (asprintf(&path, "%s/script", c->session_dir) < 0)
        return -ENOMEM;
    r = secret_read_file(path, 077, SCRIPT_MAX, &c->script);
    if (r < 0) {
        fail(c, r == -EFBIG || r == -ENODATA ? FAILURE_SCRIPT_INVALID : FAILURE_INTERNAL,
             "The connection script %s: %s", path,
             r == -EPERM     ? "others may read it"
             : r == -ENODATA ? "is empty"
             : r == -EFBIG   ? "is longer than 16 MiB"
                             : strerror(-r));
        return 0;
    }
    transcript_add_script_secrets(&c->transcript, secret_text(c->script), secret_size(c->script));
    r = connection_read_request(c);
    if (r == -ENOMEM)
        return r;
    if (r == -ENOENT)
        log_full(LOG_WARNING, c->options->session,
                 "No request.json: the portal's name is resolved by the script");
    else if (r < 0)
        fail(c, FAILURE_INTERNAL, "request.json of session %s cannot be understood", c->options->session);
    return 0;
}

int connection_start(Connection *c, const ConnectionOptions *options, const Config *config, sd_event *event)
{
    _cleanup_free_ char *control = NULL, *work = NULL;
    int r;

    *c = (Connection){
        .options = options,
        .config = config,
        .event = event,
        .terminal = -EBADF,
        .tunnel_fd = -EBADF,
        .started_usec = now_usec(CLOCK_REALTIME),
        .gate =
            {
                .session = options->session,
                .helper_socket = options->helper_socket,
                .event = event,
                .on_asked = on_gate_asked,
                .on_changed = on_gate_changed,
                .on_secret = on_gate_secret,
                .userdata = c,
            },
    };
    r = transcript_init(&c->transcript);
    if (r < 0)
        return r;
    if (asprintf(&c->session_dir, "%s/%s", options->runtime_dir, options->session) < 0) {
        c->session_dir = NULL;
        return -ENOMEM;
    }
    if (asprintf(&control, "%s/control", c->session_dir) < 0 ||
        asprintf(&work, "%s/work", c->session_dir) < 0)
        return -ENOMEM;
    r = read_inputs(c);
    if (r < 0 || c->state == CONNECTION_FAILED)
        return r;
    connection_save(c);
    r = sd_event_add_time_relative(event, &c->deadline, CLOCK_MONOTONIC, config->connect_timeout_usec, 0,
                                   on_deadline, c);
    if (r < 0)
        return r;
    r = control_new(&c->control, event, control, gate_request, &c->gate);
    if (r >= 0)
        r = worklog_new(&c->worklog, event, work);
    if (r < 0) {
        fail_errno(c, r, "The session's directory is not as it should be");
        return 0;
    }
    return wait_for_turn(c);
}

void connection_done(Connection *c)
{
    kill_script(c);
    lock_release(c);
    c->worklog = worklog_free(c->worklog);
    gate_done(&c->gate);
    c->control = control_free(c->control);
    sd_event_source_disable_unref(c->terminal_io);
    sd_event_source_disable_unref(c->tunnel_io);
    sd_event_source_disable_unref(c->tunnel_grace);
    sd_event_source_disable_unref(c->settle);
    sd_event_source_disable_unref(c->prompt);
    sd_event_source_disable_unref(c->silence);
    sd_event_source_disable_unref(c->deadline);
    safe_close(c->terminal);
    safe_close(c->tunnel_fd);
    transcript_done(&c->transcript);
    secret_unref(c->script);
    failure_free(c->failure);
    strv_free(c->portal_addresses);
    free(c->portal_host);
    free(c->session_dir);
}
