/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "idle.h"

/* So exactly the time of the last read is known, and so old the count for others may be. */
#define LOOK_MAX_USEC USEC_PER_MINUTE
#define LOOK_MIN_USEC (250 * USEC_PER_MSEC)

void idle_touch(Idle *i, uint64_t now_usec)
{
    i->since_usec = now_usec;
}

bool idle_look(Idle *i, uint64_t bytes, bool kept, uint64_t now_usec, uint64_t *ret_next_usec)
{
    uint64_t passed;

    *ret_next_usec = LOOK_MAX_USEC;
    if (bytes != i->bytes || kept)
        i->since_usec = now_usec;
    i->bytes = bytes;
    if (i->span_usec == 0)
        return false;
    passed = now_usec > i->since_usec ? now_usec - i->since_usec : 0;
    if (passed >= i->span_usec)
        return true;
    *ret_next_usec = MAX(MIN(MIN(i->span_usec / 8, LOOK_MAX_USEC), i->span_usec - passed), LOOK_MIN_USEC);
    return false;
}
