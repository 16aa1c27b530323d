/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* A terminal's bytes: the last line is the unfinished one. */

#include "prompts.h"
#include "transcript.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const PromptSystem system = {.name = "Debian", .version = "12"};
    _cleanup_strv_free_ char **lines = NULL, **last = NULL;
    Transcript t;
    PromptDecision d;
    char **s;

    if (transcript_init(&t) < 0)
        return 0;
    transcript_feed(&t, (const char *)data, size);
    if (transcript_since_mark(&t, &lines) >= 0) {
        d = prompt_decide(lines, transcript_unfinished(&t), &system);
        if (d.kind == PROMPT_ANSWER && (!d.answer || !d.name))
            abort();
        if (d.kind == PROMPT_FAIL && !failure_name_to_string(d.failure))
            abort();
        if (d.kind == PROMPT_END && d.answer)
            abort();
        (void)prompt_failure(lines);
    }
    if (transcript_last(&t, TRANSCRIPT_LINES, &last) >= 0) {
        if (strv_length(last) > TRANSCRIPT_LINES)
            abort();
        STRV_FOREACH (s, last)
            if (strlen(*s) > TRANSCRIPT_LINE_MAX)
                abort();
    }
    transcript_done(&t);
    return 0;
}
