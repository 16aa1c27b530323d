/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Who is in the way of an unmount: processes with a working directory, root, program, open file or mapping on
 * one of the mounts, or with one of the devices open, and mount namespaces that kept a copy of a mount for
 * themselves. Looks only, kills nobody. */

#include "json.h"
#include "mount.h"

#define HOLDERS_MAX 32

typedef struct HolderQuery {
    const char *directory; /* the mounts are below it */
    const MountPoint *mounts;
    size_t n_mounts;
    const dev_t *devices; /* block devices of the session */
    size_t n_devices;
} HolderQuery;

/* An array of {"pid","command","uid","path"}, one for each process, at most HOLDERS_MAX; the caller's. In a
 * child with a deadline. */
int holders_find(const HolderQuery *query, uint64_t timeout_usec, json_object **ret);
/* The same in this process. */
int holders_scan(const HolderQuery *query, json_object **ret);
/* "pid 4711 (bash), pid 4712 (tail)": for a message. The caller's, or NULL. */
char *holders_text(json_object *holders);
