/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "initiator-name.h"

#include "files.h"
#include "paths.h"
#include "validate.h"
#include "verb.h"

#include <fcntl.h>

#define FILE_SIZE_MAX (64 * KIB)
#define FILE_NAME "iscsi/initiatorname.iscsi"

static char *strip(char *s)
{
    size_t n;

    s += strspn(s, " \t\r");
    n = strlen(s);
    while (n > 0 && strchr(" \t\r", s[n - 1]))
        s[--n] = '\0';
    return s;
}

int initiator_name_parse(const char *text, char **ret, Failure **ret_failure)
{
    _cleanup_strv_free_ char **lines = NULL;
    _cleanup_free_ char *name = NULL;
    char **line;
    int r;

    r = strv_split(text, "\n", &lines);
    if (r < 0)
        return r;
    STRV_FOREACH (line, lines) {
        char *key = strip(*line), *value = strchr(key, '=');

        if (*key == '#' || *key == '\0')
            continue;
        if (value) {
            *value = '\0';
            value = strip(value + 1);
            key = strip(key);
        }
        if (streq(key, "GenerateName") && value)
            return verb_fail(ret_failure, -EBADMSG, FAILURE_NOT_CONFIGURED,
                             "this host has no iSCSI initiator name yet (%s/%s says GenerateName)", paths.etc,
                             FILE_NAME);
        if (!streq(key, "InitiatorName")) {
            if (streq(key, "InitiatorAlias"))
                continue;
            return verb_fail(ret_failure, -EBADMSG, FAILURE_NOT_CONFIGURED,
                             "%s/%s: \"%.40s\" is not known, InitiatorName= is expected", paths.etc,
                             FILE_NAME, key);
        }
        if (!value || !iscsi_name_valid(value))
            return verb_fail(
                ret_failure, -EBADMSG, FAILURE_NOT_CONFIGURED,
                "%s/%s: InitiatorName=%.80s is no iSCSI name (iqn., eui. or naa., small letters, digits, "
                "\".\", \":\" and \"-\")",
                paths.etc, FILE_NAME, value ? value : "");
        if (name)
            return verb_fail(ret_failure, -EBADMSG, FAILURE_NOT_CONFIGURED,
                             "%s/%s: more than one InitiatorName=", paths.etc, FILE_NAME);
        name = strdup(value);
        if (!name)
            return -ENOMEM;
    }
    if (!name)
        return verb_fail(ret_failure, -EBADMSG, FAILURE_NOT_CONFIGURED,
                         "%s/%s has no InitiatorName=", paths.etc, FILE_NAME);
    *ret = TAKE_PTR(name);
    return 0;
}

static int with_hint(Failure **failure, int r)
{
    if (failure && *failure && !(*failure)->hint)
        (*failure)->hint =
            strdup("start iscsid once (systemctl start iscsid), which makes the name, or write "
                   "InitiatorName= as iscsi-iname(8) prints it; or set Initiator= in ilrd.conf(5)");
    return r;
}

int initiator_name_read(char **ret, Failure **ret_failure)
{
    _cleanup_free_ char *path = NULL, *text = NULL;
    size_t size;
    int r;

    if (asprintf(&path, "%s/%s", paths.etc, FILE_NAME) < 0)
        return -ENOMEM;
    r = file_read(AT_FDCWD, path, FILE_SIZE_MAX, &text, &size);
    if (r == -ENOMEM)
        return r;
    if (r < 0)
        return with_hint(ret_failure, verb_fail(ret_failure, r, FAILURE_NOT_CONFIGURED, "cannot read %s: %s",
                                                path, strerror(-r)));
    if (strlen(text) != size)
        return verb_fail(ret_failure, -EBADMSG, FAILURE_NOT_CONFIGURED, "%s contains a NUL byte", path);
    return with_hint(ret_failure, initiator_name_parse(text, ret, ret_failure));
}

int verb_initiator_name(Request *request, json_object **ret_answer, Failure **ret_failure)
{
    _cleanup_json_ json_object *answer = json_object_new_object();
    _cleanup_free_ char *name = NULL;
    int r;

    if (!answer)
        return -ENOMEM;
    r = initiator_name_read(&name, ret_failure);
    if (r >= 0)
        r = json_add_string(answer, "name", name);
    if (r < 0)
        return r;
    *ret_answer = TAKE_PTR(answer);
    return 0;
}
