/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "chap.h"

#include <ctype.h>
#include <openssl/evp.h>
#include <strings.h>

#define ALGORITHM_MD5 5
#define ALGORITHM_SHA1 7

DEFINE_CLEANUP(EVP_MD_CTX *, EVP_MD_CTX_free)

void chap_init(Chap *c)
{
    *c = (Chap){.id = -1};
}

static int hex_digit(char c)
{
    return c >= '0' && c <= '9'         ? c - '0'
           : isxdigit((unsigned char)c) ? tolower((unsigned char)c) - 'a' + 10
                                        : -1;
}

static int decode_hex(const char *s, unsigned char *buf, size_t max, size_t *ret)
{
    size_t digits = strlen(s), i, n = 0;

    if (digits == 0 || (digits + 1) / 2 > max)
        return -EPROTO;
    for (i = 0; i < digits; i++) {
        int v = hex_digit(s[i]);

        if (v < 0)
            return -EPROTO;
        if ((digits - i) % 2 == 0 || i == 0)
            buf[n++] = (unsigned char)v;
        else
            buf[n - 1] = (unsigned char)(buf[n - 1] << 4 | v);
    }
    *ret = n;
    return 0;
}

static int decode_base64(const char *s, unsigned char *buf, size_t max, size_t *ret)
{
    size_t n = strlen(s), padding = 0;
    int size;

    if (n == 0 || n % 4 || n / 4 * 3 > max)
        return -EPROTO;
    while (padding < 2 && s[n - 1 - padding] == '=')
        padding++;
    size = EVP_DecodeBlock(buf, (const unsigned char *)s, (int)n);
    if (size < 0)
        return -EPROTO;
    *ret = (size_t)size - padding;
    return 0;
}

/* A binary value as iSCSI writes it. */
static int decode(const char *s, unsigned char *buf, size_t max, size_t *ret)
{
    if (strncasecmp(s, "0x", 2) == 0)
        return decode_hex(s + 2, buf, max, ret);
    if (strncasecmp(s, "0b", 2) == 0)
        return decode_base64(s + 2, buf, max, ret);
    return -EPROTO;
}

static int number(const char *s, int max)
{
    char *end;
    long n = strtol(s, &end, 0);

    return end == s || *end || n < 0 || n > max ? -EPROTO : (int)n;
}

int chap_note(Chap *c, const char *pair)
{
    const char *value;

    if ((value = startswith(pair, "CHAP_A=")))
        return (c->algorithm = number(value, 255)) < 0 ? -EPROTO : 0;
    if ((value = startswith(pair, "CHAP_I=")))
        return (c->id = number(value, 255)) < 0 ? -EPROTO : 0;
    if ((value = startswith(pair, "CHAP_C=")))
        return decode(value, c->challenge, sizeof(c->challenge), &c->challenge_size);
    return 0;
}

static int digest(const Chap *c, const char *password, unsigned char buf[static EVP_MAX_MD_SIZE],
                  unsigned *ret)
{
    const EVP_MD *md = c->algorithm == ALGORITHM_MD5    ? EVP_md5()
                       : c->algorithm == ALGORITHM_SHA1 ? EVP_sha1()
                                                        : NULL;
    _cleanup_(EVP_MD_CTX_freep) EVP_MD_CTX *context = EVP_MD_CTX_new();
    unsigned char id = (unsigned char)c->id;

    if (!context)
        return -ENOMEM;
    if (!md || c->id < 0 || c->challenge_size == 0 || EVP_DigestInit_ex(context, md, NULL) != 1 ||
        EVP_DigestUpdate(context, &id, 1) != 1 ||
        EVP_DigestUpdate(context, password, strlen(password)) != 1 ||
        EVP_DigestUpdate(context, c->challenge, c->challenge_size) != 1 ||
        EVP_DigestFinal_ex(context, buf, ret) != 1)
        return -EPROTO;
    return 0;
}

int chap_answer(const Chap *c, const char *password, char **ret)
{
    unsigned char bytes[EVP_MAX_MD_SIZE];
    unsigned n, i;
    char *text;
    int r = digest(c, password, bytes, &n);

    if (r < 0)
        return r;
    text = malloc(2 + 2 * n + 1);
    if (!text)
        return -ENOMEM;
    strcpy(text, "0x");
    for (i = 0; i < n; i++)
        sprintf(text + 2 + 2 * i, "%02x", bytes[i]);
    *ret = text;
    return 0;
}

bool chap_right(const Chap *c, const char *password, const char *response)
{
    unsigned char expected[EVP_MAX_MD_SIZE], got[EVP_MAX_MD_SIZE + 3];
    unsigned n;
    size_t size;

    return digest(c, password, expected, &n) >= 0 && decode(response, got, sizeof(got), &size) >= 0 &&
           size == n && memcmp(expected, got, n) == 0;
}
