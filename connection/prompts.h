/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What a line of the connection script means: is it a question, and what is the answer? Pure functions on
 * text; the words of the script change between generations, so keywords decide, not sentences. Nothing
 * unknown is answered. */

#include "failure.h"

typedef enum PromptKind {
    PROMPT_NONE,   /* no question that is known: wait for more */
    PROMPT_ANSWER, /* send answer and go on */
    PROMPT_FAIL,   /* the connection cannot come about: failure; send answer first if there is one */
    PROMPT_END,    /* the script is through with its work, well or not: never answered */
    PROMPT_KIND_MAX,
    PROMPT_KIND_INVALID = -EINVAL,
} PromptKind;

typedef struct PromptDecision {
    PromptKind kind;
    const char *name;    /* of the question, for the log; static */
    const char *answer;  /* without newline; static or from PromptSystem; NULL: none */
    FailureName failure; /* PROMPT_FAIL */
} PromptDecision;

/* What is typed when the script asks which system it runs on. */
typedef struct PromptSystem {
    const char *name;    /* one of the script's seven families */
    const char *version; /* "12", "22.04" */
} PromptSystem;

/* lines: the complete lines since the last question, oldest first, NULL-terminated (NULL: none). unfinished:
 * what stands on the line that has not ended. */
PromptDecision prompt_decide(char *const *lines, const char *unfinished, const PromptSystem *system);

/* The script ended, or asks to be ended, without a connection: what do its last lines say?
 * FAILURE_NAME_INVALID: nothing that is known. */
FailureName prompt_failure(char *const *lines);
