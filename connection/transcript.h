/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What a terminal program printed, cut into lines and bounded: the last TRANSCRIPT_LINES lines of at most
 * TRANSCRIPT_LINE_MAX bytes, whatever the program prints. Colours and other control sequences are dropped,
 * blank lines are not kept. What leaves this module is valid UTF-8 with the secrets masked; inside, nothing
 * is. */

#include "strv.h"

#define TRANSCRIPT_LINES 64
#define TRANSCRIPT_LINE_MAX 512
#define TRANSCRIPT_SECRETS 24

typedef struct TranscriptLine {
    char text[TRANSCRIPT_LINE_MAX + 1];
    size_t used;
    bool cut; /* there was more */
} TranscriptLine;

typedef struct Transcript {
    TranscriptLine *lines; /* ring of TRANSCRIPT_LINES */
    size_t first, count;
    TranscriptLine open; /* the line that has not ended */
    enum {
        TEXT_PLAIN,
        TEXT_RETURN, /* after a CR: a newline ends the line, anything else begins it anew */
        TEXT_ESCAPE, /* after ESC */
        TEXT_CSI,    /* in a control sequence */
        TEXT_OSC,    /* in an operating system command, ended by BEL or ESC \ */
    } state;
    uint64_t total_bytes;     /* fed so far */
    uint64_t kept_since_mark; /* kept lines since transcript_mark() */
    char *secrets[TRANSCRIPT_SECRETS];
    size_t n_secrets;
} Transcript;

int transcript_init(Transcript *t);
void transcript_done(Transcript *t);

/* The bytes that were read from the terminal. */
void transcript_feed(Transcript *t, const char *bytes, size_t size);
/* Ends the unfinished line (the program is gone, or its question was answered). */
void transcript_end_line(Transcript *t);
/* From here on a new question begins. */
void transcript_mark(Transcript *t);

/* A text that must never be shown. Shorter than 4 bytes, known already or one too many: ignored. */
void transcript_add_secret(Transcript *t, const char *secret);
/* The values of the assignments in a connection script that are secret. */
void transcript_add_script_secrets(Transcript *t, const char *script, size_t size);

/* The last lines, at most max, oldest first; with the unfinished one if there is one. Masked. */
int transcript_last(const Transcript *t, size_t max, char ***ret);
/* The kept lines since the mark without the unfinished one, not masked: for prompt_decide() only. */
int transcript_since_mark(const Transcript *t, char ***ret);
/* The unfinished line as it is: for prompt_decide() only. */
const char *transcript_unfinished(const Transcript *t);
/* A masked copy of any text. NULL: no memory. */
char *transcript_mask(const Transcript *t, const char *text);
