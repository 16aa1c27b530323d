/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Stream sockets of this host, called by the path of their file. A path that is too long for one is
 * -ENAMETOOLONG. All are CLOEXEC; flags are SOCK_NONBLOCK or 0. */

#include "util.h"
#include <sys/socket.h>
#include <sys/un.h>

int local_socket_address(const char *path, struct sockaddr_un *ret);

/* A connected one. */
int local_socket_connect(const char *path, int flags);

/* One that has the path, whatever had it before, and does not listen yet: nobody gets in before the caller
 * has set who may. */
int local_socket_bind(const char *path, int flags);
