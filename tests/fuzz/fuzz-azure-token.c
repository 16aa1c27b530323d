/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* What the token services say: an answer with a token, a refusal, the challenge of a machine with Arc. */

#include "azure-credential.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    _cleanup_free_ char *body = malloc(size + 1);
    _cleanup_secret_ Secret *key = NULL;
    Failure *refusal, *no_key = NULL;
    AzureFetched got = {};
    HttpAnswer a = {.outcome = HTTP_ANSWERED, .status = 200, .body = body, .body_size = size};

    if (!body)
        return 0;
    memcpy(body, data, size);
    body[size] = '\0';
    azure_token_answer("login.example", &a, &got);
    if (!got.token == !got.failure ||
        (got.token && (got.lifetime_usec == 0 || strpbrk(secret_text(got.token), " \r\n"))))
        abort();
    secret_unref(got.token);
    failure_free(got.failure);
    a.status = 400;
    refusal = azure_login_refusal("login.example", &a);
    if (!refusal || !refusal->message)
        abort();
    failure_free(refusal);
    if (azure_arc_key(body, "/nonexistent/", &key, &no_key) >= 0 || !no_key)
        abort();
    failure_free(no_key);
    return 0;
}
