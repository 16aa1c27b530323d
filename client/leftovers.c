/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* ilrctl doctor --leftovers: what is left of recoveries and belongs to no session, and its sweeping. One
 * entry for each. Exit code 0 only if nothing is left. */

#include "client.h"
#include "show.h"
#include "text.h"

typedef struct Count {
    size_t left, removed;
} Count;

static void show_leftover(json_object *o)
{
    _cleanup_free_ char *result = text_escape(session_text(o, "result"));
    _cleanup_free_ char *kind = text_escape(session_text(o, "kind"));
    _cleanup_free_ char *name = text_escape(session_text(o, "name"));
    _cleanup_free_ char *detail = text_escape(session_text(o, "detail"));
    _cleanup_free_ char *session = text_escape(session_text(o, "session"));
    _cleanup_free_ char *reason = text_escape(session_text(o, "reason"));
    bool ours = true;

    (void)json_get_bool(o, "ours", &ours);
    printf("%-8s %-16s %s\n", streq(result, "-") ? "left" : result, kind, name);
    printf("         %s%s%s%s\n", detail, streq(session, "-") ? "" : "; session ",
           streq(session, "-") ? "" : session, ours ? "" : "; not made by ilrd");
    if (!streq(reason, "-"))
        printf("         why: %s\n", reason);
    fflush(stdout);
}

static void tell_leftover(const Client *c, json_object *o, Count *count)
{
    if (streq(session_text(o, "result"), "removed"))
        count->removed++;
    else
        count->left++;
    if (c->json)
        print_json(o);
    else
        show_leftover(o);
}

static void on_answer(const Client *c, const Reply *reply, void *userdata)
{
    json_object *o;

    if (json_get_object(reply->parameters, "leftover", &o) > 0)
        tell_leftover(c, o, userdata);
}

static int look_here(const Client *c, Count *count)
{
    json_object *parameters = json_object_new_object();

    if (!parameters || (c->sweep && json_add_bool(parameters, "sweep", true) < 0) ||
        (c->foreign && json_add_bool(parameters, "foreign", true) < 0))
        out_of_memory();
    return ask_each(c, "Leftovers", parameters, c->sweep ? "what is under way goes on" : NULL, on_answer,
                    count);
}

/* Does one of this host's sessions explain that the point is active? */
static bool explained(json_object *sessions, const char *point)
{
    size_t i;

    for (i = 0; i < json_object_array_length(sessions); i++)
        if (streq(session_text(json_object_array_get_idx(sessions, i), "recoveryPoint"), point))
            return true;
    return false;
}

static int tell_active(const Client *c, const char *point, Count *count)
{
    _cleanup_json_ json_object *o = json_object_new_object();
    const char *result = c->sweep ? "kept" : NULL;

    if (!o || json_add_string(o, "kind", "registration") < 0 || json_add_string(o, "name", point) < 0 ||
        json_add_string(
            o, "detail",
            "Azure says that a recovery of this point's files is under way; no session of this host "
            "is for it") < 0 ||
        json_add_bool(o, "ours", false) < 0 || json_add_string(o, "result", result) < 0 ||
        json_add_string(o, "reason",
                        "it may be another host's; Azure ends it by itself 12 hours after its start, and "
                        "provisioning and releasing the point here ends it, too") < 0)
        out_of_memory();
    tell_leftover(c, o, count);
    return 0;
}

/* The points first: what begins meanwhile has a session then, and what ends is not active any more. */
static int look_at_azure(const Client *c, Count *count)
{
    _cleanup_json_ json_object *points = NULL;
    json_object *sessions;
    Reply reply;
    size_t i;
    int code;

    code = points_of(c, c->vm, &points);
    if (code == 0)
        code = ask(c, "List", NULL, &reply);
    if (code != 0)
        return code;
    if (json_get_array(reply.parameters, "sessions", &sessions) <= 0)
        code = tell_link(c, -EBADMSG, NULL);
    for (i = 0; code == 0 && i < json_object_array_length(points); i++) {
        json_object *p = json_object_array_get_idx(points, i);
        bool active = false;

        (void)json_get_bool(p, "activeSession", &active);
        if (active && !explained(sessions, session_text(p, "id")))
            code = tell_active(c, session_text(p, "id"), count);
    }
    reply_done(&reply);
    return code;
}

int verb_leftovers(const Client *c)
{
    Count count = {};
    int code = look_here(c, &count);

    if (code == 0 && c->vm)
        code = look_at_azure(c, &count);
    if (code != 0)
        return code;
    if (!c->json && count.left == 0)
        puts(count.removed ? "Nothing is left any more." : "Nothing is left.");
    return count.left ? 1 : 0;
}
