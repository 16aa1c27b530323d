/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "model-world.h"

#include "log.h"
#include "timeutil.h"

#include <sys/stat.h>

static World *world; /* of the run, for the kind's functions */

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

RecordSeen record_seen(World *w)
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

int make_directory(void **unused)
{
    strcpy(directory, access("/dev/shm", W_OK) == 0 ? "/dev/shm/ilr-test-XXXXXX" : "/tmp/ilr-test-XXXXXX");
    log_open("test-session-model", LOG_EMERG);
    return mkdtemp(directory) ? 0 : -1;
}

int remove_directory(void **unused)
{
    return rmdir(directory);
}

void world_init(World *w)
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

void world_done(World *w)
{
    set_disk_full(w, false);
    assert_int_equal(store_remove(w->store, w->id), 0);
    session_free(w->session);
    store_free(w->store);
    sd_event_unref(w->event);
}

bool stands(const World *w)
{
    size_t i;

    for (i = 0; i < STEPS; i++)
        if (!w->complete[i])
            return false;
    return true;
}

bool kicked(const Session *s)
{
    int enabled = SD_EVENT_OFF;

    return s->kick && sd_event_source_get_enabled(s->kick, &enabled) >= 0 && enabled != SD_EVENT_OFF;
}

bool is_ready(const World *w)
{
    return w->session && !w->session->adopting && session_state(w->session) == SESSION_READY;
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

void set_disk_full(World *w, bool full)
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

void happen(World *w, Event event)
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
