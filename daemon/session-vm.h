/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The kind "vm": a recovery point of an Azure VM, connected by the service's script, mounted on this host.
 * Its steps are provision, connect and up. */

#include "azure.h"
#include "session.h"
#include <systemd/sd-bus.h>

/* SessionContext.services of this kind. Borrowed. */
typedef struct VmServices {
    Azure *azure;
    const char *helper_socket;
    const char *connect_dir; /* where ilr-connect keeps its state: CONNECT_DIR */
    sd_bus *bus;             /* or NULL: then the end of a unit is noticed only at the next request */
} VmServices;

extern const SessionKind session_kind_vm;

/* The data of a session of this kind. Takes point. NULL: out of memory. */
void *session_vm_data(AzurePoint *point);
/* Only for data that no session owns. */
void session_vm_data_free(void *data);
const AzurePoint *session_vm_point(const Session *s);
