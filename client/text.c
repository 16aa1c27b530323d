/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "text.h"

#include "strv.h"
#include "utf8.h"

_noreturn_ void out_of_memory(void)
{
    fputs("ilrctl: out of memory\n", stderr);
    exit(1);
}

static bool harmless(uint32_t c)
{
    return !(c < 0x20 || (c >= 0x7f && c < 0xa0) || c == 0x61c || c == 0x200e || c == 0x200f || c == 0x2028 ||
             c == 0x2029 || (c >= 0x202a && c <= 0x202e) || (c >= 0x2066 && c <= 0x2069) || c == 0xfeff);
}

char *text_escape(const char *s)
{
    char *escaped = malloc(4 * strlen(s) + 1), *out = escaped;

    if (!escaped)
        out_of_memory();
    while (*s) {
        uint32_t c = 0;
        int length = utf8_decode(s, &c);

        if (length < 0)
            out += sprintf(out, "\\x%02x", (unsigned char)*s++);
        else if (harmless(c)) {
            memcpy(out, s, (size_t)length);
            out += length;
            s += length;
        } else {
            /* "\u{2066}" needs 8 bytes, the three of the character allow 12. */
            out += sprintf(out, c < 0x80 ? "\\x%02x" : "\\u{%x}", c);
            s += length;
        }
    }
    *out = '\0';
    return escaped;
}

size_t text_width(const char *s)
{
    size_t n = 0;

    for (; *s; s++)
        n += ((unsigned char)*s & 0xc0) != 0x80;
    return n;
}

void text_cut(char *s, size_t width)
{
    for (; *s; s++)
        if (((unsigned char)*s & 0xc0) != 0x80 && width-- == 0) {
            *s = '\0';
            return;
        }
}

const char *text_size(uint64_t bytes, char *buf, size_t size)
{
    static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
    double value = bytes;
    size_t i = 0;

    while (value >= 1024 && i + 1 < ELEMENTSOF(units)) {
        value /= 1024;
        i++;
    }
    if (i == 0 || value >= 100)
        snprintf(buf, size, "%.0f %s", value, units[i]);
    else
        snprintf(buf, size, "%.1f %s", value, units[i]);
    return buf;
}

char *text_join(char *const *words, const char *separator, const char *none)
{
    char *text = words ? strv_join(words, separator) : strdup(none);

    if (!text)
        out_of_memory();
    return text;
}

void table_init(Table *t, const char *const *titles, size_t n_columns, const bool *right)
{
    size_t i;

    *t = (Table){.n_columns = n_columns, .right = right};
    for (i = 0; i < n_columns; i++)
        table_add(t, titles[i]);
}

void table_done(Table *t)
{
    size_t i;

    for (i = 0; i < t->n_cells; i++)
        free(t->cells[i]);
    free(t->cells);
}

void table_add(Table *t, const char *cell)
{
    char **cells = realloc(t->cells, (t->n_cells + 1) * sizeof(char *));

    if (!cells)
        out_of_memory();
    t->cells = cells;
    cells[t->n_cells++] = text_escape(isempty(cell) ? "-" : cell);
}

void table_print(const Table *t, const char *indent, FILE *f)
{
    size_t row, column;

    for (row = 0; row < t->n_cells / t->n_columns; row++) {
        fputs(indent, f);
        for (column = 0; column < t->n_columns; column++) {
            const char *cell = t->cells[row * t->n_columns + column];
            size_t width = 0, i, pad;

            for (i = column; i < t->n_cells; i += t->n_columns)
                width = MAX(width, text_width(t->cells[i]));
            pad = width - text_width(cell);
            if (t->right && t->right[column])
                fprintf(f, "%*s%s", (int)pad, "", cell);
            else
                fprintf(f, "%s%*s", cell, column + 1 < t->n_columns ? (int)pad : 0, "");
            fputs(column + 1 < t->n_columns ? "  " : "\n", f);
        }
    }
}
