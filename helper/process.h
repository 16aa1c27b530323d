/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What a process is, by its directory in /proc; and all of them. */

#include "validate.h"
#include <sys/types.h>

/* Where the connection script's tunnels listen, as listener_of_process() wants it. */
extern const int process_tunnel_ports[];

/* The session in whose unit (ilr-connection@ID.service, ilr-session@ID.service of the system's manager) a
 * process is, by the text of its cgroup file. A user's own unit of that name is none. */
bool process_session(const char *cgroup, char buf[static SESSION_ID_LENGTH + 1]);
/* The same for the unit of a helper or of hooks (ilr-helper@..., ilr-hook@...), by its name. */
#define PROCESS_UNIT_MAX 256
bool process_passing_unit(const char *cgroup, char buf[static PROCESS_UNIT_MAX]);

/* Is it a program that connection scripts start as their tunnel? By how it was started, not by a mere
 * mention: whoever edits or greps it is not taken for it. */
bool process_is_tunnel(int dir);
/* The same by its command line: size bytes, arguments ended by NUL. */
bool process_cmdline_is_tunnel(const char *text, size_t size);

/* When it started, in the kernel's ticks since boot; 0: it is gone. With the number it is this very process.
 */
uint64_t process_since(int dir);
/* Is it still there? */
bool process_exists(pid_t pid, uint64_t since);

/* Ends it if it still is what it was, first by asking (SIGTERM), after wait_usec without (SIGKILL), and waits
 * that long again. Gone: 0. -ETIMEDOUT: it is still there. */
int process_end(pid_t pid, uint64_t since, uint64_t wait_usec);

/* Calls look for each process, with its directory in /proc, but for this one and its parent, until it returns
 * something else than 0: that is returned. */
int process_each(int (*look)(int dir, pid_t pid, void *userdata), void *userdata);

/* The mount namespaces that were seen so far. */
typedef struct Namespaces {
    uint64_t seen[1024];
    size_t n;
} Namespaces;

/* Only this process's own was. */
void namespaces_init(Namespaces *n);
/* Is this process the first one of its namespace? If there are too many to remember, it may be told again. */
bool namespaces_first(Namespaces *n, int dir);
