/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "metrics.h"

#include "timeutil.h"

#include <inttypes.h>

#define NAMES_MAX 16 /* steps, ends: there are fewer */

/* Upper bounds in seconds: from what is there at once to what takes half an hour. */
static const unsigned buckets[] = {1, 5, 15, 30, 60, 120, 300, 600, 1800};

typedef struct Step {
    const char *name;
    uint64_t sum_usec, count, in[ELEMENTSOF(buckets)];
} Step;

typedef struct End {
    const char *name;
    uint64_t count;
} End;

struct Metrics {
    uint64_t start_usec; /* since 1970 */
    Step steps[NAMES_MAX];
    End ends[NAMES_MAX];
    uint64_t failures[FAILURE_NAME_MAX];
    uint64_t bytes_read; /* by sessions that are over, since the start */
};

int metrics_new(Metrics **ret)
{
    Metrics *m = calloc(1, sizeof(*m));

    if (!m)
        return -ENOMEM;
    m->start_usec = now_usec(CLOCK_REALTIME);
    *ret = m;
    return 0;
}

Metrics *metrics_free(Metrics *m)
{
    free(m);
    return NULL;
}

void metrics_step(Metrics *m, const char *step, uint64_t took_usec)
{
    size_t i, b;

    if (!m)
        return;
    for (i = 0; i < NAMES_MAX && m->steps[i].name && !streq(m->steps[i].name, step);)
        i++;
    if (i == NAMES_MAX)
        return;
    m->steps[i].name = step;
    m->steps[i].count++;
    m->steps[i].sum_usec += took_usec;
    for (b = 0; b < ELEMENTSOF(buckets); b++)
        if (took_usec <= buckets[b] * USEC_PER_SEC)
            m->steps[i].in[b]++;
}

void metrics_failure(Metrics *m, FailureName name)
{
    if (m && name >= 0 && name < FAILURE_NAME_MAX)
        m->failures[name]++;
}

void metrics_closed(Metrics *m, const char *end, uint64_t bytes_read)
{
    size_t i;

    if (!m)
        return;
    m->bytes_read += bytes_read;
    for (i = 0; i < NAMES_MAX && m->ends[i].name && !streq(m->ends[i].name, end);)
        i++;
    if (i == NAMES_MAX)
        return;
    m->ends[i].name = end;
    m->ends[i].count++;
}

/* ---- the text ---- */

static void family(FILE *f, const char *name, const char *type, const char *unit, const char *help)
{
    fprintf(f, "# TYPE %s %s\n", name, type);
    if (unit)
        fprintf(f, "# UNIT %s %s\n", name, unit);
    fprintf(f, "# HELP %s %s\n", name, help);
}

/* {session="...",vm="..."}; the name of a virtual machine comes from elsewhere. */
static void labels(FILE *f, const MetricsSession *s)
{
    const char *c;

    fprintf(f, "{session=\"%s\",vm=\"", s->id);
    for (c = s->vm ? s->vm : ""; *c; c++)
        if (*c == '"' || *c == '\\')
            fprintf(f, "\\%c", *c);
        else if (*c == '\n')
            fputs("\\n", f);
        else
            fputc(*c, f);
    fputs("\"}", f);
}

static void seconds(FILE *f, uint64_t usec)
{
    fprintf(f, " %" PRIu64 ".%06" PRIu64 "\n", usec / USEC_PER_SEC, usec % USEC_PER_SEC);
}

static void write_steps(const Metrics *m, FILE *f)
{
    static const char name[] = "ilrd_step_duration_seconds";
    size_t i, b;

    family(f, name, "histogram", "seconds", "How long the steps of sessions took that ended well.");
    for (i = 0; i < NAMES_MAX && m->steps[i].name; i++) {
        const Step *s = &m->steps[i];

        for (b = 0; b < ELEMENTSOF(buckets); b++)
            fprintf(f, "%s_bucket{step=\"%s\",le=\"%u.0\"} %" PRIu64 "\n", name, s->name, buckets[b],
                    s->in[b]);
        fprintf(f, "%s_bucket{step=\"%s\",le=\"+Inf\"} %" PRIu64 "\n", name, s->name, s->count);
        fprintf(f, "%s_count{step=\"%s\"} %" PRIu64 "\n", name, s->name, s->count);
        fprintf(f, "%s_sum{step=\"%s\"}", name, s->name);
        seconds(f, s->sum_usec);
    }
}

static void write_counts(const Metrics *m, FILE *f)
{
    size_t i;

    family(f, "ilrd_sessions_closed", "counter", NULL, "Sessions that are over, by why they ended.");
    for (i = 0; i < NAMES_MAX && m->ends[i].name; i++)
        fprintf(f, "ilrd_sessions_closed_total{end=\"%s\"} %" PRIu64 "\n", m->ends[i].name, m->ends[i].count);
    family(f, "ilrd_failures", "counter", NULL,
           "Sessions that failed and attempts to release that did, by name.");
    for (i = 0; i < FAILURE_NAME_MAX; i++)
        if (m->failures[i] > 0)
            fprintf(f, "ilrd_failures_total{name=\"%s\"} %" PRIu64 "\n",
                    failure_name_to_string((FailureName)i), m->failures[i]);
}

static void write_sessions(const Metrics *m, const char *const *states, const MetricsSession *sessions,
                           size_t n, FILE *f)
{
    uint64_t bytes = m->bytes_read;
    size_t i, count;

    family(f, "ilrd_sessions", "gauge", NULL, "Sessions by state.");
    for (; *states; states++) {
        for (i = count = 0; i < n; i++)
            count += streq(sessions[i].state, *states);
        fprintf(f, "ilrd_sessions{state=\"%s\"} %zu\n", *states, count);
    }
    family(f, "ilrd_session_inhibitors", "gauge", NULL, "Who keeps a session from being released as unused.");
    for (i = 0; i < n; i++) {
        fputs("ilrd_session_inhibitors", f);
        labels(f, &sessions[i]);
        fprintf(f, " %zu\n", sessions[i].inhibitors);
    }
    family(f, "ilrd_session_time_left_seconds", "gauge", "seconds", "Time until Azure ends a session.");
    for (i = 0; i < n; i++) {
        if (sessions[i].left_usec == USEC_INFINITY)
            continue;
        fputs("ilrd_session_time_left_seconds", f);
        labels(f, &sessions[i]);
        seconds(f, sessions[i].left_usec);
    }
    family(f, "ilrd_session_read_bytes", "counter", "bytes", "Read from the backup's disks by a session.");
    for (i = 0; i < n; i++) {
        fputs("ilrd_session_read_bytes_total", f);
        labels(f, &sessions[i]);
        fprintf(f, " %" PRIu64 "\n", sessions[i].bytes_read);
        bytes += sessions[i].bytes_read - sessions[i].before_bytes;
    }
    family(f, "ilrd_read_bytes", "counter", "bytes", "Read from the backup's disks by all sessions.");
    fprintf(f, "ilrd_read_bytes_total %" PRIu64 "\n", bytes);
}

int metrics_text(const Metrics *m, const char *const *states, const MetricsSession *sessions, size_t n,
                 char **ret)
{
    size_t size;
    char *text = NULL;
    FILE *f = open_memstream(&text, &size);
    bool bad;

    if (!f)
        return -ENOMEM;
    family(f, "ilrd_build_info", "gauge", NULL, "The running version.");
    fputs("ilrd_build_info{version=\"" PACKAGE_VERSION "\"} 1\n", f);
    family(f, "ilrd_start_time_seconds", "gauge", "seconds", "When ilrd was started, since 1970.");
    fputs("ilrd_start_time_seconds", f);
    seconds(f, m->start_usec);
    write_sessions(m, states, sessions, n, f);
    write_counts(m, f);
    write_steps(m, f);
    fputs("# EOF\n", f);
    bad = ferror(f);
    if (fclose(f) != 0 || bad) {
        free(text);
        return -ENOMEM;
    }
    *ret = text;
    return 0;
}
