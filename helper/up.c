/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "storage.h"

int storage_up(const char *id, const Config *config, Failure **ret_failure)
{
    return -ENOSYS;
}
