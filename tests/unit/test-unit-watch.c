/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The watch over units, on a bus of our own with a service manager that is a few lines here: a unit that ends
 * is told; a bus that is gone says nothing of a unit, is waited for, and what ended meanwhile is told then.
 */

#include "unit-watch.h"

#include "timeutil.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>
/* cmocka wants the four above. */
#include <cmocka.h>

#define UNIT "ilr-session@abcd1234.service"

typedef struct World {
    char dir[64], address[128], config[128];
    sd_event *event;
    pid_t daemon;
    sd_bus *manager; /* the service manager's side */
    const char *state;
    unsigned asked, gone;
} World;

static int on_get(sd_bus *bus, const char *path, const char *interface, const char *property,
                  sd_bus_message *reply, void *userdata, sd_bus_error *e)
{
    World *w = userdata;

    w->asked++;
    return sd_bus_message_append(reply, "s", w->state);
}

static int on_subscribe(sd_bus_message *m, void *userdata, sd_bus_error *e)
{
    return sd_bus_reply_method_return(m, NULL);
}

static const sd_bus_vtable unit_table[] = {
    SD_BUS_VTABLE_START(0),
    SD_BUS_PROPERTY("ActiveState", "s", on_get, 0, SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE),
    SD_BUS_VTABLE_END,
};
static const sd_bus_vtable manager_table[] = {
    SD_BUS_VTABLE_START(0),
    SD_BUS_METHOD("Subscribe", "", "", on_subscribe, SD_BUS_VTABLE_UNPRIVILEGED),
    SD_BUS_VTABLE_END,
};

static void bus_start(World *w)
{
    int ready[2];
    char c;

    assert_int_equal(pipe(ready), 0);
    w->daemon = fork();
    if (w->daemon == 0) {
        char fd[64];

        (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
        close(ready[0]);
        snprintf(fd, sizeof(fd), "--print-address=%d", ready[1]);
        execlp("dbus-daemon", "dbus-daemon", "--nofork", "--nopidfile", fd, "--config-file", w->config, NULL);
        _exit(127);
    }
    close(ready[1]);
    assert_int_equal(read(ready[0], &c, 1), 1);
    close(ready[0]);
}

static void bus_end(World *w)
{
    assert_int_equal(kill(w->daemon, SIGKILL), 0);
    assert_int_equal(waitpid(w->daemon, NULL, 0), w->daemon);
    w->daemon = 0;
}

static void manager_start(World *w)
{
    char *path;

    assert_int_equal(sd_bus_path_encode("/org/freedesktop/systemd1/unit", UNIT, &path), 0);
    assert_true(sd_bus_open_system(&w->manager) >= 0);
    assert_true(sd_bus_add_object_vtable(w->manager, NULL, "/org/freedesktop/systemd1",
                                         "org.freedesktop.systemd1.Manager", manager_table, w) >= 0);
    assert_true(sd_bus_add_object_vtable(w->manager, NULL, path, "org.freedesktop.systemd1.Unit", unit_table,
                                         w) >= 0);
    assert_true(sd_bus_request_name(w->manager, "org.freedesktop.systemd1", 0) >= 0);
    assert_true(sd_bus_attach_event(w->manager, w->event, 0) >= 0);
    free(path);
}

static void manager_end(World *w)
{
    w->manager = sd_bus_flush_close_unref(w->manager);
}

static void world_init(World *w)
{
    FILE *f;

    *w = (World){.dir = "/tmp/ilr-test-XXXXXX", .state = "active"};
    assert_non_null(mkdtemp(w->dir));
    snprintf(w->address, sizeof(w->address), "unix:path=%s/bus", w->dir);
    snprintf(w->config, sizeof(w->config), "%s/bus.conf", w->dir);
    f = fopen(w->config, "we");
    assert_non_null(f);
    fprintf(f,
            "<busconfig><type>system</type><listen>%s</listen><auth>EXTERNAL</auth>"
            "<policy context=\"default\"><allow user=\"*\"/><allow own=\"*\"/><allow send_destination=\"*\"/>"
            "<allow receive_sender=\"*\"/></policy></busconfig>",
            w->address);
    assert_int_equal(fclose(f), 0);
    assert_int_equal(setenv("DBUS_SYSTEM_BUS_ADDRESS", w->address, 1), 0);
    assert_true(sd_event_new(&w->event) >= 0);
}

static void world_done(World *w)
{
    char bus[128];

    manager_end(w);
    if (w->daemon > 0)
        bus_end(w);
    sd_event_unref(w->event);
    snprintf(bus, sizeof(bus), "%s/bus", w->dir);
    (void)unlink(bus);
    (void)unlink(w->config);
    assert_int_equal(rmdir(w->dir), 0);
}

static void on_gone(UnitWatch *watch, const char *unit, void *userdata)
{
    assert_string_equal(unit, UNIT);
    ((World *)userdata)->gone++;
}

/* Until *what is at least n; at most 20 s. */
static void run_until(World *w, const unsigned *what, unsigned n)
{
    uint64_t until = now_usec(CLOCK_MONOTONIC) + 20 * USEC_PER_SEC;

    while (*what < n && now_usec(CLOCK_MONOTONIC) < until)
        assert_true(sd_event_run(w->event, USEC_PER_SEC / 10) >= 0);
    assert_true(*what >= n);
}

static void change(World *w, const char *state)
{
    char *path;

    w->state = state;
    assert_int_equal(sd_bus_path_encode("/org/freedesktop/systemd1/unit", UNIT, &path), 0);
    assert_true(sd_bus_emit_properties_changed(w->manager, path, "org.freedesktop.systemd1.Unit",
                                               "ActiveState", NULL) >= 0);
    free(path);
}

static void test_end_is_told(void **state)
{
    UnitWatch *watch;
    UnitBus *bus;
    World w;

    world_init(&w);
    bus_start(&w);
    manager_start(&w);
    assert_int_equal(unit_bus_new(&bus, w.event), 0);
    assert_int_equal(unit_watch_new(&watch, bus, UNIT, on_gone, NULL, &w), 0);
    run_until(&w, &w.asked, 1);
    change(&w, "deactivating");
    run_until(&w, &w.asked, 2);
    assert_int_equal(w.gone, 0);
    change(&w, "failed");
    run_until(&w, &w.gone, 1);
    unit_watch_free(watch);
    unit_bus_free(bus);
    world_done(&w);
}

static void test_bus_is_restarted(void **state)
{
    UnitWatch *watch;
    UnitBus *bus;
    unsigned asked;
    World w;

    world_init(&w);
    /* It is not there at first, either. */
    assert_int_equal(unit_bus_new(&bus, w.event), 0);
    assert_int_equal(unit_watch_new(&watch, bus, UNIT, on_gone, NULL, &w), 0);
    bus_start(&w);
    manager_start(&w);
    run_until(&w, &w.asked, 1);
    asked = w.asked;
    manager_end(&w);
    bus_end(&w);
    while (sd_event_run(w.event, 0) > 0)
        ;
    assert_int_equal(w.gone, 0); /* the unit stands, whatever became of the bus */
    bus_start(&w);
    manager_start(&w);
    run_until(&w, &w.asked, asked + 1);
    assert_int_equal(w.gone, 0);
    /* And once more, while the unit ends. */
    manager_end(&w);
    bus_end(&w);
    w.state = "inactive";
    bus_start(&w);
    manager_start(&w);
    run_until(&w, &w.gone, 1);
    unit_watch_free(watch);
    unit_bus_free(bus);
    world_done(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_end_is_told),
        cmocka_unit_test(test_bus_is_restarted),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
