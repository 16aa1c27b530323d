/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The btrfs file systems among the volumes: which volumes are one file system, and a new identity for each,
 * before the kernel sees it. */

#include "assembly.h"

/* For those that were not dealt with yet. One of several devices stays as the volume, with the others as its
 * partners; it is degraded if there are fewer than it needs. */
int btrfs_assemble(Assembly *a);
