/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Keys for locked volumes, until they were tried. In memory only: no record has them. */

#include "secret.h"

/* Of one session at a time, and of one call. */
#define SESSION_KEYS_MAX 8
/* What cryptsetup takes of a key file is bounded, too. */
#define SESSION_KEY_SIZE_MAX (32 * KIB)
#define SESSION_VOLUME_NAME_MAX 255

typedef struct SessionKey {
    char *volume; /* NULL: any */
    Secret *secret;
} SessionKey;

typedef struct SessionKeys {
    SessionKey items[SESSION_KEYS_MAX];
    size_t n;
} SessionKeys;

/* Copies the name (may be NULL) and references the secret. -E2BIG, -ENOMEM. */
int session_keys_add(SessionKeys *k, const char *volume, Secret *secret);
/* Forgets them. */
void session_keys_done(SessionKeys *k);
/* Of one on the heap. */
void session_keys_free(void *keys);
