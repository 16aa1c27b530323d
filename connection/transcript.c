/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "transcript.h"

#include "secret.h"
#include "utf8.h"

#include <ctype.h>

#define SECRET_MIN 4
#define HEX_RUN_MIN 32 /* file name suffixes of scripts hold the password in one long run of digits */

int transcript_init(Transcript *t)
{
    *t = (Transcript){};
    t->lines = calloc(TRANSCRIPT_LINES, sizeof(*t->lines));
    return t->lines ? 0 : -ENOMEM;
}

void transcript_done(Transcript *t)
{
    size_t i;

    if (t->lines)
        explicit_bzero(t->lines, TRANSCRIPT_LINES * sizeof(*t->lines));
    free(t->lines);
    for (i = 0; i < t->n_secrets; i++)
        erase_and_freep(&t->secrets[i]);
    explicit_bzero(t, sizeof(*t));
}

/* ---- lines ---- */

static void line_put(TranscriptLine *l, char c)
{
    if (l->used < TRANSCRIPT_LINE_MAX) {
        l->text[l->used++] = c;
        l->text[l->used] = '\0';
    } else
        l->cut = true;
}

static void line_clear(TranscriptLine *l)
{
    l->used = 0;
    l->text[0] = '\0';
    l->cut = false;
}

void transcript_end_line(Transcript *t)
{
    TranscriptLine *l;

    if (t->open.text[strspn(t->open.text, " \t")] == '\0') {
        line_clear(&t->open);
        return;
    }
    if (t->count == TRANSCRIPT_LINES)
        t->first = (t->first + 1) % TRANSCRIPT_LINES;
    else
        t->count++;
    l = t->lines + (t->first + t->count - 1) % TRANSCRIPT_LINES;
    *l = t->open;
    line_clear(&t->open);
    t->kept_since_mark++;
}

void transcript_mark(Transcript *t)
{
    t->kept_since_mark = 0;
}

static void feed_plain(Transcript *t, char c)
{
    switch (c) {
    case '\n':
        transcript_end_line(t);
        break;
    case '\r':
        t->state = TEXT_RETURN;
        break;
    case '\033':
        t->state = TEXT_ESCAPE;
        break;
    case '\b':
        if (t->open.used > 0 && !t->open.cut)
            t->open.text[--t->open.used] = '\0';
        break;
    case '\t':
        line_put(&t->open, ' ');
        break;
    default:
        if ((unsigned char)c >= ' ' && c != 0x7f)
            line_put(&t->open, c);
        break;
    }
}

void transcript_feed(Transcript *t, const char *bytes, size_t size)
{
    const char *end = bytes + size;

    t->total_bytes += size;
    for (; bytes < end; bytes++) {
        char c = *bytes;

        switch (t->state) {
        case TEXT_PLAIN:
            feed_plain(t, c);
            break;
        case TEXT_RETURN:
            if (c == '\r')
                break;
            t->state = TEXT_PLAIN;
            if (c != '\n')
                line_clear(&t->open);
            feed_plain(t, c);
            break;
        case TEXT_ESCAPE:
            t->state = c == '[' ? TEXT_CSI : c == ']' ? TEXT_OSC : TEXT_PLAIN;
            break;
        case TEXT_CSI:
            /* A newline cannot be part of one: a broken sequence must not swallow the rest. */
            if (c == '\n') {
                t->state = TEXT_PLAIN;
                feed_plain(t, c);
            } else if (c >= '@' && c <= '~')
                t->state = TEXT_PLAIN;
            break;
        case TEXT_OSC:
            if (c == '\033')
                t->state = TEXT_ESCAPE;
            else if (c == '\a')
                t->state = TEXT_PLAIN;
            else if (c == '\n') {
                t->state = TEXT_PLAIN;
                feed_plain(t, c);
            }
            break;
        }
    }
}

/* ---- secrets ---- */

void transcript_add_secret(Transcript *t, const char *secret)
{
    size_t i;

    if (!secret || strlen(secret) < SECRET_MIN || t->n_secrets == TRANSCRIPT_SECRETS)
        return;
    for (i = 0; i < t->n_secrets; i++)
        if (streq(t->secrets[i], secret))
            return;
    t->secrets[t->n_secrets] = strdup(secret);
    if (t->secrets[t->n_secrets])
        t->n_secrets++;
}

/* NAME = "value", 'value' or value, at the start of a line but for white space. */
static void add_assignment(Transcript *t, const char *line, size_t size, const char *name)
{
    const char *end = line + size, *p = line, *value;
    char buf[512], quote;
    size_t n = strlen(name);

    while (p < end && (*p == ' ' || *p == '\t'))
        p++;
    if ((size_t)(end - p) <= n || memcmp(p, name, n) != 0)
        return;
    p += n;
    while (p < end && (*p == ' ' || *p == '\t'))
        p++;
    if (p == end || *p++ != '=')
        return;
    while (p < end && (*p == ' ' || *p == '\t'))
        p++;
    if (p == end)
        return;
    quote = *p == '"' || *p == '\'' ? *p++ : '\0';
    value = p;
    while (p < end && (quote ? *p != quote : !isspace((unsigned char)*p)))
        p++;
    n = p - value;
    if (n >= sizeof(buf))
        return;
    memcpy(buf, value, n);
    buf[n] = '\0';
    /* The bash generation puts "$OS" in front of the name that it presents. */
    transcript_add_secret(t, strrchr(buf, ';') ? strrchr(buf, ';') + 1 : buf);
    transcript_add_secret(t, buf);
    explicit_bzero(buf, sizeof(buf));
}

void transcript_add_script_secrets(Transcript *t, const char *script, size_t size)
{
    static const char *const names[] = {"TargetPassword", "InitiatorChapPassword", "TargetUserName"};
    const char *end = script + size;
    size_t i;

    while (script < end) {
        const char *newline = memchr(script, '\n', end - script);
        size_t n = (newline ? newline : end) - script;

        for (i = 0; i < ELEMENTSOF(names); i++)
            add_assignment(t, script, n, names[i]);
        script += n + 1;
    }
}

/* All is looked for in what was printed, not in what was left of it by the secrets before: one may be a part
 * of another, overlap it, or lie in a run of digits. */
static void mask_text(const Transcript *t, char *text, bool cut)
{
    _cleanup_erase_ char *printed = strdup(text);
    size_t size = strlen(text), i, n;
    const char *q;
    uint32_t c;
    int length;
    char *p;

    if (!printed) {
        memset(text, '*', size);
        return;
    }
    for (i = 0; i < t->n_secrets; i++) {
        n = strlen(t->secrets[i]);
        for (q = printed; (q = strstr(q, t->secrets[i])); q++)
            memset(text + (q - printed), '*', n);
        if (!cut)
            continue;
        /* The line was cut, perhaps in the middle of a secret. */
        for (n = MIN(n - 1, size); n >= SECRET_MIN; n--)
            if (memcmp(printed + size - n, t->secrets[i], n) == 0) {
                memset(text + size - n, '*', n);
                break;
            }
    }
    for (q = printed; *q; q += n) {
        n = strspn(q, "0123456789abcdefABCDEF");
        if (n >= HEX_RUN_MIN)
            memset(text + (q - printed), '*', n);
        else if (n == 0)
            n = 1;
    }
    for (p = text; (length = utf8_decode(p, &c)) != 0; p += MAX(length, 1))
        if (length < 0 || c < ' ' || c == 0x7f)
            *p = '?';
}

char *transcript_mask(const Transcript *t, const char *text)
{
    char *s = strdup(text);

    if (s)
        mask_text(t, s, false);
    return s;
}

/* ---- out ---- */

static int add_line(const Transcript *t, char ***v, const TranscriptLine *l, bool masked)
{
    char text[TRANSCRIPT_LINE_MAX + 1];
    int r;

    memcpy(text, l->text, l->used + 1);
    if (masked)
        mask_text(t, text, l->cut);
    r = strv_extend(v, text);
    explicit_bzero(text, sizeof(text));
    return r;
}

static int copy_lines(const Transcript *t, size_t max, bool open, bool masked, char ***ret)
{
    _cleanup_strv_free_ char **v = NULL;
    size_t i, n;
    int r = 0;

    open = open && t->open.text[strspn(t->open.text, " ")] != '\0' && max > 0;
    n = MIN(t->count, max - open);
    for (i = t->count - n; i < t->count && r >= 0; i++)
        r = add_line(t, &v, t->lines + (t->first + i) % TRANSCRIPT_LINES, masked);
    if (open && r >= 0)
        r = add_line(t, &v, &t->open, masked);
    if (r < 0)
        return r;
    *ret = TAKE_PTR(v);
    return 0;
}

int transcript_last(const Transcript *t, size_t max, char ***ret)
{
    return copy_lines(t, max, true, true, ret);
}

int transcript_since_mark(const Transcript *t, char ***ret)
{
    return copy_lines(t, MIN(t->kept_since_mark, (uint64_t)TRANSCRIPT_LINES), false, false, ret);
}

const char *transcript_unfinished(const Transcript *t)
{
    return t->open.text;
}
