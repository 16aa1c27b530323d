/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* People who have signed in by device code (RFC 8628), so that Azure's activity log names them and not the
 * host. A token lives in memory only, for that caller's uid only, and is renewed while the login service lets
 * it be: who is refused there is not signed in any more. A restart forgets all. */

#include "azure-token.h"

typedef struct AzureLogins AzureLogins; /* all who are signed in */
typedef struct AzureLogin AzureLogin;   /* one who is about to */

#define AZURE_LOGINS_MAX 64

int azure_logins_new(AzureLogins **ret, sd_event *event, Http *http, const Config *config);
AzureLogins *azure_logins_free(AzureLogins *l);
DEFINE_CLEANUP(AzureLogins *, azure_logins_free)

/* Of this uid, borrowed, or NULL. */
AzureToken *azure_logins_token(AzureLogins *l, uid_t uid);
/* Forgets it; requests that wait for a token end with a failure. False: was not signed in. */
bool azure_logins_forget(AzureLogins *l, uid_t uid);

typedef struct AzureLoginCallbacks {
    /* Once: what the person must open and enter until when (CLOCK_REALTIME). */
    void (*code)(const char *url, const char *code, uint64_t expires_usec, void *userdata);
    /* Once, last; the login may be freed inside. Without failure (the callee's) the person is signed in;
     * account is what the token calls them, or NULL. Both NULL may be out of memory, see ok. */
    void (*done)(bool ok, const char *account, Failure *failure, void *userdata);
} AzureLoginCallbacks;

/* Returns 0; -EBUSY: that uid has one under way; -EUSERS: too many; -ENOENT: not configured; with
 * *ret_failure. Nothing is called from inside. */
int azure_login_start(AzureLogins *l, uid_t uid, const AzureLoginCallbacks *callbacks, void *userdata,
                      AzureLogin **ret, Failure **ret_failure);
/* Cancels at once. */
AzureLogin *azure_login_free(AzureLogin *l);
DEFINE_CLEANUP(AzureLogin *, azure_login_free)
