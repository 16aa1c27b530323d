/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What a caller may put around a provision: the fields that every resource of Azure has (eTag, location,
 * tags), judged here because they go out as they are. Parses and builds only. */

#include "azure-point.h"

/* Limits of Azure Resource Manager. */
#define AZURE_TAGS_MAX 50
#define AZURE_TAG_NAME_MAX 512  /* bytes */
#define AZURE_TAG_VALUE_MAX 256 /* bytes */
#define AZURE_ETAG_MAX 256      /* bytes */
#define AZURE_LOCATION_MAX 64   /* bytes */

typedef struct AzureResource {
    char *etag, *location; /* or NULL */
    json_object *tags;     /* an object of strings, or NULL */
} AzureResource;

/* From the caller's strings (copied, NULL: none) and an object of strings (referenced, NULL: none).
 * Returns 0; -EINVAL with *ret_failure (InvalidRequest, naming field, value and what is expected; may be
 * NULL); -ENOMEM. */
int azure_resource_new(const char *etag, const char *location, json_object *tags, AzureResource **ret,
                       Failure **ret_failure);
/* A deep copy of the strings; tags are shared. NULL: out of memory. */
AzureResource *azure_resource_copy(const AzureResource *r);
AzureResource *azure_resource_free(AzureResource *r);
DEFINE_CLEANUP(AzureResource *, azure_resource_free)

/* The request resource of a provision (ILRRequestResource): r (may be NULL) around properties (taken).
 * Returns 0 or -ENOMEM. */
int azure_resource_body(const AzureResource *r, json_object *properties, json_object **ret);
