/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What Azure says about one protected item, and whether it is the one that a caller names. Parses only;
 * everything is foreign. Names are cut out of ids, never built; ids and names are compared ignoring case. */

#include "azure-point.h"

typedef struct AzureItem {
    char *vault;              /* resource id */
    char *container, *item;   /* names, out of the id */
    char *vm_name;            /* friendlyName, else the last piece of the item's name */
    char *other_name;         /* last piece of containerName */
    char *resource_group;     /* of the VM, or NULL */
    char *virtual_machine_id; /* or NULL */
    char *state;              /* protectionState, or NULL */
    char *last_backup_status; /* or NULL */
    uint64_t last_point_usec; /* CLOCK_REALTIME, 0: not said */
    bool classic;
} AzureItem;

/* Reads the resource of one item of the vault that was asked. Returns 0; -EBADMSG with *ret_problem (the
 * caller's, may be NULL): its id cannot be used or is of another vault; -ENOMEM. */
int azure_item_read(json_object *resource, const char *vault, AzureItem *ret, char **ret_problem);
/* The same from names that somebody else gave. vm may be NULL. -EINVAL with *ret_failure. */
int azure_item_make(const char *vault, const char *container, const char *item, const AzureVmId *vm,
                    AzureItem *ret, Failure **ret_failure);
void azure_item_done(AzureItem *i);
#define _cleanup_azure_item_ _cleanup_(azure_item_done)

/* Is it called so (a name, or a VM's resource id)? NULL: that does not matter. */
bool azure_item_matches(const AzureItem *i, const char *vm, const char *resource_group);
/* "web1 (resource group rg1) in vault vault1". The caller's, or NULL. */
char *azure_item_describe(const AzureItem *i);
/* ProtectedItem of the interface. Returns 0 or -ENOMEM. */
int azure_item_to_json(const AzureItem *i, json_object **ret);
