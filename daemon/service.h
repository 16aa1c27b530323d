/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* io.ilrd.Recovery: the methods, put on the manager. Who may call, what a caller gets to see of a session and
 * when a call ends is decided here; what happens to a session is not. */

#include "manager.h"
#include "varlink.h"

#define RECOVERY_INTERFACE "io.ilrd.Recovery"

typedef struct Service Service;

/* manager and config are borrowed. The manager's changed callback becomes the service's. */
int service_new(Service **ret, sd_event *event, Manager *manager, const Config *config);
/* A listening socket; the service's after success. */
int service_listen_fd(Service *s, int fd);
Service *service_free(Service *s);
DEFINE_CLEANUP(Service *, service_free)
