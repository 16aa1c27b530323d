/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* When a session has not been used for long enough. Knows numbers only: the count of bytes that were read,
 * and a clock that stands still while the machine sleeps, because then nobody could have used it. What is
 * read again from the host's memory is no I/O: so a file that is open counts as use, too, and is looked for
 * only when everything else says that nobody is there. */

#include "util.h"

typedef struct Idle {
    uint64_t span_usec;  /* 0: never */
    uint64_t since_usec; /* CLOCK_MONOTONIC, the last sign of use */
    uint64_t bytes;      /* that were read until then */
} Idle;

/* It is used now. */
void idle_touch(Idle *i, uint64_t now_usec);
/* A look at the count; kept: somebody has said that the session is needed. True: not used for the whole span,
 * unless somebody has a file open. ret_next_usec: how long until the next look. */
bool idle_look(Idle *i, uint64_t bytes, bool kept, uint64_t now_usec, uint64_t *ret_next_usec);
