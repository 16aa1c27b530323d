/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "azure-script.h"

#include "base64.h"
#include "validate.h"

#include <ctype.h>
#include <strings.h>

#define ENTRIES_MAX 64
#define VALUE_MAX 512 /* bytes of one value */
#define MARK "TargetNodeAddress"

ScriptInfo *script_info_free(ScriptInfo *i)
{
    if (!i)
        return NULL;
    free(i->portal_host);
    free(i->target);
    free(i->vm);
    free(i->machine_name);
    free(i);
    return NULL;
}

/* ---- assignments ---- */

typedef struct Assignment {
    const char *name, *value; /* pointing into the script */
    size_t name_size, value_size;
    bool quoted;
} Assignment;

static bool is_blank(char c)
{
    return c == ' ' || c == '\t';
}

/* Reads one line (without its end) as NAME = "value", NAME='value' or NAME=word. Anything with more behind it
 * than a comment is an expression, not a plain assignment. */
static bool assignment_read(const char *line, size_t size, Assignment *ret)
{
    const char *p = line, *end = line + size, *stop;
    Assignment a = {};

    while (p < end && is_blank(*p))
        p++;
    a.name = p;
    while (p < end && (isalnum((unsigned char)*p) || *p == '_'))
        p++;
    a.name_size = (size_t)(p - a.name);
    while (p < end && is_blank(*p))
        p++;
    if (a.name_size == 0 || p == end || *p != '=' || (p + 1 < end && p[1] == '='))
        return false;
    p++;
    while (p < end && is_blank(*p))
        p++;
    if (p < end && (*p == '"' || *p == '\'')) {
        a.quoted = true;
        a.value = p + 1;
        stop = memchr(a.value, *p, (size_t)(end - a.value));
        if (!stop)
            return false;
        a.value_size = (size_t)(stop - a.value);
        p = stop + 1;
    } else {
        a.value = p;
        while (p < end && !is_blank(*p) && *p != ';' && *p != '#')
            p++;
        a.value_size = (size_t)(p - a.value);
    }
    while (p < end && (is_blank(*p) || *p == ';'))
        p++;
    if ((p < end && *p != '#') || a.value_size == 0 || a.value_size > VALUE_MAX)
        return false;
    *ret = a;
    return true;
}

typedef bool (*Judge)(const Assignment *a, const char *value);

static bool judge_host(const Assignment *a, const char *value)
{
    /* A word without quotes and dot is the name of a variable. */
    return host_name_valid(value) && (a->quoted || strchr(value, '.'));
}

static bool judge_port(const Assignment *a, const char *value)
{
    return strlen(value) <= 5 && value[strspn(value, "0123456789")] == '\0' && *value != '0' &&
           atoi(value) <= 65535;
}

static bool judge_target(const Assignment *a, const char *value)
{
    return target_name_valid(value);
}

static bool judge_flag(const Assignment *a, const char *value)
{
    return streq(value, "0") || streq(value, "1") || strcasecmp(value, "true") == 0 ||
           strcasecmp(value, "false") == 0;
}

/* A name that is only shown. */
static bool judge_text(const Assignment *a, const char *value)
{
    const char *p;

    for (p = value; *p; p++)
        if ((unsigned char)*p < ' ' || *p == 0x7f)
            return false;
    return a->quoted;
}

static const struct {
    const char *name;
    Judge judge;
    const char *expected; /* NULL: may be missing or anything */
} fields[] = {
    {"TargetPortalAddress", judge_host, "a host name"},
    {"TargetPortalPortNumber", judge_port, "a port from 1 to 65535"},
    {MARK, judge_target, "a target name that begins with " TARGET_PREFIX},
    {"IsMultiTarget", judge_flag, NULL},
    {"VMName", judge_text, NULL},
    {"MachineName", judge_text, NULL},
};
enum {
    FIELD_HOST,
    FIELD_PORT,
    FIELD_TARGET,
    FIELD_MULTI,
    FIELD_VM,
    FIELD_MACHINE,
    FIELD_MAX
};
_Static_assert(ELEMENTSOF(fields) == FIELD_MAX, "one name per field");

typedef struct Values {
    char *good[FIELD_MAX]; /* the last one that is right */
    char *bad[FIELD_MAX];  /* the last one that is not */
} Values;

static void values_done(Values *v)
{
    size_t i;

    for (i = 0; i < FIELD_MAX; i++) {
        free(v->good[i]);
        free(v->bad[i]);
    }
}

static int take(Values *v, const Assignment *a)
{
    size_t i;

    for (i = 0; i < FIELD_MAX; i++) {
        _cleanup_free_ char *value = NULL;

        if (strlen(fields[i].name) != a->name_size || strncmp(fields[i].name, a->name, a->name_size) != 0)
            continue;
        if (memchr(a->value, 0, a->value_size))
            return 0;
        value = strndup(a->value, a->value_size);
        if (!value)
            return -ENOMEM;
        if (fields[i].judge(a, value))
            free_and_replace(&v->good[i], TAKE_PTR(value));
        else
            free_and_replace(&v->bad[i], TAKE_PTR(value));
        return 0;
    }
    return 0;
}

static int check(const Values *v, Failure **ret_failure)
{
    size_t i;

    for (i = 0; i < FIELD_MAX; i++) {
        char shown[81];
        size_t n;

        if (v->good[i] || !fields[i].expected)
            continue;
        if (!v->bad[i]) {
            *ret_failure =
                failure_new(FAILURE_SCRIPT_INVALID, "The connection script does not say %s: expected %s",
                            fields[i].name, fields[i].expected);
            return -EBADMSG;
        }
        /* None of these three is a secret, but all are foreign. */
        snprintf(shown, sizeof(shown), "%s", v->bad[i]);
        for (n = 0; shown[n]; n++)
            if (!isprint((unsigned char)shown[n]))
                shown[n] = '?';
        *ret_failure =
            failure_new(FAILURE_SCRIPT_INVALID, "The connection script says %s=\"%s\": expected %s",
                        fields[i].name, shown, fields[i].expected);
        return -EBADMSG;
    }
    return 0;
}

int script_info_parse(const char *text, size_t size, ScriptInfo **ret, Failure **ret_failure)
{
    _cleanup_(script_info_freep) ScriptInfo *info = NULL;
    _cleanup_(values_done) Values v = {};
    const char *p, *end = text + size, *multi;
    int r;

    for (p = text; p < end;) {
        const char *newline = memchr(p, '\n', (size_t)(end - p)), *next = newline ? newline + 1 : end;
        size_t n = (size_t)((newline ? newline : end) - p);
        Assignment a;

        while (n > 0 && p[n - 1] == '\r')
            n--;
        if (assignment_read(p, n, &a) && (r = take(&v, &a)) < 0)
            return r;
        p = next;
    }
    r = check(&v, ret_failure);
    if (r < 0)
        return r;
    info = calloc(1, sizeof(*info));
    if (!info)
        return -ENOMEM;
    info->portal_host = TAKE_PTR(v.good[FIELD_HOST]);
    info->portal_port = (uint16_t)atoi(v.good[FIELD_PORT]);
    info->target = TAKE_PTR(v.good[FIELD_TARGET]);
    info->machine_name = TAKE_PTR(v.good[FIELD_MACHINE]);
    multi = v.good[FIELD_MULTI];
    info->multi_target = multi && (streq(multi, "1") || strcasecmp(multi, "true") == 0);
    if (v.good[FIELD_VM]) {
        const char *last = strrchr(v.good[FIELD_VM], ';');

        info->vm = strdup(last ? last + 1 : v.good[FIELD_VM]);
        if (!info->vm)
            return -ENOMEM;
    }
    *ret = TAKE_PTR(info);
    return 0;
}

/* ---- clientScripts ---- */

/* RFC 4648 with padding; unlike in base64_decode() white space is passed over. ret is wiped by its owner.
 * -EBADMSG, -EFBIG, -ENOMEM. */
static int script_decode(const char *s, size_t size, char **ret, size_t *ret_size)
{
    char *out;
    size_t i, n = 0, digits = 0, padding = 0;
    uint32_t bits = 0;

    out = malloc(size / 4 * 3 + 4);
    if (!out)
        return -ENOMEM;
    for (i = 0; i < size; i++) {
        int v;

        if (strchr(" \t\r\n", s[i]) && s[i])
            continue;
        v = base64_digit(s[i]);
        if (s[i] == '=')
            padding++;
        else if (v < 0 || padding > 0)
            break;
        bits = bits << 6 | (uint32_t)(v < 0 ? 0 : v);
        if (++digits % 4 == 0) {
            out[n++] = (char)(bits >> 16);
            out[n++] = (char)(bits >> 8);
            out[n++] = (char)bits;
        }
    }
    if (i < size || digits % 4 != 0 || padding > 2 || n < padding) {
        explicit_bzero(out, n);
        free(out);
        return -EBADMSG;
    }
    n -= padding;
    out[n] = '\0';
    *ret = out;
    *ret_size = n;
    return n > SCRIPT_SIZE_MAX ? -EFBIG : 0;
}

static bool looks_like_script(const char *s, size_t size)
{
    if (size >= 3 && memcmp(s, "\xef\xbb\xbf", 3) == 0) {
        s += 3;
        size -= 3;
    }
    return !memchr(s, 0, size) &&
           ((size > 2 && s[0] == '#' && s[1] == '!') || memmem(s, size, MARK, strlen(MARK)));
}

static json_object *text_field(json_object *entry, const char *key)
{
    json_object *v = json_get_nocase(entry, key);

    return json_object_is_type(v, json_type_string) && json_object_get_string_len(v) > 0 ? v : NULL;
}

static int decode(json_object *content, Secret **ret, Failure **ret_failure)
{
    const char *s = json_object_get_string(content);
    size_t size = (size_t)json_object_get_string_len(content), n = 0;
    char *text = NULL;
    bool plain;
    int r;

    r = script_decode(s, size, &text, &n);
    if (r == -ENOMEM)
        return r;
    if (r >= 0 && looks_like_script(text, n)) {
        *ret = secret_new_take(text, n);
        free(text);
        return *ret ? 0 : -ENOMEM;
    }
    if (text)
        explicit_bzero(text, n);
    free(text);
    plain = r == -EBADMSG && looks_like_script(s, size);
    if (r == -EFBIG || (plain && size > SCRIPT_SIZE_MAX)) {
        *ret_failure =
            failure_new(FAILURE_SCRIPT_INVALID,
                        "The connection script is bigger than %d MiB, which no script of this service is",
                        (int)(SCRIPT_SIZE_MAX / MIB));
        return -EBADMSG;
    }
    /* The schema does not say base64, and one of the service's examples is plain text. */
    if (plain) {
        *ret = secret_new(s, size);
        return *ret ? 0 : -ENOMEM;
    }
    *ret_failure =
        failure_new(FAILURE_SCRIPT_INVALID, "%s",
                    r < 0 ? "The content of the connection script is neither base64 nor a script"
                          : "The content of the connection script decodes to something that is no script");
    return -EBADMSG;
}

static bool is_os(json_object *entry, const char *os)
{
    json_object *v = text_field(entry, "osType");

    return v && strcasecmp(json_object_get_string(v), os) == 0;
}

int script_choose(json_object *scripts, Secret **ret, Failure **ret_failure)
{
    size_t i, n = json_object_is_type(scripts, json_type_array) ? json_object_array_length(scripts) : 0;
    bool windows = false, elsewhere = false;
    int pass, r;

    /* First what is called Linux, then what says nothing about itself. */
    for (pass = 0; pass < 2; pass++)
        for (i = 0; i < n && i < ENTRIES_MAX; i++) {
            json_object *entry = json_object_array_get_idx(scripts, i),
                        *content = text_field(entry, "scriptContent");

            if (is_os(entry, "Windows")) {
                windows = true;
                continue;
            }
            if (is_os(entry, "Linux") != (pass == 0))
                continue;
            if (text_field(entry, "url")) {
                elsewhere = true;
                continue;
            }
            if (!content)
                continue;
            r = decode(content, ret, ret_failure);
            if (r != -EBADMSG || pass == 0)
                return r;
            *ret_failure = failure_free(*ret_failure);
        }
    if (windows)
        *ret_failure =
            failure_new(FAILURE_WINDOWS_POINT, "The recovery point is that of a Windows VM: Azure gave "
                                               "programs for Windows and no script for Linux");
    else if (elsewhere)
        *ret_failure =
            failure_new(FAILURE_SCRIPT_INVALID, "Azure gave an address to download the connection script "
                                                "from, instead of the script: this is not followed");
    else
        *ret_failure =
            failure_new(FAILURE_NO_SCRIPT, "Azure gave no connection script for Linux (%zu entries)", n);
    return -EBADMSG;
}
