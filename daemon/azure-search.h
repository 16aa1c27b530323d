/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Which vaults are looked through, and which of what they protect is the machine that a caller names. */

#include "azure-items.h"

#define AZURE_MATCHES_MAX 16
#define AZURE_NEAR_MAX 5

typedef struct AzureMatches {
    AzureItem item; /* the first match */
    size_t n_found;
    char **found; /* all matches in words, at most AZURE_MATCHES_MAX */
    char **near;  /* names that resemble it, at most AZURE_NEAR_MAX */
    size_t n_seen;
} AzureMatches;

/* Takes item over if it is the first that matches. Returns 0 or -ENOMEM. */
int azure_matches_add(AzureMatches *m, AzureItem *item, const char *vm, const char *resource_group);
/* The one match. Returns 0; -ENOENT, -EINVAL with *ret_failure (ItemNotFound, Ambiguous; NULL without
 * memory); vaults: those that were looked through. */
int azure_matches_take(AzureMatches *m, const char *vm, const char *resource_group, char *const *vaults,
                       AzureItem *ret, Failure **ret_failure);
void azure_matches_done(AzureMatches *m);
