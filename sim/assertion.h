/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Judges client assertions: JSON web tokens that an application signed with the key of a certificate that is
 * registered for it. Knows no HTTP. Not locked. */

#include "json.h"
#include "util.h"

#define ASSERTION_MAX (64 * KIB)

typedef struct Assertions Assertions;

typedef struct AssertionFailure {
    unsigned aadsts; /* number of the error as Entra ID has it */
    char message[400];
} AssertionFailure;

/* certificates: paths of PEM files, or NULL. 0; errno of the reading or -EINVAL, with *ret_error (malloc'ed,
 * may be NULL). */
int assertions_new(char *const *certificates, Assertions **ret, char **ret_error);
Assertions *assertions_free(Assertions *a);
DEFINE_CLEANUP(Assertions *, assertions_free)

/* PS256 with x5t#S256 or RS256 with x5t, by a known certificate; iss and sub are the client, aud is one of
 * audiences (NULL-terminated), now lies between nbf and exp, jti was not used before (it is from now on).
 * 0; -EACCES: refused, *ret says why; -ENOMEM. */
int assertions_check(Assertions *a, const char *jwt, const char *client_id, const char *const *audiences,
                     uint64_t now_usec, AssertionFailure *ret);

/* Base64 as in such tokens, without "=". out holds 4 bytes for each 3 begun and a NUL; the length. */
size_t base64url_encode(const void *bytes, size_t size, char *out);

/* The claims of a token whose signature does not matter here, owned by the caller, or NULL: not one. */
json_object *assertion_claims(const char *jwt);
