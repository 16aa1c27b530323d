/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The session's machine walked through: from a new session on, every event that can come in a state is tried
 * in every state that can be reached (a state: step, direction, what is under way, the record, what is taken
 * in the world). After each event the promises of session.h are held against the state, and then the session
 * is left alone with operations that work: it must end in ready or closed, with what was acquired released.
 *
 * A state is reached again by doing the same events once more: nothing here copies a session. */

#include "log.h"
#include "session.h"
#include "timeutil.h"

#include <setjmp.h>
#include <stdarg.h>
#include <sys/stat.h>

#include <cmocka.h>

#define STEPS 3
#define PATH_MAX_EVENTS 24
#define STATES_MAX 4096

typedef enum Event {
    EVENT_GO,         /* the event loop runs; an operation that it starts is under way then */
    EVENT_GO_NOTHING, /* the operation has nothing to do */
    EVENT_GO_REFUSED, /* the operation does not even start */
    EVENT_DONE,       /* the operation under way ends well */
    EVENT_FAILED,     /* the operation under way fails */
    EVENT_RELEASE,    /* somebody asks for the release */
    EVENT_FORCE,      /* and by force */
    EVENT_LOST,       /* the world breaks under the session */
    EVENT_EXPIRY,     /* Azure's time is up */
    EVENT_RETRY,      /* the wait after a failed release is over */
    EVENT_CRASH,      /* the daemon is killed and finds the record */
    EVENT_STANDS,     /* reality was looked at: all is there */
    EVENT_FALLEN,     /* something is not */
    EVENT_DISK_FULL,  /* no record can be written from here on */
    EVENT_MAX,
} Event;

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

typedef struct World {
    char id[SESSION_ID_LENGTH + 1];
    sd_event *event;
    Config config;
    Store *store;
    SessionContext context;
    Session *session; /* NULL: killed before it had a record */

    bool taken[STEPS], complete[STEPS]; /* in the world; complete: its acquire ended well */
    unsigned acquired[STEPS], released[STEPS];
    int answer;     /* of the next acquire or release */
    bool running;   /* an operation is under way */
    bool must_fall; /* never again an acquire, never again ready */
    bool crashed, full;
} World;

static World *world; /* of the run, for the kind's functions */

typedef struct RecordSeen {
    bool exists, down, was_ready;
    int64_t step;
} RecordSeen;

static void on_record(const char *id, json_object *record, void *userdata)
{
    RecordSeen *seen = userdata;

    seen->exists = true;
    assert_true(json_get_int64(record, "step", &seen->step) > 0);
    assert_true(json_get_bool(record, "down", &seen->down) > 0);
    assert_true(json_get_bool(record, "wasReady", &seen->was_ready) > 0);
}

static void on_kept(const char *file, const char *why, void *userdata)
{
    fail_msg("%s %s", file, why);
}

static RecordSeen record_seen(World *w)
{
    RecordSeen seen = {};

    assert_int_equal(store_load(w->store, on_record, on_kept, &seen), 0);
    return seen;
}

/* ---- the kind ---- */

static int acquire(Session *s)
{
    World *w = world;
    size_t i = s->step - 1, j;
    RecordSeen seen = record_seen(w);

    assert_false(w->running);
    assert_false(w->must_fall);
    assert_false(w->crashed);
    for (j = 0; j < STEPS; j++)
        assert_int_equal(w->complete[j], j < i);
    /* Whoever comes after a crash must find the step. */
    assert_true(seen.exists && seen.step > (int64_t)i);
    w->acquired[i]++;
    assert_int_equal(w->acquired[i], 1);
    w->taken[i] = true;
    if (w->answer == 1)
        w->complete[i] = true;
    if (w->answer < 0)
        w->must_fall = true;
    w->running = w->answer == 0;
    return w->answer;
}

static void world_released(World *w, size_t i)
{
    w->taken[i] = w->complete[i] = false;
    w->released[i]++;
    /* Only a crash may make it forget that it has done so. */
    if (!w->crashed)
        assert_int_equal(w->released[i], 1);
}

static int release(Session *s)
{
    World *w = world;
    size_t i = s->step - 1, j;

    assert_false(w->running);
    assert_true(s->down);
    for (j = i + 1; j < STEPS; j++)
        assert_false(w->taken[j]); /* the reverse order */
    w->complete[i] = false;        /* from here on it may be half gone */
    if (w->answer == 1)
        world_released(w, i);
    w->running = w->answer == 0;
    return w->answer;
}

static int close_world(Session *s)
{
    World *w = world;
    size_t i;

    assert_false(w->running);
    assert_true(s->down);
    for (i = 0; i < STEPS; i++)
        assert_false(w->taken[i]);
    w->running = w->answer == 0;
    return w->answer;
}

static void cancel(Session *s)
{
    assert_true(world->running); /* once, and only what is under way */
    world->running = false;
}

static int ready(Session *s)
{
    size_t i;

    assert_false(world->must_fall);
    assert_false(world->running);
    for (i = 0; i < STEPS; i++)
        assert_true(world->complete[i]);
    return 0;
}

static void free_data(Session *s)
{
}
static int save(Session *s, json_object *o)
{
    return 0;
}
static int load(Session *s, json_object *o)
{
    return 0;
}
static void subject(const Session *s, char *buf, size_t size)
{
    snprintf(buf, size, "a fake");
}

static const SessionStep steps[STEPS] = {
    {SESSION_PROVISIONING, SESSION_REVOKING, acquire, release},
    {SESSION_CONNECTING, SESSION_DISCONNECTING, acquire, release},
    {SESSION_ATTACHING, SESSION_DETACHING, acquire, release, .heeds_force = true},
};
static const SessionKind kind = {
    .name = "model",
    .steps = steps,
    .n_steps = STEPS,
    .cancel = cancel,
    .ready = ready,
    .free = free_data,
    .save = save,
    .load = load,
    .describe = save,
    .subject = subject,
    .close = close_world,
};

static void on_changed(Session *s, void *userdata)
{
}

static void start_session(World *w)
{
    assert_int_equal(session_new(&w->session, &w->context, &kind, w, 0, "root", "test"), 0);
}

/* ---- the world ---- */

/* One directory for all worlds; in memory where there is some, because thousands of records are written. */
static char directory[64];

static int make_directory(void **unused)
{
    strcpy(directory, access("/dev/shm", W_OK) == 0 ? "/dev/shm/ilr-test-XXXXXX" : "/tmp/ilr-test-XXXXXX");
    log_open("test-session-model", LOG_EMERG);
    return mkdtemp(directory) ? 0 : -1;
}

static int remove_directory(void **unused)
{
    return rmdir(directory);
}

static void world_init(World *w)
{
    *w = (World){};
    assert_int_equal(sd_event_new(&w->event), 0);
    w->config.busy_retry_usec = USEC_PER_HOUR; /* time passes when the test says so */
    assert_int_equal(store_new(&w->store, directory), 0);
    w->context =
        (SessionContext){.event = w->event, .config = &w->config, .store = w->store, .changed = on_changed};
    world = w;
    start_session(w);
    strcpy(w->id, w->session->id);
}

static void set_disk_full(World *w, bool full);

static void world_done(World *w)
{
    set_disk_full(w, false);
    assert_int_equal(store_remove(w->store, w->id), 0);
    session_free(w->session);
    store_free(w->store);
    sd_event_unref(w->event);
}

static bool stands(const World *w)
{
    size_t i;

    for (i = 0; i < STEPS; i++)
        if (!w->complete[i])
            return false;
    return true;
}

static bool kicked(const Session *s)
{
    int enabled = SD_EVENT_OFF;

    return s->kick && sd_event_source_get_enabled(s->kick, &enabled) >= 0 && enabled != SD_EVENT_OFF;
}

static bool is_ready(const World *w)
{
    return w->session && !w->session->adopting && session_state(w->session) == SESSION_READY;
}

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

/* Lets one timer run out, and nothing else happen. */
static void run_out(World *w, sd_event_source *timer)
{
    bool pending = kicked(w->session);

    assert_non_null(timer);
    assert_true(sd_event_source_set_time_accuracy(timer, 1) >= 0);
    assert_true(sd_event_source_set_time(timer, 0) >= 0);
    if (pending)
        assert_true(sd_event_source_set_enabled(w->session->kick, SD_EVENT_OFF) >= 0);
    assert_true(sd_event_run(w->event, 10 * USEC_PER_SEC) > 0);
    if (pending)
        assert_true(sd_event_source_set_enabled(w->session->kick, SD_EVENT_ONESHOT) >= 0);
}

static void on_found(const char *id, json_object *record, void *userdata)
{
    World *w = userdata;

    assert_null(w->session);
    assert_int_equal(session_load(&w->session, &w->context, &kind, w, id, record), 0);
}

static void set_disk_full(World *w, bool full)
{
    char path[160];

    if (w->full == full)
        return;
    w->full = full;
    /* In the way of the new record, also for root. */
    snprintf(path, sizeof(path), "%s/%s.json.tmp", directory, w->id);
    assert_int_equal(full ? mkdir(path, 0700) : rmdir(path), 0);
}

static void do_crash(World *w)
{
    RecordSeen seen;
    size_t i;

    w->session = session_free(w->session);
    assert_false(w->running); /* freed with all that was under way */
    w->crashed = true;
    seen = record_seen(w);
    if (!seen.exists) {
        for (i = 0; i < STEPS; i++)
            assert_false(w->taken[i]); /* nobody would ever know of it */
        return;
    }
    /* With a full disk a wish to go down may be forgotten; what is taken never is. */
    w->must_fall = seen.down || !seen.was_ready || seen.step != STEPS;
    for (i = (size_t)seen.step; i < STEPS; i++)
        assert_false(w->taken[i]);
    assert_int_equal(store_load(w->store, on_found, on_kept, w), 0);
    assert_non_null(w->session);
}

static void do_step_done(World *w, bool well)
{
    _cleanup_failure_ Failure *failure = well ? NULL : failure_new(FAILURE_BUSY, "it does not work");
    Session *s = w->session;
    size_t i = s->step - 1;

    w->running = false;
    if (s->work == WORK_ACQUIRE) {
        w->complete[i] = well;
        w->must_fall |= !well;
    } else if (s->work == WORK_RELEASE && well)
        world_released(w, i);
    session_step_done(s, failure);
}

static void go(World *w, int answer)
{
    w->answer = answer;
    assert_true(sd_event_run(w->event, 0) > 0);
    w->answer = 0;
}

static void happen(World *w, Event event)
{
    _cleanup_failure_ Failure *lost = NULL;

    switch (event) {
    case EVENT_GO:
        return go(w, 0);
    case EVENT_GO_NOTHING:
        return go(w, 1);
    case EVENT_GO_REFUSED:
        return go(w, -ENOMEM);
    case EVENT_DONE:
        return do_step_done(w, true);
    case EVENT_FAILED:
        return do_step_done(w, false);
    case EVENT_RELEASE:
        w->must_fall = true;
        return session_release(w->session, NULL);
    case EVENT_FORCE:
        w->must_fall = true;
        return session_force(w->session);
    case EVENT_LOST:
        w->must_fall = true;
        lost = failure_new(FAILURE_CONNECTION_LOST, "the tunnel is gone");
        return session_release(w->session, lost);
    case EVENT_EXPIRY:
        w->must_fall = true;
        assert_true(session_set_expiry(w->session, 1, 1) >= 0);
        return run_out(w, w->session->expiry);
    case EVENT_RETRY:
        return run_out(w, w->session->retry);
    case EVENT_CRASH:
        return do_crash(w);
    case EVENT_STANDS:
    case EVENT_FALLEN:
        w->must_fall |= event == EVENT_FALLEN;
        return session_adopt(w->session, event == EVENT_STANDS);
    case EVENT_DISK_FULL:
        return set_disk_full(w, true);
    case EVENT_MAX:
        break;
    }
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
