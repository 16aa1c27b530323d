/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What azure-find.c (vaults, items, regions) and azure-find-points.c (the points of the item found) share.
 * Nobody else includes this. */

#include "azure-find.h"
#include "azure-internal.h"
#include "azure-list.h"
#include "azure-search.h"

typedef enum FindKind {
    FIND_ITEMS,
    FIND_POINTS,
    FIND_POINT,
} FindKind;

struct AzureFind {
    Azure *azure;
    FindKind kind;
    uid_t uid;
    AzureFindCallbacks callbacks;
    void *userdata;

    char *resource_group, *vm;
    AzureVmId vm_id; /* if vm is one */
    char **vaults;   /* to look through */
    size_t vault;    /* the one that is being read */
    size_t location; /* the region that is being asked */
    AzureMatches matches;
    AzureItem item;

    uint64_t deadline_usec; /* CLOCK_BOOTTIME: of all its requests together */
    uint64_t since_usec, until_usec;
    bool filtered; /* the service was asked for the span only */
    char *id;      /* choice.id */
    AzureChoice choice;

    char *what;
    bool no_memory;
    AzureRequest *request;
    AzureList *list;
};

static inline const Config *config(const AzureFind *f)
{
    return f->azure->client.config;
}

/* The two ends of a search that failed; f may be gone afterwards. */
void azure_find_fail(AzureFind *f, Failure *failure);
void azure_find_fail_errno(AzureFind *f, int r);
/* To whoever waits: one line for people. userdata is the AzureFind. */
void azure_find_tell(const char *detail, void *userdata);
/* What is done next, for the sentence "Could not WHAT". 0 or -ENOMEM. */
int azure_find_set_what(AzureFind *f, const char *format, ...) _printf_(2, 3);
/* One request, or a list of pages, in the place of the one before. Of the options the caller sets what is
 * asked, the action and the name of a 404; the rest is the search's. Return 0 or a negative errno. */
int azure_find_ask(AzureFind *f, AzureRequestOptions o, AzureRequestDone done);
int azure_find_list(AzureFind *f, AzureListOptions o, const AzureListCallbacks *callbacks);
/* Adds entry (taken, may be NULL) to the page, or remembers that there was no memory. */
void azure_find_page_add(AzureFind *f, json_object *page, json_object *entry);
/* The item is known: goes on with what is wanted of it. Returns 0 or a negative errno. */
int azure_find_begin_points(AzureFind *f);
