/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "timeword.h"

#include "timeutil.h"

#include <ctype.h>
#include <strings.h>

#define LENGTH_MAX 64
#define YEAR_9999_END INT64_C(253402300799)

static const char *const weekdays[] = {"sunday",   "monday", "tuesday", "wednesday",
                                       "thursday", "friday", "saturday"};

static int finish(time_t t, uint64_t fraction_usec, uint64_t *ret)
{
    if (t < 0 || (int64_t)t > YEAR_9999_END)
        return -ERANGE;
    *ret = (uint64_t)t * USEC_PER_SEC + fraction_usec;
    return 0;
}

/* The wall clock's idea; mktime() finds whether summer time is in force, and moves a time that does not
 * exist. */
static int from_wall(struct tm tm, uint64_t fraction_usec, uint64_t *ret)
{
    time_t t;

    tm.tm_isdst = -1;
    t = mktime(&tm);
    return finish(t, fraction_usec, ret);
}

/* All of s must be digits as many as said, n: the value. */
static const char *digits(const char *s, int least, int most, int *ret)
{
    int n = 0, value = 0;

    while (n < most && isdigit((unsigned char)s[n]))
        value = 10 * value + (s[n++] - '0');
    if (n < least)
        return NULL;
    *ret = value;
    return s + n;
}

/* "22:00", "22:00:30" */
static bool parse_clock(const char *s, struct tm *tm)
{
    int h, m, sec = 0;

    if (!(s = digits(s, 1, 2, &h)) || *s++ != ':' || !(s = digits(s, 2, 2, &m)))
        return false;
    if (*s == ':' && !(s = digits(s + 1, 2, 2, &sec)))
        return false;
    if (*s || h > 23 || m > 59 || sec > 59)
        return false;
    tm->tm_hour = h;
    tm->tm_min = m;
    tm->tm_sec = sec;
    return true;
}

static bool parse_date(const char *s, struct tm *tm)
{
    static const int days[] = {31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    int y, m, d;

    if (!(s = digits(s, 4, 4, &y)) || *s++ != '-' || !(s = digits(s, 1, 2, &m)) || *s++ != '-' ||
        !(s = digits(s, 1, 2, &d)) || *s || m < 1 || m > 12 || d < 1 || d > days[m - 1] ||
        (m == 2 && d == 29 && (y % 4 != 0 || (y % 100 == 0 && y % 400 != 0))))
        return false;
    tm->tm_year = y - 1900;
    tm->tm_mon = m - 1;
    tm->tm_mday = d;
    return true;
}

/* A word for a day, into the date of tm, which is today. */
static bool parse_day(const char *s, struct tm *tm)
{
    size_t i;

    if (strcasecmp(s, "today") == 0)
        return true;
    if (strcasecmp(s, "yesterday") == 0) {
        tm->tm_mday--;
        return true;
    }
    for (i = 0; i < ELEMENTSOF(weekdays); i++)
        if (strcasecmp(s, weekdays[i]) == 0 || (strlen(s) == 3 && strncasecmp(s, weekdays[i], 3) == 0)) {
            int back = (tm->tm_wday - (int)i + 7) % 7;

            tm->tm_mday -= back ? back : 7;
            return true;
        }
    return parse_date(s, tm);
}

/* "2h", "2 hours", "3days" back from now. */
static int parse_ago(const char *s, time_t now, struct tm tm, uint64_t *ret)
{
    static const struct {
        const char *name;
        int days;
        time_t seconds;
    } units[] = {
        {"w", 7, 0},      {"week", 7, 0},    {"weeks", 7, 0},    {"d", 1, 0},        {"day", 1, 0},
        {"days", 1, 0},   {"h", 0, 3600},    {"hour", 0, 3600},  {"hours", 0, 3600}, {"m", 0, 60},
        {"min", 0, 60},   {"minute", 0, 60}, {"minutes", 0, 60}, {"s", 0, 1},        {"sec", 0, 1},
        {"second", 0, 1}, {"seconds", 0, 1},
    };
    size_t i;
    int n;

    s = digits(s, 1, 6, &n);
    if (!s)
        return -EINVAL;
    while (*s == ' ')
        s++;
    for (i = 0; i < ELEMENTSOF(units); i++) {
        if (strcasecmp(s, units[i].name) != 0)
            continue;
        if (units[i].seconds)
            return finish(now - n * units[i].seconds, 0, ret);
        tm.tm_mday -= n * units[i].days;
        return from_wall(tm, 0, ret);
    }
    return -EINVAL;
}

/* RFC 3339 with a zone; without one it would be the wall clock's and is cut like a date and a time. */
static bool has_zone(const char *s)
{
    const char *t = strpbrk(s, "Tt");

    return t && (strpbrk(t, "Zz+") || strchr(t, '-'));
}

int timeword_parse(const char *s, time_t now, TimewordEdge edge, uint64_t *ret_usec)
{
    char text[LENGTH_MAX + 1], *clock;
    struct tm tm;
    size_t n;

    while (isspace((unsigned char)*s))
        s++;
    n = strlen(s);
    while (n > 0 && isspace((unsigned char)s[n - 1]))
        n--;
    if (n == 0 || n > LENGTH_MAX)
        return -EINVAL;
    memcpy(text, s, n);
    text[n] = '\0';
    if (!localtime_r(&now, &tm))
        return -ERANGE;
    if (strcasecmp(text, "now") == 0)
        return finish(now, 0, ret_usec);
    if (text[0] == '-')
        return parse_ago(text + 1, now, tm, ret_usec);
    if (n > 4 && strcasecmp(text + n - 4, " ago") == 0) {
        for (n -= 4; n > 0 && text[n - 1] == ' '; n--)
            ;
        text[n] = '\0';
        return parse_ago(text, now, tm, ret_usec);
    }
    if (isdigit((unsigned char)text[0]) && has_zone(text)) {
        char *t = strpbrk(text, "Tt"), *z = strchr(t, 'z');
        struct tm day = tm;
        int r;

        *t = '\0'; /* the other parser does not know how long a month is */
        if (!parse_date(text, &day))
            return -EINVAL;
        *t = 'T';
        if (z)
            *z = 'Z';
        r = timestamp_parse(text, ret_usec);
        return r < 0 ? r : 0;
    }
    if (parse_clock(text, &tm))
        return from_wall(tm, 0, ret_usec);
    clock = strpbrk(text, isdigit((unsigned char)text[0]) ? " T" : " "); /* not the T of Tuesday */
    if (clock) {
        *clock++ = '\0';
        while (*clock == ' ')
            clock++;
        if (!parse_clock(clock, &tm) || !parse_day(text, &tm))
            return -EINVAL;
        return from_wall(tm, 0, ret_usec);
    }
    if (!parse_day(text, &tm))
        return -EINVAL;
    tm.tm_hour = tm.tm_min = tm.tm_sec = 0;
    if (edge == TIMEWORD_START)
        return from_wall(tm, 0, ret_usec);
    /* Not 24 hours later: days of a change are shorter or longer. */
    tm.tm_mday++;
    tm.tm_sec = -1;
    return from_wall(tm, USEC_PER_SEC - 1, ret_usec);
}
