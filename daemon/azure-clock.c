/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "azure-clock.h"

#include "azure-error.h"
#include "timeutil.h"

/* A Date has whole seconds and was written before the way here: it is never late, and early by no more than
 * this, unless one of the two clocks was set. */
#define EARLY_MAX_USEC (30 * USEC_PER_SEC)

void azure_clock_heard(AzureClock *c, const char *date, uint64_t boot_usec)
{
    uint64_t theirs;
    int64_t offset;

    if (!date || http_date_parse(date, &theirs) < 0)
        return;
    offset = (int64_t)theirs - (int64_t)boot_usec;
    /* The latest is the nearest: the others took longer, or had more of their second behind them. */
    if (c->known && offset <= c->offset_usec && offset >= c->offset_usec - (int64_t)EARLY_MAX_USEC)
        return;
    c->offset_usec = offset;
    c->known = true;
}

uint64_t azure_clock_at(const AzureClock *c, uint64_t boot_usec)
{
    int64_t offset =
        c->known ? c->offset_usec : (int64_t)now_usec(CLOCK_REALTIME) - (int64_t)now_usec(CLOCK_BOOTTIME);

    return (uint64_t)MAX((int64_t)boot_usec + offset, (int64_t)0);
}
