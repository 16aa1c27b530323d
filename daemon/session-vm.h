/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The kind "vm": a recovery point of an Azure VM, connected by the service's script, mounted on this host.
 * Its steps are provision, connect and up. */

#include "session-provision.h"

/* The connection script listens on one of its ports 5365 to 5396 of this host: so many connections at a time.
 */
#define CONNECTIONS_MAX 32

extern const SessionKind session_kind_vm;

/* The data of a session of this kind. Takes point and resource (either may be NULL). NULL: out of memory. */
void *session_vm_data(AzurePoint *point, AzureResource *resource);
/* Only for data that no session owns. */
void session_vm_data_free(void *data);
