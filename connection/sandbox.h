/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Starts the connection script of one session under bubblewrap on a pseudo terminal. In there it is root to
 * itself and an ordinary user to the kernel; there is no disk, no /run of the host, no other session, and
 * nothing outlives it: when the process that sandbox_start() names is gone, so is everything that it started.
 * What it can reach in the network is not decided here but by the unit (IPAddressAllow=). */

#include "strv.h"
#include <sys/types.h>

typedef struct SandboxOptions {
    const char *session;
    const char *session_dir; /* has script, work/ and control */
    const char *stand_in_dir;
    const char *portal_host; /* a judged DNS name, or NULL */
    char *const *portal_addresses;
    const char *script; /* its text, to see what it is written in */
    size_t script_size;
} SandboxOptions;

/* Where things are inside. */
#define SANDBOX_SOCKET "/run/ilr-connect.socket"
#define SANDBOX_ISCSID_CONF "/etc/iscsi/iscsid.conf"

/* Returns 0 or a negative errno. ret_terminal is the terminal's master, non-blocking. */
int sandbox_start(const SandboxOptions *o, pid_t *ret_pid, int *ret_terminal);

/* "python3" or "bash": by the script's #! line; without one it is taken for Python. Pure. */
const char *sandbox_interpreter(const char *script, size_t size);
/* The text of the sandbox's /etc/hosts; NULL: no memory. Pure. */
char *sandbox_hosts(const SandboxOptions *o);
