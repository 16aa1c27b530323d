/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "utf8.h"

#include <locale.h>
#include <wctype.h>

#define DISTANCE_LENGTH_MAX 64 /* characters */

int utf8_decode(const char *s, uint32_t *ret)
{
    static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
    const unsigned char *p = (const unsigned char *)s;
    uint32_t c = p[0];
    int n, i;

    if (c == 0)
        return 0;
    if (c < 0x80) {
        *ret = c;
        return 1;
    }
    if (c < 0xc2 || c > 0xf4)
        return -EINVAL;
    n = c < 0xe0 ? 2 : c < 0xf0 ? 3 : 4;
    c &= 0xffu >> (n + 1);
    for (i = 1; i < n; i++) {
        if ((p[i] & 0xc0) != 0x80) /* the end too */
            return -EINVAL;
        c = c << 6 | (p[i] & 0x3f);
    }
    if (c < least[n] || c > 0x10ffff || (c >= 0xd800 && c <= 0xdfff))
        return -EINVAL;
    *ret = c;
    return n;
}

bool utf8_valid(const char *s)
{
    uint32_t c;
    int n;

    while ((n = utf8_decode(s, &c)) > 0)
        s += n;
    return n == 0;
}

void utf8_disarm(char *s, char by)
{
    unsigned char *p = (unsigned char *)s;

    for (; *p; p++) {
        if (*p < ' ' || *p == 0x7f)
            *p = (unsigned char)by;
        if (*p == 0xc2 && p[1] >= 0x80 && p[1] < 0xa0)
            p[0] = p[1] = (unsigned char)by;
    }
}

/* The character in lower case; what is no UTF-8 becomes a number that no character has. */
static int next_folded(const char *s, uint32_t *ret)
{
    static locale_t locale;
    static bool tried;
    int n = utf8_decode(s, ret);

    if (n < 0) {
        *ret = 0x80000000u | (unsigned char)*s;
        return 1;
    }
    if (*ret >= 'A' && *ret <= 'Z' && n > 0)
        *ret += 'a' - 'A';
    if (n < 2)
        return n;
    if (!tried) {
        /* In every glibc since 2.35, and Debian's before that; without it only ASCII letters are folded. */
        locale = newlocale(LC_CTYPE_MASK, "C.UTF-8", NULL);
        tried = true;
    }
    if (locale)
        *ret = towlower_l((wint_t)*ret, locale);
    return n;
}

bool utf8_equal_nocase(const char *a, const char *b)
{
    for (;;) {
        uint32_t x = 0, y = 0;
        int n = next_folded(a, &x), m = next_folded(b, &y);

        if (n == 0 || m == 0)
            return n == m;
        if (x != y)
            return false;
        a += n;
        b += m;
    }
}

static size_t fold(const char *s, uint32_t folded[static DISTANCE_LENGTH_MAX])
{
    size_t length = 0;
    int n;

    while (*s) {
        if (length == DISTANCE_LENGTH_MAX)
            return SIZE_MAX;
        n = next_folded(s, &folded[length++]);
        s += n;
    }
    return length;
}

unsigned utf8_distance(const char *a, const char *b, unsigned max)
{
    uint32_t x[DISTANCE_LENGTH_MAX], y[DISTANCE_LENGTH_MAX];
    unsigned row[DISTANCE_LENGTH_MAX + 1];
    size_t n = fold(a, x), m = fold(b, y), i, j;

    if (n == SIZE_MAX || m == SIZE_MAX)
        return max;
    for (j = 0; j <= m; j++)
        row[j] = (unsigned)j;
    for (i = 1; i <= n; i++) {
        unsigned diagonal = row[0];

        row[0] = (unsigned)i;
        for (j = 1; j <= m; j++) {
            unsigned change = diagonal + (x[i - 1] != y[j - 1]);

            diagonal = row[j];
            row[j] = MIN(change, MIN(row[j], row[j - 1]) + 1);
        }
    }
    return MIN(row[m], max);
}
