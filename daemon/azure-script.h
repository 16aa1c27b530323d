/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The connection script as Azure delivers it: which entry of clientScripts it is, its decoded text, and what
 * the text says about where it will connect. The text is only read here, never changed and never run. */

#include "failure.h"
#include "secret.h"

#define SCRIPT_SIZE_MAX (8 * MIB)

/* What the script's own assignments say, each judged by lib/validate.h. */
typedef struct ScriptInfo {
    char *portal_host;    /* TargetPortalAddress: a host name */
    uint16_t portal_port; /* TargetPortalPortNumber */
    char *target;         /* TargetNodeAddress: the target's name or the template of the names */
    bool multi_target;    /* IsMultiTarget: one target per disk */
    char *vm;             /* last piece of VMName, or NULL */
    char *machine_name;   /* MachineName, or NULL */
} ScriptInfo;

ScriptInfo *script_info_free(ScriptInfo *i);
DEFINE_CLEANUP(ScriptInfo *, script_info_free)

/* Reads the assignments out of a script's text (Python or bash; spaces, tabs, CRLF, either quotes or none).
 * Returns 0; -EBADMSG with *ret_failure (ScriptInvalid, naming the field; no value of the text that could be
 * secret); -ENOMEM. */
int script_info_parse(const char *text, size_t size, ScriptInfo **ret, Failure **ret_failure);

/* Chooses the Linux entry of a clientScripts array by its fields and decodes its content.
 * Returns 0; -EBADMSG with *ret_failure: WindowsPoint, NoScript (nothing there at all, or nothing usable),
 * ScriptInvalid (cannot be decoded, too big); -ENOMEM. */
int script_choose(json_object *client_scripts, Secret **ret, Failure **ret_failure);
