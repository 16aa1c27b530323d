/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "mountinfo.h"

#include <sys/sysmacros.h>

static bool octal(char c)
{
    return c >= '0' && c <= '7';
}

void mountinfo_unescape(char *s)
{
    char *to = s;

    while (*s) {
        unsigned c;

        if (s[0] == '\\' && octal(s[1]) && octal(s[2]) && octal(s[3]) &&
            (c = (unsigned)(s[1] - '0') * 64 + (unsigned)(s[2] - '0') * 8 + (unsigned)(s[3] - '0')) > 0 &&
            c < 256) {
            *to++ = (char)c;
            s += 4;
        } else
            *to++ = *s++;
    }
    *to = '\0';
}

/* The next word, ended in place; NULL: there is no more. */
static char *word(char **p)
{
    char *w = *p;

    if (!w || !*w)
        return NULL;
    w[strcspn(w, " ")] = '\0';
    *p = w + strlen(w) + 1;
    return w;
}

int mountinfo_parse(char *line, MountLine *ret)
{
    char *p = line, *end = line + strlen(line), *w, *path, *type, *source;
    unsigned a, b;
    int id, n = 0;

    /* 36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw,errors=continue */
    if (sscanf(line, "%d %*d %u:%u %n", &id, &a, &b, &n) != 3 || n == 0)
        return -EBADMSG;
    p += n;
    *ret = (MountLine){.id = id, .device = makedev(a, b)};
    (void)word(&p); /* root */
    if (p > end || !(path = word(&p)) || p > end || !word(&p))
        return -EBADMSG;
    for (;;) { /* optional fields */
        if (p > end || !(w = word(&p)))
            return -EBADMSG;
        if (streq(w, "-"))
            break;
        ret->follows = ret->follows || startswith(w, "shared:") || startswith(w, "master:");
    }
    if (p > end || !(type = word(&p)))
        return -EBADMSG;
    source = p <= end ? word(&p) : NULL;
    mountinfo_unescape(path);
    if (source)
        mountinfo_unescape(source);
    ret->path = path;
    ret->type = type;
    ret->source = source ? source : "";
    return 0;
}
