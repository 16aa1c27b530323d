/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Follows one iSCSI connection (RFC 7143) that passes through the portal, far enough to make an ordinary
 * target answer as the recovery service's does:
 * - the CHAP name that scripts present, "OS;VERSION;USER", reaches the target as USER;
 * - a discovery session is let in by the password of its user, and reaches the target as one account that is
 * the same for all;
 * - the answer to SendTargets in a discovery session names the targets of that user only, without
 * TargetAddress. Once the login of a normal session is through, the bytes are none of its business. It knows
 * no sockets and no TLS.
 *
 * Not supported, the connection is given up: login keys cut over several PDUs (C bit), digests in discovery
 * sessions. No initiator of interest does either. */

#include "chap.h"
#include "strv.h"

#define ISCSI_DATA_MAX (64 * KIB) /* data segment of a PDU that is looked into */

/* Bytes on their way: filled at the end, taken from the start. */
typedef struct Bytes {
    char *data;
    size_t start, end, allocated;
} Bytes;

void bytes_done(Bytes *b);
/* Room for size more bytes at data + end. 0 or -ENOMEM. */
int bytes_reserve(Bytes *b, size_t size);
int bytes_append(Bytes *b, const void *bytes, size_t size);
static inline size_t bytes_size(const Bytes *b)
{
    return b->end - b->start;
}
/* Forgets size bytes at the start. */
void bytes_take(Bytes *b, size_t size);

typedef enum IscsiDirection {
    ISCSI_TO_TARGET,
    ISCSI_TO_CLIENT,
    ISCSI_DIRECTION_MAX,
    ISCSI_DIRECTION_INVALID = -EINVAL,
} IscsiDirection;

typedef enum IscsiPhase {
    ISCSI_PHASE_LOGIN,
    ISCSI_PHASE_DISCOVERY, /* logged in to look for targets */
    ISCSI_PHASE_NORMAL,    /* logged in to a target: bytes pass untouched */
    ISCSI_PHASE_MAX,
    ISCSI_PHASE_INVALID = -EINVAL,
} IscsiPhase;

/* The names that a discovery session of this user and initiator is told (the filter frees them; NULL: none).
 */
typedef int (*IscsiTargets)(void *userdata, const char *user, const char *initiator, char ***ret);

/* The password of this user (the filter frees it). -ENOENT: there is none. */
typedef int (*IscsiPassword)(void *userdata, const char *user, char **ret);

/* How discovery sessions are let in. */
typedef struct IscsiDiscovery {
    const char *user, *password; /* the account that the target asks them for */
    IscsiPassword password_of;   /* a user's own */
} IscsiDiscovery;

typedef struct IscsiFilter {
    IscsiPhase phase;
    bool discovery;    /* SessionType=Discovery was asked for */
    bool cut;          /* a list of targets was longer than the initiator takes */
    size_t answer_max; /* the initiator's MaxRecvDataSegmentLength, bytes */
    char *user;        /* CHAP_N without what stands before its last ';', or NULL */
    char *initiator;   /* or NULL */
    Bytes input[ISCSI_DIRECTION_MAX];
    Chap chap; /* what the target asked a discovery session */
    IscsiTargets targets;
    const IscsiDiscovery *accounts; /* NULL: discovery sessions reach the target as they are */
    void *userdata;
} IscsiFilter;

/* accounts stays the caller's, as long as the filter is used. */
void iscsi_filter_init(IscsiFilter *f, IscsiTargets targets, const IscsiDiscovery *accounts, void *userdata);
void iscsi_filter_done(IscsiFilter *f);

/* Takes bytes that go in one direction and appends to out what is to be sent on in their place.
 * -EPROTO: not iSCSI, or nothing that is supported here: end the connection. -ENOMEM. */
int iscsi_filter_feed(IscsiFilter *f, IscsiDirection direction, const char *bytes, size_t size, Bytes *out);

/* Nothing is held back and nothing will be changed any more: bytes of this direction need not be fed. */
bool iscsi_filter_transparent(const IscsiFilter *f, IscsiDirection direction);
