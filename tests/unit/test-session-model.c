/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The session's machine walked through: from a new session on, every event that can come in a state is tried
 * in every state that can be reached (a state: step, direction, what is under way, the record, what is taken
 * in the world). After each event the promises of session.h are held against the state, and then the session
 * is left alone with operations that work: it must end in ready or closed, with what was acquired released.
 *
 * A state is reached again by doing the same events once more: nothing here copies a session. */

#include "model-world.h"

#define PATH_MAX_EVENTS 24
#define STATES_MAX 4096

static const char *const event_names[EVENT_MAX] = {
    "go",   "go-nothing", "go-refused", "done",  "failed", "release", "force",
    "lost", "expiry",     "retry",      "crash", "stands", "fallen",  "disk-full"};

typedef enum Situation {
    SITUATION_RISING,    /* between two steps, up */
    SITUATION_ACQUIRING, /* an acquire is under way */
    SITUATION_READY,
    SITUATION_FALLING,   /* between two steps, down */
    SITUATION_RELEASING, /* a release is under way */
    SITUATION_WAITING,   /* for the next attempt to release */
    SITUATION_CLOSING,   /* all is released; others still have a part of it open */
    SITUATION_FOUND,     /* from a record, before reality was looked at */
    SITUATION_CLOSED,
    SITUATION_MAX,
} Situation;

static const char *const situation_names[SITUATION_MAX] = {
    "rising", "acquiring", "ready", "falling", "releasing", "waiting", "closing", "found", "closed"};

static Situation situation(const World *w)
{
    const Session *s = w->session;

    if (s->closed)
        return SITUATION_CLOSED;
    if (s->adopting)
        return SITUATION_FOUND;
    if (s->work == WORK_ACQUIRE)
        return SITUATION_ACQUIRING;
    if (s->work == WORK_RELEASE)
        return SITUATION_RELEASING;
    if (s->work == WORK_CLOSE)
        return SITUATION_CLOSING;
    if (s->down)
        return kicked(s) ? SITUATION_FALLING : SITUATION_WAITING;
    return is_ready(w) ? SITUATION_READY : SITUATION_RISING;
}

/* Which events the outside can send in a situation: the table that the walk is held against, too. */
static bool can_come(Situation situation, size_t step, Event event)
{
    switch (event) {
    case EVENT_GO:
        return situation == SITUATION_RISING || situation == SITUATION_FALLING;
    case EVENT_GO_NOTHING:
    case EVENT_GO_REFUSED:
        return (situation == SITUATION_RISING && step < STEPS) || situation == SITUATION_FALLING;
    case EVENT_DONE:
    case EVENT_FAILED:
        return situation == SITUATION_ACQUIRING || situation == SITUATION_RELEASING ||
               situation == SITUATION_CLOSING;
    case EVENT_RELEASE:
    case EVENT_FORCE:
    case EVENT_LOST:
    case EVENT_DISK_FULL:
        return true;
    case EVENT_EXPIRY:
        return situation != SITUATION_FOUND && situation != SITUATION_CLOSED;
    case EVENT_RETRY:
        return situation == SITUATION_WAITING;
    case EVENT_CRASH:
        return situation != SITUATION_CLOSED;
    case EVENT_STANDS:
    case EVENT_FALLEN:
        return situation == SITUATION_FOUND;
    case EVENT_MAX:
        break;
    }
    return false;
}

/* Which steps a situation can be at. */
static bool can_be(Situation situation, size_t step)
{
    switch (situation) {
    case SITUATION_RISING:
    case SITUATION_FALLING:
    case SITUATION_FOUND:
    case SITUATION_WAITING:
        return true;
    case SITUATION_ACQUIRING:
    case SITUATION_RELEASING:
        return step > 0;
    case SITUATION_READY:
        return step == STEPS;
    case SITUATION_CLOSING:
    case SITUATION_CLOSED:
        return step == 0;
    case SITUATION_MAX:
        break;
    }
    return false;
}

/* What holds in every state. */
static void assert_sound(const World *w)
{
    const Session *s = w->session;
    size_t i;

    if (!s)
        return;
    assert_true(s->step <= STEPS);
    assert_int_equal(w->running, s->work != WORK_NONE);
    assert_non_null(session_state_to_string(session_state(s)));
    /* Nothing that is taken is forgotten. */
    for (i = s->step; i < STEPS; i++)
        assert_false(w->taken[i]);
    if (is_ready(w))
        assert_false(w->must_fall);
    /* Somebody always goes on with it. */
    assert_true(s->closed || s->adopting || w->running || kicked(s) || s->retry || is_ready(w));
    if (s->closed)
        assert_false(record_seen((World *)w).exists);
}

/* Left alone, with a world that works. */
static void come_to_rest(World *w)
{
    unsigned i;

    set_disk_full(w, false);
    for (i = 0; i < 50; i++) {
        Session *s = w->session;

        if (s->closed || is_ready(w))
            return;
        if (s->adopting)
            happen(w, stands(w) ? EVENT_STANDS : EVENT_FALLEN);
        else if (w->running)
            happen(w, EVENT_DONE);
        else if (kicked(s))
            happen(w, EVENT_GO);
        else
            happen(w, EVENT_RETRY);
        assert_sound(w);
    }
    fail_msg("it never comes to rest");
}

static void assert_ends(World *w)
{
    size_t i;

    if (!w->session)
        return;
    come_to_rest(w);
    if (w->must_fall)
        assert_true(w->session->closed);
    if (is_ready(w)) {
        assert_true(stands(w));
        happen(w, EVENT_RELEASE);
        come_to_rest(w);
    }
    assert_true(w->session->closed);
    assert_false(record_seen(w).exists);
    for (i = 0; i < STEPS; i++) {
        assert_false(w->taken[i]);
        assert_true(w->released[i] >= w->acquired[i]);
        if (!w->crashed)
            assert_int_equal(w->released[i], w->acquired[i]);
    }
}

/* ---- the walk ---- */

typedef struct State {
    char key[112];
    Event path[PATH_MAX_EVENTS];
    size_t n;
} State;

static State states[STATES_MAX];
static size_t n_states;
static unsigned seen_triples[STEPS + 1][SITUATION_MAX][EVENT_MAX];

static void state_key(World *w, char *key, size_t size)
{
    RecordSeen seen = record_seen(w);
    const Session *s = w->session;

    snprintf(key, size, "%zu%d%d%d%d%d%d%d%d%d r%d%d%d%d t%d%d%d%d%d%d %d%d%d", s->step, s->down,
             s->was_ready, s->closed, s->adopting, s->forced, s->closing, (int)s->work, s->retry != NULL,
             kicked(s), seen.exists, (int)seen.step, seen.down, seen.was_ready, w->taken[0], w->taken[1],
             w->taken[2], w->complete[0], w->complete[1], w->complete[2], w->must_fall, w->crashed, w->full);
}

static void remember(World *w, const State *from, int event)
{
    State *state = &states[n_states];
    size_t i;

    state_key(w, state->key, sizeof(state->key));
    for (i = 0; i < n_states; i++)
        if (strcmp(states[i].key, state->key) == 0)
            return;
    state->n = 0;
    if (from) {
        memcpy(state->path, from->path, sizeof(state->path));
        state->n = from->n;
        assert_true(state->n < PATH_MAX_EVENTS);
        state->path[state->n++] = (Event)event;
    }
    n_states++;
    assert_true(n_states < STATES_MAX);
}

static void reach(World *w, const State *state)
{
    size_t i;

    world_init(w);
    for (i = 0; i < state->n; i++)
        happen(w, state->path[i]);
}

static void print_path(const State *state, Event event)
{
    size_t i;

    print_message("#");
    for (i = 0; i < state->n; i++)
        print_message(" %s", event_names[state->path[i]]);
    print_message(" | %s\n", event_names[event]);
}

static void test_walk(void **unused)
{
    size_t i, transitions = 0, triples = 0, step;
    int s, event;
    World w;

    world_init(&w);
    remember(&w, NULL, 0);
    world_done(&w);
    for (i = 0; i < n_states; i++)
        for (event = 0; event < EVENT_MAX; event++) {
            Situation where;

            reach(&w, &states[i]);
            where = situation(&w);
            step = w.session->step;
            if (!can_come(where, step, (Event)event) || (event == EVENT_STANDS && !stands(&w))) {
                world_done(&w);
                continue;
            }
            if (getenv("MODEL_VERBOSE"))
                print_path(&states[i], (Event)event);
            seen_triples[step][where][event]++;
            transitions++;
            happen(&w, (Event)event);
            assert_sound(&w);
            if (w.session)
                remember(&w, &states[i], event);
            assert_ends(&w);
            world_done(&w);
        }
    for (step = 0; step <= STEPS; step++)
        for (s = 0; s < SITUATION_MAX; s++)
            for (event = 0; event < EVENT_MAX; event++) {
                bool expected = can_be((Situation)s, step) && can_come((Situation)s, step, (Event)event);

                /* All stands only what was complete, and the record says so. */
                if (event == EVENT_STANDS && step < STEPS)
                    expected = false;
                if (expected != (seen_triples[step][s][event] > 0))
                    fail_msg("step %zu, %s, %s: %s", step, situation_names[s], event_names[event],
                             expected ? "never came" : "must not come");
                triples += expected;
            }
    print_message("# %zu triples of step, situation and event; %zu states, %zu transitions\n", triples,
                  n_states, transitions);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_walk)};

    return cmocka_run_group_tests(tests, make_directory, remove_directory);
}
