/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Is a session used, and how much: what was read, when last, and who says that he still needs it (an
 * inhibitor). */

#include "idle.h"
#include "json.h"

#include "list.h"
#include <sys/types.h>
#include <systemd/sd-event.h>

#define INHIBITORS_MAX 64     /* of one session */
#define INHIBITOR_WHY_MAX 256 /* bytes */
#define IDLE_SPAN_MAX_USEC (24 * USEC_PER_HOUR)

typedef struct Inhibitor {
    uint64_t number; /* of the session's inhibitors */
    uid_t uid;
    pid_t pid;
    char *caller, *why;
    uint64_t since_usec; /* since 1970 */
    LIST_FIELDS(struct Inhibitor);
} Inhibitor;

typedef struct SessionUse {
    Idle idle;
    uint64_t bytes_read;   /* from the backup's disks since they came */
    uint64_t before_bytes; /* of them before this start of ilrd */
    uint64_t kept_bytes;   /* of them in the record */
    uint64_t kept_usec;    /* when that was saved; CLOCK_MONOTONIC */
    bool disks_gone;       /* others may have their numbers now */
    bool asked;            /* who has files open */
    Inhibitor *inhibitors;
    size_t n_inhibitors;
    uint64_t last_number;
    sd_event_source *timer; /* while the session is ready: the next look */
} SessionUse;

struct Session;

/* Of a new session: how long it may be unused for who asked for it; 0: for ever. */
void session_set_idle(struct Session *s, uint64_t span_usec);
/* For session.c: the holders are others, or want something else. */
void session_idle_of_holders(struct Session *s);

/* Keeps the session from being released because it is not used, until session_uninhibit() or its end.
 * -E2BIG: INHIBITORS_MAX, -ENOMEM. */
int session_inhibit(struct Session *s, uid_t uid, pid_t pid, const char *caller, const char *why,
                    uint64_t *ret_number);
void session_uninhibit(struct Session *s, uint64_t number);

/* For kinds: the answer to their users(). in_use: somebody has a file open, or it is not known. */
void session_users_known(struct Session *s, bool in_use);

/* What session.c calls when it is ready, when it goes down, and at the end of its memory. */
void session_use_start(struct Session *s);
void session_use_stop(struct Session *s);
void session_use_done(struct Session *s);
/* How much was read until now. */
uint64_t session_bytes_read(struct Session *s);
/* The same into the record, if it is more than what is there: once a minute, or at once. */
void session_keep_bytes_read(struct Session *s, bool at_once);

/* Its part of the record and of the API's Session. 0; -ENOMEM; load: -EINVAL, it is damaged. */
int session_use_save(const struct Session *s, json_object *record);
int session_use_load(struct Session *s, json_object *record);
int session_use_describe(struct Session *s, json_object *description);
