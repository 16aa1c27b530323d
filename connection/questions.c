/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The script's terminal: reads it, sees whether it asks something, answers or gives up. */

#include "connection.h"

#include "log.h"
#include "prompts.h"
#include "system-name.h"

/* A question is printed in one piece, but may be read in two: it is looked at when nothing more has come for
 * this long. */
#define SETTLE_USEC (100 * USEC_PER_MSEC)
/* Real scripts print a few kilobytes. */
#define OUTPUT_MAX (16 * MIB)
/* Real scripts ask at most a dozen questions; one that asks on and on does not understand our answers. */
#define ANSWERS_MAX 24
#define END_LINES 8 /* of what was printed last, to see why it ended */

static void arm(sd_event_source *s, uint64_t usec)
{
    if (sd_event_source_set_time_relative(s, usec) < 0 ||
        sd_event_source_set_enabled(s, SD_EVENT_ONESHOT) < 0)
        log_error("Cannot set a timer");
}

static void disarm(sd_event_source *s)
{
    (void)sd_event_source_set_enabled(s, SD_EVENT_OFF);
}

/* A failure with the script's own last lines. */
static Failure *with_lines(Connection *c, Failure *f)
{
    if (f && !f->lines)
        (void)transcript_last(&c->transcript, CONNECTION_LINES, &f->lines);
    return f;
}

static Failure *failure_from_lines(const Connection *c, FailureName name, int status)
{
    switch ((int)name) {
    case FAILURE_TARGET_BLOCKED:
        return failure_new(name, "The target does not accept connections from this host's network");
    case FAILURE_TARGET_NOT_READY:
        return failure_new(name, "The target of the recovery point was not ready in time");
    case FAILURE_LOGIN_REJECTED:
        return failure_new(name, "The target refused the login: password or initiator name");
    case FAILURE_PACKAGES_MISSING:
        return failure_new(name, "The connection script misses packages on this host");
    case FAILURE_PYTHON_UNSUPPORTED:
        return failure_new(name, "The connection script does not run with this host's Python");
    case FAILURE_CIPHER_MISSING:
        return failure_new(name, "This host's OpenSSL does not offer what the connection script needs");
    case FAILURE_PASSWORD_WANTED:
        return failure_new(name, "The connection script wants a password to be typed");
    case FAILURE_PORTAL_UNREACHABLE:
        return failure_new(name, "The recovery portal%s%s cannot be reached", c->portal_host ? " " : "",
                           c->portal_host ? c->portal_host : "");
    case FAILURE_DISCOVERY_FAILED:
        return failure_new(name, "The connection script found no target");
    default:
        if (status < 0)
            return failure_new(FAILURE_SCRIPT_REPORTED, "The connection script gave up");
        return failure_new(FAILURE_SCRIPT_EXITED,
                           "The connection script ended with status %d before it was connected", status);
    }
}

Failure *connection_tunnel_failure(Connection *c)
{
    return with_lines(c, failure_new(FAILURE_CONNECTION_LOST,
                                     "The tunnel of the connection script (process %d) ended before every "
                                     "target was logged in",
                                     (int)c->watched_pid));
}

Failure *connection_end_failure(Connection *c, int status)
{
    _cleanup_strv_free_ char **lines = NULL;
    FailureName name = FAILURE_NAME_INVALID;
    const char *last = NULL;
    char code[16];
    Failure *f;
    char **s;

    (void)transcript_last(&c->transcript, END_LINES, &lines);
    STRV_FOREACH (s, lines)
        last = *s;
    if (c->gate.blocked)
        name = FAILURE_TARGET_BLOCKED;
    else if (c->gate.not_ready)
        name = FAILURE_TARGET_NOT_READY;
    else if (c->tunnel_ended) /* whatever failed then, that is why */
        return connection_tunnel_failure(c);
    else if (c->gate.failure)
        return with_lines(c, failure_copy(c->gate.failure));
    else if (status > 0 && last && startswith(last, "bwrap: "))
        return with_lines(
            c, failure_new(FAILURE_INTERNAL, "The sandbox for the connection script failed: %s", last));
    else
        name = prompt_failure(lines);
    f = failure_from_lines(c, name, status);
    if (f && status >= 0 && f->name == FAILURE_SCRIPT_EXITED) {
        snprintf(code, sizeof(code), "%d", status);
        f->code = strdup(code);
    }
    return with_lines(c, f);
}

/* ---- answers ---- */

static void type_line(Connection *c, const char *text)
{
    char line[64];
    int n = snprintf(line, sizeof(line), "%s\n", text);

    if (n > 0 && (size_t)n < sizeof(line) && write(c->terminal, line, n) != n)
        log_full(LOG_WARNING, c->options->session, "The script does not take its answer");
}

static void take_decision(Connection *c, const PromptDecision *d)
{
    bool connected = c->state == CONNECTION_CONNECTED;

    switch (d->kind) {
    case PROMPT_NONE:
        arm(c->prompt,
            c->config->prompt_timeout_usec > SETTLE_USEC ? c->config->prompt_timeout_usec - SETTLE_USEC : 1);
        return;
    case PROMPT_END:
        if (!connected) {
            connection_fail(c, connection_end_failure(c, -1));
            return;
        }
        /* Here it stays until the session is released: an answer would end it. */
        if (!c->at_end)
            log_full(LOG_DEBUG, c->options->session, "The script stands at its last question");
        c->at_end = true;
        connection_save(c);
        return;
    case PROMPT_FAIL:
        log_full(LOG_INFO, c->options->session, "The script asks: %s; answer: %s", d->name,
                 d->answer ? d->answer : "none");
        if (d->answer)
            type_line(c, d->answer);
        if (!connected)
            connection_fail(c, with_lines(c, failure_from_lines(c, d->failure, -1)));
        return;
    case PROMPT_ANSWER:
        if (++c->n_answers > ANSWERS_MAX) {
            if (!connected)
                connection_fail(c, with_lines(c, failure_new(FAILURE_SCRIPT_REPORTED,
                                                             "The connection script asks on and on")));
            return;
        }
        log_full(LOG_INFO, c->options->session, "The script asks: %s; answer: %s", d->name, d->answer);
        type_line(c, d->answer);
        transcript_end_line(&c->transcript);
        transcript_mark(&c->transcript);
        connection_save(c);
        return;
    case PROMPT_KIND_MAX:
    case PROMPT_KIND_INVALID:
        return;
    }
}

static int on_settle(sd_event_source *s, uint64_t usec, void *userdata)
{
    _cleanup_strv_free_ char **lines = NULL;
    Connection *c = userdata;
    PromptDecision d;
    SystemName name;

    if (c->state == CONNECTION_FAILED || *transcript_unfinished(&c->transcript) == '\0')
        return 0;
    if (transcript_since_mark(&c->transcript, &lines) < 0) {
        log_oom();
        return 0;
    }
    system_name_read(&name);
    d = prompt_decide(lines, transcript_unfinished(&c->transcript),
                      &(PromptSystem){.name = name.name, .version = name.version});
    take_decision(c, &d);
    return 0;
}

static int on_prompt(sd_event_source *s, uint64_t usec, void *userdata)
{
    _cleanup_free_ char *line = NULL;
    Connection *c = userdata;
    const char *open = transcript_unfinished(&c->transcript);

    if (c->state == CONNECTION_FAILED || open[strspn(open, " ")] == '\0')
        return 0;
    line = transcript_mask(&c->transcript, open);
    if (c->state == CONNECTION_CONNECTED) {
        log_full(LOG_WARNING, c->options->session, "The connected script asks something unknown: %s",
                 line ? line : "");
        return 0;
    }
    connection_fail(c, with_lines(c, failure_new(FAILURE_UNKNOWN_PROMPT, "The connection script asks: %s",
                                                 line ? line : "?")));
    return 0;
}

/* ---- reading ---- */

static bool too_much(Connection *c)
{
    if (c->transcript.total_bytes <= OUTPUT_MAX)
        return false;
    if (c->state != CONNECTION_FAILED)
        connection_fail(c,
                        with_lines(c, failure_new(c->state == CONNECTION_CONNECTED ? FAILURE_CONNECTION_LOST
                                                                                   : FAILURE_SCRIPT_INVALID,
                                                  "The connection script printed more than %llu MiB",
                                                  (unsigned long long)(OUTPUT_MAX / MIB))));
    return true;
}

/* What one read gives; 0: nothing more now, -EIO: nobody has the other end any more. */
static int read_some(Connection *c)
{
    char buf[16 * 1024];
    ssize_t n;

    do
        n = read(c->terminal, buf, sizeof(buf));
    while (n < 0 && errno == EINTR);
    if (n < 0)
        return errno == EAGAIN ? 0 : -errno;
    if (n > 0)
        transcript_feed(&c->transcript, buf, n);
    explicit_bzero(buf, MAX(n, 0));
    return n > 0 ? 1 : -EIO;
}

void connection_terminal_drain(Connection *c)
{
    while (c->terminal >= 0 && !too_much(c) && read_some(c) > 0)
        ;
}

static int on_terminal(sd_event_source *s, int fd, uint32_t events, void *userdata)
{
    Connection *c = userdata;
    int r = read_some(c);

    if (r < 0) {
        /* The end of the process tells more than the end of its terminal. */
        (void)sd_event_source_set_enabled(s, SD_EVENT_OFF);
        return 0;
    }
    if (r == 0 || c->state == CONNECTION_FAILED || too_much(c))
        return 0;
    disarm(c->prompt);
    if (*transcript_unfinished(&c->transcript))
        arm(c->settle, SETTLE_USEC);
    else
        disarm(c->settle);
    if (c->state == CONNECTION_RUNNING)
        arm(c->silence, c->config->silence_timeout_usec);
    return 0;
}

static int add_timer(Connection *c, sd_event_source **ret, sd_event_time_handler_t handler)
{
    int r = sd_event_add_time_relative(c->event, ret, CLOCK_MONOTONIC, USEC_PER_HOUR, 10 * USEC_PER_MSEC,
                                       handler, c);

    return r < 0 ? r : sd_event_source_set_enabled(*ret, SD_EVENT_OFF);
}

void connection_terminal_start(Connection *c)
{
    char buf[128];
    int r = sd_event_add_io(c->event, &c->terminal_io, c->terminal, EPOLLIN, on_terminal, c);

    /* Timers, requests and signals are served before a flood of text. */
    if (r >= 0)
        r = sd_event_source_set_priority(c->terminal_io, SD_EVENT_PRIORITY_NORMAL + 10);
    if (r >= 0)
        r = add_timer(c, &c->settle, on_settle);
    if (r >= 0)
        r = add_timer(c, &c->prompt, on_prompt);
    if (r < 0)
        connection_fail(c, failure_new(FAILURE_INTERNAL, "Cannot watch the script's terminal: %s",
                                       strerror_r(-r, buf, sizeof(buf))));
}
