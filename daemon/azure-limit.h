/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* How fast the host may ask: one queue for what reads and one for what writes, over all sessions and callers,
 * first come first served. Azure Resource Manager gives each principal a bucket of 250 reads that fills by 25
 * a second and one of 200 writes that fills by 10; the Backup service counts a few hundred reads for each
 * kind of call. So no second sees more than 25 reads and 10 writes from here. When the service says that it
 * has had enough of somebody, or nearly, that one waits and the others go on: it counts for each principal,
 * which is the host, or a person who has signed in.
 *
 * The limit must outlive its waiters. */

#include "list.h"
#include "util.h"
#include <systemd/sd-event.h>

/* In any second: the burst and what fills up meanwhile; a little less than allowed, because the way there is
 * not equally long for all. */
#define AZURE_READS_PER_SEC 21
#define AZURE_READS_BURST 2
#define AZURE_WRITES_PER_SEC 8
#define AZURE_WRITES_BURST 1

typedef enum AzureLimitKind {
    AZURE_LIMIT_READ,
    AZURE_LIMIT_WRITE,
    AZURE_LIMIT_KIND_MAX,
    AZURE_LIMIT_KIND_INVALID = -EINVAL,
} AzureLimitKind;

typedef struct AzureLimit AzureLimit;

/* A place in the queue, embedded in what waits; all zero to begin with. */
typedef struct AzureLimitWaiter {
    AzureLimit *limit; /* NULL: not in a queue */
    AzureLimitKind kind;
    uid_t who;
    void (*ready)(void *userdata);
    void *userdata;
    LIST_FIELDS(struct AzureLimitWaiter);
} AzureLimitWaiter;

int azure_limit_new(AzureLimit **ret, sd_event *event);
AzureLimit *azure_limit_free(AzureLimit *l);
DEFINE_CLEANUP(AzureLimit *, azure_limit_free)

/* who: the person with this uid, or (uid_t) -1, the host. 1: send now. 0: w is in the queue, ready comes
 * once, from the event loop. A negative errno: neither. */
int azure_limit_take(AzureLimit *l, AzureLimitKind kind, uid_t who, AzureLimitWaiter *w,
                     void (*ready)(void *userdata), void *userdata);
/* Gives the place up; nothing if there is none. */
void azure_limit_leave(AzureLimitWaiter *w);

/* Nothing of this kind is sent for this one before then (CLOCK_BOOTTIME), at most an hour from now. */
void azure_limit_hold(AzureLimit *l, AzureLimitKind kind, uid_t who, uint64_t until_usec);
/* Until when it is held, or 0. */
uint64_t azure_limit_held(const AzureLimit *l, AzureLimitKind kind, uid_t who);
