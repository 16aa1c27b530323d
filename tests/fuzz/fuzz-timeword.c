/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Words for times: what is understood lies in 1970..9999, and the end of a span is not before its start. */

#include "timeword.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    _cleanup_free_ char *s = malloc(size + 1);
    uint64_t start, end;
    int r, q;

    if (!s)
        return 0;
    memcpy(s, data, size);
    s[size] = '\0';
    r = timeword_parse(s, 1795339800, TIMEWORD_START, &start);
    q = timeword_parse(s, 1795339800, TIMEWORD_END, &end);
    if ((r == -EINVAL) != (q == -EINVAL))
        abort();
    if (r >= 0 && q >= 0 && (end < start || end - start > 26 * USEC_PER_HOUR))
        abort();
    return 0;
}
