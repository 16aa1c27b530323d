/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The session's private iscsid.conf: the only way by which CHAP and timers reach open-iscsi (never its
 * argument list, never the host's files). */

#include "failure.h"
#include "secret.h"

#define CHAP_NAME_MAX 255 /* open-iscsi keeps 256 bytes with the NUL */
#define CHAP_PASSWORD_MAX 255

/* Seconds that I/O waits for a connection that broke before it ends with EIO. */
#define REPLACEMENT_TIMEOUT "10"

typedef struct Chap {
    const char *username; /* borrowed from the request */
    const char *password;
} Chap;

/* Reads the optional object "chap" of a request. Returns 1 with *ret set, 0 if there is none, -EINVAL with a
 * failure naming the field: both must be strings of 1 to 255 printable ASCII characters that neither begin
 * nor end with a space, as the file's format has no quotes. */
int chap_from_json(json_object *parameters, Chap *ret, Failure **ret_failure);

/* The whole text. chap NULL: none. NULL: no memory. */
Secret *iscsid_conf_text(const Chap *chap);

/* Makes <directory>/iscsid.conf new, 0600. */
int iscsid_conf_write(const char *directory, const Chap *chap);
