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

/* So many go down beside each other: a user may have 64 connections. */
#define BESIDE_MAX 32

typedef struct Release {
    char *id;
    Link link; /* of the call that was begun; or its exit code */
    int code;
} Release;

static void release_begin(const Client *c, const char *prefix, Release *ret)
{
    json_object *parameters;

    *ret = (Release){.link.fd = -EBADF};
    ret->code = resolve_id(c, prefix, &ret->id);
    if (ret->code != 0)
        return;
    parameters = id_parameters(ret->id);
    if ((c->force && json_add_bool(parameters, "force", true) < 0) ||
        (c->all && json_add_bool(parameters, "all", true) < 0))
        out_of_memory();
    ret->code = begin_call(c, &ret->link, "Release", parameters, true);
}

/* behind: how many of those that come later are begun. */
static int release_end(const Client *c, Release *r, size_t behind)
{
    _cleanup_free_ char *waiting = NULL;
    Reply reply;
    Progress p;

    if (r->code != 0)
        return r->code;
    if (behind == 0)
        waiting = strdup("is released in the background");
    else if (asprintf(&waiting, "is released in the background, as are the next %zu", behind) < 0)
        waiting = NULL;
    if (!waiting)
        out_of_memory();
    progress_init(&p, c->json);
    r->code = follow_session(c, &r->link, &p, waiting, &reply);
    if (r->code == 0) {
        if (!c->json)
            show_end(r->id, reply_session(c, &reply));
        reply_done(&reply);
    }
    progress_done(&p);
    return r->code;
}

static size_t count_begun(const Release *releases, size_t n)
{
    size_t i, begun = 0;

    for (i = 0; i < n; i++)
        begun += releases[i].code == 0;
    return begun;
}

/* An interrupt came while one more was looked for. */
static void tell_begun(const Release *releases, size_t n)
{
    size_t i;

    for (i = 0; i < n; i++)
        if (releases[i].code == 0)
            fprintf(stderr, "Session %s is released in the background\n", releases[i].id);
}

static void release_done(Release *r)
{
    link_close(&r->link);
    free(r->id);
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
    _cleanup_free_ Release *releases = NULL;
    int first = 0, i, begun = 0, code = 0;

    if (c->all && argc == 0) {
        first = list_ids(c, &all);
        if (first != 0)
            return first;
        argv = all;
        argc = (int)strv_length(all);
        if (argc == 0 && !c->json)
            puts("No sessions.");
    }
    releases = calloc((size_t)argc + 1, sizeof(*releases));
    if (!releases)
        out_of_memory();
    /* All are asked for before the first is waited for: one that is stuck keeps no other up. One that fails
     * does not keep the others either; the first failure is the exit code. */
    for (i = 0; i < argc && code != EXIT_CANCELLED; i++) {
        for (; begun < argc && begun < i + BESIDE_MAX && code != EXIT_CANCELLED; begun++) {
            release_begin(c, argv[begun], &releases[begun]);
            code = releases[begun].code;
        }
        if (code == EXIT_CANCELLED)
            tell_begun(releases + i, (size_t)(begun - i));
        else
            code = release_end(c, &releases[i], count_begun(releases + i + 1, (size_t)(begun - i - 1)));
        if (first == 0)
            first = code;
    }
    for (i = 0; i < begun; i++)
        release_done(&releases[i]);
    return first;
}
