/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "azure-limit.h"

#include "timeutil.h"

#define HOLD_MAX_USEC USEC_PER_HOUR /* longer than any window of the service's limits */

typedef struct Queue {
    AzureLimit *limit;
    uint64_t interval_usec, burst_usec;
    uint64_t full_usec; /* CLOCK_BOOTTIME: when the bucket will be full again */
    uint64_t held_usec; /* the same: nothing before */
    AzureLimitWaiter *first, *last;
    sd_event_source *timer;
} Queue;

struct AzureLimit {
    sd_event *event;
    Queue queues[AZURE_LIMIT_KIND_MAX];
};

static uint64_t next_usec(const Queue *q)
{
    uint64_t next = q->full_usec > q->burst_usec ? q->full_usec - q->burst_usec : 0;

    return MAX(next, q->held_usec);
}

/* Takes one out of the bucket, if there is one. */
static bool take(Queue *q)
{
    uint64_t now = now_usec(CLOCK_BOOTTIME);

    if (now < next_usec(q))
        return false;
    q->full_usec = MAX(q->full_usec, now) + q->interval_usec;
    return true;
}

static void leave(Queue *q, AzureLimitWaiter *w)
{
    if (q->last == w)
        q->last = w->list.prev;
    LIST_REMOVE(q->first, w);
    w->limit = NULL;
}

static int on_timer(sd_event_source *source, uint64_t usec, void *userdata);

static int schedule(Queue *q)
{
    int r;

    if (!q->first)
        return q->timer ? sd_event_source_set_enabled(q->timer, SD_EVENT_OFF) : 0;
    if (!q->timer)
        return sd_event_add_time(q->limit->event, &q->timer, CLOCK_BOOTTIME, next_usec(q), 1, on_timer, q);
    r = sd_event_source_set_time(q->timer, next_usec(q));
    return r < 0 ? r : sd_event_source_set_enabled(q->timer, SD_EVENT_ONESHOT);
}

static int on_timer(sd_event_source *source, uint64_t usec, void *userdata)
{
    Queue *q = userdata;

    while (q->first && take(q)) {
        AzureLimitWaiter *w = q->first;

        leave(q, w);
        w->ready(w->userdata); /* may free it and change the queue */
    }
    (void)schedule(q);
    return 0;
}

int azure_limit_new(AzureLimit **ret, sd_event *event)
{
    static const struct {
        unsigned per_sec, burst;
    } rates[AZURE_LIMIT_KIND_MAX] = {
        [AZURE_LIMIT_READ] = {AZURE_READS_PER_SEC, AZURE_READS_BURST},
        [AZURE_LIMIT_WRITE] = {AZURE_WRITES_PER_SEC, AZURE_WRITES_BURST},
    };
    AzureLimit *l = calloc(1, sizeof(*l));

    if (!l)
        return -ENOMEM;
    l->event = sd_event_ref(event);
    for (int i = 0; i < AZURE_LIMIT_KIND_MAX; i++) {
        l->queues[i].limit = l;
        l->queues[i].interval_usec = USEC_PER_SEC / rates[i].per_sec;
        l->queues[i].burst_usec = (rates[i].burst - 1) * l->queues[i].interval_usec;
    }
    *ret = l;
    return 0;
}

AzureLimit *azure_limit_free(AzureLimit *l)
{
    if (!l)
        return NULL;
    for (int i = 0; i < AZURE_LIMIT_KIND_MAX; i++)
        sd_event_source_disable_unref(l->queues[i].timer);
    sd_event_unref(l->event);
    free(l);
    return NULL;
}

int azure_limit_take(AzureLimit *l, AzureLimitKind kind, AzureLimitWaiter *w, void (*ready)(void *userdata),
                     void *userdata)
{
    Queue *q = &l->queues[kind];
    int r;

    if (!q->first && take(q))
        return 1;
    w->limit = l;
    w->kind = kind;
    w->ready = ready;
    w->userdata = userdata;
    w->list.prev = q->last;
    w->list.next = NULL;
    if (q->last)
        q->last->list.next = w;
    else
        q->first = w;
    q->last = w;
    if (q->first != w)
        return 0;
    r = schedule(q);
    if (r < 0)
        leave(q, w);
    return r < 0 ? r : 0;
}

void azure_limit_leave(AzureLimitWaiter *w)
{
    Queue *q = w->limit ? &w->limit->queues[w->kind] : NULL;

    if (!q)
        return;
    leave(q, w);
    (void)schedule(q);
}

void azure_limit_hold(AzureLimit *l, AzureLimitKind kind, uint64_t until_usec)
{
    Queue *q = &l->queues[kind];

    q->held_usec = MAX(q->held_usec, MIN(until_usec, now_usec(CLOCK_BOOTTIME) + HOLD_MAX_USEC));
    (void)schedule(q);
}

uint64_t azure_limit_held(const AzureLimit *l, AzureLimitKind kind)
{
    return l->queues[kind].held_usec;
}
