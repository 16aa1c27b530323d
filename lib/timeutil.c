/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "timeutil.h"

#include <ctype.h>
#include <inttypes.h>

uint64_t now_usec(clockid_t clock)
{
    struct timespec ts;

    clock_gettime(clock, &ts);
    return (uint64_t)ts.tv_sec * USEC_PER_SEC + (uint64_t)ts.tv_nsec / 1000;
}

int timespan_parse(const char *s, uint64_t *ret_usec)
{
    static const struct {
        const char *unit;
        uint64_t usec;
    } units[] = {
        {"ms", USEC_PER_MSEC},     {"msec", USEC_PER_MSEC}, {"s", USEC_PER_SEC},  {"sec", USEC_PER_SEC},
        {"min", USEC_PER_MINUTE},  {"m", USEC_PER_MINUTE},  {"h", USEC_PER_HOUR}, {"hr", USEC_PER_HOUR},
        {"d", 24 * USEC_PER_HOUR}, {"", USEC_PER_SEC},
    };
    const uint64_t max = 366 * 24 * USEC_PER_HOUR;
    uint64_t total = 0;
    bool any = false;

    for (s += strspn(s, " \t"); *s; s += strspn(s, " \t")) {
        uint64_t n, part;
        size_t i, len;
        char *end;

        if (!isdigit((unsigned char)*s))
            return -EINVAL;
        errno = 0;
        n = strtoull(s, &end, 10);
        if (errno)
            return -ERANGE;
        end += strspn(end, " \t");
        for (len = 0; isalpha((unsigned char)end[len]);)
            len++;
        for (i = 0; i < ELEMENTSOF(units); i++)
            if (strlen(units[i].unit) == len && strncmp(units[i].unit, end, len) == 0)
                break;
        if (i == ELEMENTSOF(units))
            return -EINVAL;
        if (__builtin_mul_overflow(n, units[i].usec, &part) || __builtin_add_overflow(total, part, &total) ||
            total > max)
            return -ERANGE;
        any = true;
        s = end + len;
    }
    if (!any)
        return -EINVAL;
    *ret_usec = total;
    return 0;
}

int timestamp_parse(const char *s, uint64_t *ret_usec)
{
    int year, month, day, hour, minute, second, n = 0;
    uint64_t fraction = 0, unit = USEC_PER_SEC / 10;
    int64_t offset = 0;
    struct tm tm = {};
    time_t t;

    if (sscanf(s, "%4d-%2d-%2dT%2d:%2d:%2d%n", &year, &month, &day, &hour, &minute, &second, &n) != 6 ||
        n == 0)
        return -EINVAL;
    if (month < 1 || month > 12 || day < 1 || day > 31 || hour < 0 || hour > 23 || minute < 0 ||
        minute > 59 || second < 0 || second > 60 || year < 0)
        return -EINVAL;
    s += n;
    if (*s == '.') {
        if (!isdigit((unsigned char)s[1]))
            return -EINVAL;
        for (s++; isdigit((unsigned char)*s); s++) {
            fraction += (uint64_t)(*s - '0') * unit;
            unit /= 10;
        }
    }
    if (*s == '+' || *s == '-') {
        int oh, om;

        if (sscanf(s + 1, "%2d:%2d%n", &oh, &om, &n) != 2 || oh < 0 || oh > 23 || om < 0 || om > 59 ||
            s[1 + n])
            return -EINVAL;
        offset = (*s == '+' ? 1 : -1) * (oh * 3600 + om * 60);
    } else if (!streq(s, "Z") && !streq(s, ""))
        return -EINVAL;
    if (year < 1970)
        return -ERANGE;
    tm.tm_year = year - 1900;
    tm.tm_mon = month - 1;
    tm.tm_mday = day;
    tm.tm_hour = hour;
    tm.tm_min = minute;
    tm.tm_sec = second;
    t = timegm(&tm) - offset;
    if (t < 0)
        return -ERANGE;
    *ret_usec = (uint64_t)t * USEC_PER_SEC + fraction;
    return 0;
}

const char *timestamp_format(uint64_t usec, char buf[static TIMESTAMP_MAX])
{
    time_t t = (time_t)(usec / USEC_PER_SEC);
    struct tm tm;

    if (!gmtime_r(&t, &tm) || strftime(buf, TIMESTAMP_MAX, "%Y-%m-%dT%H:%M:%SZ", &tm) == 0)
        strcpy(buf, "?");
    return buf;
}

const char *timespan_format(uint64_t usec, char *buf, size_t size)
{
    if (usec < USEC_PER_SEC)
        snprintf(buf, size, "%" PRIu64 " ms", usec / USEC_PER_MSEC);
    else if (usec < USEC_PER_MINUTE)
        snprintf(buf, size, "%" PRIu64 " s", usec / USEC_PER_SEC);
    else if (usec < USEC_PER_HOUR)
        snprintf(buf, size, "%" PRIu64 " min %" PRIu64 " s", usec / USEC_PER_MINUTE,
                 usec % USEC_PER_MINUTE / USEC_PER_SEC);
    else
        snprintf(buf, size, "%" PRIu64 " h %" PRIu64 " min", usec / USEC_PER_HOUR,
                 usec % USEC_PER_HOUR / USEC_PER_MINUTE);
    return buf;
}
