/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The text of /proc/PID/mountinfo (proc(5)), whatever names are in it. */

#include "util.h"
#include <sys/types.h>

typedef struct MountLine {
    int id;
    dev_t device;       /* of the superblock; major 0: not a block device's */
    const char *path;   /* where it is mounted, unescaped */
    const char *type;   /* of the file system */
    const char *source; /* unescaped; "" */
    bool follows;       /* its unmount comes from elsewhere: shared with or slave to others */
} MountLine;

/* Parses one line in place (no newline in it): what *ret points to is in line. -EBADMSG: it is none. */
int mountinfo_parse(char *line, MountLine *ret);
/* "\040" and the like back to bytes, in place. */
void mountinfo_unescape(char *s);
