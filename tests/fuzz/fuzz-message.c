/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* A stream of NUL-terminated messages in pieces of odd sizes: framing, JSON, and what is read out of it. */

#include "failure.h"
#include "framing.h"
#include "timeutil.h"
#include "validate.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void look(json_object *o)
{
    _cleanup_json_ json_object *back = NULL;
    _cleanup_failure_ Failure *f = NULL;
    const char *s;
    uint64_t usec;

    if (failure_from_json(o, &f) >= 0 && failure_to_json(f, &back) < 0)
        abort();
    if (json_get_string(o, "s", &s) > 0) {
        (void)timespan_parse(s, &usec);
        (void)timestamp_parse(s, &usec);
        (void)iscsi_name_valid(s);
        (void)target_name_valid(s);
        (void)portal_parse_local(s);
        (void)host_name_valid(s);
        (void)address_valid(s);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    size_t i, n, length;
    const char *text;
    Framing f;

    framing_init(&f, 4096);
    for (i = 0; i < size; i += n) {
        n = MIN(size - i, (size_t)(data[i] % 143 + 1));
        if (framing_feed(&f, (const char *)data + i, n) < 0)
            break;
        while (framing_next(&f, &text, &length) > 0) {
            _cleanup_json_ json_object *o = NULL;

            if (json_parse(text, length, &o) >= 0)
                look(o);
        }
    }
    framing_done(&f);
    return 0;
}
