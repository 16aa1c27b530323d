/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A session on the way to its end at Azure: told of, released before, by force if it must be. */
#include "session-internal.h"

#include "log.h"
#include "timeutil.h"

static int arm(Session *s, uint64_t at_usec);

static void warn(Session *s, uint64_t left_usec)
{
    char subject[512], left[64], margin[64], at[TIMESTAMP_MAX];
    _cleanup_free_ char *text = NULL;

    s->kind->subject(s, subject, sizeof(subject));
    if (asprintf(&text, "Azure ends session %s (%s) in %s, at %s; it is released %s before", s->id, subject,
                 timespan_format(left_usec, left, sizeof(left)), timestamp_format(s->expires_usec, at),
                 timespan_format(s->context->config->expiry_release_usec, margin, sizeof(margin))) < 0) {
        text = NULL;
        log_oom();
        return;
    }
    log_full(LOG_WARNING, s->id, "%s", text);
    s->warning = text;
    s->context->changed(s, s->context->userdata);
    s->warning = NULL;
    session_tell_hooks(s, "expiring");
}

static void enter(Session *s, ExpiryStage stage, uint64_t left_usec)
{
    char left[64];

    timespan_format(left_usec, left, sizeof(left));
    switch (stage) {
    case EXPIRY_NOTICE:
    case EXPIRY_WARNING:
        /* Whoever comes after a restart shall not be told again. */
        (void)session_save(s);
        if (!s->down)
            warn(s, left_usec);
        return;
    case EXPIRY_RELEASE:
        if (!s->down)
            log_full(LOG_NOTICE, s->id, "Azure ends the session in %s: releasing it", left);
        session_release_as(s, SESSION_END_EXPIRED);
        return;
    case EXPIRY_FORCE:
        log_full(LOG_WARNING, s->id, "Azure ends the session in %s, and it is not given back yet", left);
        if (s->end == SESSION_END_NONE)
            s->end = SESSION_END_EXPIRED;
        session_force(s);
        return;
    case EXPIRY_NONE:
    case EXPIRY_STAGE_MAX:
    case EXPIRY_STAGE_INVALID:
        return;
    }
}

static int on_expiry(sd_event_source *source, uint64_t usec, void *userdata)
{
    Session *s = userdata;
    uint64_t now = now_usec(CLOCK_BOOTTIME), next, left;
    ExpiryStage stage = expiry_stage(s->context->config, s->expires_boot_usec, now, &next);

    if (s->closed || s->closing)
        return 0;
    if (next != USEC_INFINITY && arm(s, next) < 0)
        log_oom();
    if (stage <= s->expiry_stage)
        return 0;
    s->expiry_stage = stage;
    left = s->expires_boot_usec > now ? s->expires_boot_usec - now : 0;
    enter(s, stage, left);
    return 0;
}

static int arm(Session *s, uint64_t at_usec)
{
    int r;

    if (!s->expiry) {
        r = sd_event_add_time(s->context->event, &s->expiry, CLOCK_BOOTTIME, at_usec, USEC_PER_SEC / 4,
                              on_expiry, s);
        /* After all that is pending: what a session does by itself is further then. */
        return r < 0 ? r : sd_event_source_set_priority(s->expiry, SD_EVENT_PRIORITY_IDLE);
    }
    r = sd_event_source_set_time(s->expiry, at_usec);
    return r < 0 ? r : sd_event_source_set_enabled(s->expiry, SD_EVENT_ONESHOT);
}

int session_set_expiry(Session *s, uint64_t usec, uint64_t boot_usec)
{
    s->expires_usec = usec;
    s->expires_boot_usec = boot_usec;
    if (usec == 0) {
        s->expiry = sd_event_source_disable_unref(s->expiry);
        return 0;
    }
    /* The first look is from the event loop, too, also at what is over already. */
    return arm(s, 0);
}

uint64_t session_time_left(const Session *s)
{
    uint64_t now = now_usec(CLOCK_BOOTTIME);

    if (s->expires_usec == 0)
        return USEC_INFINITY;
    return s->expires_boot_usec > now ? s->expires_boot_usec - now : 0;
}

/* ---- record ---- */

int session_expiry_save(const Session *s, json_object *record)
{
    char boot[SD_ID128_STRING_MAX] = "";
    sd_id128_t id;
    int r;

    if (sd_id128_get_boot(&id) >= 0)
        sd_id128_to_string(id, boot);
    r = json_add_string(record, "bootId", boot);
    if (r < 0 || s->expires_usec == 0)
        return r;
    if ((r = json_add_int64(record, "expiresUsec", (int64_t)s->expires_usec)) < 0 ||
        (r = json_add_int64(record, "expiresBootUsec", (int64_t)s->expires_boot_usec)) < 0 ||
        (r = json_add_string(record, "expiryStage", expiry_stage_to_string(s->expiry_stage))) < 0)
        return r;
    return 0;
}

int session_expiry_load(Session *s, json_object *record)
{
    int64_t expires = 0, expires_boot = 0;
    const char *boot = NULL, *stage = NULL;
    sd_id128_t id, now_id;
    ExpiryStage i;
    bool known;

    if (json_get_int64(record, "expiresUsec", &expires) < 0 || expires < 0 ||
        json_get_int64(record, "expiresBootUsec", &expires_boot) < 0 || expires_boot < 0 ||
        json_get_string(record, "bootId", &boot) < 0 || json_get_string(record, "expiryStage", &stage) < 0)
        return -EINVAL;
    s->expires_usec = (uint64_t)expires;
    s->expires_boot_usec = (uint64_t)expires_boot;
    for (i = EXPIRY_NONE; i < EXPIRY_STAGE_MAX; i++)
        if (streq_ptr(stage, expiry_stage_to_string(i)))
            s->expiry_stage = MIN(i, EXPIRY_WARNING); /* what was done about it must be done again */
    known = boot && sd_id128_from_string(boot, &id) >= 0 && sd_id128_get_boot(&now_id) >= 0;
    s->rebooted = known && !sd_id128_equal(id, now_id);
    if (expires == 0 || (known && !s->rebooted && expires_boot > 0))
        return 0;
    /* Of another boot, or of a version that did not write it down: the time of day is all there is. */
    s->expires_boot_usec = session_boot_time_of(s->expires_usec);
    return 0;
}

uint64_t session_boot_time_of(uint64_t usec)
{
    uint64_t wall = now_usec(CLOCK_REALTIME), boot = now_usec(CLOCK_BOOTTIME);

    if (usec >= wall)
        return boot + (usec - wall);
    return boot > wall - usec ? boot - (wall - usec) : 0;
}
