/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* ilrctl doctor: is all there that a recovery needs? One line for each check, and what to do below those that
 * failed. */

#include "client.h"
#include "show.h"
#include "text.h"

#define NAME_WIDTH 32

static void show_check(json_object *check)
{
    _cleanup_free_ char *result = text_escape(session_text(check, "result"));
    _cleanup_free_ char *name = text_escape(session_text(check, "name"));
    _cleanup_free_ char *message = text_escape(session_text(check, "message"));
    _cleanup_free_ char *hint = text_escape(session_text(check, "hint"));
    size_t width = text_width(name);

    printf("%-8s %s%*s %s\n", result, name, width < NAME_WIDTH ? (int)(NAME_WIDTH - width) : 0, "", message);
    if (!streq(hint, "-"))
        printf("         what to do: %s\n", hint);
    fflush(stdout);
}

static void on_answer(const Client *c, const Reply *reply, void *userdata)
{
    json_object *check;
    bool *failed = userdata;

    if (json_get_object(reply->parameters, "check", &check) <= 0)
        return;
    *failed = *failed || streq(session_text(check, "result"), "failed");
    if (c->json)
        print_json(check);
    else
        show_check(check);
}

int verb_doctor(const Client *c, int argc, char **argv)
{
    json_object *parameters;
    bool failed = false;
    int code;

    if (c->leftovers)
        return verb_leftovers(c);
    parameters = json_object_new_object();
    if (!parameters || json_add_string(parameters, "portal", c->portal) < 0)
        out_of_memory();
    code = ask_each(c, "Doctor", parameters, NULL, on_answer, &failed);
    return code == 0 && failed ? 1 : code;
}
