/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* From words to items and recovery points: which vaults, which virtual machine in them, which of its points.
 * Reads only. Every function that starts something returns at once; done is called exactly once, last, and
 * never from inside it. Freeing cancels at once. It may be freed inside its own done, not in page. */

#include "azure-choice.h"
#include "azure-items.h"
#include <sys/types.h>

typedef struct Azure Azure;
typedef struct AzureFind AzureFind;

/* Copied. Each may be NULL. */
typedef struct AzureSelector {
    const char *vault; /* resource id, or the name of one of Vault=; NULL: all of them */
    const char *resource_group;
    const char *vm;               /* name, or resource id of the VM or of its protected item */
    const char *container, *item; /* both, instead of vm; with a vault */
} AzureSelector;

typedef struct AzureFindCallbacks {
    void (*progress)(const char *detail, void *userdata); /* for people; may be NULL */
    /* One page, an array of ProtectedItem or RecoveryPoint of the interface, borrowed; item: whose points.
     * NULL in azure_find_point(). */
    void (*page)(json_object *entries, const AzureItem *item, void *userdata);
    /* point: of azure_find_point(), the callee's. failure (of !ok; NULL: out of memory) too. */
    void (*done)(bool ok, AzurePoint *point, Failure *failure, void *userdata);
} AzureFindCallbacks;

/* The vaults that are meant. wanted: a resource id, or the name of some of the configured ones, or NULL for
 * all of these. *ret is the caller's, NULL if there are none. Returns 0; -EINVAL with *ret_failure; -ENOMEM.
 */
int azure_vaults_choose(char *const *configured, const char *wanted, char ***ret, Failure **ret_failure);

/* All items that the selector leaves. Returns 0; -EINVAL with *ret_failure; -ENOMEM; here and below. */
int azure_find_items(Azure *a, const AzureSelector *s, uid_t uid, const AzureFindCallbacks *callbacks,
                     void *userdata, AzureFind **ret, Failure **ret_failure);
/* The points of the one item, from since to until (CLOCK_REALTIME, both belong to it; 0: no limit). */
int azure_find_points(Azure *a, const AzureSelector *s, uint64_t since_usec, uint64_t until_usec, uid_t uid,
                      const AzureFindCallbacks *callbacks, void *userdata, AzureFind **ret,
                      Failure **ret_failure);
/* The one point of the one item; rule, id and usec of choice are copied. */
int azure_find_point(Azure *a, const AzureSelector *s, const AzureChoice *choice, uid_t uid,
                     const AzureFindCallbacks *callbacks, void *userdata, AzureFind **ret,
                     Failure **ret_failure);
/* The item that was found; valid once it is known, else its vault is NULL. */
const AzureItem *azure_find_item(const AzureFind *f);
AzureFind *azure_find_free(AzureFind *f);
DEFINE_CLEANUP(AzureFind *, azure_find_free)
