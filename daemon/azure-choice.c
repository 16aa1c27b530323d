/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "azure-choice.h"

#include "timeutil.h"

static bool means(const AzureChoice *c, const AzurePointInfo *i)
{
    switch (c->rule) {
    case AZURE_RULE_ID:
        return streq(i->id, c->id);
    case AZURE_RULE_LATEST:
        return true;
    case AZURE_RULE_AT:
        return i->time_usec > 0 && i->time_usec <= c->usec;
    case AZURE_RULE_BEFORE:
        return i->time_usec > 0 && i->time_usec < c->usec;
    }
    return false;
}

static uint64_t distance(uint64_t a, uint64_t b)
{
    return a > b ? a - b : b - a;
}

int azure_choice_add(AzureChoice *c, const AzurePointInfo *i)
{
    int r;

    if (means(c, i) && (!c->best.id || i->time_usec > c->best.time_usec)) {
        r = azure_point_info_copy(i, &c->best);
        if (r < 0)
            return r;
    }
    if (azure_point_unusable(i))
        return 0;
    /* With an id the nearest in time, which is known once the point itself was seen; else the newest meant.
     */
    if (c->rule == AZURE_RULE_ID ? c->usable.id && distance(i->time_usec, c->best.time_usec) >=
                                                       distance(c->usable.time_usec, c->best.time_usec)
                                 : !means(c, i) || (c->usable.id && i->time_usec <= c->usable.time_usec))
        return 0;
    return azure_point_info_copy(i, &c->usable);
}

/* --latest can only find nothing where there is nothing. */
static Failure *none(const AzureChoice *c, const char *vm)
{
    char when[TIMESTAMP_MAX];

    switch (c->rule) {
    case AZURE_RULE_ID:
        return failure_new(FAILURE_POINT_NOT_FOUND, "%s has no recovery point %s", vm, c->id);
    case AZURE_RULE_LATEST:
        return failure_new(FAILURE_POINT_NOT_FOUND, "%s has no recovery points", vm);
    case AZURE_RULE_AT:
        return failure_new(FAILURE_POINT_NOT_FOUND, "%s has no recovery point at or before %s", vm,
                           timestamp_format(c->usec, when));
    case AZURE_RULE_BEFORE:
        return failure_new(FAILURE_POINT_NOT_FOUND, "%s has no recovery point before %s", vm,
                           timestamp_format(c->usec, when));
    }
    return NULL;
}

int azure_choice_finish(const AzureChoice *c, const char *vm, Failure **ret_failure)
{
    char when[TIMESTAMP_MAX], other[TIMESTAMP_MAX];
    const char *reason;
    Failure *f;
    int n;

    if (!c->best.id) {
        f = none(c, vm);
        if (f && asprintf(&f->hint, "ilrctl points '%s' shows what there is", vm) < 0)
            f->hint = NULL;
        *ret_failure = f;
        return -ENOENT;
    }
    reason = azure_point_unusable(&c->best);
    if (!reason)
        return 0;
    f = failure_new(FAILURE_POINT_UNUSABLE, "Recovery point %s of %s (%s) %s", c->best.id, vm,
                    c->best.time_usec ? timestamp_format(c->best.time_usec, when) : "time unknown", reason);
    if (f) {
        n = c->usable.id
                ? asprintf(
                      &f->hint, "the nearest that can be brought up is %s of %s: --point=%s", c->usable.id,
                      c->usable.time_usec ? timestamp_format(c->usable.time_usec, other) : "unknown time",
                      c->usable.id)
                : asprintf(&f->hint, "%s",
                           c->rule == AZURE_RULE_LATEST || c->rule == AZURE_RULE_ID
                               ? "no recovery point of this machine can be brought up"
                               : "no recovery point up to that time can be brought up; a later one may");
        if (n < 0)
            f->hint = NULL;
    }
    *ret_failure = f;
    return -EINVAL;
}

void azure_choice_done(AzureChoice *c)
{
    azure_point_info_done(&c->best);
    azure_point_info_done(&c->usable);
}
