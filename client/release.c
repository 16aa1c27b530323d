/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* ilrctl release: gives back the caller's hold of a session, or the session. */

#include "client.h"
#include "progress.h"
#include "show.h"
#include "text.h"

static void show_end(const char *id, json_object *session)
{
    const char *state = session_text(session, "state");
    _cleanup_free_ char *text = NULL;

    if (streq(state, "closed"))
        printf("Session %s is released.\n", id);
    else if (streq(state, "closing")) {
        text = text_escape(session_text(session, "detail"));
        printf("Session %s is given back, and closes by itself: %s\n", id,
               streq(text, "-") ? "somebody still has something of it open" : text);
    } else {
        text = holders_text(session);
        printf("Session %s is not yours any more. It stays up for %s.\n", id, text);
    }
}

static int release_one(const Client *c, const char *id)
{
    json_object *parameters = id_parameters(id);
    Reply reply;
    Progress p;
    Link link;
    int code;

    if ((c->force && json_add_bool(parameters, "force", true) < 0) ||
        (c->all && json_add_bool(parameters, "all", true) < 0))
        out_of_memory();
    code = begin_call(c, &link, "Release", parameters, true);
    if (code != 0)
        return code;
    progress_init(&p, c->json);
    code = follow_session(c, &link, &p, "is released in the background", &reply);
    if (code == 0) {
        if (!c->json)
            show_end(id, reply_session(c, &reply));
        reply_done(&reply);
    }
    progress_done(&p);
    link_close(&link);
    return code;
}

/* The ids of all sessions. */
static int list_ids(const Client *c, char ***ret)
{
    json_object *sessions;
    Reply reply;
    size_t i;
    int code = ask(c, "List", NULL, &reply);

    if (code != 0)
        return code;
    if (json_get_array(reply.parameters, "sessions", &sessions) <= 0)
        code = tell_link(c, -EBADMSG, NULL);
    for (i = 0; code == 0 && i < json_object_array_length(sessions); i++)
        if (strv_extend(ret, session_text(json_object_array_get_idx(sessions, i), "id")) < 0)
            out_of_memory();
    reply_done(&reply);
    return code;
}

int verb_release(const Client *c, int argc, char **argv)
{
    _cleanup_strv_free_ char **all = NULL;
    int i, code, first = 0;

    if (c->all && argc == 0) {
        code = list_ids(c, &all);
        if (code != 0)
            return code;
        argv = all;
        argc = (int)strv_length(all);
        if (argc == 0 && !c->json)
            puts("No sessions.");
    }
    /* One that fails does not keep the others; the first failure is the exit code. */
    for (i = 0; i < argc; i++) {
        _cleanup_free_ char *id = NULL;

        code = resolve_id(c, argv[i], &id);
        if (code == 0)
            code = release_one(c, id);
        if (first == 0)
            first = code;
        if (code == EXIT_CANCELLED)
            break;
    }
    return first;
}
