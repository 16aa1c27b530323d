/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The session's machine with a kind made of fakes: whatever happens at whatever step, it ends in ready or
 * closed, every step that was started is released exactly once, in the reverse order, and the record is gone
 * with the session. */

#include "helper-call.h"
#include "record-version.h"
#include "session.h"
#include "timeutil.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <sys/stat.h>

#include <cmocka.h>

#define STEPS 3

/* What the fake kind shall do, and what was done. */
typedef struct Fake {
    int fail_acquire; /* step whose acquire fails later, -1: none */
    int fail_start;   /* step whose acquire cannot even be started */
    int hang;         /* step whose acquire never ends by itself */
    int busy_release; /* step whose release fails, busy_times times */
    int busy_times;
    bool release_at_once; /* release says 1 instead of ending later */
    char log[512];        /* "+0" acquired, "-0" released, "x" cancelled */
    size_t depth;         /* steps taken and not released */
    bool balanced;
    const char *dir;       /* of the records */
    bool told_with_record; /* it was there when the end was told */
    int index;             /* the step under way */
    sd_event_source *later;
    Session *session;
} Fake;

static void note(Fake *f, const char *what, int i)
{
    size_t n = strlen(f->log);

    if (i >= 0)
        snprintf(f->log + n, sizeof(f->log) - n, "%s%d ", what, i);
    else
        snprintf(f->log + n, sizeof(f->log) - n, "%s ", what);
}

static int on_later(sd_event_source *source, void *userdata)
{
    Fake *f = userdata;
    Session *s = f->session;
    Failure *failure = NULL;

    if (s->work == WORK_ACQUIRE && f->fail_acquire == f->index)
        failure = failure_new(FAILURE_LOGIN_REJECTED, "step %d", f->index);
    if (s->work == WORK_RELEASE) {
        if (f->busy_release == f->index && f->busy_times-- > 0)
            failure = failure_new(FAILURE_BUSY, "step %d", f->index);
        else {
            note(f, "-", f->index);
            if ((size_t)f->index + 1 != f->depth)
                f->balanced = false;
            f->depth--;
        }
    }
    session_step_done(s, failure);
    failure_free(failure);
    return 0;
}

static int later(Session *s)
{
    Fake *f = s->data;

    f->session = s;
    if (f->later)
        return sd_event_source_set_enabled(f->later, SD_EVENT_ONESHOT);
    return sd_event_add_defer(s->context->event, &f->later, on_later, f);
}

static int acquire(Session *s)
{
    Fake *f = s->data;

    f->index = (int)s->step - 1;
    note(f, "+", f->index);
    if ((size_t)f->index != f->depth)
        f->balanced = false;
    f->depth++;
    if (f->fail_start == f->index)
        return -ENOMEM;
    return f->hang == f->index ? 0 : later(s);
}

static int release(Session *s)
{
    Fake *f = s->data;

    f->index = (int)s->step - 1;
    if (f->release_at_once) {
        note(f, "-", f->index);
        f->depth--;
        return 1;
    }
    return later(s);
}

static void fake_cancel(Session *s)
{
    Fake *f = s->data;

    note(f, "x", -1);
    if (f->later)
        (void)sd_event_source_set_enabled(f->later, SD_EVENT_OFF);
}

static void fake_free(Session *s)
{
    Fake *f = s->data;

    f->later = sd_event_source_disable_unref(f->later);
}

static int fake_ready(Session *s)
{
    note(s->data, "ready", -1);
    return 0;
}

static int fake_save(Session *s, json_object *o)
{
    return json_add_string(o, "fake", "yes");
}

static int fake_load(Session *s, json_object *o)
{
    const char *v;

    return json_get_string(o, "fake", &v) > 0 ? 0 : -EINVAL;
}

static int fake_describe(Session *s, json_object *o)
{
    return 0;
}

static void fake_subject(const Session *s, char *buf, size_t size)
{
    Fake *f = s->data;
    char path[128];

    snprintf(path, sizeof(path), "%s/%s.json", f->dir, s->id);
    f->told_with_record = s->closed && access(path, F_OK) == 0;
    snprintf(buf, size, "a fake");
}

static const SessionStep steps[STEPS] = {
    {SESSION_PROVISIONING, SESSION_REVOKING, acquire, release},
    {SESSION_CONNECTING, SESSION_DISCONNECTING, acquire, release},
    {SESSION_ATTACHING, SESSION_DETACHING, acquire, release},
};
static const SessionKind fake_kind = {
    "fake",    steps,     STEPS,     fake_cancel,   fake_ready,
    fake_free, fake_save, fake_load, fake_describe, fake_subject,
};

typedef struct World {
    char dir[64];
    sd_event *event;
    Config config;
    Store *store;
    SessionContext context;
    Fake fake;
    Session *session;
    unsigned changes;
    SessionState release_in; /* asks for a release when this state is first seen; SESSION_STATE_MAX: never */
} World;

static void on_changed(Session *s, void *userdata)
{
    World *w = userdata;

    w->changes++;
    if (session_state(s) == w->release_in) {
        w->release_in = SESSION_STATE_MAX;
        session_release(s, NULL);
    }
}

static void world_init(World *w)
{
    *w = (World){.release_in = SESSION_STATE_MAX};
    strcpy(w->dir, "/tmp/ilr-test-XXXXXX");
    assert_non_null(mkdtemp(w->dir));
    assert_true(sd_event_new(&w->event) >= 0);
    w->config.busy_retry_usec = 1;
    assert_int_equal(store_new(&w->store, w->dir), 0);
    w->context = (SessionContext){w->event, &w->config, w->store, on_changed, w, NULL};
    w->fake = (Fake){.fail_acquire = -1, .fail_start = -1, .hang = -1, .busy_release = -1, .balanced = true};
    w->fake.dir = w->dir;
}

static void world_start(World *w)
{
    assert_int_equal(session_new(&w->session, &w->context, &fake_kind, &w->fake, 0, "root", "test"), 0);
}

static bool has_record(World *w)
{
    char path[128];

    snprintf(path, sizeof(path), "%s/%s.json", w->dir, w->session->id);
    return access(path, F_OK) == 0;
}

/* Until nothing is left to do. */
static void run(World *w)
{
    unsigned i;

    for (i = 0; i < 1000; i++) {
        int r = sd_event_run(w->event, w->session->retry ? USEC_PER_SEC : 0);

        assert_true(r >= 0);
        if (r == 0 && !w->session->retry)
            return;
    }
    fail_msg("the session never comes to rest");
}

static void world_done(World *w)
{
    char command[128];

    session_free(w->session);
    w->fake.later = sd_event_source_disable_unref(w->fake.later);
    store_free(w->store);
    sd_event_unref(w->event);
    snprintf(command, sizeof(command), "rm -rf %s", w->dir);
    assert_int_equal(system(command), 0);
}

static void assert_closed(World *w)
{
    assert_true(w->session->closed);
    assert_int_equal(session_state(w->session), SESSION_CLOSED);
    assert_true(w->fake.balanced);
    assert_int_equal(w->fake.depth, 0);
    assert_false(has_record(w));
}

static void test_up_and_down(void **state)
{
    World w;

    world_init(&w);
    world_start(&w);
    run(&w);
    assert_int_equal(session_state(w.session), SESSION_READY);
    assert_string_equal(w.fake.log, "+0 +1 +2 ready ");
    assert_true(has_record(&w));
    session_release(w.session, NULL);
    session_release(w.session, NULL);
    run(&w);
    assert_closed(&w);
    assert_true(w.fake.told_with_record);
    assert_string_equal(w.fake.log, "+0 +1 +2 ready -2 -1 -0 ");
    assert_null(w.session->failure);
    world_done(&w);
}

/* A failure at any step: everything started goes back, the first failure stays. */
static void test_every_acquire_fails(void **state)
{
    int step, start;

    for (start = 0; start < 2; start++)
        for (step = 0; step < STEPS; step++) {
            World w;

            world_init(&w);
            *(start ? &w.fake.fail_start : &w.fake.fail_acquire) = step;
            world_start(&w);
            run(&w);
            assert_closed(&w);
            assert_non_null(w.session->failure);
            assert_int_equal(w.session->failure->name, start ? FAILURE_INTERNAL : FAILURE_LOGIN_REJECTED);
            assert_null(strstr(w.fake.log, "ready"));
            world_done(&w);
        }
}

/* A release asked for in each state on the way up, also while an acquire hangs. */
static void test_release_in_every_state(void **state)
{
    int hang, s;

    for (hang = -1; hang < STEPS; hang++)
        for (s = SESSION_PROVISIONING; s <= SESSION_READY; s++) {
            World w;

            if (hang >= 0 && s != SESSION_PROVISIONING + hang)
                continue; /* never gets there */
            world_init(&w);
            w.fake.hang = hang;
            w.release_in = s;
            world_start(&w);
            run(&w);
            assert_closed(&w);
            world_done(&w);
        }
}

/* Busy at each step: it stays on its step, says so, tries again and ends closed. */
static void test_busy_release(void **state)
{
    int step;

    for (step = 0; step < STEPS; step++) {
        World w;

        world_init(&w);
        w.fake.busy_release = step;
        w.fake.busy_times = 3;
        world_start(&w);
        run(&w);
        session_release(w.session, NULL);
        while (!w.session->release_failure)
            assert_true(sd_event_run(w.event, USEC_PER_SEC) > 0);
        assert_int_equal(w.session->release_failure->name, FAILURE_BUSY);
        assert_int_equal(w.session->step, step + 1);
        assert_true(has_record(&w));
        run(&w);
        assert_closed(&w);
        world_done(&w);
    }
}

static void test_release_at_once(void **state)
{
    World w;

    world_init(&w);
    w.fake.release_at_once = true;
    world_start(&w);
    run(&w);
    session_release(w.session, NULL);
    run(&w);
    assert_closed(&w);
    world_done(&w);
}

/* Freed while each kind of work is under way: no callback comes after. */
static void test_free_while_running(void **state)
{
    int rounds;

    for (rounds = 0; rounds < 12; rounds++) {
        unsigned changes;
        World w;
        int i;

        world_init(&w);
        world_start(&w);
        for (i = 0; i < rounds; i++)
            (void)sd_event_run(w.event, 0);
        w.session = session_free(w.session);
        changes = w.changes;
        for (i = 0; i < 5; i++)
            assert_true(sd_event_run(w.event, 0) >= 0);
        assert_int_equal(w.changes, changes);
        world_done(&w);
    }
}

static void on_found(const char *id, json_object *record, void *userdata)
{
    World *w = userdata;

    assert_int_equal(session_load(&w->session, &w->context, &fake_kind, &w->fake, id, record), 0);
}

static void on_kept(const char *file, const char *why, void *userdata)
{
    fail_msg("%s %s", file, why);
}

/* The daemon ends at any moment and finds the record again: ready and standing stays, all else goes down from
 * the step that was started last. */
static void test_adopt(void **state)
{
    int rounds, stands;

    for (stands = 0; stands < 2; stands++)
        for (rounds = 1; rounds < 12; rounds++) {
            bool ready;
            World w;
            int i;

            world_init(&w);
            world_start(&w);
            for (i = 0; i < rounds; i++)
                (void)sd_event_run(w.event, 0);
            ready = session_state(w.session) == SESSION_READY;
            if (!has_record(&w)) {
                world_done(&w);
                continue;
            }
            w.session = session_free(w.session);
            assert_int_equal(store_load(w.store, on_found, on_kept, &w), 0);
            assert_non_null(w.session);
            assert_string_equal(w.session->caller, "root");
            session_adopt(w.session, stands);
            run(&w);
            if (ready && stands)
                assert_int_equal(session_state(w.session), SESSION_READY);
            else {
                assert_true(w.session->closed);
                assert_int_equal(w.fake.depth, 0);
                assert_false(has_record(&w));
                assert_non_null(w.session->failure);
            }
            world_done(&w);
        }
}

/* No record, no work: with an unwritable store nothing touches the world. */
static void test_record_cannot_be_saved(void **state)
{
    char path[160];
    World w;

    world_init(&w);
    world_start(&w);
    snprintf(path, sizeof(path), "%s/%s.json.tmp", w.dir, w.session->id);
    assert_int_equal(mkdir(path, 0700), 0); /* in the way of the new record, also for root */
    run(&w);
    assert_true(w.session->closed);
    assert_string_equal(w.fake.log, "");
    assert_int_equal(w.session->failure->name, FAILURE_INTERNAL);
    world_done(&w);
}

/* The record cannot be saved for a while: what was not said in it follows by itself. */
static void test_record_follows(void **state)
{
    char path[160];
    World w;
    int i;

    world_init(&w);
    world_start(&w);
    run(&w);
    assert_int_equal(session_state(w.session), SESSION_READY);
    snprintf(path, sizeof(path), "%s/%s.json.tmp", w.dir, w.session->id);
    assert_int_equal(mkdir(path, 0700), 0);
    assert_true(session_hold(w.session, 1000, "alice", NULL, 0) < 0);
    assert_non_null(w.session->unsaved);
    snprintf(path, sizeof(path), "%s/%s.json", w.dir, w.session->id);
    assert_int_equal(unlink(path), 0);
    for (i = 0; i < 3; i++)
        assert_true(sd_event_run(w.event, USEC_PER_SEC) > 0); /* in vain */
    assert_false(has_record(&w));
    snprintf(path, sizeof(path), "%s/%s.json.tmp", w.dir, w.session->id);
    assert_int_equal(rmdir(path), 0);
    for (i = 0; i < 100 && !has_record(&w); i++)
        assert_true(sd_event_run(w.event, USEC_PER_SEC) > 0);
    assert_true(has_record(&w));
    assert_null(w.session->unsaved);
    session_release(w.session, NULL);
    run(&w);
    assert_false(has_record(&w));
    world_done(&w);
}

static void on_kept_counted(const char *file, const char *why, void *userdata)
{
    ((World *)userdata)->changes += 1000;
}

static void test_unknown_version_is_kept(void **state)
{
    char path[160];
    World w;
    int fd;

    world_init(&w);
    snprintf(path, sizeof(path), "%s/abcdefgh.json", w.dir);
    fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    assert_true(write(fd, "{\"version\":99}", 14) == 14);
    close(fd);
    assert_int_equal(store_load(w.store, on_found, on_kept_counted, &w), 0);
    assert_int_equal(w.changes, 1000);
    assert_null(w.session);
    assert_int_equal(access(path, F_OK), 0);
    world_done(&w);
}

/* A name of the right length is not enough: it goes into the names of units and directories. */
static void test_misnamed_is_kept(void **state)
{
    char path[160];
    World w;
    FILE *f;

    world_init(&w);
    snprintf(path, sizeof(path), "%s/ABCD-FGH.json", w.dir);
    f = fopen(path, "we");
    assert_non_null(f);
    fputs("{\"version\":1}", f);
    fclose(f);
    assert_int_equal(store_load(w.store, on_found, on_kept_counted, &w), 0);
    assert_int_equal(w.changes, 1000);
    world_done(&w);
}

/* version, compatible and who is asked. */
static void test_versions(void **state)
{
    static const struct {
        const char *record;
        int own;
        bool usable;
    } cases[] = {
        {"{\"version\":1}", 1, true}, /* as all were at first: without the second number */
        {"{\"version\":1}", 2, true}, /* an upgrade */
        {"{\"version\":1,\"compatible\":1}", 7, true},
        {"{\"version\":2,\"compatible\":1}", 1, true},  /* going back, and nothing is in the way */
        {"{\"version\":3,\"compatible\":2}", 1, false}, /* something is */
        {"{\"version\":3,\"compatible\":2}", 2, true},
        {"{\"version\":2}", 1, false},
        {"{\"version\":2,\"compatible\":0}", 1, false},
        {"{\"version\":2,\"compatible\":\"1\"}", 1, false},
        {"{\"version\":\"1\"}", 1, false},
        {"{\"version\":0}", 1, false},
        {"{}", 1, false},
    };
    _cleanup_json_ json_object *written = json_object_new_object();
    size_t i;

    for (i = 0; i < ELEMENTSOF(cases); i++) {
        _cleanup_json_ json_object *o = NULL;

        assert_int_equal(json_parse(cases[i].record, strlen(cases[i].record), &o), 0);
        assert_int_equal(record_version_usable(o, cases[i].own), cases[i].usable);
    }
    assert_int_equal(record_version_add(written), 0);
    assert_true(record_version_usable(written, RECORD_VERSION));
    assert_true(record_version_usable(written, RECORD_COMPATIBLE));
    assert_false(record_version_usable(written, RECORD_COMPATIBLE - 1));
}

static void on_call_failed(HelperCall *call, json_object *answer, Failure *failure, void *userdata)
{
    char **message = userdata;

    /* As the sessions do it: first the call, then what it was told. */
    helper_call_free(call);
    assert_null(answer);
    assert_non_null(failure);
    assert_int_equal(failure->name, FAILURE_HELPER_FAILED);
    *message = strdup(failure->message);
}

static void test_helper_is_not_there(void **state)
{
    _cleanup_json_ json_object *request = json_object_new_object();
    _cleanup_(sd_event_unrefp) sd_event *event = NULL;
    _cleanup_free_ char *message = NULL;
    HelperCall *call;

    assert_int_equal(sd_event_new(&event), 0);
    assert_int_equal(helper_call_new(&call, event, "/nonexistent/helper", request, NULL, NULL, USEC_PER_SEC,
                                     on_call_failed, &message),
                     0);
    assert_null(message);
    assert_true(sd_event_run(event, USEC_PER_SEC) > 0);
    assert_non_null(message);
    assert_non_null(strstr(message, "/nonexistent/helper"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_helper_is_not_there),
        cmocka_unit_test(test_up_and_down),
        cmocka_unit_test(test_every_acquire_fails),
        cmocka_unit_test(test_release_in_every_state),
        cmocka_unit_test(test_busy_release),
        cmocka_unit_test(test_release_at_once),
        cmocka_unit_test(test_free_while_running),
        cmocka_unit_test(test_adopt),
        cmocka_unit_test(test_record_cannot_be_saved),
        cmocka_unit_test(test_record_follows),
        cmocka_unit_test(test_unknown_version_is_kept),
        cmocka_unit_test(test_misnamed_is_kept),
        cmocka_unit_test(test_versions),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
