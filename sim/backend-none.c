/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The backend without a target: hands out a text that has the parameters of a connection script and does
 * nothing, or the text of a file in which @NAME@ stands for them. For everything that speaks HTTP only. */

#include "backend.h"
#include "files.h"
#include "script.h"
#include <fcntl.h>

#define TEMPLATE_MAX (16 * MIB)

struct Backend {
    char *template;
};

static const char builtin_template[] =
    "#!/usr/bin/env python3\n"
    "# Stand-in without a target: has a script's parameters and connects to nothing.\n"
    "import sys\n"
    "\n"
    "\n"
    "def main():\n"
    "    VMName=\"@VMName@\"\n"
    "    MachineName=\"@MachineName@\"\n"
    "    TargetPortalAddress=\"@TargetPortalAddress@\"\n"
    "    TargetPortalPortNumber=\"@TargetPortalPortNumber@\"\n"
    "    TargetNodeAddress=\"@TargetNodeAddress@\"\n"
    "    TargetUserName=\"@TargetUserName@\"\n"
    "    TargetPassword=\"@TargetPassword@\"\n"
    "    InitiatorChapPassword=\"@InitiatorChapPassword@\"\n"
    "    ScriptId=\"@ScriptId@\"\n"
    "    IsMultiTarget=\"@IsMultiTarget@\"\n"
    "    IsPEEnabled=\"0\"\n"
    "    IsLargeDisk=\"0\"\n"
    "    print(\"No target stands behind this recovery point.\")\n"
    "\n"
    "\n"
    "main()\n"
    "sys.exit(1)\n";

static int none_check(json_object *script_faults, json_object *portal_faults, char **ret_error)
{
    /* There is no script logic and no portal here that could misbehave; scenarios written for the other
     * backend load. */
    return 0;
}

static void none_stop(Backend *b)
{
    free(b->template);
    free(b);
}

static int none_start(const BackendConfig *config, Backend **ret, char **ret_error)
{
    Backend *b = calloc(1, sizeof(*b));
    int r;

    if (!b)
        return -ENOMEM;
    if (config->script_template)
        r = file_read(AT_FDCWD, config->script_template, TEMPLATE_MAX, &b->template, NULL);
    else
        r = (b->template = strdup(builtin_template)) ? 0 : -ENOMEM;
    if (r < 0) {
        if (config->script_template &&
            asprintf(ret_error, "scriptTemplate: %s: %s", config->script_template, strerror(-r)) < 0)
            *ret_error = NULL;
        none_stop(b);
        return r;
    }
    *ret = b;
    return 0;
}

static int none_create(Backend *b, Registration *r, char **ret_error)
{
    char *text = NULL;
    size_t size;
    int q = 0;
    FILE *f = open_memstream(&text, &size);

    if (!f)
        return -ENOMEM;
    for (const char *p = b->template; *p && q >= 0;) {
        size_t n = *p == '@' ? strspn(p + 1, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz") : 0;
        _cleanup_free_ char *value = NULL;

        if (n > 0 && p[n + 1] == '@')
            q = script_parameter(r, p + 1, n, &value);
        if (value) {
            fputs(value, f);
            p += n + 2;
        } else
            fputc(*p++, f);
    }
    if (fclose(f) != 0 && q >= 0)
        q = -ENOMEM;
    if (q >= 0)
        r->script = secret_new_take(text, size);
    free(text);
    return q < 0 ? q : r->script ? 0 : -ENOMEM;
}

static int none_remove(Backend *b, Registration *r, char **ret_error)
{
    return 0;
}

const BackendOps backend_none = {
    .name = "none",
    .check = none_check,
    .start = none_start,
    .create = none_create,
    .remove = none_remove,
    .stop = none_stop,
};
