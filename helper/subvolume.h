/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The subvolumes of a btrfs that is mounted from its top (subvolid=5): asked of the kernel, which reads
 * foreign bytes, in a child with a deadline. */

#include "json.h"

#define SUBVOLUME_TOP 5
#define SUBVOLUMES_MAX 200

/* [{"id","path","default"}] by id, without the top itself, at most SUBVOLUMES_MAX and those with short paths;
 * the default one is always in it. */
int subvolumes_list(const char *directory, uint64_t timeout_usec, json_object **ret);

/* The path of one of them, borrowed; NULL: it is not in the list. */
const char *subvolume_path(json_object *list, uint64_t id);
/* The path of the default one; NULL: that is the top. */
const char *subvolume_default(json_object *list);
