/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "session-keys.h"

int session_keys_add(SessionKeys *k, const char *volume, Secret *secret)
{
    char *copy = NULL;

    if (k->n == SESSION_KEYS_MAX)
        return -E2BIG;
    if (volume && !(copy = strdup(volume)))
        return -ENOMEM;
    k->items[k->n++] = (SessionKey){.volume = copy, .secret = secret_ref(secret)};
    return 0;
}

void session_keys_done(SessionKeys *k)
{
    while (k->n > 0) {
        SessionKey *key = &k->items[--k->n];

        free(key->volume);
        secret_unref(key->secret);
    }
}

void session_keys_free(void *keys)
{
    if (keys)
        session_keys_done(keys);
    free(keys);
}
