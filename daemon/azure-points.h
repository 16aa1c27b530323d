/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What Azure says about one recovery point: when it was made, where it is kept, whether it can be brought up.
 * Parses only; everything is foreign. */

#include "failure.h"

typedef enum AzureTier {
    AZURE_TIER_INSTANT,  /* InstantRP: the snapshot beside the disks */
    AZURE_TIER_HARDENED, /* HardenedRP: the vault */
    AZURE_TIER_ARCHIVED, /* ArchivedRP */
    AZURE_TIER_MAX,
    AZURE_TIER_INVALID = -EINVAL,
} AzureTier;

typedef enum AzureTierStatus {
    AZURE_TIER_STATUS_NONE, /* the point is not in this tier */
    AZURE_TIER_STATUS_VALID,
    AZURE_TIER_STATUS_DISABLED,
    AZURE_TIER_STATUS_DELETED,
    AZURE_TIER_STATUS_REHYDRATED,
    AZURE_TIER_STATUS_MAX,
    AZURE_TIER_STATUS_INVALID = -EINVAL,
} AzureTierStatus;

const char *azure_tier_to_string(AzureTier t);
const char *azure_tier_status_to_string(AzureTierStatus s);

typedef struct AzurePointInfo {
    char *id;            /* its number, a decimal string: the name of the resource */
    char *object_type;   /* "IaasVMRecoveryPoint", "AzureFileShareRecoveryPoint", ...; or NULL */
    char *type;          /* "AppConsistent", "CrashConsistent", "FileSystemConsistent"; or NULL */
    char *os_type;       /* "Linux", "Windows"; or NULL: older points do not say */
    uint64_t time_usec;  /* CLOCK_REALTIME, 0: not said */
    bool encrypted;      /* isSourceVMEncrypted */
    bool session_active; /* isInstantIlrSessionActive */
    bool tiers_known;    /* said, and every entry understood */
    AzureTierStatus tiers[AZURE_TIER_MAX];
} AzurePointInfo;

/* Reads the resource of one recovery point ({"id","name","properties"}); keys in any case, tiers and states
 * as numbers or words. Returns 0; -EBADMSG: it is none, *ret_problem says why (a constant; may be NULL);
 * -ENOMEM.
 */
int azure_point_read_properties(json_object *resource, AzurePointInfo *ret, const char **ret_problem);
void azure_point_info_done(AzurePointInfo *i);
#define _cleanup_azure_point_info_ _cleanup_(azure_point_info_done)
int azure_point_info_copy(const AzurePointInfo *i, AzurePointInfo *ret);

/* Why it cannot be brought up, in words that follow "recovery point N of VM": "is ..."; NULL: it can, as far
 * as is known. */
const char *azure_point_unusable(const AzurePointInfo *i);

/* For callers: {"id","timeUsec"?,"type"?,"tiers":[{"tier","status"}],"activeSession","encrypted","osType"?,
 * "usable","reason"?}. Returns 0 or -ENOMEM. */
int azure_point_info_to_json(const AzurePointInfo *i, json_object **ret);
