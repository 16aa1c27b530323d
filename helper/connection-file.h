/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* connection.json, read as what it is: a file that an unprivileged process wrote, which runs foreign code.
 * Only known fields of the right type, length and range are taken over; texts lose their control characters.
 */

#include "failure.h"
#include <sys/types.h>

#define CONNECTION_SIZE_MAX (1 * MIB)

typedef struct ConnectionFile {
    json_object *connection; /* the cleaned object, never NULL after success; has no member "failure" */
    Failure *failure;        /* cleaned, or NULL */
    bool connected;          /* state is "connected" */
} ConnectionFile;

void connection_file_done(ConnectionFile *c);

/* -EBADMSG: it is not what docs/architecture.md says. */
int connection_file_parse(const char *text, size_t size, const char *id, ConnectionFile *ret);
/* Reads <connect_dir>/ID/connection.json, which must be a regular file of this user. -ENOENT: none yet. */
int connection_file_read(const char *id, uid_t uid, ConnectionFile *ret);
