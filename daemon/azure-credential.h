/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The ways to an access token: one fetch of one token by one of them. Keeps no token and tries nothing again;
 * secrets and key files are read anew at each fetch, so that a new one is used at once. */

#include "azure-error.h"
#include "config.h"

typedef struct AzureFetchContext {
    Http *http;
    const Config *config;
    Secret **
        refresh_token; /* of a person: by this, whatever kind is said; renewed with each answer. NULL: none */
} AzureFetchContext;

/* What a fetch gives: either token or failure (both NULL: out of memory). Owned by the fetch: take what is
 * kept. */
typedef struct AzureFetched {
    Secret *token;
    uint64_t lifetime_usec; /* of the token, from now */
    Failure *failure;
    bool absent;    /* on failure: this way does not exist on this host */
    bool transient; /* on failure: worth asking again, after retry_after_usec at the earliest */
    bool updating;  /* on failure: the metadata service is being updated */
    uint64_t retry_after_usec;
} AzureFetched;

typedef struct AzureFetch AzureFetch;
typedef void (*AzureFetchDone)(AzureFetched *fetched, void *userdata);

/* CREDENTIAL_AUTO is none of them. probe: find out first, in a second at most, whether there is such a
 * service here. done is called once, from elsewhere, and may free the fetch. Returns 0; -ENOENT: not
 * configured, or not on this host; another errno; with *ret_failure if it is known what to tell. */
int azure_fetch_start(const AzureFetchContext *c, CredentialKind kind, bool probe, AzureFetchDone done,
                      void *userdata, AzureFetch **ret, Failure **ret_failure);
/* Who is asked. */
const char *azure_fetch_host(const AzureFetch *f);
/* Cancels at once. */
AzureFetch *azure_fetch_free(AzureFetch *f);
DEFINE_CLEANUP(AzureFetch *, azure_fetch_free)

/* ---- the parts ---- */

/* For those who go to the login service: where, and what to post. env: AZURE_TENANT_ID, AZURE_CLIENT_ID,
 * AZURE_FEDERATED_TOKEN_FILE and AZURE_AUTHORITY_HOST stand in for what the configuration does not have, for
 * CREDENTIAL_WORKLOAD_IDENTITY only. */
int azure_login_request(const Config *c, CredentialKind kind, char **ret_url, Secret **ret_body,
                        Failure **ret_failure);

/* The same for a person who has signed in (RFC 6749, 6). */
int azure_refresh_request(const Config *c, const Secret *refresh_token, char **ret_url, Secret **ret_body,
                          Failure **ret_failure);

/* An assertion (RFC 7523; JSON web token, PS256 with x5t#S256) by certificate and key of the configuration,
 * for the token endpoint url. Failures name the file and what is wrong with it. */
int azure_assertion_make(const Config *c, const char *url, Secret **ret, Failure **ret_failure);

/* Reads a secret file: the systemd credential of that name, else path (may be NULL). -ENOENT without a
 * failure: neither is there. */
int azure_secret_read(const char *credential, const char *path, const char *what, size_t max, Secret **ret,
                      Failure **ret_failure);

/* The token service of this machine: its address with the query, owned by the caller. -ENOENT with a failure:
 * there is none. */
int azure_managed_url(const Config *c, CredentialKind kind, char **ret, Failure **ret_failure);
/* The key that a machine with Arc wants to see, from the file that its challenge (WWW-Authenticate) names.
 * directory: where it must be, with a slash at its end. */
int azure_arc_key(const char *challenge, const char *directory, Secret **ret, Failure **ret_failure);
#define ARC_KEY_DIRECTORY "/var/opt/azcmagent/tokens/"

/* Why a login service did not give what was asked for; NULL: out of memory. */
Failure *azure_login_refusal(const char *host, const HttpAnswer *a);

/* Reads a token answer (RFC 6749, 5.1; numbers may be strings; expires_on instead of expires_in). Fills
 * token and lifetime, or failure. */
void azure_token_answer(const char *host, const HttpAnswer *a, AzureFetched *ret);
