/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Which of a machine's recovery points a caller means by words, and what to say when that one is of no use.
 * Keeps two points in memory, however many there are. The one that the words mean is taken or refused;
 * another is named, never taken instead: who asks for a time must not get the files of another time without
 * knowing. */

#include "azure-points.h"

typedef enum AzureRule {
    AZURE_RULE_ID,     /* this one */
    AZURE_RULE_LATEST, /* the newest */
    AZURE_RULE_AT,     /* the newest at or before usec */
    AZURE_RULE_BEFORE, /* the newest before usec */
} AzureRule;

typedef struct AzureChoice {
    AzureRule rule;
    const char *id; /* of AZURE_RULE_ID, borrowed */
    uint64_t usec;  /* of AT and BEFORE, CLOCK_REALTIME */
    AzurePointInfo best, usable;
} AzureChoice;

/* Looks at one more. Returns 0 or -ENOMEM. */
int azure_choice_add(AzureChoice *c, const AzurePointInfo *i);
/* Judges what was chosen. Returns 0: c->best is it; -ENOENT, -EINVAL with *ret_failure (PointNotFound,
 * PointUnusable; NULL without memory). vm: its name, for messages. */
int azure_choice_finish(const AzureChoice *c, const char *vm, Failure **ret_failure);
void azure_choice_done(AzureChoice *c);
