/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The first step of every kind of session: Azure provisions the recovery point, and on the way down it is
 * revoked. The data of such a kind begins with a SessionProvision. */

#include "azure.h"
#include "helper-call.h"
#include "places.h"
#include "session.h"
#include "unit-watch.h"

/* SessionContext.services of all kinds. Borrowed. */
typedef struct VmServices {
    Azure *azure;
    const char *helper_socket;
    const char *connect_dir; /* where ilr-connect keeps its state: CONNECT_DIR */
    const char *block_dir;   /* where the kernel counts reads: BLOCK_DIR */
    Places *connections;     /* what scripts can have at a time */
    UnitBus *bus;            /* who ends units is told of */
    char *portal;            /* host name of the latest provision, or NULL; the manager frees it */
} VmServices;

typedef struct SessionProvision {
    AzurePoint *point;
    AzureResource *resource; /* of the first caller; or NULL */
    bool file_share;         /* the point is of a file share */
    char *operation_id; /* of the provision; kept in the record, the script can be fetched again with it */
    bool nothing_owed;  /* the provision surely never reached Azure */
    bool renewed;       /* Azure renewed a registration that the point had already */
    const char *replay; /* of journals, kind vm: "overlay" or "none"; not the owner */
    Secret *script;     /* from provision until connected */
    ScriptInfo *info;   /* the same */

    AzureOperation *azure; /* what is under way, of any step: one of these two */
    HelperCall *call;
} SessionProvision;

/* Takes point and resource, either may be NULL. */
void session_provision_init(SessionProvision *p, AzurePoint *point, AzureResource *resource, bool file_share);
void session_provision_done(SessionProvision *p);
/* Of a session of any kind; borrowed. */
const AzurePoint *session_point(const Session *s);

/* Can somebody who asks for this (resource and replay may be NULL) be given the session? Returns 0, or
 * -EINVAL with *ret_failure (InvalidRequest), which names the parameter that it does not fit. */
int session_join_check(const Session *s, const char *kind, const AzurePoint *point,
                       const AzureResource *resource, const char *replay, Failure **ret_failure);

/* What becomes of journals: "overlay", "none", or NULL: as configured. -EINVAL: there is no such word. */
int session_provision_set_replay(Session *s, const char *word);

/* {"verb","session"}; without session if s is NULL. Returns 0 or -ENOMEM. */
int session_helper_request(Session *s, const char *verb, json_object **ret);

/* For the kinds' tables. */
int session_provision_acquire(Session *s);
int session_provision_release(Session *s);
void session_provision_cancel(Session *s); /* azure and call */
int session_provision_save(Session *s, json_object *record);
int session_provision_load(Session *s, json_object *record);
int session_provision_describe(Session *s, json_object *description);
void session_provision_subject(const Session *s, char *buf, size_t size);
void session_provision_names(const Session *s, const char **ret_vm, const char **ret_point);
