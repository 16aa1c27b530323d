/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Where the helper finds and puts things. Everything below is made from these and a valid session id, never
 * from a name that somebody sent. Tests point the roots elsewhere; nothing else changes them. */

#include "util.h"

typedef struct Paths {
    const char *private_dir; /* /run/ilr-private: root's; ID/ is the helper's directory of a session */
    const char *connect_dir; /* /run/ilr-connect: ID/ is the connection script's */
    const char *mounts_dir;  /* /run/ilr: ID/volumes/NAME are the mounts */
    const char *unit_dir;    /* /run/systemd/system */
    const char *sysfs;       /* /sys */
    const char *proc;        /* /proc */
    const char *dev;         /* /dev */
    const char *etc;         /* /etc */
    const char *var_iscsi;   /* /var/lib/iscsi: where some distributions keep the records */
} Paths;

extern Paths paths;

/* "<private_dir>/<id>" and, if rest is not NULL, "/<rest>". NULL: no memory, or id is no session id. */
char *private_path(const char *id, const char *rest);
char *connect_path(const char *id, const char *rest);
char *mounts_path(const char *id, const char *rest);
