/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* A recovery point's resource id and a virtual machine's. What is accepted makes a path that nothing can
 * leave. */

#include "azure-point.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(char *path)
{
    if (!path || *path != '/' || strpbrk(path, "?#;\\ \r\n") || strstr(path, "/../") || strstr(path, "/./") ||
        strstr(path, "//"))
        abort();
    free(path);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    _cleanup_(azure_point_freep) AzurePoint *p = NULL, *made = NULL;
    _cleanup_failure_ Failure *failure = NULL;
    _cleanup_free_ char *s = malloc(size + 1);

    if (!s)
        return 0;
    memcpy(s, data, size);
    s[size] = '\0';
    if (azure_point_parse(s, &p, &failure) < 0) {
        if (!failure)
            abort();
    } else {
        check(azure_point_path(p, false));
        check(azure_point_path(p, true));
        check(azure_point_vault_path(p));
        (void)azure_point_set_virtual_machine(p, s, NULL);
    }
    if (azure_point_make("/subscriptions/1/resourceGroups/r/providers/Microsoft.RecoveryServices/vaults/v", s,
                         s, "1", &made, NULL) >= 0)
        check(azure_point_path(made, false));
    return 0;
}
