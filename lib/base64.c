/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "base64.h"

size_t base64_encode(const char *bytes, size_t size, char *ret)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    size_t i, k, n = 0;

    for (i = 0; i < size; i += 3) {
        size_t have = MIN(size - i, (size_t)3);
        uint32_t bits = 0;

        for (k = 0; k < 3; k++)
            bits = bits << 8 | (k < have ? (unsigned char)bytes[i + k] : 0);
        for (k = 0; k < 4; k++)
            ret[n++] = k <= have ? digits[bits >> (18 - 6 * k) & 63] : '=';
    }
    return n;
}

int base64_digit(char c)
{
    if (c >= 'A' && c <= 'Z')
        return c - 'A';
    if (c >= 'a' && c <= 'z')
        return c - 'a' + 26;
    if (c >= '0' && c <= '9')
        return c - '0' + 52;
    return c == '+' ? 62 : c == '/' ? 63 : -EBADMSG;
}

int base64_decode(const char *text, size_t max, Secret **ret)
{
    size_t n = strlen(text), digits = n, i, size = 0;
    uint32_t bits = 0;
    char *data;
    int d = 0;

    if (n == 0 || n % 4 != 0)
        return -EBADMSG;
    while (digits > n - 2 && text[digits - 1] == '=')
        digits--;
    if (n / 4 * 3 - (n - digits) > max)
        return -EFBIG;
    data = malloc(n / 4 * 3 + 1);
    if (!data)
        return -ENOMEM;
    for (i = 0; i < digits && (d = base64_digit(text[i])) >= 0; i++) {
        bits = bits << 6 | (uint32_t)d;
        if (i % 4 > 0)
            data[size++] = (char)(bits >> (6 - 2 * (i % 4)));
    }
    /* What the padding leaves over must be 0, or two texts would mean the same. */
    if (d >= 0 && digits < n && (bits & ((1U << 2 * (n - digits)) - 1)))
        d = -EBADMSG;
    if (d < 0) {
        explicit_bzero(data, size);
        free(data);
        return d;
    }
    data[size] = '\0';
    *ret = secret_new(data, size);
    explicit_bzero(data, size);
    free(data);
    return *ret ? 0 : -ENOMEM;
}
