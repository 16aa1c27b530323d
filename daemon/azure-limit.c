/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "azure-limit.h"

#include "timeutil.h"

#define HOLD_MAX_USEC USEC_PER_HOUR /* longer than any window of the service's limits */

/* Whom the service wants to hear nothing from. */
typedef struct Hold {
    LIST_FIELDS(struct Hold);
    uid_t who;
    uint64_t until_usec; /* CLOCK_BOOTTIME */
} Hold;

typedef struct Queue {
    AzureLimit *limit;
    uint64_t interval_usec, burst_usec;
    uint64_t full_usec; /* CLOCK_BOOTTIME: when the bucket will be full again */
    Hold *holds;
    AzureLimitWaiter *first, *last;
    sd_event_source *timer;
} Queue;

struct AzureLimit {
    sd_event *event;
    Queue queues[AZURE_LIMIT_KIND_MAX];
};

static uint64_t bucket_usec(const Queue *q)
{
    return q->full_usec > q->burst_usec ? q->full_usec - q->burst_usec : 0;
}

static Hold *hold_of(const Queue *q, uid_t who)
{
    Hold *h;

    LIST_FOREACH (h, q->holds)
        if (h->who == who)
            return h;
    return NULL;
}

static uint64_t held_usec(const Queue *q, uid_t who)
{
    Hold *h = hold_of(q, who);

    return h ? h->until_usec : 0;
}

/* The first whom no hold binds. */
static AzureLimitWaiter *next_waiter(const Queue *q)
{
    uint64_t now = now_usec(CLOCK_BOOTTIME);
    AzureLimitWaiter *w;

    LIST_FOREACH (w, q->first)
        if (held_usec(q, w->who) <= now)
            return w;
    return NULL;
}

/* When it can go on for anybody. */
static uint64_t next_usec(const Queue *q)
{
    uint64_t held = USEC_INFINITY;
    AzureLimitWaiter *w;

    LIST_FOREACH (w, q->first)
        held = MIN(held, held_usec(q, w->who));
    return MAX(bucket_usec(q), held);
}

/* Takes one out of the bucket, if there is one. */
static bool take(Queue *q)
{
    uint64_t now = now_usec(CLOCK_BOOTTIME);

    if (now < bucket_usec(q))
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
    AzureLimitWaiter *w;

    while ((w = next_waiter(q)) && take(q)) {
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
    for (int i = 0; i < AZURE_LIMIT_KIND_MAX; i++) {
        Queue *q = &l->queues[i];

        sd_event_source_disable_unref(q->timer);
        while (q->holds) {
            Hold *h = q->holds;

            LIST_REMOVE(q->holds, h);
            free(h);
        }
    }
    sd_event_unref(l->event);
    free(l);
    return NULL;
}

int azure_limit_take(AzureLimit *l, AzureLimitKind kind, uid_t who, AzureLimitWaiter *w,
                     void (*ready)(void *userdata), void *userdata)
{
    Queue *q = &l->queues[kind];
    int r;

    if (!next_waiter(q) && held_usec(q, who) <= now_usec(CLOCK_BOOTTIME) && take(q))
        return 1;
    w->limit = l;
    w->kind = kind;
    w->who = who;
    w->ready = ready;
    w->userdata = userdata;
    w->list.prev = q->last;
    w->list.next = NULL;
    if (q->last)
        q->last->list.next = w;
    else
        q->first = w;
    q->last = w;
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

static void forget_old_holds(Queue *q)
{
    uint64_t now = now_usec(CLOCK_BOOTTIME);
    Hold *h, *next;

    for (h = q->holds; h; h = next) {
        next = h->list.next;
        if (h->until_usec <= now) {
            LIST_REMOVE(q->holds, h);
            free(h);
        }
    }
}

void azure_limit_hold(AzureLimit *l, AzureLimitKind kind, uid_t who, uint64_t until_usec)
{
    Queue *q = &l->queues[kind];
    Hold *h = hold_of(q, who);

    if (!h) {
        forget_old_holds(q);
        h = calloc(1, sizeof(*h));
        if (!h)
            return; /* the next 429 says it again */
        h->who = who;
        LIST_PREPEND(q->holds, h);
    }
    h->until_usec = MAX(h->until_usec, MIN(until_usec, now_usec(CLOCK_BOOTTIME) + HOLD_MAX_USEC));
    (void)schedule(q);
}

uint64_t azure_limit_held(const AzureLimit *l, AzureLimitKind kind, uid_t who)
{
    return held_usec(&l->queues[kind], who);
}
