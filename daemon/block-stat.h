/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The kernel's count of what was read from block devices. */

#include "json.h"

#define BLOCK_DIR "/sys/dev/block"

/* The third number of a device's stat file, in bytes. -EBADMSG: it is none. */
int block_stat_parse(const char *text, uint64_t *ret_bytes);
/* Of all disks ([{"device":"8:16",...}], what the helper told; without a device: not counted), as the kernel
 * knows them in directory (BLOCK_DIR). A disk that is gone is not counted. */
uint64_t block_stat_bytes_read(const char *directory, json_object *disks);
