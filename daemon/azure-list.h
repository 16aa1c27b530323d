/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* A list of Azure's, page by page: {"value":[...],"nextLink":...}, followed until nextLink is absent, null or
 * empty. One page is in memory at a time. What a service could make endless is limited: pages, entries,
 * bytes, and an address that was read already. Only addresses of the management host are asked (azure-client
 * sees to it). done is called exactly once, last, never from inside azure_list_start(); freeing cancels at
 * once. */

#include "azure-client.h"

typedef struct AzureList AzureList;

typedef struct AzureListOptions {
    const char *url; /* of the first page */
    uid_t uid;       /* for whom, (uid_t) -1: the host itself */
    AzureSubject subject;
    uint64_t deadline_usec;                              /* CLOCK_BOOTTIME, for all pages */
    void (*waiting)(const char *detail, void *userdata); /* may be NULL */
} AzureListOptions;

typedef struct AzureListCallbacks {
    /* The entries of one page, an array, borrowed. The list must not be freed in it. */
    void (*page)(json_object *value, void *userdata);
    /* failure (of !ok; NULL: out of memory) is the callee's; status: of the last answer, 0: none. */
    void (*done)(bool ok, int status, Failure *failure, void *userdata);
} AzureListCallbacks;

int azure_list_start(AzureClient *c, const AzureListOptions *options, const AzureListCallbacks *callbacks,
                     void *userdata, AzureList **ret);
AzureList *azure_list_free(AzureList *l);
DEFINE_CLEANUP(AzureList *, azure_list_free)
