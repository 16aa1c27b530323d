/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* One CHAP exchange of an iSCSI login (RFC 7143, section 12.1) as somebody sees it who stands between: what
 * the target asks, whether an answer is right for a password, and the right answer for another one. MD5 and
 * SHA1. */

#include "util.h"

#define CHAP_CHALLENGE_MAX 1024 /* bytes */

typedef struct Chap {
    int algorithm, id; /* as the target's CHAP_A and CHAP_I say; 0 and -1 before */
    unsigned char challenge[CHAP_CHALLENGE_MAX];
    size_t challenge_size;
} Chap;

void chap_init(Chap *c);
/* Notes a "KEY=value" of the target; other keys are nothing to it. -EPROTO: one of CHAP's makes no sense. */
int chap_note(Chap *c, const char *pair);
/* CHAP_R's value for that password, "0x...". -EPROTO: nothing was asked that can be answered. */
int chap_answer(const Chap *c, const char *password, char **ret);
/* Is this value of CHAP_R the one for that password? */
bool chap_right(const Chap *c, const char *password, const char *response);
