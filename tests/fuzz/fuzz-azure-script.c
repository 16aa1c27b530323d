/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The text of a connection script. Whatever it is: what is read out of it is what it claims to be. */

#include "azure-script.h"
#include "validate.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    _cleanup_(script_info_freep) ScriptInfo *info = NULL;
    _cleanup_failure_ Failure *failure = NULL;
    int r;

    r = script_info_parse((const char *)data, size, &info, &failure);
    if ((r < 0) != !info || (r < 0) != !!failure)
        abort();
    if (info &&
        (!host_name_valid(info->portal_host) || !target_name_valid(info->target) || info->portal_port == 0))
        abort();
    return 0;
}
