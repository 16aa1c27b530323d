/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Is Azure within reach, and may this host do what it is here for? One check after the other, each with a
 * deadline and with what to do; what an earlier failure makes pointless is skipped. Reads only. */

#include "azure.h"

typedef enum CheckResult {
    CHECK_OK,
    CHECK_FAILED,
    CHECK_SKIPPED,
    CHECK_RESULT_MAX,
    CHECK_RESULT_INVALID = -EINVAL,
} CheckResult;

const char *check_result_to_string(CheckResult r);

typedef struct AzureCheck AzureCheck;

typedef struct AzureCheckCallbacks {
    /* Once for each check, in order. hint: what to do, or NULL. The check must not be freed inside. */
    void (*checked)(const char *name, CheckResult result, const char *message, const char *hint,
                    void *userdata);
    /* Once, last; the check may be freed inside. */
    void (*done)(void *userdata);
} AzureCheckCallbacks;

/* uid: whose token, see AzureProvisionOptions. portal: host name of the recovery target, copied; NULL: those
 * of the vaults' regions, or a skipped check. Nothing is called from inside. Returns 0 or -ENOMEM. */
int azure_check(Azure *a, uid_t uid, const char *portal, const AzureCheckCallbacks *callbacks, void *userdata,
                AzureCheck **ret);
/* Cancels at once. */
AzureCheck *azure_check_free(AzureCheck *c);
DEFINE_CLEANUP(AzureCheck *, azure_check_free)
