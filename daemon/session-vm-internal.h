/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What the files of the kind "vm" share among themselves. */

#include "device.h"
#include "linger.h"
#include "session-vm.h"
#include "unit-watch.h"

#define TARGETS_MAX 4096 /* of a session */

typedef struct VmSession {
    SessionProvision provision; /* first: the step finds it there */
    Place connection;           /* from before connect until after its release */
    unsigned queue_place;       /* 1: the next one; 0: it has one, or wants none */
    sd_event_source *turn;      /* from connect until the script runs: the next look whether it does */
    int64_t *sids;              /* iSCSI sessions */
    size_t n_sids;
    json_object *disks, *volumes, *roots; /* arrays, or NULL */

    bool lingers; /* something was left to its users */
    char *users;  /* who they were, for people; or NULL */
    Linger *linger;

    DeviceWatch *devices;
    UnitWatch *units[2];
    HelperCall *question; /* who has files open? */

    /* session-vm-unlock.c: */
    HelperCall *unlock;     /* a volume is being opened */
    char *unlock_volume;    /* which one */
    SessionUnlockDone done; /* for whom; NULL: nobody, or it is one of the keys */
    void *done_userdata;
    SessionKeys keys;   /* to be tried when all is up, or being tried */
    char **tried;       /* "KEY VOLUME" */
    bool keys_end_step; /* they are tried as the end of the step up */
    bool fresh;         /* the volumes were told by up, not by the record */
    char **warnings;    /* "VOLUME: what did not go as asked for" */
    HelperCall *refresh;
    bool refresh_again;
} VmSession;

static inline const VmServices *services(const Session *s)
{
    return s->context->services;
}

/* How long the helper may take to stop something: longer than all that it waits for by itself, one after the
 * other (helper/down.c, helper/connect.c; tests/cli/manual.sh adds it up). Whoever gave up before that would
 * tell of a helper that is silent, and ask a second one that has to wait for the first. */
#define HELPER_DOWN_USEC (8 * USEC_PER_MINUTE)
#define HELPER_DISCONNECT_USEC (11 * USEC_PER_MINUTE)

/* The question of a step. script: a secret member of that name, or NULL. */
int session_vm_ask(Session *s, json_object *request, Secret *script, uint64_t timeout_usec, HelperDone done);
/* For verbs whose answer says no more than that it is done, and what lingers: ends the step. */
void session_vm_answered(HelperCall *call, json_object *answer, Failure *failure, void *userdata);
/* Disks, units and users are not looked at any more. */
void session_vm_stop_watching(VmSession *v);

/* ---- session-vm-connect.c ---- */

int session_vm_connect(Session *s);
int session_vm_disconnect(Session *s);

/* ---- session-vm-record.c ---- */

/* For the kind's table. */
int session_vm_save(Session *s, json_object *record);
int session_vm_load(Session *s, json_object *record);
int session_vm_describe(Session *s, json_object *description);
/* Takes "disks", "volumes" and "roots" of an answer of the helper's, or of the record. */
void session_vm_take(VmSession *v, json_object *from);

/* ---- session-vm-unlock.c ---- */

/* For the kind's table. */
int session_vm_unlock(Session *s, const char *volume, Secret *key, SessionUnlockDone done, void *userdata,
                      Failure **ret_failure);
void session_vm_unlock_forget(Session *s, void *userdata);
int session_vm_add_keys(Session *s, const SessionKeys *keys);

/* All is up: true if there are keys to be tried, which ends in session_step_done(). */
bool session_vm_up_with_keys(Session *s);
/* It is ready, also after adopting. */
void session_vm_unlock_ready(Session *s);
/* It goes down, or is given up: who waits is told. */
void session_vm_unlock_stop(Session *s);
/* The memory only. */
void session_vm_unlock_done(VmSession *v);
/* Somebody else may have unlocked something: the helper is asked. */
void session_vm_refresh(Session *s);

int session_vm_unlock_save(const VmSession *v, json_object *record);
int session_vm_unlock_load(VmSession *v, json_object *record);
int session_vm_unlock_describe(const VmSession *v, json_object *description);
