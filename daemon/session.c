/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "session-internal.h"

#include "log.h"
#include "timeutil.h"

#include <stdarg.h>

#define RETRY_MAX_USEC (5 * USEC_PER_MINUTE)

static const char *const state_table[SESSION_STATE_MAX] = {
    [SESSION_PROVISIONING] = "provisioning",
    [SESSION_CONNECTING] = "connecting",
    [SESSION_ATTACHING] = "attaching",
    [SESSION_READY] = "ready",
    [SESSION_DETACHING] = "detaching",
    [SESSION_DISCONNECTING] = "disconnecting",
    [SESSION_REVOKING] = "revoking",
    [SESSION_CLOSING] = "closing",
    [SESSION_CLOSED] = "closed",
};

const char *session_state_to_string(SessionState state)
{
    return state >= 0 && state < SESSION_STATE_MAX ? state_table[state] : NULL;
}

/* A step that is started counts as taken, so that step is 1-based here: the state is that of the step under
 * the feet. */
SessionState session_state(const Session *s)
{
    const SessionStep *steps = s->kind->steps;

    if (s->closed)
        return SESSION_CLOSED;
    if (s->closing)
        return SESSION_CLOSING;
    if (s->down)
        return s->step > 0 ? steps[s->step - 1].descending : steps[0].descending;
    if (s->step == s->kind->n_steps && s->work == WORK_NONE && s->was_ready)
        return SESSION_READY;
    return s->step > 0 ? steps[s->step - 1].climbing : steps[0].climbing;
}

static void changed(Session *s)
{
    s->context->changed(s, s->context->userdata);
}

void session_set_detail(Session *s, const char *format, ...)
{
    char *text = NULL;

    if (format) {
        va_list ap;

        va_start(ap, format);
        if (vasprintf(&text, format, ap) < 0)
            text = NULL;
        va_end(ap);
    }
    if (streq_ptr(text, s->detail)) {
        free(text);
        return;
    }
    free_and_replace(&s->detail, text);
    changed(s);
}

static int on_kick(sd_event_source *source, void *userdata);

/* The rest happens from the event loop. */
static void kick(Session *s)
{
    int r;

    if (s->kick)
        r = sd_event_source_set_enabled(s->kick, SD_EVENT_ONESHOT);
    else
        r = sd_event_add_defer(s->context->event, &s->kick, on_kick, s);
    if (r < 0)
        log_errno_full(LOG_ERR, s->id, r, "Failed to schedule the session's next step");
}

static void keep_failure(Session *s, const Failure *f)
{
    if (!f)
        return;
    log_full(LOG_WARNING, s->id, "%s: %s%s%s", failure_name_to_string(f->name), f->message ? f->message : "",
             f->code ? ", code " : "", f->code ? f->code : "");
    if (!s->failure) {
        s->failure = failure_copy(f);
        metrics_failure(s->context->metrics, f->name);
    }
}

static void turn_down(Session *s)
{
    s->down = true;
    if (s->end == SESSION_END_NONE)
        s->end = s->failure ? SESSION_END_FAILED : SESSION_END_RELEASED;
    session_use_stop(s);
    free_and_replace(&s->detail, NULL);
    (void)session_save(s); /* the step still counts in the old record, which is only less precise */
    changed(s);
    kick(s);
}

static void become_ready(Session *s)
{
    int r;

    s->was_ready = true;
    if (s->ready_usec == 0) {
        s->ready_usec = now_usec(CLOCK_REALTIME);
        session_milestone(s);
    }
    free_and_replace(&s->detail, NULL);
    r = s->kind->ready(s);
    if (r < 0)
        log_errno_full(LOG_WARNING, s->id, r, "Failed to watch the session");
    session_use_start(s);
    (void)session_save(s);
    changed(s);
}

static void close_session(Session *s)
{
    int r;

    s->closed = true;
    s->closing = false;
    free_and_replace(&s->detail, NULL);
    /* Before the record goes: an end in between makes two lines of it, the other way round there was none. */
    session_milestone(s);
    r = store_remove(s->context->store, s->id);
    if (r < 0)
        log_errno_full(LOG_ERR, s->id, r, "Failed to remove the session's record");
    changed(s);
}

static void start(Session *s, SessionWork work, int (*f)(Session *s))
{
    _cleanup_failure_ Failure *failure = NULL;
    char buf[128];
    int r;

    s->work = work;
    s->work_usec = now_usec(CLOCK_MONOTONIC);
    changed(s);
    r = f(s);
    if (r == 0)
        return;
    if (r > 0) {
        session_step_done(s, NULL);
        return;
    }
    failure = failure_new(FAILURE_INTERNAL, "Failed to start: %s", strerror_r(-r, buf, sizeof(buf)));
    session_step_done(s, failure);
}

static int on_retry(sd_event_source *source, uint64_t usec, void *userdata)
{
    kick(userdata);
    return 0;
}

/* Later and later: a forgotten shell in a volume must not keep the machine busy for days. */
static void schedule_retry(Session *s)
{
    uint64_t wait = s->context->config->busy_retry_usec;
    unsigned i;
    int r;

    for (i = 0; i < s->release_attempts && wait < RETRY_MAX_USEC; i++)
        wait = wait * 3 / 2;
    wait = MIN(wait, MAX(RETRY_MAX_USEC, s->context->config->busy_retry_usec));
    s->release_attempts++;
    s->retry = sd_event_source_disable_unref(s->retry);
    r = sd_event_add_time_relative(s->context->event, &s->retry, CLOCK_MONOTONIC, wait, 0, on_retry, s);
    if (r < 0)
        log_errno_full(LOG_ERR, s->id, r, "Failed to schedule another attempt to release");
}

/* Everything is given back, but somebody may have a part of it open for days. */
static void start_close(Session *s)
{
    int r;

    s->closing = true;
    r = s->kind->close ? s->kind->close(s) : 1;
    if (r > 0) {
        close_session(s);
        return;
    }
    if (r < 0)
        log_errno_full(LOG_WARNING, s->id, r, "Failed to look for what is left, trying again");
    s->work = r < 0 ? WORK_NONE : WORK_CLOSE;
    if (r < 0)
        schedule_retry(s);
    changed(s);
}

static int on_kick(sd_event_source *source, void *userdata)
{
    Session *s = userdata;
    const SessionStep *steps = s->kind->steps;

    if (s->closed || s->adopting || s->work != WORK_NONE)
        return 0;
    if (s->down) {
        s->retry = sd_event_source_disable_unref(s->retry);
        if (s->step == 0)
            start_close(s);
        else {
            /* Whoever was in the way of the last attempt went on reading. */
            session_keep_bytes_read(s, false);
            start(s, WORK_RELEASE, steps[s->step - 1].release);
        }
        return 0;
    }
    if (s->step == s->kind->n_steps) {
        if (!s->was_ready)
            become_ready(s);
        return 0;
    }
    s->step++;
    /* Without a record nothing may touch the world: nobody would know of it after a crash. */
    if (session_save(s) < 0) {
        _cleanup_failure_ Failure *f = failure_new(
            FAILURE_INTERNAL, "The session's record cannot be saved, see the free space of the state "
                              "directory");

        s->step--;
        keep_failure(s, f);
        turn_down(s);
        return 0;
    }
    start(s, WORK_ACQUIRE, steps[s->step - 1].acquire);
    return 0;
}

void session_step_done(Session *s, const Failure *failure)
{
    SessionWork work = s->work;

    s->work = WORK_NONE;
    switch (work) {
    case WORK_NONE:
        return;
    case WORK_ACQUIRE:
        free_and_replace(&s->detail, NULL);
        if (failure) {
            keep_failure(s, failure);
            turn_down(s);
            return;
        }
        session_count_step(s, s->kind->steps[s->step - 1].climbing);
        if (session_save(s) < 0)
            log_full(LOG_WARNING, s->id, "Going on with an older record");
        break;
    case WORK_RELEASE:
        s->release_failure = failure_free(s->release_failure);
        if (failure) {
            log_full(LOG_WARNING, s->id, "Release failed and will be tried again: %s: %s",
                     failure_name_to_string(failure->name), failure->message ? failure->message : "");
            s->release_failure = failure_copy(failure);
            metrics_failure(s->context->metrics, failure->name);
            schedule_retry(s);
            changed(s);
            return;
        }
        s->release_attempts = 0;
        session_count_step(s, s->kind->steps[s->step - 1].descending);
        s->step--;
        (void)session_save(s);
        break;
    case WORK_CLOSE:
        close_session(s);
        return;
    }
    changed(s);
    kick(s);
}

void session_release(Session *s, const Failure *why)
{
    if (s->closed)
        return;
    if (s->down) {
        s->release_attempts = 0;
        kick(s);
        return;
    }
    keep_failure(s, why);
    if (s->work != WORK_NONE) {
        s->kind->cancel(s);
        s->work = WORK_NONE;
    }
    turn_down(s);
}

void session_release_as(Session *s, SessionEnd end)
{
    if (s->end == SESSION_END_NONE)
        s->end = end;
    session_release(s, NULL);
}

void session_force(Session *s)
{
    const bool again = s->forced;

    if (s->closed || s->closing)
        return;
    if (!again)
        log_full(LOG_NOTICE, s->id, "Going down by force: who uses the volumes is not waited for");
    s->forced = true;
    if (s->down) {
        (void)session_save(s);
        /* What is under way may be waiting for the very ones that are to be passed over; not if it was told
         * so, and a second one beside it would be in its way. */
        if (!again && s->work == WORK_RELEASE && s->kind->steps[s->step - 1].heeds_force) {
            s->kind->cancel(s);
            s->work = WORK_NONE;
        }
    }
    session_release(s, NULL);
}

int session_hold(Session *s, uid_t uid, const char *caller, const char *reason, uint64_t idle_usec)
{
    int r, k;

    r = session_holders_add(&s->holders, uid, caller, reason, now_usec(CLOCK_REALTIME), idle_usec);
    if (r < 0)
        return r;
    session_idle_of_holders(s);
    /* He was told a path: it is not taken away before he had the time to use it. */
    idle_touch(&s->use.idle, now_usec(CLOCK_MONOTONIC));
    log_full(LOG_INFO, s->id, "Held by %s, uid %u%s, reason \"%s\"", caller, (unsigned)uid,
             r > 0 ? "" : " already", reason ? reason : "");
    /* A session at its foot has no record yet; the first one has all holders. */
    k = s->step > 0 || s->down ? session_save(s) : 0;
    if (k < 0 && r > 0) {
        (void)session_holders_remove(&s->holders, uid);
        session_idle_of_holders(s);
        return k;
    }
    changed(s);
    return r;
}

void session_let_go(Session *s, uid_t uid)
{
    if (!session_holders_remove(&s->holders, uid))
        return;
    session_idle_of_holders(s);
    if (s->step > 0 || s->down)
        (void)session_save(s);
    log_full(LOG_INFO, s->id, "Held by uid %u no more", (unsigned)uid);
    changed(s);
}

int session_make(Session **ret, const SessionContext *context, const SessionKind *kind, uid_t uid,
                 const char *caller, const char *reason)
{
    Session *s = calloc(1, sizeof(*s));

    if (!s)
        return -ENOMEM;
    s->kind = kind;
    s->context = context;
    s->uid = uid;
    s->caller = strdup(caller ? caller : "");
    if (!s->caller || str_copy(reason, &s->reason) < 0) {
        session_free(s);
        return -ENOMEM;
    }
    *ret = s;
    return 0;
}

int session_new(Session **ret, const SessionContext *context, const SessionKind *kind, void *data, uid_t uid,
                const char *caller, const char *reason)
{
    Session *s;
    int r;

    r = session_make(&s, context, kind, uid, caller, reason);
    if (r < 0)
        return r;
    session_id_make(s->id);
    s->created_usec = now_usec(CLOCK_REALTIME);
    r = session_holders_add(&s->holders, uid, s->caller, reason, s->created_usec, 0);
    if (r < 0) {
        session_free(s);
        return r;
    }
    s->data = data;
    kick(s);
    *ret = s;
    return 0;
}

void session_adopt_later(Session *s, const Failure *why)
{
    failure_free(s->release_failure);
    s->release_failure = failure_copy(why);
    changed(s);
}

void session_adopt(Session *s, bool stands)
{
    s->adopting = false;
    s->release_failure = failure_free(s->release_failure);
    (void)session_set_expiry(s, s->expires_usec, s->expires_boot_usec);
    if (stands && !s->down && s->was_ready && s->step == s->kind->n_steps) {
        log_full(LOG_INFO, s->id, "Session found again, still ready");
        become_ready(s);
        return;
    }
    s->use.disks_gone = s->use.disks_gone || !s->down || s->rebooted || s->end == SESSION_END_REBOOTED;
    if (!s->down && s->rebooted) {
        s->end = SESSION_END_REBOOTED; /* nobody failed, and nothing of it is left here */
        log_full(LOG_INFO, s->id, "The host was restarted while the session was up");
    } else if (!s->down && s->was_ready) {
        _cleanup_failure_ Failure *f =
            failure_new(FAILURE_CONNECTION_LOST, "The session no longer stood when ilrd was started");

        keep_failure(s, f);
    } else if (!s->down) {
        _cleanup_failure_ Failure *f =
            failure_advise(failure_new(FAILURE_CANCELLED, "ilrd was ended while the session was on its way"),
                           "provision it again");

        keep_failure(s, f);
    }
    log_full(LOG_INFO, s->id, "Session found again, taking it down from step %zu", s->step);
    turn_down(s);
}

Session *session_free(Session *s)
{
    if (!s)
        return NULL;
    if (s->data) {
        if (s->work != WORK_NONE)
            s->kind->cancel(s);
        s->kind->free(s);
    }
    sd_event_source_disable_unref(s->retry);
    sd_event_source_disable_unref(s->unsaved);
    sd_event_source_disable_unref(s->expiry);
    sd_event_source_disable_unref(s->kick);
    failure_free(s->failure);
    failure_free(s->release_failure);
    session_holders_done(&s->holders);
    session_use_done(s);
    free(s->caller);
    free(s->reason);
    free(s->detail);
    free(s);
    return NULL;
}
