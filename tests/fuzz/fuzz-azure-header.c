/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Values of an answer's headers: Retry-After, and the addresses at which an operation is asked after. */

#include "azure-error.h"
#include "azure-operation.h"

#include <strings.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    _cleanup_free_ char *s = malloc(size + 1), *id = NULL, *host = NULL;
    uint64_t usec = 0;

    if (!s)
        return 0;
    memcpy(s, data, size);
    s[size] = '\0';
    if (azure_retry_after_parse(s, UINT64_C(1700000000) * USEC_PER_SEC, &usec) >= 0 &&
        usec > 24 * USEC_PER_HOUR)
        abort();
    id = azure_operation_id_of(s);
    if (id && (!*id || strpbrk(id, "/?#%. ")))
        abort();
    host = http_url_host(s);
    if (http_url_same_origin(s, "https://management.azure.com") &&
        (!host || strcasecmp(host, "management.azure.com")))
        abort();
    return 0;
}
