/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "scripts.h"
#include <strings.h>

/* Where the real answer for Windows points to. Nothing of ours ever fetches it. */
#define WINDOWS_URL "https://windows-script.invalid/IaaSVMILRExeForWindows.exe"

static char *base64(const char *bytes, size_t size)
{
    static const char set[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    char *text = malloc((size + 2) / 3 * 4 + 1), *w = text;

    if (!text)
        return NULL;
    for (size_t i = 0; i < size; i += 3) {
        uint32_t v = (uint32_t)(unsigned char)bytes[i] << 16;

        v |= i + 1 < size ? (uint32_t)(unsigned char)bytes[i + 1] << 8 : 0;
        v |= i + 2 < size ? (unsigned char)bytes[i + 2] : 0;
        *w++ = set[v >> 18];
        *w++ = set[v >> 12 & 63];
        *w++ = i + 1 < size ? set[v >> 6 & 63] : '=';
        *w++ = i + 2 < size ? set[v & 63] : '=';
    }
    *w = '\0';
    return text;
}

/* The script as the fault wants it. */
static char *script_text(const char *text, const Fault *f)
{
    static const char filler[] = "# 0123456789abcdef0123456789abcdef0123456789abcdef0123456789abc\n";
    char *out = NULL;
    size_t size, lines = 0;
    FILE *o = open_memstream(&out, &size);

    if (!o)
        return NULL;
    for (const char *p = text; *p;) {
        size_t n = strcspn(p, "\n");
        const char *name = memmem(p, n, "TargetNodeAddress", strlen("TargetNodeAddress"));

        if (!(f && f->kind == FAULT_NO_TARGET && name)) {
            fwrite(p, 1, n, o);
            if (p[n] == '\n')
                fputs(f && f->kind == FAULT_CRLF_SCRIPT ? "\r\n" : "\n", o);
        }
        p += n + (p[n] == '\n');
        /* Filled behind the first line, which has to stay the first. */
        if (lines++ == 0 && f && f->kind == FAULT_BIG_SCRIPT)
            for (uint64_t i = 0; i < f->bytes / (sizeof(filler) - 1); i++)
                fputs(filler, o);
    }
    if (fclose(o) != 0) {
        free(out);
        return NULL;
    }
    return out;
}

static json_object *linux_script(const Registration *r, const char *os_type, const Fault *f)
{
    json_object *o = json_object_new_object();
    _cleanup_erase_ char *text = script_text(secret_text(r->script), f), *content = NULL,
                         *suffix = identity_suffix(r);

    if (f && f->kind == FAULT_NOT_BASE64)
        content = strdup("%%% this is neither base64 nor a script %%%");
    else if (f && f->kind == FAULT_EMPTY_SCRIPT)
        content = strdup("");
    else if (f && f->kind == FAULT_PLAIN_SCRIPT)
        content = TAKE_PTR(text);
    else if (text)
        content = base64(text, strlen(text));
    json_add_string(o, "scriptContent", content);
    json_add_string(o, "scriptExtension", ".py");
    json_add_string(o, "osType", f && f->kind == FAULT_UNKNOWN_OS ? "Plan9" : os_type);
    if (!(f && f->kind == FAULT_NO_SUFFIX))
        json_add_string(o, "scriptNameSuffix", suffix);
    return o;
}

static void windows_scripts(json_object *array, const Registration *r, const Fault *f)
{
    _cleanup_erase_ char *text = identity_windows_text(r),
                         *content = text ? base64(text, strlen(text)) : NULL, *suffix = identity_suffix(r);
    json_object *o = json_object_new_object();

    json_add_string(o, "scriptContent", content);
    json_add_string(o, "scriptExtension", ".txt");
    json_add_string(o, "osType", "Windows");
    json_add_string(o, "scriptNameSuffix", suffix);
    json_object_array_add(array, o);
    o = json_object_new_object();
    json_add_string(o, "scriptContent", "TkE=");
    json_add_string(o, "scriptExtension", ".exe");
    json_add_string(o, "osType", "Windows");
    json_add_string(o, "url", f && f->url ? f->url : WINDOWS_URL);
    json_add_string(o, "scriptNameSuffix", suffix);
    json_object_array_add(array, o);
}

json_object *operation_scripts(const Operation *o)
{
    const Registration *r;
    const char *os_type = o->point->item->os_type;
    json_object *array;

    if (!o->session || o->session->state != SESSION_ACTIVE)
        return NULL;
    r = &o->session->registration;
    array = json_object_new_array();
    if (!array)
        return NULL;
    if ((o->script_fault && o->script_fault->kind == FAULT_WINDOWS) || strcasecmp(os_type, "Windows") == 0)
        windows_scripts(array, r, o->script_fault);
    else
        json_object_array_add(array, linux_script(r, os_type, o->script_fault));
    return array;
}
