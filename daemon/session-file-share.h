/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The kind "file-share": a recovery point of an Azure file share. Azure is asked and answers; what it leads
 * to, a snapshot that could be mounted, is not mounted yet, so that a session of this kind always ends with a
 * failure that says so. Its step is provision. */

#include "session-provision.h"

extern const SessionKind session_kind_file_share;

/* As those of session-vm.h. */
void *session_file_share_data(AzurePoint *point, AzureResource *resource);
void session_file_share_data_free(void *data);
