/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Text for a terminal. What comes from elsewhere (labels of a backup, messages of a service, lines of a
 * script) goes through text_escape(): no byte of it may move the cursor, turn the writing around or fake
 * another line. */

#include "util.h"

/* Control characters (C0, DEL, C1), the marks that reorder text (U+200E, U+202A..), and bytes that are no
 * UTF-8 become \xNN or \u{N}; a backslash stays. Owned by the caller; never NULL (ends the program without
 * memory). */
char *text_escape(const char *s);
/* Columns that an escaped text takes, one for each character. */
size_t text_width(const char *s);
/* Cuts an escaped text to at most width columns. */
void text_cut(char *s, size_t width);
/* "29.9 GiB" */
const char *text_size(uint64_t bytes, char *buf, size_t size);

/* The words with the separator between them; none, if there are no words. The caller's. */
char *text_join(char *const *words, const char *separator, const char *none);

/* A table with aligned columns. Cells are escaped here. The last column is not padded. */
typedef struct Table {
    size_t n_columns, n_cells;
    char **cells;
    const bool *right; /* columns aligned at their right edge; NULL: none */
} Table;

/* titles: the first row. */
void table_init(Table *t, const char *const *titles, size_t n_columns, const bool *right);
void table_done(Table *t);
void table_add(Table *t, const char *cell);
void table_print(const Table *t, const char *indent, FILE *f);

_noreturn_ void out_of_memory(void);
