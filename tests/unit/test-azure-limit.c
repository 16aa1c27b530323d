/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The limit over all requests, the places for connections, Azure's clock, and what a caller may put around a
 * request. */
#include "azure-clock.h"
#include "azure-limit.h"
#include "azure-resource.h"
#include "places.h"
#include "timeutil.h"

#include <setjmp.h>
#include <stdarg.h>
/* after the above */
#include <cmocka.h>

#define MANY 60
#define HOST ((uid_t)-1)

typedef struct Asker {
    AzureLimitWaiter place;
    Place connection;
    unsigned number, position;
    uint64_t when; /* CLOCK_BOOTTIME */
} Asker;

static unsigned order;

static void on_ready(void *userdata)
{
    Asker *a = userdata;

    assert_int_equal(a->when, 0);
    a->when = now_usec(CLOCK_BOOTTIME);
    assert_true(a->number >= order);
    order = a->number;
}

static void test_rate_and_order(void **state)
{
    Asker askers[MANY] = {};
    AzureLimit *l;
    sd_event *event;
    unsigned i, k;

    order = 0;
    assert_true(sd_event_new(&event) >= 0);
    assert_int_equal(azure_limit_new(&l, event), 0);
    for (i = 0; i < MANY; i++) {
        askers[i].number = i;
        if (azure_limit_take(l, AZURE_LIMIT_READ, HOST, &askers[i].place, on_ready, &askers[i]) > 0)
            on_ready(&askers[i]);
    }
    assert_int_equal(askers[AZURE_READS_BURST].when, 0);
    /* What reads does not hold up what writes. */
    assert_int_equal(azure_limit_take(l, AZURE_LIMIT_WRITE, HOST, &(AzureLimitWaiter){}, on_ready, NULL), 1);
    azure_limit_leave(&askers[MANY - 2].place);
    while (!askers[MANY - 1].when)
        assert_true(sd_event_run(event, 5 * USEC_PER_SEC) > 0);
    assert_int_equal(askers[MANY - 2].when, 0);
    for (i = 0; i < MANY; i++) {
        unsigned n = 0;

        for (k = i; k < MANY; k++)
            n += askers[k].when && askers[k].when < askers[i].when + USEC_PER_SEC;
        assert_true(n <= 25);
    }
    azure_limit_free(l);
    sd_event_unref(event);
}

static void test_hold(void **state)
{
    Asker a = {}, b = {.number = 1};
    uint64_t now = now_usec(CLOCK_BOOTTIME);
    AzureLimit *l;
    sd_event *event;

    order = 0;
    assert_true(sd_event_new(&event) >= 0);
    assert_int_equal(azure_limit_new(&l, event), 0);
    azure_limit_hold(l, AZURE_LIMIT_WRITE, HOST, now + 300 * USEC_PER_MSEC);
    azure_limit_hold(l, AZURE_LIMIT_WRITE, HOST, now + 100 * USEC_PER_MSEC); /* the longer one counts */
    assert_int_equal(azure_limit_take(l, AZURE_LIMIT_WRITE, HOST, &a.place, on_ready, &a), 0);
    assert_int_equal(azure_limit_take(l, AZURE_LIMIT_WRITE, HOST, &b.place, on_ready, &b), 0);
    while (!b.when)
        assert_true(sd_event_run(event, 5 * USEC_PER_SEC) > 0);
    assert_true(a.when >= now + 300 * USEC_PER_MSEC && b.when >= a.when);
    azure_limit_hold(l, AZURE_LIMIT_READ, HOST, USEC_INFINITY - 1);
    assert_true(azure_limit_held(l, AZURE_LIMIT_READ, HOST) <= now_usec(CLOCK_BOOTTIME) + USEC_PER_HOUR);
    azure_limit_leave(&a.place); /* nothing to leave */
    azure_limit_free(l);
    sd_event_unref(event);
}

/* What one principal is told binds nobody else, whoever came first. */
static void test_hold_is_of_one(void **state)
{
    Asker a = {}, b = {.number = 1}, c = {.number = 2};
    uint64_t now = now_usec(CLOCK_BOOTTIME);
    AzureLimit *l;
    sd_event *event;

    order = 0;
    assert_true(sd_event_new(&event) >= 0);
    assert_int_equal(azure_limit_new(&l, event), 0);
    azure_limit_hold(l, AZURE_LIMIT_WRITE, 1000, now + 30 * USEC_PER_SEC);
    assert_int_equal(azure_limit_take(l, AZURE_LIMIT_WRITE, 1000, &a.place, on_ready, &a), 0);
    assert_int_equal(azure_limit_take(l, AZURE_LIMIT_WRITE, HOST, &b.place, on_ready, &b), 1);
    assert_int_equal(azure_limit_held(l, AZURE_LIMIT_WRITE, HOST), 0);
    assert_int_equal(azure_limit_held(l, AZURE_LIMIT_WRITE, 1000), now + 30 * USEC_PER_SEC);
    /* The bucket is empty for a moment: it waits behind the one that is held, and goes before it. */
    assert_int_equal(azure_limit_take(l, AZURE_LIMIT_WRITE, 1001, &c.place, on_ready, &c), 0);
    while (!c.when)
        assert_true(sd_event_run(event, 5 * USEC_PER_SEC) > 0);
    assert_true(c.when < now + 20 * USEC_PER_SEC && !a.when);
    azure_limit_leave(&a.place);
    azure_limit_free(l);
    sd_event_unref(event);
}

/* Freed while they wait: nobody is called, and the limit goes with its timer running. */
static void test_limit_free_while_waiting(void **state)
{
    Asker a = {}, b = {.number = 1};
    AzureLimit *l;
    sd_event *event;

    assert_true(sd_event_new(&event) >= 0);
    assert_int_equal(azure_limit_new(&l, event), 0);
    azure_limit_hold(l, AZURE_LIMIT_READ, HOST, now_usec(CLOCK_BOOTTIME) + 20 * USEC_PER_MSEC);
    assert_int_equal(azure_limit_take(l, AZURE_LIMIT_READ, HOST, &a.place, on_ready, &a), 0);
    assert_int_equal(azure_limit_take(l, AZURE_LIMIT_READ, HOST, &b.place, on_ready, &b), 0);
    azure_limit_leave(&a.place);
    azure_limit_leave(&b.place);
    azure_limit_free(l);
    assert_int_equal(sd_event_run(event, 50 * USEC_PER_MSEC), 0);
    assert_true(!a.when && !b.when);
    sd_event_unref(event);
}

static void on_waiting(unsigned position, void *userdata)
{
    ((Asker *)userdata)->position = position;
}

static void test_places(void **state)
{
    Asker a[5] = {{.number = 0}, {.number = 1}, {.number = 2}, {.number = 3}, {.number = 4}};
    Places *p;
    sd_event *event;
    unsigned i;

    order = 0;
    assert_true(sd_event_new(&event) >= 0);
    assert_int_equal(places_new(&p, event, 2), 0);
    places_adopt(p, &a[0].connection);
    assert_int_equal(places_take(p, &a[0].connection, on_ready, on_waiting, &a[0]), 1);
    assert_int_equal(places_take(p, &a[1].connection, on_ready, on_waiting, &a[1]), 1);
    for (i = 2; i < 5; i++)
        assert_int_equal(places_take(p, &a[i].connection, on_ready, on_waiting, &a[i]), 0);
    while (sd_event_run(event, 0) > 0)
        ;
    assert_true(a[2].position == 1 && a[3].position == 2 && a[4].position == 3);
    place_give_back(&a[3].connection); /* leaves the queue */
    place_give_back(&a[0].connection);
    assert_int_equal(a[2].when, 0); /* not from inside */
    while (sd_event_run(event, 0) > 0)
        ;
    assert_true(a[2].when && a[4].position == 1 && !a[4].when && !a[3].when);
    place_give_back(&a[1].connection);
    place_give_back(&a[2].connection);
    while (sd_event_run(event, 0) > 0)
        ;
    assert_true(a[4].when > 0);
    place_give_back(&a[4].connection);
    place_give_back(&a[4].connection);
    places_free(p);
    sd_event_unref(event);
}

static void test_resource(void **state)
{
    json_object *tags = json_object_new_object(), *properties = json_object_new_object(), *body = NULL;
    AzureResource *r = NULL, *copy;

    json_add_string(tags, "owner", "ops");
    json_add_string(properties, "objectType", "x");
    assert_int_equal(azure_resource_new("\"1\"", "westeurope", tags, &r, NULL), 0);
    copy = azure_resource_copy(r);
    azure_resource_free(r);
    assert_int_equal(azure_resource_body(copy, properties, &body), 0);
    assert_string_equal(json_text(body),
                        "{\"eTag\":\"\\\"1\\\"\",\"location\":\"westeurope\",\"tags\":{\"owner\":"
                        "\"ops\"},\"properties\":{\"objectType\":\"x\"}}");
    json_object_put(body);
    azure_resource_free(copy);
    json_add_int64(tags, "n", 7);
    assert_int_equal(azure_resource_new(NULL, NULL, tags, &r, NULL), -EINVAL);
    assert_int_equal(azure_resource_new("a\x80", NULL, NULL, &r, NULL), -EINVAL);
    assert_int_equal(azure_resource_new(NULL, "a;b", NULL, &r, NULL), -EINVAL);
    json_object_put(tags);
}

#define NOON "Sat, 21 Nov 2026 12:00:00 GMT"
#define NOON_USEC (1795262400 * USEC_PER_SEC)
#define UP (100 * USEC_PER_SEC)

static void test_clock(void **state)
{
    AzureClock c = {};
    uint64_t ours = azure_clock_at(&c, now_usec(CLOCK_BOOTTIME)), now = now_usec(CLOCK_REALTIME);

    assert_true(ours <= now && now - ours < USEC_PER_MINUTE); /* nothing was heard: the host's */
    azure_clock_heard(&c, NULL, UP);
    azure_clock_heard(&c, "yesterday", UP);
    assert_false(c.known);
    azure_clock_heard(&c, NOON, UP);
    assert_true(azure_clock_at(&c, UP) == NOON_USEC);
    assert_true(azure_clock_at(&c, UP + 3600 * USEC_PER_SEC) == NOON_USEC + 3600 * USEC_PER_SEC);
    /* The same second, but it was under way for longer: says less. */
    azure_clock_heard(&c, NOON, UP + USEC_PER_SEC / 2);
    assert_true(azure_clock_at(&c, UP) == NOON_USEC);
    /* A quicker one says more. */
    azure_clock_heard(&c, NOON, UP - USEC_PER_SEC / 2);
    assert_true(azure_clock_at(&c, UP) == NOON_USEC + USEC_PER_SEC / 2);
    /* The machine was paused for an hour, or its clock counts from another start. */
    azure_clock_heard(&c, "Sat, 21 Nov 2026 13:00:00 GMT", UP + USEC_PER_SEC);
    assert_true(azure_clock_at(&c, UP + USEC_PER_SEC) == NOON_USEC + 3600 * USEC_PER_SEC);
    /* An answer that had a wrong clock is not believed for ever. */
    azure_clock_heard(&c, NOON, UP + 2 * USEC_PER_SEC);
    assert_true(azure_clock_at(&c, UP + 2 * USEC_PER_SEC) == NOON_USEC);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rate_and_order), cmocka_unit_test(test_hold),
        cmocka_unit_test(test_hold_is_of_one), cmocka_unit_test(test_limit_free_while_waiting),
        cmocka_unit_test(test_places),         cmocka_unit_test(test_clock),
        cmocka_unit_test(test_resource),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
