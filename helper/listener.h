/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Whose is the listener at 127.0.0.1:PORT? A connection unit may name only portals that it serves itself, or
 * it could send the initiator to any target that this host can reach. */

#include "util.h"
#include <sys/types.h>

#define LISTENERS_MAX 16

/* Copies the next line of the text of /proc/net/tcp, behind its head at first, and moves *text there. False:
 * no more. (sscanf() on the text itself looks for its end each time, and anybody can make it long.) */
#define TCP_LINE_MAX 256
bool tcp_table_line(const char **text, char ret[static TCP_LINE_MAX]);

/* From the text of /proc/net/tcp: the inodes of the sockets that would take a connection to 127.0.0.1:port
 * (those bound to this very address, or, if there is none, those bound to 0.0.0.0). Returns how many (at most
 * LISTENERS_MAX), 0: none; -EBADMSG: the text cannot be understood; -E2BIG: more. */
int listener_inodes(const char *text, int port, uint64_t ret[static LISTENERS_MAX]);

/* The process of this control group (a path below /sys/fs/cgroup, as sd_peer_get_cgroup() gives it) that
 * holds the listener. -ECONNREFUSED: nobody listens; -EPERM: a listener that belongs to nobody of this group.
 */
int listener_owner(int port, const char *cgroup, pid_t *ret);

/* The first port of 127.0.0.1 in these ranges (first, last, ..., 0) at which the process listens, in its own
 * network. 0: at none. */
int listener_of_process(pid_t pid, const int *ranges);
