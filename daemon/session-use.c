/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "session-internal.h"

#include "log.h"
#include "timeutil.h"

#define KEEP_USEC USEC_PER_MINUTE

static int on_look(sd_event_source *source, uint64_t usec, void *userdata);

static uint64_t now(void)
{
    return now_usec(CLOCK_MONOTONIC);
}

uint64_t session_bytes_read(Session *s)
{
    /* What was read from a disk that is gone was read nevertheless; but its number may be another's by now,
     * which is asked no more. */
    bool there = s->step == s->kind->n_steps && !s->adopting && !s->use.disks_gone;
    uint64_t bytes = there && s->kind->bytes_read ? s->kind->bytes_read(s) : 0;

    s->use.bytes_read = MAX(s->use.bytes_read, bytes);
    return s->use.bytes_read;
}

void session_keep_bytes_read(Session *s, bool at_once)
{
    if (session_bytes_read(s) > s->use.kept_bytes && (at_once || now() >= s->use.kept_usec + KEEP_USEC))
        (void)session_save(s);
}

/* ---- not used for long enough ---- */

static void look_again(Session *s, uint64_t after_usec)
{
    SessionUse *u = &s->use;
    int r;

    if (!u->timer)
        r = sd_event_add_time_relative(s->context->event, &u->timer, CLOCK_MONOTONIC, after_usec, 0, on_look,
                                       s);
    else {
        r = sd_event_source_set_time_relative(u->timer, after_usec);
        if (r >= 0)
            r = sd_event_source_set_enabled(u->timer, SD_EVENT_ONESHOT);
    }
    if (r < 0)
        log_errno_full(LOG_WARNING, s->id, r, "Failed to watch whether the session is used");
}

static void release_idle(Session *s)
{
    char span[64];

    log_full(LOG_NOTICE, s->id, "No file open and nothing read for %s: releasing the session",
             timespan_format(s->use.idle.span_usec, span, sizeof(span)));
    session_release_as(s, SESSION_END_IDLE);
}

static int on_look(sd_event_source *source, uint64_t usec, void *userdata)
{
    Session *s = userdata;
    SessionUse *u = &s->use;
    uint64_t next;
    bool idle = idle_look(&u->idle, session_bytes_read(s), u->inhibitors, now(), &next);
    int r;

    session_keep_bytes_read(s, false);
    if (u->asked)
        return 0; /* the answer goes on */
    if (!idle) {
        look_again(s, next);
        return 0;
    }
    if (!s->kind->users) {
        release_idle(s);
        return 0;
    }
    u->asked = true;
    r = s->kind->users(s);
    if (r < 0) {
        log_errno_full(LOG_WARNING, s->id, r, "Failed to ask who uses the session");
        session_users_known(s, true);
    }
    return 0;
}

void session_users_known(Session *s, bool in_use)
{
    SessionUse *u = &s->use;
    uint64_t next;

    if (!u->asked)
        return;
    u->asked = false;
    if (!u->timer)
        return; /* it goes down meanwhile */
    if (in_use)
        idle_touch(&u->idle, now());
    /* Something may have been read while the answer was on its way. */
    if (idle_look(&u->idle, session_bytes_read(s), u->inhibitors, now(), &next))
        release_idle(s);
    else
        look_again(s, next);
}

void session_set_idle(Session *s, uint64_t span_usec)
{
    size_t i;

    for (i = 0; i < s->holders.n; i++)
        s->holders.items[i].idle_usec = span_usec;
    s->use.idle.span_usec = span_usec;
}

void session_idle_of_holders(Session *s)
{
    uint64_t span = session_holders_idle(&s->holders), old = s->use.idle.span_usec;

    if (s->holders.n == 0) /* it is about to go down, by what counted last */
        return;
    s->use.idle.span_usec = span;
    if (span == 0 || (old > 0 && old <= span))
        return;
    /* Who was kept longer by another has the whole of his own time from now on. */
    idle_touch(&s->use.idle, now());
    if (s->use.timer)
        look_again(s, 0);
}

void session_use_start(Session *s)
{
    uint64_t next;

    idle_touch(&s->use.idle, now());
    (void)idle_look(&s->use.idle, session_bytes_read(s), false, now(), &next);
    look_again(s, next);
}

void session_use_stop(Session *s)
{
    s->use.timer = sd_event_source_disable_unref(s->use.timer);
    s->use.asked = false;
    (void)session_bytes_read(s);
}

/* ---- who says that he needs it ---- */

static void inhibitor_free(Session *s, Inhibitor *i)
{
    LIST_REMOVE(s->use.inhibitors, i);
    s->use.n_inhibitors--;
    free(i->caller);
    free(i->why);
    free(i);
}

void session_use_done(Session *s)
{
    sd_event_source_disable_unref(s->use.timer);
    while (s->use.inhibitors)
        inhibitor_free(s, s->use.inhibitors);
}

int session_inhibit(Session *s, uid_t uid, pid_t pid, const char *caller, const char *why,
                    uint64_t *ret_number)
{
    Inhibitor *i;

    if (s->use.n_inhibitors >= INHIBITORS_MAX)
        return -E2BIG;
    i = calloc(1, sizeof(*i));
    if (!i)
        return -ENOMEM;
    LIST_PREPEND(s->use.inhibitors, i);
    s->use.n_inhibitors++;
    *i = (Inhibitor){.number = ++s->use.last_number,
                     .uid = uid,
                     .pid = pid,
                     .caller = strdup(caller),
                     .why = strdup(why),
                     .since_usec = now_usec(CLOCK_REALTIME),
                     .list = i->list};
    if (!i->caller || !i->why) {
        inhibitor_free(s, i);
        return -ENOMEM;
    }
    log_full(LOG_INFO, s->id, "Kept from being released as unused by %s, pid %d, why \"%s\"", caller,
             (int)pid, why);
    *ret_number = i->number;
    s->context->changed(s, s->context->userdata);
    return 0;
}

void session_uninhibit(Session *s, uint64_t number)
{
    Inhibitor *i;

    LIST_FOREACH (i, s->use.inhibitors)
        if (i->number == number)
            break;
    if (!i)
        return;
    log_full(LOG_INFO, s->id, "Kept from being released as unused by %s, pid %d, no more", i->caller,
             (int)i->pid);
    inhibitor_free(s, i);
    idle_touch(&s->use.idle, now());
    /* On the way down it may be the telling of it that ends the inhibitors: nothing to tell inside of that.
     */
    if (!s->down)
        s->context->changed(s, s->context->userdata);
}

/* ---- record and description ---- */

int session_use_save(const Session *s, json_object *record)
{
    int r;

    if ((s->use.idle.span_usec &&
         (r = json_add_int64(record, "idleUsec", (int64_t)s->use.idle.span_usec)) < 0) ||
        (s->use.bytes_read && (r = json_add_int64(record, "bytesRead", (int64_t)s->use.bytes_read)) < 0))
        return r;
    return 0;
}

int session_use_load(Session *s, json_object *record)
{
    int64_t span = 0, bytes = 0;

    if (json_get_int64(record, "idleUsec", &span) < 0 || json_get_int64(record, "bytesRead", &bytes) < 0 ||
        span < 0 || bytes < 0)
        return -EINVAL;
    s->use.idle.span_usec = (uint64_t)span;
    s->use.bytes_read = s->use.kept_bytes = s->use.before_bytes = (uint64_t)bytes;
    return 0;
}

static int add_inhibitors(const Session *s, json_object *o)
{
    json_object *array = json_object_new_array();
    Inhibitor *i;
    int r;

    r = json_add(o, "inhibitors", array);
    if (r < 0)
        return r;
    LIST_FOREACH (i, s->use.inhibitors) {
        json_object *one = json_object_new_object();

        if ((r = json_append(array, one)) < 0 || (r = json_add_int64(one, "uid", i->uid)) < 0 ||
            (r = json_add_int64(one, "pid", i->pid)) < 0 ||
            (r = json_add_string(one, "caller", i->caller)) < 0 ||
            (r = json_add_string(one, "why", i->why)) < 0 ||
            (r = json_add_int64(one, "sinceUsec", (int64_t)i->since_usec)) < 0)
            return r;
    }
    return r;
}

int session_use_describe(Session *s, json_object *o)
{
    int r;

    if ((s->use.idle.span_usec && (r = json_add_int64(o, "idleUsec", (int64_t)s->use.idle.span_usec)) < 0) ||
        (r = json_add_int64(o, "bytesRead", (int64_t)session_bytes_read(s))) < 0 ||
        (r = add_inhibitors(s, o)) < 0)
        return r;
    return 0;
}
