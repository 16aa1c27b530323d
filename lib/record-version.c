/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "record-version.h"

int record_version_add(json_object *record)
{
    int r = json_add_int64(record, "version", RECORD_VERSION);

    return r < 0 ? r : json_add_int64(record, "compatible", RECORD_COMPATIBLE);
}

bool record_version_usable(json_object *record, int64_t own)
{
    int64_t version, compatible;

    if (json_get_int64(record, "version", &version) <= 0 || version < 1)
        return false;
    if (version <= own)
        return true;
    /* A newer one's: it knows best. */
    return json_get_int64(record, "compatible", &compatible) > 0 && compatible >= 1 && compatible <= own;
}
