/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "script.h"

#include <stdarg.h>

/* The text of connection-script.py.in as one string. */
static const char template[] =
#include "sim/connection-script.inc"
    ;

#define PLACEHOLDER_PASSWORD "UserInput012345"
#define WRONG_PASSWORD "wrongwrongwrong"
#define SCRIPT_MAX (64 * MIB)
#define SECONDS_MAX 86400.0

/* What each does is written in the template, where it is done. */
static const WishKey script_keys[] = {
    /* how long it waits; seconds but for tunnelMinutes */
    {"sleepAfterTunnelSec", WISH_NUMBER, SECONDS_MAX},
    {"sleepAfterLoginSec", WISH_NUMBER, SECONDS_MAX},
    {"notReadySec", WISH_NUMBER, SECONDS_MAX},
    {"addressLookupSec", WISH_NUMBER, SECONDS_MAX},
    {"tunnelReads", WISH_NUMBER, 100},
    {"tunnelCheckSec", WISH_NUMBER, SECONDS_MAX},
    {"tunnelMinutes", WISH_NUMBER, SECONDS_MAX},
    {"tunnelDiesAfterSec", WISH_NUMBER, SECONDS_MAX},
    {"logBytesPerBlock", WISH_NUMBER, 1048576},
    {"addressLookup", WISH_STRING, 255},
    /* what it asks */
    {"prompt", WISH_STRING, 1024},
    {"osPrompt", WISH_BOOL},
    {"unsupportedOsPrompt", WISH_BOOL},
    {"installPackages", WISH_BOOL},
    {"sameHostPrompt", WISH_BOOL},
    {"timedOutPrompt", WISH_BOOL},
    {"cipherPrompt", WISH_BOOL},
    {"placeholderPassword", WISH_BOOL},
    {"oldSessionPrompt", WISH_BOOL},
    {"pyasyncorePrompt", WISH_BOOL},
    {"wholeDiskPrompt", WISH_BOOL},
    {"lvmPrompt", WISH_BOOL},
    /* how it misbehaves */
    {"hang", WISH_STRING, 32},
    {"exitWithoutConnecting", WISH_BOOL},
    {"printMegabytes", WISH_NUMBER, 10240},
    {"forkAway", WISH_BOOL},
    {"wrongPassword", WISH_BOOL},
    {"skipLastLogin", WISH_BOOL},
    {"hostile", WISH_BOOL},
    {"hostileAddress", WISH_STRING, 255},
    {"hostileListener", WISH_STRING, 255},
    {"hostilePortal", WISH_STRING, 255},
    {"hostileTarget", WISH_STRING, 255},
    /* the text itself */
    {"crlf", WISH_BOOL},
    {"noTargetNodeAddress", WISH_BOOL},
    {"sizeBytes", WISH_NUMBER, SCRIPT_MAX},
    {},
};

static int fail(char **ret_error, const char *format, ...) _printf_(2, 3);
static int fail(char **ret_error, const char *format, ...)
{
    va_list ap;

    va_start(ap, format);
    if (vasprintf(ret_error, format, ap) < 0)
        *ret_error = NULL;
    va_end(ap);
    return -EINVAL;
}

static bool is_number(json_object *v, double max)
{
    bool number = json_object_is_type(v, json_type_int) || json_object_is_type(v, json_type_double);

    return number && json_object_get_double(v) >= 0 && json_object_get_double(v) <= max;
}

static int check_value(const char *where, const WishKey *k, json_object *v, char **ret_error)
{
    switch (k->type) {
    case WISH_BOOL:
        if (json_object_is_type(v, json_type_boolean))
            return 0;
        return fail(ret_error, "%s.%s: %s: expected true or false", where, k->name, json_text(v));
    case WISH_NUMBER:
        if (is_number(v, k->max))
            return 0;
        return fail(ret_error, "%s.%s: %s: expected a number from 0 to %.0f", where, k->name, json_text(v),
                    k->max);
    case WISH_STRING:
        if (json_object_is_type(v, json_type_string) && json_object_get_string_len(v) <= k->max)
            return 0;
        return fail(ret_error, "%s.%s: %s: expected a string of at most %.0f bytes", where, k->name,
                    json_text(v), k->max);
    case WISH_ARRAY:
        if (json_object_is_type(v, json_type_array) && json_object_array_length(v) <= k->max) {
            for (size_t i = 0; i < json_object_array_length(v); i++)
                if (!is_number(json_object_array_get_idx(v, i), INT32_MAX))
                    return fail(ret_error, "%s.%s[%zu]: expected a number", where, k->name, i);
            return 0;
        }
        return fail(ret_error, "%s.%s: expected an array of at most %.0f numbers", where, k->name, k->max);
    }
    return -EINVAL;
}

int wishes_check(const char *where, json_object *faults, const WishKey *keys, char **ret_error)
{
    const WishKey *k;
    int r;

    *ret_error = NULL;
    if (!faults)
        return 0;
    if (!json_object_is_type(faults, json_type_object))
        return fail(ret_error, "%s: expected an object", where);
    json_object_object_foreach(faults, key, value)
    {
        for (k = keys; k->name && !streq(k->name, key); k++)
            ;
        if (!k->name)
            return fail(ret_error, "%s.%s: no such key", where, key);
        r = value ? check_value(where, k, value, ret_error) : 0; /* null is as good as absent */
        if (r < 0)
            return r;
    }
    return 0;
}

int script_check(json_object *faults, char **ret_error)
{
    const char *hang;
    int r = wishes_check("script", faults, script_keys, ret_error);

    if (r < 0 || !faults)
        return r;
    r = json_get_string(faults, "hang", &hang);
    if (r > 0 && !streq(hang, "start") && !streq(hang, "after-login"))
        return fail(ret_error, "script.hang: %s: expected start or after-login", hang);
    return 0;
}

static bool wants(const Registration *r, const char *key)
{
    bool b = false;

    return r->script_faults && json_get_bool(r->script_faults, key, &b) > 0 && b;
}

/* Into a string literal of Python in double quotes: nothing that could end it. */
static int check_literal(const char *name, const char *value, char **ret_error)
{
    const char *c;

    if (!value)
        return fail(ret_error, "%s: missing", name);
    for (c = value; *c; c++)
        if ((unsigned char)*c < ' ' || *c == '"' || *c == '\\' || *c == 0x7f)
            return fail(ret_error, "%s: a quote, a backslash or a control character cannot stand in a script",
                        name);
    return 0;
}

int script_parameter(const Registration *r, const char *name, size_t size, char **ret)
{
    _cleanup_free_ char *vm = NULL;
    char port[8];

    if (asprintf(&vm, "iaasvmcontainerv2;%s;%s", r->resource_group, r->vm_name) < 0) {
        vm = NULL;
        return -ENOMEM;
    }
    snprintf(port, sizeof(port), "%u", r->portal_port);
    const struct {
        const char *name, *value;
    } table[] = {
        {"VMName", vm},
        {"MachineName", r->vm_name},
        {"TargetPortalAddress", r->portal_host},
        {"TargetPortalPortNumber", port},
        {"TargetNodeAddress", r->target_name},
        {"TargetUserName", r->user_name},
        {"TargetPassword", r->password},
        {"InitiatorChapPassword", r->initiator_password},
        {"ScriptId", r->script_id},
        {"IsMultiTarget", r->multi_target ? "1" : "0"},
    };

    for (size_t i = 0; i < ELEMENTSOF(table); i++)
        if (strlen(table[i].name) == size && strncmp(table[i].name, name, size) == 0)
            return str_copy(table[i].value, ret) < 0 ? -ENOMEM : 1;
    return 0;
}

static int put_value(FILE *f, const Registration *r, const char *name, size_t size, char **ret_error)
{
    _cleanup_free_ char *key = strndup(name, size), *own = NULL;
    const char *value;
    int q;

    if (!key)
        return -ENOMEM;
    if (streq(key, "Scenario")) {
        /* JSON in ASCII is a Python string but for quotes and backslashes: those as escapes. */
        const char *s = r->script_faults ? json_text(r->script_faults) : "{}";

        for (; *s; s++)
            if (*s == '"' || *s == '\\' || *s == '\'' || (unsigned char)*s < ' ')
                fprintf(f, "\\x%02x", (unsigned char)*s);
            else
                fputc(*s, f);
        return 0;
    }
    q = script_parameter(r, name, size, &own);
    if (q < 0)
        return q;
    if (q == 0)
        return fail(ret_error, "the template has an unknown placeholder %s", key);
    value = own;
    if (streq(key, "TargetPassword")) {
        if (wants(r, "placeholderPassword"))
            value = PLACEHOLDER_PASSWORD;
        else if (wants(r, "wrongPassword"))
            value = WRONG_PASSWORD;
    }
    q = check_literal(key, value, ret_error);
    if (q >= 0)
        fputs(value, f);
    return q;
}

/* One line of the template, with @@NAME@@ filled. */
static int put_line(FILE *f, const Registration *r, const char *line, size_t size, char **ret_error)
{
    const char *end = line + size, *open, *close;
    int q;

    while ((open = memmem(line, end - line, "@@", 2)) &&
           (close = memmem(open + 2, end - open - 2, "@@", 2))) {
        fwrite(line, 1, open - line, f);
        q = put_value(f, r, open + 2, close - open - 2, ret_error);
        if (q < 0)
            return q;
        line = close + 2;
    }
    fwrite(line, 1, end - line, f);
    fputs(wants(r, "crlf") ? "\r\n" : "\n", f);
    return 0;
}

int script_make(const Registration *r, Secret **ret, char **ret_error)
{
    int64_t size_bytes = 0;
    char *text = NULL;
    size_t size = 0;
    int q = 0;

    *ret_error = NULL;
    if (r->script_faults)
        (void)json_get_int64(r->script_faults, "sizeBytes", &size_bytes);
    FILE *f = open_memstream(&text, &size);
    if (!f)
        return -ENOMEM;
    for (const char *line = template; *line && q >= 0;) {
        size_t n = strcspn(line, "\n");

        if (!(wants(r, "noTargetNodeAddress") && memmem(line, n, "@@TargetNodeAddress@@", 21)))
            q = put_line(f, r, line, n, ret_error);
        line += n + (line[n] == '\n');
    }
    for (int64_t at = ftell(f); q >= 0 && at < size_bytes; at += 100)
        fprintf(f, "#%98s\n", "");
    if (fclose(f) != 0 && q >= 0)
        q = -ENOMEM;
    if (q < 0) {
        free(text);
        return q;
    }
    *ret = secret_new_take(text, size);
    free(text);
    return *ret ? 0 : -ENOMEM;
}
