/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "storage.h"

#include "iscsi.h"

int storage_down(const char *id, bool forced, Failure **ret_failure)
{
    _cleanup_(record_freep)
    Record *record = NULL;
    int r = record_load(id, &record);

    if (r < 0)
        return r == -ENOENT ? 0 : r;
    return iscsi_targets_logout(record, ISCSI_LOGOUT_TIMEOUT_USEC, ret_failure);
}
