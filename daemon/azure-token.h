/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The access token of this host. Kept in memory until 5 minutes before its end, fetched once however many
 * wait for it, by the way that Credential= says; "auto" takes the first that there is and stays with it until
 * it is refused. */

#include "azure-credential.h"

typedef struct AzureToken AzureToken;
typedef struct AzureTokenWaiter AzureTokenWaiter;

int azure_token_new(AzureToken **ret, Http *http, const Config *config);
/* That of a person who has signed in: token for lifetime_usec, then by refresh_token (NULL: there is none).
 */
int azure_token_new_person(AzureToken **ret, Http *http, const Config *config, Secret *token,
                           uint64_t lifetime_usec, Secret *refresh_token);
AzureToken *azure_token_free(AzureToken *t);
/* Ends it while others may wait for it: they get a failure. Then as azure_token_free(). */
AzureToken *azure_token_end(AzureToken *t);
DEFINE_CLEANUP(AzureToken *, azure_token_free)

/* Exactly one of token (borrowed) and failure (the callee's; NULL besides no token: out of memory) is given.
 * transient: it is worth asking again, after retry_after_usec at the earliest. */
typedef void (*AzureTokenDone)(Secret *token, Failure *failure, bool transient, uint64_t retry_after_usec,
                               void *userdata);

/* Returns 1 and a reference in *ret_token if there is a good one; 0 and a waiter, whose done is called later
 * and from elsewhere; or a negative errno, with *ret_failure (NotConfigured) if it is known what to tell.
 * -EAGAIN: the service wants no question for azure_token_held_usec(), for the reason in *ret_failure. */
int azure_token_get(AzureToken *t, AzureTokenDone done, void *userdata, Secret **ret_token,
                    AzureTokenWaiter **ret_waiter, Failure **ret_failure);
AzureTokenWaiter *azure_token_waiter_free(AzureTokenWaiter *w);
DEFINE_CLEANUP(AzureTokenWaiter *, azure_token_waiter_free)

/* Who is being asked for it, for people. */
const char *azure_token_host(const AzureToken *t);
uint64_t azure_token_held_usec(const AzureToken *t);
/* The service is being updated, which takes more than a minute: whoever counts tries does not count these. */
bool azure_token_patient(const AzureToken *t);
/* A person's: it will not be renewed any more. */
bool azure_token_refused(const AzureToken *t);
/* Over for more than a day, and nobody has asked for another. */
bool azure_token_unused(const AzureToken *t);

/* How the latest token was got, and by "auto" why not in the ways before: one line for people, the caller's.
 * NULL: none was got yet, or out of memory. */
char *azure_token_describe(const AzureToken *t);

/* Azure did not accept this token: forget it, if it is still the one that is kept. */
void azure_token_drop(AzureToken *t, const Secret *token);
