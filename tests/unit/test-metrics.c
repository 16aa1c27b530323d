/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The text of the metrics, line by line, as the OpenMetrics specification wants it: metadata before its
 * samples and each once, no family in two pieces, names with the suffix of their type and unit, labels
 * escaped, histograms whose buckets grow, "# EOF" at the end and nothing behind it. */

#include "metrics.h"
#include "strv.h"

#include <ctype.h>
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#define NAME "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_:"

typedef struct Reader {
    char family[128], type[32], unit[32];
    bool help;
    char **families; /* that are over or begun */
    char **series;   /* name and labels */
    /* of a histogram */
    char histogram[256];
    double bucket, bound;
} Reader;

static const char *word(const char *s, char *buf, size_t size)
{
    size_t n = strcspn(s, " \n");

    assert_true(n > 0 && n < size);
    memcpy(buf, s, n);
    buf[n] = '\0';
    return s + n + (s[n] == ' ');
}

static void read_metadata(Reader *r, const char *line)
{
    char kind[16], name[128], rest[256];

    line = word(line, kind, sizeof(kind));
    line = word(line, name, sizeof(name));
    assert_int_equal(strspn(name, NAME), strlen(name));
    if (strcmp(name, r->family) != 0) {
        assert_false(strv_contains(r->families, name));
        assert_int_equal(strv_extend(&r->families, name), 0);
        strcpy(r->family, name);
        r->type[0] = r->unit[0] = '\0';
        r->help = false;
    }
    if (streq(kind, "TYPE")) {
        assert_string_equal(r->type, "");
        (void)word(line, r->type, sizeof(r->type));
        assert_true(streq(r->type, "gauge") || streq(r->type, "counter") || streq(r->type, "histogram"));
    } else if (streq(kind, "UNIT")) {
        assert_string_equal(r->unit, "");
        (void)word(line, r->unit, sizeof(r->unit));
        snprintf(rest, sizeof(rest), "_%s", r->unit);
        assert_non_null(endswith(name, rest));
    } else {
        assert_string_equal(kind, "HELP");
        assert_false(r->help);
        assert_true(strlen(line) > 10);
        r->help = true;
    }
}

/* Behind the closing brace. Sets the value of le. */
static const char *read_labels(const char *s, char *le, size_t size)
{
    do {
        size_t n = strspn(++s, NAME);
        bool is_le = n == 2 && strncmp(s, "le", 2) == 0;

        assert_true(n > 0 && !isdigit((unsigned char)*s));
        s += n;
        assert_true(s[0] == '=' && s[1] == '"');
        for (s += 2; *s != '"'; s++) {
            assert_true(*s && *s != '\n');
            if (is_le && size > 1) {
                *le++ = *s;
                *le = '\0';
                size--;
            }
            if (*s == '\\')
                assert_true(strchr("\\\"n", *++s));
        }
        s++;
    } while (*s == ',');
    assert_int_equal(*s, '}');
    return s + 1;
}

static void read_sample(Reader *r, const char *line)
{
    const char *s = line + strspn(line, NAME), *suffix;
    _cleanup_free_ char *name = strndup(line, (size_t)(s - line)), *series = NULL;
    char le[32] = "", *end;
    double value;

    suffix = startswith(name, r->family);
    assert_non_null(suffix); /* of the family that was announced */
    assert_true(r->type[0] && r->help);
    if (streq(r->type, "gauge"))
        assert_string_equal(suffix, "");
    else if (streq(r->type, "counter"))
        assert_string_equal(suffix, "_total");
    else
        assert_true(streq(suffix, "_bucket") || streq(suffix, "_count") || streq(suffix, "_sum"));
    if (*s == '{')
        s = read_labels(s, le, sizeof(le));
    series = strndup(line, (size_t)(s - line));
    assert_false(strv_contains(r->series, series));
    assert_int_equal(strv_extend(&r->series, series), 0);
    assert_int_equal(*s, ' ');
    value = strtod(s + 1, &end);
    assert_true(end > s + 1 && *end == '\n');
    assert_true(value >= 0);
    if (streq(suffix, "_bucket")) {
        double bound = streq(le, "+Inf") ? 1e300 : strtod(le, NULL);

        assert_true(*le != '\0');
        if (r->bound >= 1e300) /* another one begins */
            r->bucket = r->bound = 0;
        assert_true(bound > r->bound && value >= r->bucket);
        r->bucket = value;
        r->bound = bound;
    } else if (streq(suffix, "_count"))
        assert_true(r->bound >= 1e300 && value == r->bucket);
}

static void read_all(const char *text)
{
    Reader r = {.bound = 1e300};

    for (;;) {
        const char *end = strchr(text, '\n');

        assert_non_null(end);
        if (startswith(text, "# EOF\n")) {
            assert_string_equal(text, "# EOF\n");
            break;
        }
        if (startswith(text, "# "))
            read_metadata(&r, text + 2);
        else
            read_sample(&r, text);
        text = end + 1;
    }
    strv_free(r.families);
    strv_free(r.series);
}

static const char *const states[] = {"provisioning", "ready", NULL};

static void has(const char *text, const char *line)
{
    const char *p = strstr(text, line);

    if (!p || (p > text && p[-1] != '\n') || p[strlen(line)] != '\n')
        fail_msg("no line \"%s\" in:\n%s", line, text);
}

static void test_nothing(void **state)
{
    _cleanup_(metrics_freep) Metrics *m = NULL;
    _cleanup_free_ char *text = NULL;

    assert_int_equal(metrics_new(&m), 0);
    assert_int_equal(metrics_text(m, states, NULL, 0, &text), 0);
    read_all(text);
    has(text, "ilrd_sessions{state=\"ready\"} 0");
    has(text, "ilrd_read_bytes_total 0");
    metrics_step(NULL, "x", 1);
    metrics_failure(NULL, FAILURE_BUSY);
    metrics_closed(NULL, "x", 1);
}

static void test_counts(void **state)
{
    static const MetricsSession sessions[] = {
        {"abcdefgh", "ready", "web1", 4096, 96, 90 * USEC_PER_SEC, 2},
        {"bcdefghi", "ready", "a \"b\" \\ \n c", 1000, 0, USEC_INFINITY, 0},
        {"cdefghij", "provisioning", NULL, 0, 0, 0, 0},
    };
    _cleanup_(metrics_freep) Metrics *m = NULL;
    _cleanup_free_ char *text = NULL;

    assert_int_equal(metrics_new(&m), 0);
    metrics_step(m, "provisioning", USEC_PER_SEC);
    metrics_step(m, "provisioning", USEC_PER_SEC + 1);
    metrics_step(m, "provisioning", 3 * USEC_PER_HOUR);
    metrics_step(m, "attaching", 250 * USEC_PER_MSEC);
    metrics_failure(m, FAILURE_BUSY);
    metrics_failure(m, FAILURE_BUSY);
    metrics_failure(m, FAILURE_INTERNAL);
    metrics_closed(m, "idle", 7);
    metrics_closed(m, "expired", 0);
    metrics_closed(m, "idle", 1);
    assert_int_equal(metrics_text(m, states, sessions, ELEMENTSOF(sessions), &text), 0);
    read_all(text);
    has(text, "ilrd_sessions{state=\"ready\"} 2");
    has(text, "ilrd_sessions{state=\"provisioning\"} 1");
    has(text, "ilrd_session_inhibitors{session=\"abcdefgh\",vm=\"web1\"} 2");
    has(text, "ilrd_session_time_left_seconds{session=\"abcdefgh\",vm=\"web1\"} 90.000000");
    assert_null(strstr(text, "time_left_seconds{session=\"bcdefghi\""));
    has(text, "ilrd_session_read_bytes_total{session=\"bcdefghi\",vm=\"a \\\"b\\\" \\\\ \\n c\"} 1000");
    has(text, "ilrd_read_bytes_total 5008");
    has(text, "ilrd_sessions_closed_total{end=\"idle\"} 2");
    has(text, "ilrd_failures_total{name=\"Busy\"} 2");
    has(text, "ilrd_step_duration_seconds_bucket{step=\"provisioning\",le=\"1.0\"} 1");
    has(text, "ilrd_step_duration_seconds_bucket{step=\"provisioning\",le=\"5.0\"} 2");
    has(text, "ilrd_step_duration_seconds_bucket{step=\"provisioning\",le=\"+Inf\"} 3");
    has(text, "ilrd_step_duration_seconds_sum{step=\"provisioning\"} 10802.000001");
    has(text, "ilrd_step_duration_seconds_sum{step=\"attaching\"} 0.250000");
}

static void test_more_names_than_places(void **state)
{
    static const char *const names[] = {"a", "b", "c", "d", "e", "f", "g", "h", "i", "j",
                                        "k", "l", "m", "n", "o", "p", "q", "r", "s"};
    _cleanup_(metrics_freep) Metrics *m = NULL;
    _cleanup_free_ char *text = NULL;
    size_t i;

    assert_int_equal(metrics_new(&m), 0);
    for (i = 0; i < ELEMENTSOF(names); i++) {
        metrics_step(m, names[i], 1);
        metrics_closed(m, names[i], 1);
    }
    metrics_failure(m, FAILURE_NAME_MAX);
    metrics_failure(m, FAILURE_NAME_INVALID);
    assert_int_equal(metrics_text(m, states, NULL, 0, &text), 0);
    read_all(text);
    has(text, "ilrd_read_bytes_total 19");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_nothing),
        cmocka_unit_test(test_counts),
        cmocka_unit_test(test_more_names_than_places),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
