/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* What happens how long before Azure ends a session: first as numbers, with clocks made of numbers, then with
 * a session. */

#include "log.h"
#include "session.h"
#include "timeutil.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#define MIN_ USEC_PER_MINUTE
#define HOUR USEC_PER_HOUR

static const Config config = {
    .expiry_notice_usec = 60 * MIN_,
    .expiry_warning_usec = 10 * MIN_,
    .expiry_release_usec = 5 * MIN_,
    .expiry_force_usec = MIN_,
    .busy_retry_usec = USEC_PER_HOUR,
};

static void test_stages(void **state)
{
    static const struct {
        int64_t before; /* the end */
        ExpiryStage stage;
        int64_t next; /* before the end */
    } table[] = {
        {12 * 60, EXPIRY_NONE, 60}, {61, EXPIRY_NONE, 60},  {60, EXPIRY_NOTICE, 10}, {11, EXPIRY_NOTICE, 10},
        {10, EXPIRY_WARNING, 5},    {6, EXPIRY_WARNING, 5}, {5, EXPIRY_RELEASE, 1},  {2, EXPIRY_RELEASE, 1},
        {1, EXPIRY_FORCE, -1},      {0, EXPIRY_FORCE, -1},  {-60, EXPIRY_FORCE, -1},
    };
    const uint64_t end = 100 * HOUR;
    uint64_t next;
    size_t i;

    for (i = 0; i < ELEMENTSOF(table); i++) {
        uint64_t now = end - (uint64_t)(table[i].before * (int64_t)MIN_);

        assert_int_equal(expiry_stage(&config, end, now, &next), table[i].stage);
        assert_int_equal(next, table[i].next < 0 ? USEC_INFINITY : end - (uint64_t)table[i].next * MIN_);
        /* Right before the next one it is still this one. */
        if (next != USEC_INFINITY)
            assert_int_equal(expiry_stage(&config, end, next - 1, &(uint64_t){0}), table[i].stage);
    }
}

static void test_unwanted_warnings(void **state)
{
    Config c = config;
    uint64_t next;

    c.expiry_notice_usec = c.expiry_warning_usec = 0;
    assert_int_equal(expiry_stage(&c, HOUR, 59 * MIN_ - 5 * MIN_, &next), EXPIRY_NONE);
    assert_int_equal(next, 55 * MIN_);
    assert_int_equal(expiry_stage(&c, HOUR, 55 * MIN_, &next), EXPIRY_RELEASE);
    /* An end before the machine was started */
    assert_int_equal(expiry_stage(&c, 0, 0, &next), EXPIRY_FORCE);
    assert_int_equal(next, USEC_INFINITY);
}

/* ---- with a session ---- */

typedef struct World {
    char dir[64];
    sd_event *event;
    Config config;
    SessionContext context;
    Session *session;
    unsigned warnings;
    char warning[512];
    bool busy, held; /* a release fails; a release takes for ever */
    unsigned releases;
    sd_event_source *later;
} World;

static int on_later(sd_event_source *source, void *userdata)
{
    World *w = userdata;
    _cleanup_failure_ Failure *f = NULL;

    if (w->session->work == WORK_RELEASE && w->busy && !w->session->forced)
        f = failure_new(FAILURE_BUSY, "pid 1");
    session_step_done(w->session, f);
    return 0;
}

static int work(Session *s)
{
    World *w = s->data;

    if (s->down) {
        w->releases++;
        if (w->held && !s->forced)
            return 0;
    }
    if (w->later)
        return sd_event_source_set_enabled(w->later, SD_EVENT_ONESHOT);
    return sd_event_add_defer(w->event, &w->later, on_later, w);
}

static void nothing(Session *s)
{
}

static int zero(Session *s)
{
    return 0;
}

static int no_json(Session *s, json_object *o)
{
    return 0;
}

static void subject(const Session *s, char *buf, size_t size)
{
    snprintf(buf, size, "VM web1");
}

static const SessionStep steps[] = {{SESSION_PROVISIONING, SESSION_REVOKING, work, work, true}};
static const SessionKind kind = {
    .name = "fake",
    .steps = steps,
    .n_steps = ELEMENTSOF(steps),
    .cancel = nothing,
    .ready = zero,
    .free = nothing,
    .save = no_json,
    .load = no_json,
    .describe = no_json,
    .subject = subject,
};

static void on_changed(Session *s, void *userdata)
{
    World *w = userdata;

    if (!s->warning)
        return;
    w->warnings++;
    snprintf(w->warning, sizeof(w->warning), "%s", s->warning);
}

static void world_init(World *w)
{
    *w = (World){.config = config};
    log_open("test-expiry", LOG_EMERG);
    strcpy(w->dir, "/tmp/ilr-test-XXXXXX");
    assert_non_null(mkdtemp(w->dir));
    assert_int_equal(sd_event_new(&w->event), 0);
    w->context =
        (SessionContext){.event = w->event, .config = &w->config, .changed = on_changed, .userdata = w};
    assert_int_equal(store_new(&w->context.store, w->dir), 0);
    assert_int_equal(session_new(&w->session, &w->context, &kind, w, 0, "root", "test"), 0);
}

static void world_done(World *w)
{
    char command[128];

    session_free(w->session);
    sd_event_source_disable_unref(w->later);
    store_free(w->context.store);
    sd_event_unref(w->event);
    snprintf(command, sizeof(command), "rm -rf %s", w->dir);
    assert_int_equal(system(command), 0);
}

/* Until nothing is left to do now. */
static void settle(World *w)
{
    unsigned i;

    for (i = 0; i < 100; i++)
        if (sd_event_run(w->event, 0) == 0)
            return;
    fail_msg("it never comes to rest");
}

/* The end is that far away now; the rest of the time is over. */
static void end_in(World *w, uint64_t usec)
{
    assert_true(session_set_expiry(w->session, now_usec(CLOCK_REALTIME) + usec,
                                   now_usec(CLOCK_BOOTTIME) + usec) >= 0);
    settle(w);
}

static void test_told_once_each(void **state)
{
    World w;

    world_init(&w);
    settle(&w);
    end_in(&w, 61 * MIN_);
    assert_int_equal(w.warnings, 0);
    end_in(&w, 59 * MIN_);
    assert_int_equal(w.warnings, 1);
    assert_non_null(strstr(w.warning, "VM web1"));
    assert_non_null(strstr(w.warning, " in 58 min 59 s"));
    assert_non_null(strstr(w.warning, "released 5 min 0 s before"));
    end_in(&w, 58 * MIN_);
    assert_int_equal(w.warnings, 1);
    end_in(&w, 9 * MIN_);
    end_in(&w, 8 * MIN_);
    assert_int_equal(w.warnings, 2);
    assert_int_equal(session_state(w.session), SESSION_READY);
    end_in(&w, 4 * MIN_);
    assert_true(w.session->closed);
    assert_int_equal(w.warnings, 2);
    assert_null(w.session->failure); /* that is not one */
    world_done(&w);
}

/* The machine slept through it, or the daemon was not there: the latest warning only. */
static void test_slept(void **state)
{
    World w;

    world_init(&w);
    settle(&w);
    end_in(&w, 7 * MIN_);
    assert_int_equal(w.warnings, 1);
    end_in(&w, 0);
    assert_true(w.session->closed);
    assert_int_equal(w.warnings, 1);
    world_done(&w);
}

static void test_timers_run(void **state)
{
    uint64_t start = now_usec(CLOCK_BOOTTIME);
    World w;

    world_init(&w);
    w.config.expiry_notice_usec = 3000 * USEC_PER_MSEC;
    w.config.expiry_warning_usec = 2950 * USEC_PER_MSEC;
    w.config.expiry_release_usec = 2400 * USEC_PER_MSEC;
    w.config.expiry_force_usec = USEC_PER_SEC;
    settle(&w);
    end_in(&w, 3200 * USEC_PER_MSEC);
    assert_int_equal(w.warnings, 0);
    while (!w.session->closed)
        assert_true(sd_event_run(w.event, 10 * USEC_PER_SEC) > 0);
    assert_true(now_usec(CLOCK_BOOTTIME) - start >= 800 * USEC_PER_MSEC);
    assert_true(w.warnings >= 1);
    world_done(&w);
}

/* Somebody has a file open, or the release does not come back: it is forced, in time. */
static void test_grace_and_force(void **state)
{
    int held;

    for (held = 0; held < 2; held++) {
        World w;

        world_init(&w);
        *(held ? &w.held : &w.busy) = true;
        settle(&w);
        end_in(&w, 4 * MIN_);
        assert_false(w.session->closed);
        assert_false(w.session->forced);
        assert_true(w.session->down);
        assert_int_equal(w.releases, 1);
        end_in(&w, MIN_ / 2);
        assert_true(w.session->forced);
        assert_true(w.session->closed);
        world_done(&w);
    }
}

/* Busy when somebody asked for the release: the end comes nevertheless. */
static void test_released_before(void **state)
{
    World w;

    world_init(&w);
    w.busy = true;
    settle(&w);
    end_in(&w, 2 * HOUR);
    session_release(w.session, NULL);
    settle(&w);
    assert_false(w.session->closed);
    end_in(&w, 9 * MIN_);
    assert_int_equal(w.warnings, 0); /* it is on its way down already */
    end_in(&w, MIN_ / 2);
    assert_true(w.session->closed);
    world_done(&w);
}

static void on_found(const char *id, json_object *record, void *userdata)
{
    World *w = userdata;

    assert_int_equal(session_load(&w->session, &w->context, &kind, w, id, record), 0);
}

static void on_kept(const char *file, const char *why, void *userdata)
{
    fail_msg("%s %s", file, why);
}

static void change_record(World *w, const char *key, json_object *value)
{
    _cleanup_json_ json_object *o = NULL;
    char path[160];

    snprintf(path, sizeof(path), "%s/%s.json", w->dir, w->session->id);
    o = json_object_from_file(path);
    assert_non_null(o);
    json_object_object_add(o, key, value);
    assert_int_equal(json_object_to_file(path, o), 0);
}

static void restart(World *w)
{
    w->session = session_free(w->session);
    assert_int_equal(store_load(w->context.store, on_found, on_kept, w), 0);
    assert_non_null(w->session);
    session_adopt(w->session, true);
    settle(w);
}

/* A restart of the daemon: what was told is not told again, and a time of day that somebody has set meanwhile
 * changes nothing. */
static void test_restart(void **state)
{
    uint64_t end;
    World w;

    world_init(&w);
    settle(&w);
    end_in(&w, 59 * MIN_);
    assert_int_equal(w.warnings, 1);
    end = w.session->expires_boot_usec;
    /* The time of day as it would be after date -s +13hours: all is over by it. */
    change_record(&w, "expiresUsec", json_object_new_int64((int64_t)(now_usec(CLOCK_REALTIME) - 12 * HOUR)));
    restart(&w);
    assert_int_equal(session_state(w.session), SESSION_READY);
    assert_int_equal(w.session->expires_boot_usec, end);
    assert_int_equal(w.warnings, 1);
    /* And after date -s -1hour: it would have all the time there is. */
    change_record(&w, "expiresUsec", json_object_new_int64((int64_t)(now_usec(CLOCK_REALTIME) + 12 * HOUR)));
    change_record(&w, "expiresBootUsec",
                  json_object_new_int64((int64_t)(now_usec(CLOCK_BOOTTIME) + 4 * MIN_)));
    restart(&w);
    assert_true(w.session->closed);
    world_done(&w);
}

/* The daemon ended just when it had seen that it must release: the record says so, and it is not done yet. */
static void test_restart_before_the_release(void **state)
{
    World w;

    world_init(&w);
    settle(&w);
    end_in(&w, 3 * HOUR);
    assert_int_equal(session_save(w.session), 0);
    change_record(&w, "expiryStage", json_object_new_string("release"));
    change_record(&w, "expiresBootUsec",
                  json_object_new_int64((int64_t)(now_usec(CLOCK_BOOTTIME) + 4 * MIN_)));
    restart(&w);
    assert_true(w.session->closed);
    world_done(&w);
}

/* A record of another boot, or of a program that wrote down the time of day only. */
static void test_other_boot(void **state)
{
    uint64_t left;
    World w;

    world_init(&w);
    settle(&w);
    end_in(&w, 3 * HOUR);
    assert_int_equal(session_save(w.session), 0);
    change_record(&w, "bootId", json_object_new_string("00000000000000000000000000000001"));
    change_record(&w, "expiresBootUsec", json_object_new_int64(1));
    restart(&w);
    left = session_time_left(w.session);
    assert_true(left > 3 * HOUR - MIN_ && left <= 3 * HOUR);
    assert_int_equal(session_state(w.session), SESSION_READY);
    world_done(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_stages),          cmocka_unit_test(test_unwanted_warnings),
        cmocka_unit_test(test_told_once_each),  cmocka_unit_test(test_slept),
        cmocka_unit_test(test_timers_run),      cmocka_unit_test(test_grace_and_force),
        cmocka_unit_test(test_released_before), cmocka_unit_test(test_restart),
        cmocka_unit_test(test_other_boot),      cmocka_unit_test(test_restart_before_the_release),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
