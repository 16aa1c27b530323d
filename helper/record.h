/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The helper's record of a session, <private_dir>/ID/session.json: what of the world belongs to it. It is
 * saved before each change of the world, so that whoever comes next knows what may be there. Helpers come and
 * go, several at once: whoever loads in order to save holds the session's lock. Targets belong to login,
 * logout and down; disks and volumes (the objects of docs/architecture.md) to up and down. */

#include "failure.h"

#define RECORD_TARGETS_MAX 64
/* More than a thousand volumes, each with a long reason and many layers. */
#define RECORD_SIZE_MAX (16 * MIB)

typedef struct RecordTarget {
    char *name;
    char *portal; /* 127.0.0.1:PORT */
    int64_t sid;  /* of the kernel's session; -1: not known (yet) */
} RecordTarget;

/* Whether journals are replayed on the overlays of this session. */
typedef enum Replay {
    REPLAY_OVERLAY,
    REPLAY_NONE,
    REPLAY_MAX,
    REPLAY_INVALID = -EINVAL, /* as the configuration says */
} Replay;

/* "overlay", "none" */
const char *replay_to_string(Replay replay);
Replay replay_from_string(const char *s);

typedef struct Record {
    char *session;
    RecordTarget *targets;
    size_t n_targets;
    json_object *disks;   /* array, never NULL */
    json_object *volumes; /* array, never NULL */
    json_object *roots;   /* array, never NULL */
    json_object *parts;   /* what of the volumes is nobody else's matter (helper/assembly.h); NULL: none */
    Replay replay;
    Failure *failure; /* the last up's; NULL: none */
} Record;

int record_new(const char *id, Record **ret);
Record *record_free(Record *r);
DEFINE_CLEANUP(Record *, record_free)

/* -ENOENT: there is none (the session is not connected). -EBADMSG: there is one, and it cannot be understood.
 */
int record_load(const char *id, Record **ret);
/* Atomic: a reader sees the old or the new one. */
int record_save(const Record *r);
/* The same when something is gone. What is gone already is success to every verb, so an older record does no
 * harm, while a full /run must keep nothing up: a failure is logged and that is all. */
void record_save_on_way_down(const Record *record);

/* {"disks","volumes","roots"}: what up and unlock answer. */
int record_answer(const Record *r, json_object **ret);

/* Borrowed, or NULL. */
RecordTarget *record_target(Record *r, const char *name);
/* Adds the target or changes its portal and forgets its sid. -E2BIG: RECORD_TARGETS_MAX. */
int record_target_add(Record *r, const char *name, const char *portal);
void record_target_remove(Record *r, const char *name);

/* The ids of all sessions that have a directory here, sorted. */
int record_list(char ***ret);

/* A login or a release that another helper is at; each of its steps has a deadline below this. */
#define LOCK_TIMEOUT_USEC (60 * USEC_PER_SEC)
#define LOCK_TIMEOUT_FORCED_USEC (20 * USEC_PER_SEC)

/* Takes the session's lock (flock on its private directory). -ENOENT: no such session (any more). -ETIMEDOUT:
 * somebody else kept it that long. */
int session_lock(const char *id, uint64_t timeout_usec, int *ret);
/* Gives it back for all who share it: closing alone would leave it to a child that hangs in the kernel.
 * Returns -EBADF. */
int session_unlock(int lock);
static inline void session_unlockp(int *lock)
{
    (void)session_unlock(*lock);
}
#define _cleanup_lock_ _cleanup_(session_unlockp)
