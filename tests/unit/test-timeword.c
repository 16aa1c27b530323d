/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "timeutil.h"
#include "timeword.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

/* Sunday, 2026-11-22 10:30:00 in Berlin */
#define NOW INT64_C(1795339800)

static void in_zone(const char *tz)
{
    assert_int_equal(setenv("TZ", tz, 1), 0);
    tzset();
}

static void check(const char *s, time_t now, TimewordEdge edge, const char *expected)
{
    char buf[TIMESTAMP_MAX];
    uint64_t usec = 0;

    if (timeword_parse(s, now, edge, &usec) < 0)
        fail_msg("\"%s\" is not understood", s);
    if (strcmp(timestamp_format(usec, buf), expected) != 0)
        fail_msg("\"%s\" is %s instead of %s", s, buf, expected);
}

static void test_words(void **state)
{
    static const struct {
        const char *word, *start, *end;
    } cases[] = {
        {"now", "2026-11-22T09:30:00Z", NULL},
        {"today", "2026-11-21T23:00:00Z", "2026-11-22T22:59:59Z"},
        {" Yesterday ", "2026-11-20T23:00:00Z", "2026-11-21T22:59:59Z"},
        {"yesterday 22:00", "2026-11-21T21:00:00Z", NULL},
        {"yesterday  9:05:07", "2026-11-21T08:05:07Z", NULL},
        {"22:00", "2026-11-22T21:00:00Z", NULL},
        {"2026-11-20", "2026-11-19T23:00:00Z", "2026-11-20T22:59:59Z"},
        {"2026-07-01", "2026-06-30T22:00:00Z", "2026-07-01T21:59:59Z"},
        {"2026-11-20 22:00", "2026-11-20T21:00:00Z", NULL},
        {"2026-11-20T22:00:30", "2026-11-20T21:00:30Z", NULL},
        {"2026-11-20T22:00:00Z", "2026-11-20T22:00:00Z", NULL},
        {"2026-11-20T22:00:00.3906534z", "2026-11-20T22:00:00Z", NULL},
        {"2026-11-20T22:00:00-05:00", "2026-11-21T03:00:00Z", NULL},
        {"-2h", "2026-11-22T07:30:00Z", NULL},
        {"-90min", "2026-11-22T08:00:00Z", NULL},
        {"2 hours ago", "2026-11-22T07:30:00Z", NULL},
        {"3 days ago", "2026-11-19T09:30:00Z", NULL},
        {"1 week ago", "2026-11-15T09:30:00Z", NULL},
        {"4 weeks ago", "2026-10-25T09:30:00Z", NULL}, /* the day on which summer time ended, at 03:00 */
        {"5 weeks ago", "2026-10-18T08:30:00Z", NULL}, /* the same time on the wall */
        {"monday", "2026-11-15T23:00:00Z", "2026-11-16T22:59:59Z"},
        {"sunday", "2026-11-14T23:00:00Z", "2026-11-15T22:59:59Z"}, /* today is one */
        {"sat 08:00", "2026-11-21T07:00:00Z", NULL},
        {"Tuesday 22:00", "2026-11-17T21:00:00Z", NULL},
        {"Today 08:00", "2026-11-22T07:00:00Z", NULL},
        {"SAT 08:00", "2026-11-21T07:00:00Z", NULL},
    };
    size_t i;

    in_zone("Europe/Berlin");
    for (i = 0; i < ELEMENTSOF(cases); i++) {
        check(cases[i].word, NOW, TIMEWORD_START, cases[i].start);
        check(cases[i].word, NOW, TIMEWORD_END, cases[i].end ? cases[i].end : cases[i].start);
    }
}

static void test_summer_time(void **state)
{
    in_zone("Europe/Berlin");
    check("2026-10-25", NOW, TIMEWORD_START, "2026-10-24T22:00:00Z"); /* 25 hours */
    check("2026-10-25", NOW, TIMEWORD_END, "2026-10-25T22:59:59Z");
    check("2026-03-29", NOW, TIMEWORD_END, "2026-03-29T21:59:59Z"); /* 23 hours */
    in_zone("Asia/Kolkata");
    check("today", NOW, TIMEWORD_START, "2026-11-21T18:30:00Z");
}

static void test_refused(void **state)
{
    static const char *const bad[] = {
        "",
        " ",
        "soon",
        "tomorrow",
        "24:00",
        "12:60",
        "12:3",
        "2026-02-29",
        "2026-13-01",
        "2026-11-31T00:00:00Z",
        "20261120",
        "2026-11-20 22",
        "yesterday noon",
        "monday ago",
        "-2",
        "-h",
        "2 hours",
        "ago",
        " ago",
        "2 fortnights ago",
        "22:00 yesterday",
        "2026-11-20T22:00:00+",
        "today today",
        "99999999999999999999 days ago",
        "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"};
    uint64_t usec;
    size_t i;

    in_zone("UTC");
    for (i = 0; i < ELEMENTSOF(bad); i++)
        if (timeword_parse(bad[i], NOW, TIMEWORD_END, &usec) != -EINVAL)
            fail_msg("\"%s\" is not refused", bad[i]);
    assert_int_equal(timeword_parse("1969-12-30", NOW, TIMEWORD_END, &usec), -ERANGE);
    assert_int_equal(timeword_parse("999999 days ago", NOW, TIMEWORD_END, &usec), -ERANGE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_words),
        cmocka_unit_test(test_summer_time),
        cmocka_unit_test(test_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
