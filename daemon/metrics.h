/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What has been counted since the start, as OpenMetrics text. Counts only; what the sessions are now is given
 * to metrics_text(). Metrics * may be NULL everywhere: nothing is counted. */

#include "failure.h"

typedef struct Metrics Metrics;

int metrics_new(Metrics **ret);
Metrics *metrics_free(Metrics *m);
DEFINE_CLEANUP(Metrics *, metrics_free)

/* A step of a session has ended well. step: a name that stays (of a table). */
void metrics_step(Metrics *m, const char *step, uint64_t took_usec);
/* A session failed, or an attempt to release one did. */
void metrics_failure(Metrics *m, FailureName name);
/* A session is over. end: a name that stays. bytes_read: since the start, not of all its
 * life. */
void metrics_closed(Metrics *m, const char *end, uint64_t bytes_read);

typedef struct MetricsSession {
    const char *id, *state;
    const char *vm;        /* anything, escaped here; NULL: not known */
    uint64_t bytes_read;   /* so far */
    uint64_t before_bytes; /* of them before the start */
    uint64_t left_usec;    /* until Azure's end; USEC_INFINITY: not known */
    size_t inhibitors;
} MetricsSession;

/* The whole text, ended by "# EOF"; the caller's. states: all there are, NULL-terminated. Types that the
 * older Prometheus text format does not know are left out, because node_exporter reads files in that one.
 * Returns 0 or -ENOMEM. */
int metrics_text(const Metrics *m, const char *const *states, const MetricsSession *sessions, size_t n,
                 char **ret);
