/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "hook.h"

#include "files.h"
#include "paths.h"
#include "systemd.h"
#include "utf8.h"
#include "verb.h"

#include <fcntl.h>

#define VARIABLES_MAX 16
#define NAME_MAX_ 32
#define VALUE_MAX 1024
/* Over TimeoutStartSec= and TimeoutStopSec= of the unit */
#define HOOK_TIMEOUT_USEC (110 * USEC_PER_SEC)

static const char *const events[] = {"ready", "expiring", "closed"};

static bool event_valid(const char *event)
{
    size_t i;

    for (i = 0; i < ELEMENTSOF(events); i++)
        if (streq(event, events[i]))
            return true;
    return false;
}

static bool name_valid(const char *s)
{
    size_t n = strspn(s, "ABCDEFGHIJKLMNOPQRSTUVWXYZ_");

    return n > 0 && n <= NAME_MAX_ && s[n] == '\0' && !streq(s, "EVENT") && !streq(s, "SESSION");
}

static void write_value(FILE *f, const char *value)
{
    for (; *value; value++)
        if ((unsigned char)*value < ' ' || *value == 0x7f || strchr("\"\\$`'", *value))
            fputc('_', f);
        else
            fputc(*value, f);
}

int hook_environment(const char *session, const char *event, json_object *variables, char **ret)
{
    size_t size, n = 0;
    char *text = NULL;
    FILE *f;
    bool bad = false;

    if (!event_valid(event))
        return -EINVAL;
    f = open_memstream(&text, &size);
    if (!f)
        return -ENOMEM;
    fprintf(f, "ILR_EVENT=\"%s\"\nILR_SESSION=\"%s\"\n", event, session);
    if (variables) {
        json_object_object_foreach(variables, name, value)
        {
            const char *s =
                json_object_is_type(value, json_type_string) ? json_object_get_string(value) : NULL;

            if (!s || !name_valid(name) || strlen(s) > VALUE_MAX || !utf8_valid(s) || ++n > VARIABLES_MAX) {
                bad = true;
                break;
            }
            fprintf(f, "ILR_%s=\"", name);
            write_value(f, s);
            fputs("\"\n", f);
        }
    }
    if (fclose(f) != 0 || bad) {
        free(text);
        return bad ? -EINVAL : -ENOMEM;
    }
    *ret = text;
    return 0;
}

int verb_hook(Request *request, json_object **ret_answer, Failure **ret_failure)
{
    _cleanup_free_ char *path = NULL, *unit = NULL, *text = NULL;
    _cleanup_bus_ sd_bus *bus = NULL;
    json_object *variables = NULL;
    const char *event = NULL;
    int r;

    if (json_get_string(request->parameters, "event", &event) <= 0 ||
        json_get_object(request->parameters, "variables", &variables) < 0)
        return verb_fail(ret_failure, -EINVAL, FAILURE_INVALID_REQUEST,
                         "event: a text, and variables: an object are expected");
    r = hook_environment(request->session, event, variables, &text);
    if (r == -EINVAL)
        return verb_fail(
            ret_failure, r, FAILURE_INVALID_REQUEST,
            "event: ready, expiring or closed is expected; variables: at most %d texts of at most %d bytes",
            VARIABLES_MAX, VALUE_MAX);
    if (r < 0)
        return r;
    if (asprintf(&path, "%s/hook-%s-%s.env", paths.private_dir, event, request->session) < 0)
        return (path = NULL), -ENOMEM;
    if (asprintf(&unit, "ilr-hook@%s-%s.service", event, request->session) < 0)
        return (unit = NULL), -ENOMEM;
    r = systemd_connect(&bus);
    if (r >= 0)
        r = file_write_atomic(AT_FDCWD, path, text, strlen(text), 0600, (uid_t)-1, (gid_t)-1);
    if (r < 0)
        return r;
    /* Whether ilrd still waits or not: who is to be told shall be told. */
    r = systemd_start(bus, unit, HOOK_TIMEOUT_USEC, -EBADF);
    (void)unlink(path);
    if (r == -ENOEXEC || r == -ETIMEDOUT)
        return verb_fail(ret_failure, r, FAILURE_HELPER_FAILED, "a hook failed, see journalctl -u %s", unit);
    return r;
}
