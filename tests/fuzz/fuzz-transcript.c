/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* A script (up to the first NUL byte) and what it prints: secrets never come out, and everything that does is
 * text that JSON takes. */

#include "json.h"
#include "transcript.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const uint8_t *end = memchr(data, 0, size);
    size_t script_size = end ? (size_t)(end - data) : size / 2, i;
    _cleanup_json_ json_object *array = NULL, *back = NULL;
    _cleanup_strv_free_ char **last = NULL;
    Transcript t;
    char **s;

    if (transcript_init(&t) < 0)
        return 0;
    transcript_add_script_secrets(&t, (const char *)data, script_size);
    transcript_feed(&t, (const char *)data + script_size, size - script_size);
    array = json_object_new_array();
    if (array && transcript_last(&t, TRANSCRIPT_LINES, &last) >= 0) {
        STRV_FOREACH (s, last) {
            for (i = 0; i < t.n_secrets; i++)
                /* What is left of a secret made of stars or question marks looks like the mask itself. */
                if (strstr(*s, t.secrets[i]) && !strpbrk(t.secrets[i], "*?"))
                    abort();
            json_object_array_add(array, json_object_new_string(*s));
        }
        if (json_parse(json_text(array), strlen(json_text(array)), &back) < 0)
            abort();
    }
    transcript_done(&t);
    return 0;
}
