/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The configuration of ilr-sim: one JSON document, see ilr-sim(1). Read once; only the scenarios change
 * later. */

#include "backend.h"
#include "scenario.h"
#include "simconfig-login.h"

typedef struct Point {
    struct Item *item;
    char *id;           /* decimal string */
    uint64_t time_usec; /* CLOCK_REALTIME */
    char *type;         /* "AppConsistent", ... */
    bool encrypted;
    bool archived;        /* archive tier only */
    json_object *tiers;   /* recoveryPointTierDetails as they are to be shown, or NULL; borrows from root */
    unsigned time_digits; /* of the time's fraction, 0..7 */
    char **disks;
    bool multi_target;
    Scenario *scenario;      /* or NULL */
    struct Session *session; /* state.c: the active recovery, or NULL */
} Point;

typedef struct Item {
    struct Vault *vault;
    char *vm, *resource_group, *os_type;
    bool file_share; /* then vm is the name of the share and vm_id is the storage account's */
    char *vm_id, *container, *name, *id; /* made from the names above */
    bool classic;                        /* of the classic deployment model */
    bool without_fabric;                 /* its id is shown without /backupFabrics/Azure in lists */
    Point *points;
    size_t point_count;
} Item;

typedef struct Vault {
    char *resource_group, *name, *location, *id;
    Item *items;
    size_t item_count;
} Vault;

typedef struct SimConfig {
    char **listen;           /* "127.0.0.1:8443", "[::1]:0" */
    char *control;           /* "/path" of a Unix socket or "127.0.0.1:port"; NULL: none */
    char *certificate, *key; /* PEM files */
    char *public_url;        /* base of the URLs in answers; NULL: "https://" and the request's Host */
    char *tenant, *client_id, *client_secret, *subscription;
    char **scopes; /* accepted besides the usual ones */
    LoginConfig login;
    double token_seconds;
    char *api_version_max; /* newer ones are refused; NULL: none is */
    char *state_file;      /* registrations outlive the process; NULL: they do not */
    double provision_seconds, revoke_seconds, retry_after_seconds, valid_seconds;
    size_t page_size; /* of lists */
    char *next_link;  /* of a list's last page: "absent", "null", "empty", or "loop": the first page again */
    Scenario *scenario; /* of the server, or NULL */
    const BackendOps *backend;
    BackendConfig backend_config; /* borrows from root */
    Vault *vaults;
    size_t vault_count;
    json_object *root;
} SimConfig;

/* Reads and judges all of it, certificates and disk images excepted. 0; -EINVAL with *ret_error; or an errno
 * of the reading with *ret_error. */
int sim_config_load(const char *path, SimConfig **ret, char **ret_error);
SimConfig *sim_config_free(SimConfig *c);
DEFINE_CLEANUP(SimConfig *, sim_config_free)
#define _cleanup_sim_config_ _cleanup_(sim_config_freep)

/* The same from a parsed document. */
int sim_config_parse(json_object *root, SimConfig **ret, char **ret_error);

/* scenario_parse() and the backend's opinion about it. */
int sim_config_scenario(const SimConfig *c, json_object *o, const char *path, Scenario **ret,
                        char **ret_error);

/* Names are compared without case. NULL: none. */
Vault *sim_config_vault(SimConfig *c, const char *subscription, const char *group, const char *name);
Item *vault_item(Vault *v, const char *container, const char *item);
Point *item_point(Item *i, const char *id);
/* By the point's id alone; point ids are unique in a configuration. */
Point *sim_config_point(SimConfig *c, const char *id);
