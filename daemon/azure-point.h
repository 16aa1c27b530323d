/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Which recovery point is meant, cut out of its resource id. What a caller gives goes into URLs, so that
 * every piece is looked at: nothing in it can leave its place in a path, add a query or end the URL. Names
 * are never built. */

#include "failure.h"

#define AZURE_RESOURCE_ID_MAX 2048 /* bytes */

typedef struct AzurePoint {
    char *resource_id;        /* the whole id as given, decoded, without a trailing slash */
    char *vault;              /* resource id of the vault */
    char *container;          /* "IaasVMContainer;iaasvmcontainerv2;my-rg;my-vm" */
    char *item;               /* "VM;iaasvmcontainerv2;my-rg;my-vm" */
    char *recovery_point;     /* "182457315790203" */
    char *vm_name;            /* for people: the last piece of the VM's id, else of the item */
    char *virtual_machine_id; /* resource id, or NULL: the protected item is asked for it */
    char *storage_account_id; /* of a file share: resource id, or NULL: as above */
    bool judged;         /* its properties were read just now, while it was looked for, and it is usable */
    bool session_active; /* as they said */
} AzurePoint;

/* Takes the resource id of a recovery point (names in any case, ";" as such or as "%3B") apart.
 * Returns 0; -EINVAL with *ret_failure (InvalidRequest, naming what is wrong; may be NULL, here and below);
 * -ENOMEM. */
int azure_point_parse(const char *resource_id, AzurePoint **ret, Failure **ret_failure);
/* The same from pieces: a vault's resource id and three names. */
int azure_point_make(const char *vault, const char *container, const char *item, const char *recovery_point,
                     AzurePoint **ret, Failure **ret_failure);
/* A virtual machine's resource id, of either deployment model, and what stands in it. */
typedef struct AzureVmId {
    char *id, *subscription, *resource_group, *name;
} AzureVmId;
int azure_vm_id_parse(const char *resource_id, AzureVmId *ret, Failure **ret_failure);
void azure_vm_id_done(AzureVmId *v);
/* Takes the resource id of a protected item apart; with fabric or without. Each ret is the caller's. */
int azure_item_id_cut(const char *resource_id, char **ret_vault, char **ret_container, char **ret_item,
                      Failure **ret_failure);
/* Is it the resource id of a vault? Returns 0 and the name of the vault, which points into a copy that is the
 * caller's. */
int azure_vault_id_parse(const char *resource_id, char **ret_id, const char **ret_name,
                         Failure **ret_failure);
/* Can it be the id of a recovery point? 0, or -EINVAL with *ret_failure. */
int azure_point_id_check(const char *s, Failure **ret_failure);
/* Sets the virtual machine's resource id (checked in the same way) and with it vm_name. */
int azure_point_set_virtual_machine(AzurePoint *p, const char *resource_id, Failure **ret_failure);
/* Sets the resource id (checked in the same way) of the storage account that a file share lies in. */
int azure_point_set_storage_account(AzurePoint *p, const char *resource_id, Failure **ret_failure);
/* Do both name the same recovery point? Ids are compared ignoring case, with fabric or without. */
bool azure_point_same(const AzurePoint *a, const AzurePoint *b);
/* A deep copy, or NULL. */
AzurePoint *azure_point_copy(const AzurePoint *p);
AzurePoint *azure_point_free(AzurePoint *p);
DEFINE_CLEANUP(AzurePoint *, azure_point_free)

/* The escaped path of the recovery point or, with item_only, of its protected item: ready to be put behind
 * the management URL. NULL: out of memory. */
char *azure_point_path(const AzurePoint *p, bool item_only);
/* The escaped path of the vault. */
char *azure_point_vault_path(const AzurePoint *p);
/* The same for any resource id that was judged here. */
char *azure_path_escape(const char *id);
