/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* What a session has only so much of: attempts to release, places for connections, holders, inhibitors, and
 * time without use. */

#include "places.h"
#include "session.h"
#include "timeutil.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

typedef struct World {
    char dir[64];
    sd_event *event;
    Config config;
    Store *store;
    SessionContext context;
    Session *session;
    uint64_t bytes;
    unsigned asked;
} World;

/* ---- a kind whose step is taken at once and never released ---- */

static int acquire(Session *s)
{
    return 1;
}

static int release(Session *s)
{
    return -EBUSY;
}

static void nothing(Session *s)
{
}

static int ready(Session *s)
{
    return 0;
}

static int keep(Session *s, json_object *o)
{
    return 0;
}

static void subject(const Session *s, char *buf, size_t size)
{
    snprintf(buf, size, "a fake");
}

static uint64_t bytes_read(Session *s)
{
    const World *w = s->context->userdata;

    return w->bytes;
}

static int users(Session *s)
{
    World *w = s->context->userdata;

    w->asked++;
    return 0;
}

static const SessionStep steps[] = {{SESSION_PROVISIONING, SESSION_REVOKING, acquire, release}};
static const SessionKind kind = {
    .name = "fake",
    .steps = steps,
    .n_steps = ELEMENTSOF(steps),
    .cancel = nothing,
    .ready = ready,
    .free = nothing,
    .save = keep,
    .load = keep,
    .describe = keep,
    .subject = subject,
    .bytes_read = bytes_read,
    .users = users,
};

static void on_changed(Session *s, void *userdata)
{
}

static int setup(void **state)
{
    World *w = calloc(1, sizeof(*w));

    assert_non_null(w);
    strcpy(w->dir, "/tmp/ilr-test-XXXXXX");
    assert_non_null(mkdtemp(w->dir));
    assert_true(sd_event_new(&w->event) >= 0);
    w->config.busy_retry_usec = 10 * USEC_PER_SEC;
    assert_int_equal(store_new(&w->store, w->dir), 0);
    w->context = (SessionContext){w->event, &w->config, w->store, on_changed, w, NULL};
    assert_int_equal(session_new(&w->session, &w->context, &kind, w, 0, "root", NULL), 0);
    session_set_idle(w->session, 10 * USEC_PER_MINUTE);
    while (session_state(w->session) != SESSION_READY)
        assert_true(sd_event_run(w->event, 0) > 0);
    *state = w;
    return 0;
}

static int teardown(void **state)
{
    World *w = *state;
    char command[128];

    session_free(w->session);
    store_free(w->store);
    sd_event_unref(w->event);
    snprintf(command, sizeof(command), "rm -rf %s", w->dir);
    assert_int_equal(system(command), 0);
    free(w);
    return 0;
}

/* ---- tests ---- */

/* The wait before the next attempt, which then comes at once. */
static uint64_t next_wait(World *w)
{
    Session *s = w->session;
    uint64_t at, now = now_usec(CLOCK_MONOTONIC);

    while (!s->retry)
        assert_true(sd_event_run(w->event, 0) > 0);
    assert_true(sd_event_source_get_time(s->retry, &at) >= 0);
    assert_true(sd_event_source_set_time(s->retry, 0) >= 0);
    assert_true(sd_event_run(w->event, 0) > 0);
    assert_true(sd_event_run(w->event, 0) > 0);
    return at > now ? at - now : 0;
}

static void test_attempts(void **state)
{
    World *w = *state;
    uint64_t last, wait;
    unsigned i;

    session_release(w->session, NULL);
    last = next_wait(w);
    assert_true(last > 9 * USEC_PER_SEC && last < 11 * USEC_PER_SEC);
    for (i = 0; i < 8; i++) {
        wait = next_wait(w);
        assert_true(wait > last * 4 / 3 && wait < last * 5 / 3);
        last = wait;
    }
    for (; i < 50; i++)
        last = next_wait(w);
    assert_true(last > 299 * USEC_PER_SEC && last < 301 * USEC_PER_SEC);
    /* Who asks again is not made to wait, nor the attempts after his. */
    session_release(w->session, NULL);
    assert_true(sd_event_run(w->event, 0) > 0);
    last = next_wait(w);
    assert_true(last > 9 * USEC_PER_SEC && last < 11 * USEC_PER_SEC);
}

static void test_holders(void **state)
{
    World *w = *state;
    uid_t uid;

    for (uid = 1; uid < SESSION_HOLDERS_MAX; uid++)
        assert_int_equal(session_hold(w->session, uid, "somebody", NULL, 0), 1);
    assert_int_equal(session_hold(w->session, 1000, "one more", NULL, 0), -E2BIG);
    assert_int_equal(session_hold(w->session, 1, "somebody", NULL, 0), 0);
    session_let_go(w->session, 1);
    assert_int_equal(session_hold(w->session, 1000, "one more", NULL, 0), 1);
}

static void test_holders_in_a_small_place(void **state)
{
    static const struct {
        size_t max;
        const char *text;
    } cases[] = {{16, "root, alice, bob"}, {15, "root, ..."}, {9, "root, ..."}, {8, "..."}, {5, "..."}};
    _cleanup_free_ char *all = NULL;
    SessionHolders nobody = {};
    World *w = *state;
    size_t i;
    uid_t uid;

    assert_int_equal(session_hold(w->session, 1, "alice", NULL, 0), 1);
    assert_int_equal(session_hold(w->session, 2, "bob", NULL, 0), 1);
    for (i = 0; i < ELEMENTSOF(cases); i++) {
        _cleanup_free_ char *text = session_holders_short_text(&w->session->holders, cases[i].max);

        assert_string_equal(text, cases[i].text);
    }
    all = session_holders_short_text(&nobody, 16);
    assert_string_equal(all, "");
    for (uid = 3; uid < SESSION_HOLDERS_MAX; uid++)
        assert_int_equal(session_hold(w->session, uid, "somebody-with-a-long-name", NULL, 0), 1);
    free_and_replace(&all, session_holders_short_text(&w->session->holders, 1000));
    assert_true(strlen(all) <= 1000 && strlen(all) > 900 && endswith(all, "-name, ..."));
}

static void test_inhibitors(void **state)
{
    World *w = *state;
    uint64_t number;
    unsigned i;

    for (i = 0; i < INHIBITORS_MAX; i++)
        assert_int_equal(session_inhibit(w->session, 0, 1, "root", "why not", &number), 0);
    assert_int_equal(session_inhibit(w->session, 0, 1, "root", "why not", &number), -E2BIG);
    session_uninhibit(w->session, number);
    assert_int_equal(session_inhibit(w->session, 0, 1, "root", "why not", &number), 0);
}

static void assert_idle(World *w, uint64_t minutes)
{
    assert_int_equal(w->session->use.idle.span_usec, minutes * USEC_PER_MINUTE);
}

/* Of what one holder asks for: it may be two programs of his. */
static void test_idle_of_one_is_only_extended(void **state)
{
    World *w = *state;
    static const struct {
        uint64_t asked, span;
    } cases[] = {{5, 10}, {20, 20}, {10, 20}, {0, 0}, {5, 0}};
    size_t i;

    for (i = 0; i < ELEMENTSOF(cases); i++) {
        assert_int_equal(session_hold(w->session, 0, "root", NULL, cases[i].asked * USEC_PER_MINUTE), 0);
        assert_idle(w, cases[i].span);
    }
}

static void test_longest_idle_of_those_who_hold_it(void **state)
{
    World *w = *state;
    Session *s = w->session;

    assert_int_equal(session_hold(s, 1, "alice", NULL, 30 * USEC_PER_MINUTE), 1);
    assert_idle(w, 30);
    assert_int_equal(session_hold(s, 2, "bob", NULL, 0), 1);
    assert_idle(w, 0);
    /* Nobody has read for long: whose own time counts again has all of it. */
    s->use.idle.since_usec = 0;
    session_let_go(s, 2);
    assert_idle(w, 30);
    assert_true(s->use.idle.since_usec > 0);
    /* The next look may be far away by the longer time. */
    assert_true(sd_event_source_set_time_relative(s->use.timer, USEC_PER_HOUR) >= 0);
    session_let_go(s, 1);
    assert_idle(w, 10);
    assert_true(sd_event_run(w->event, 0) > 0);
    /* Without anybody it is on its way down. */
    session_let_go(s, 0);
    assert_idle(w, 10);
}

/* So long ago was the last use, and the next look is now. */
static void long_ago(World *w)
{
    unsigned asked = w->asked;

    w->session->use.idle.since_usec = 0;
    w->session->use.idle.span_usec = USEC_PER_SEC;
    assert_true(sd_event_source_set_time(w->session->use.timer, 0) >= 0);
    assert_true(sd_event_run(w->event, 0) > 0);
    assert_int_equal(w->asked, asked + 1);
}

static void test_users_are_asked(void **state)
{
    World *w = *state;
    Session *s = w->session;

    long_ago(w);
    session_users_known(s, true);
    assert_false(s->down);
    long_ago(w);
    w->bytes = 512; /* read while the answer was on its way */
    session_users_known(s, false);
    assert_false(s->down);
    long_ago(w);
    session_users_known(s, false);
    assert_true(s->down);
    assert_int_equal(s->end, SESSION_END_IDLE);
}

/* ---- how much was read ---- */

static uint64_t bytes_in_record(World *w)
{
    _cleanup_json_ json_object *o = NULL;
    char path[128];
    int64_t n = 0;

    snprintf(path, sizeof(path), "%s/%s.json", w->dir, w->session->id);
    o = json_object_from_file(path);
    assert_non_null(o);
    assert_true(json_get_int64(o, "bytesRead", &n) >= 0);
    return (uint64_t)n;
}

static void look(World *w)
{
    assert_true(sd_event_source_set_time(w->session->use.timer, 0) >= 0);
    assert_true(sd_event_run(w->event, 0) > 0);
}

/* A power cut takes no more than the last minute. */
static void test_count_is_kept(void **state)
{
    World *w = *state;

    w->bytes = 4096;
    look(w);
    assert_int_equal(bytes_in_record(w), 0);
    w->session->use.kept_usec -= 2 * USEC_PER_MINUTE;
    look(w);
    assert_int_equal(bytes_in_record(w), 4096);
    w->bytes = 8192;
    look(w);
    assert_int_equal(bytes_in_record(w), 4096);
    session_keep_bytes_read(w->session, true);
    assert_int_equal(bytes_in_record(w), 8192);
}

/* Who keeps a session from going reads on meanwhile. */
static void test_count_while_it_is_busy(void **state)
{
    World *w = *state;

    w->bytes = 4096;
    session_release(w->session, NULL);
    (void)next_wait(w);
    w->bytes = 1 << 20;
    (void)next_wait(w);
    assert_int_equal(w->session->use.bytes_read, 1 << 20);
}

/* A disk that came later may have the number of one that is gone. */
static void test_others_are_not_counted(void **state)
{
    static const char *const gone[] = {"ilrd was ended while it stood", "one that is given back"};
    World *w = *state;
    size_t i;

    for (i = 0; i < ELEMENTSOF(gone); i++) {
        w->bytes = 4096;
        assert_int_equal(session_bytes_read(w->session), 4096);
        w->session->adopting = i == 0;
        w->session->step = i == 0;
        w->bytes = 1 << 30;
        assert_int_equal(session_bytes_read(w->session), 4096);
        w->session->step = 1;
        w->session->adopting = false;
    }
    session_adopt(w->session, false);
    assert_int_equal(session_bytes_read(w->session), 4096);
}

/* ---- places ---- */

typedef struct Guest {
    Place place;
    unsigned position; /* 0: it was not told yet */
    bool ready;
} Guest;

static void on_place(void *userdata)
{
    ((Guest *)userdata)->ready = true;
}

static void on_position(unsigned position, void *userdata)
{
    ((Guest *)userdata)->position = position;
}

static int take(Places *p, Guest *g)
{
    return places_take(p, &g->place, on_place, on_position, g);
}

static void turn(World *w)
{
    while (sd_event_run(w->event, 0) > 0)
        ;
}

static void test_places(void **state)
{
    _cleanup_(places_freep) Places *p = NULL;
    World *w = *state;
    Guest g[6] = {};

    assert_int_equal(places_new(&p, w->event, 2), 0);
    assert_int_equal(take(p, g), 1);
    assert_int_equal(take(p, g + 1), 1);
    assert_int_equal(take(p, g + 2), 0);
    assert_int_equal(take(p, g + 3), 0);
    turn(w);
    assert_int_equal(g[2].position, 1);
    assert_int_equal(g[3].position, 2);
    /* Who comes just when a place is free does not overtake those who wait. */
    place_give_back(&g[0].place);
    assert_int_equal(take(p, g + 4), 0);
    turn(w);
    assert_true(g[2].ready);
    assert_false(g[3].ready || g[4].ready);
    /* Nor does one who leaves the queue give anything back. */
    place_give_back(&g[3].place);
    turn(w);
    assert_false(g[4].ready);
    assert_int_equal(g[4].position, 1);
    place_give_back(&g[1].place);
    turn(w);
    assert_true(g[4].ready);
    /* One that was there before ilrd counts, also beyond the limit. */
    places_adopt(p, &g[5].place);
    place_give_back(&g[2].place);
    assert_int_equal(take(p, g), 0);
    turn(w);
    assert_false(g[0].ready);
    place_give_back(&g[5].place);
    turn(w);
    assert_true(g[0].ready);
    place_give_back(&g[0].place);
    place_give_back(&g[4].place);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_attempts, setup, teardown),
        cmocka_unit_test_setup_teardown(test_holders, setup, teardown),
        cmocka_unit_test_setup_teardown(test_holders_in_a_small_place, setup, teardown),
        cmocka_unit_test_setup_teardown(test_inhibitors, setup, teardown),
        cmocka_unit_test_setup_teardown(test_idle_of_one_is_only_extended, setup, teardown),
        cmocka_unit_test_setup_teardown(test_longest_idle_of_those_who_hold_it, setup, teardown),
        cmocka_unit_test_setup_teardown(test_users_are_asked, setup, teardown),
        cmocka_unit_test_setup_teardown(test_count_is_kept, setup, teardown),
        cmocka_unit_test_setup_teardown(test_count_while_it_is_busy, setup, teardown),
        cmocka_unit_test_setup_teardown(test_others_are_not_counted, setup, teardown),
        cmocka_unit_test_setup_teardown(test_places, setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
