/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Stands in the place of a tunnel that is gone and lets iscsid log in to its target once more, so that it can
 * log out. An iscsid that was started anew connects again for ever, and until it has succeeded refuses every
 * log-out ("trying to reconnect", "invalid state"); a login that is refused it only tries again. After one
 * that succeeded and a connection that closes at once it takes the next log-out.
 *
 * Nothing but logins is ever answered: no command, so that no byte of data can come from here. */

#include "util.h"
#include "validate.h"

#define STAND_IN_TEXT_MAX 8192 /* what one PDU of a login has at most (RFC 7143, 13.12) */
#define STAND_IN_ANSWER_MAX (48 + STAND_IN_TEXT_MAX + 32)

/* A listener at 127.0.0.1:port, the caller's. -EADDRINUSE: somebody listens there, or a connection of the
 * tunnel's is not over yet. */
int stand_in_target_listen(int port);

/* Waits until somebody of our own user (which iscsid is) has logged in to target and has been closed on:
 * true; timeout_usec at most: false. The other targets of the tunnel, whose names have the same prefix, are
 * stood in for meanwhile: each waits for its log-out, and there is one port. Who wants anything else is
 * closed on. */
bool stand_in_target_serve(int listener, const char *prefix, const char *target, uint64_t timeout_usec);

typedef struct StandInLogin {
    const char *prefix;            /* of the names to which a login succeeds */
    char name[ISCSI_NAME_MAX + 1]; /* of the target, when the initiator has said it; else "" */
    bool done;                     /* the answer lets it into the full feature phase */
} StandInLogin;

/* How long a PDU is behind its first 48 bytes, padding included. -EBADMSG: none that a login may have. */
int stand_in_target_rest(const uint8_t header[static 48]);

/* The answer to a Login Request of size bytes. Returns its length, padding included, or -EBADMSG: it is none,
 * cannot be understood, or is to a target of another name. */
int stand_in_target_answer(StandInLogin *l, const uint8_t *request, size_t size,
                           uint8_t ret[static STAND_IN_ANSWER_MAX]);
