/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "validate.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <netinet/in.h>
#include <sys/random.h>

bool session_id_valid(const char *s)
{
    size_t n;

    if (!s)
        return false;
    n = strspn(s, "abcdefghijklmnopqrstuvwxyz0123456789");
    return n == SESSION_ID_LENGTH && s[n] == '\0';
}

void session_id_make(char buf[static SESSION_ID_LENGTH + 1])
{
    /* 32 characters, so that a byte maps evenly; without l, o, 0 and 1, which people mix up. */
    static const char alphabet[] = "abcdefghijkmnpqrstuvwxyz23456789";
    unsigned char bytes[SESSION_ID_LENGTH];
    size_t i;

    if (getrandom(bytes, sizeof(bytes), 0) != (ssize_t)sizeof(bytes))
        abort(); /* cannot happen for so few bytes (getrandom(2)) */
    for (i = 0; i < SESSION_ID_LENGTH; i++)
        buf[i] = alphabet[bytes[i] % 32];
    buf[i] = '\0';
}

bool iscsi_name_valid(const char *s)
{
    if (!s || strlen(s) > ISCSI_NAME_MAX)
        return false;
    if (!startswith(s, "iqn.") && !startswith(s, "eui.") && !startswith(s, "naa."))
        return false;
    return s[4] != '\0' && s[strspn(s, "abcdefghijklmnopqrstuvwxyz0123456789.:-")] == '\0';
}

bool target_name_valid(const char *s)
{
    if (!s || strlen(s) > ISCSI_NAME_MAX || !startswith(s, TARGET_PREFIX))
        return false;
    s += strlen(TARGET_PREFIX);
    return *s && s[strspn(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.:-_")] == '\0';
}

int portal_parse_local(const char *s)
{
    const char *p = s ? startswith(s, "127.0.0.1:") : NULL;
    unsigned long port;

    if (!p || strlen(p) > 5 || !*p || p[strspn(p, "0123456789")] || *p == '0')
        return -EINVAL;
    port = strtoul(p, NULL, 10);
    return port >= 1024 && port <= 65535 ? (int)port : -EINVAL;
}

bool host_name_valid(const char *s)
{
    struct in_addr a;
    size_t label = 0;

    if (!s || strlen(s) > 253 || !*s || inet_pton(AF_INET, s, &a) == 1)
        return false;
    for (; *s; s++) {
        if (*s == '.') {
            if (label == 0 || s[-1] == '-')
                return false;
            label = 0;
        } else if (isalnum((unsigned char)*s) || (*s == '-' && label > 0)) {
            if (++label > 63)
                return false;
        } else
            return false;
    }
    return label > 0 && s[-1] != '-';
}

bool address_valid(const char *s)
{
    struct in6_addr a6;
    struct in_addr a4;

    if (s && inet_pton(AF_INET, s, &a4) == 1) {
        uint32_t a = ntohl(a4.s_addr);

        return a >> 24 != 0 && a >> 28 < 0xe;
    }
    if (s && inet_pton(AF_INET6, s, &a6) == 1)
        return !IN6_IS_ADDR_UNSPECIFIED(&a6) && !IN6_IS_ADDR_MULTICAST(&a6);
    return false;
}

bool address_of_platform(const char *s)
{
    struct in6_addr a6;
    struct in_addr a4;

    if (inet_pton(AF_INET, s, &a4) == 1) {
        uint32_t a = ntohl(a4.s_addr);

        return a >> 16 == 0xa9fe /* 169.254.0.0/16 */ || a == 0xa83f8110 /* 168.63.129.16 */;
    }
    return inet_pton(AF_INET6, s, &a6) == 1 && (IN6_IS_ADDR_LINKLOCAL(&a6) || IN6_IS_ADDR_V4MAPPED(&a6));
}
