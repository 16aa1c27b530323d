/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Runs a storage tool (lvm, cryptsetup) where it can see and hurt nothing but what it is given: a mount
 * namespace of its own whose /dev is a tmpfs with null, zero, random, urandom, device-mapper's control node
 * and the nodes named, and whose /run is a tmpfs with udev's directory only. So no tool finds the host's
 * disks, talks to the host's daemons or leaves a file on it, whatever identity the clones still have. Its
 * address space is as large as three quarters of the memory that the host has available and what it needs
 * for itself, and 256 MiB at least. */

#include "child.h"
#include <sys/types.h>

typedef struct ToolNode {
    const char *name; /* in /dev/mapper */
    dev_t device;
} ToolNode;

/* Is there such a program? It is looked for when it is needed. */
bool tool_exists(const char *program);

/* argv[0]: a program's name. lvm_config: the text of lvm.conf for this call, or NULL. input: given on
 * standard input (input_size bytes), or NULL. Returns 0 whatever its status, -ENOENT: not installed, or the
 * errno of a start that failed. */
int tool_run(const ToolNode *nodes, size_t n_nodes, char *const *argv, const char *lvm_config,
             const char *input, size_t input_size, uint64_t timeout_usec, ChildResult *ret);

/* What a failed tool said last, cleaned, for a reason; never empty. The caller's; NULL: no memory. */
char *tool_last_words(const ChildResult *result);
