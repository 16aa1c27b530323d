/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The verbs. The result goes to standard output, everything on the way there to standard error. */

#include "client.h"
#include "progress.h"
#include "show.h"
#include "text.h"
#include "timeutil.h"

int follow_session(const Client *c, Link *l, Progress *p, const char *waiting, Reply *ret)
{
    _cleanup_free_ char *id = NULL;
    Reply reply;
    int r, code;

    for (;;) {
        json_object *session;

        r = next_answer(c, l, p, &reply);
        if (r < 0) {
            _cleanup_free_ char *text = NULL;

            progress_end(p);
            if (asprintf(&text, "session %s %s", id ? id : "(no id yet)", waiting) < 0)
                out_of_memory();
            return tell_link(c, r, text);
        }
        if (reply.error) {
            progress_end(p);
            code = tell_error(c, &reply);
            reply_done(&reply);
            return code;
        }
        if (reply.continues && json_get_object(reply.parameters, "session", &session) == 0) {
            const char *detail = NULL;

            if (json_get_string(reply.parameters, "detail", &detail) > 0)
                progress_note(p, detail);
            reply_done(&reply);
            continue;
        }
        session = reply_session(c, &reply);
        if (!session) {
            reply_done(&reply);
            return EXIT_UNREACHABLE;
        }
        if (!id)
            id = text_escape(session_text(session, "id"));
        if (c->json)
            print_json(session);
        progress_update(p, session);
        if (!reply.continues) {
            progress_end(p);
            *ret = reply;
            return 0;
        }
        reply_done(&reply);
    }
}

static void show_ready(json_object *session, FILE *f)
{
    _cleanup_free_ char *id = text_escape(session_text(session, "id"));
    _cleanup_free_ char *vm = text_escape(session_text(session, "vm"));
    _cleanup_free_ char *path = text_escape(session_text(session, "path"));
    int64_t created = 0, ready = 0, expires = 0;
    char buf[64];

    (void)json_get_int64(session, "createdUsec", &created);
    (void)json_get_int64(session, "readyUsec", &ready);
    (void)json_get_int64(session, "expiresUsec", &expires);
    fprintf(f, "Session %s is ready: VM %s", id, vm);
    if (ready > created && created > 0)
        fprintf(f, ", after %s", timespan_format((uint64_t)(ready - created), buf, sizeof(buf)));
    fputs("\n", f);
    show_renewed(session, f);
    show_volumes(session, f);
    fprintf(f, "Directory: %s\n", path);
    show_locked(session, f);
    if (expires > 0)
        fprintf(
            f,
            "Azure ends it at %s; before that ilrd gives it back by itself, or you with: ilrctl release %s\n",
            timestamp_format((uint64_t)expires, buf), id);
    else
        fprintf(f, "Give it back with: ilrctl release %s\n", id);
}

static int add_tags(json_object *parameters, char *const *tags)
{
    json_object *o;
    char *const *t;

    if (!tags)
        return 0;
    o = json_object_new_object();
    if (!o || json_add(parameters, "tags", o) < 0)
        return -ENOMEM;
    STRV_FOREACH (t, tags) {
        const char *value = strchr(*t, '=') + 1;
        _cleanup_free_ char *name = strndup(*t, (size_t)(value - 1 - *t));

        if (!name || json_add_string(o, name, value) < 0)
            return -ENOMEM;
    }
    return 0;
}

/* 0, or the exit code when it is told what is wrong. */
static int add_idle(const Client *c, json_object *parameters)
{
    uint64_t usec;

    if (!c->idle)
        return 0;
    if (timespan_parse(c->idle, &usec) < 0)
        return tell_failure(c, EXIT_USAGE, "Usage", "for example --idle=30min, or --idle=0 for never",
                            "--idle=%s is no time span", c->idle);
    if (json_add_int64(parameters, "idleUsec", (int64_t)usec) < 0)
        out_of_memory();
    return 0;
}

int verb_provision(const Client *c, int argc, char **argv)
{
    json_object *parameters = json_object_new_object();
    int fds[KEYS_MAX];
    size_t n_fds = 0;
    Reply reply;
    Progress p;
    Link link;
    int code;

    if (!parameters || json_add_string(parameters, "kind", "vm") < 0 ||
        json_add_string(parameters, has_choice(c) ? "vm" : "recoveryPoint", argv[0]) < 0 ||
        json_add_string(parameters, "resourceGroup", c->resource_group) < 0 ||
        json_add_string(parameters, "vault", c->vault) < 0 ||
        json_add_string(parameters, "container", c->container) < 0 ||
        json_add_string(parameters, "item", c->item) < 0 ||
        json_add_string(parameters, "virtualMachineId", c->vm) < 0 ||
        json_add_string(parameters, "reason", c->reason) < 0 ||
        json_add_string(parameters, "replay", c->replay) < 0 || add_tags(parameters, c->tags) < 0)
        out_of_memory();
    code = add_choice(c, parameters);
    if (code == 0)
        code = add_idle(c, parameters);
    if (code == 0)
        code = keys_of_files(c, parameters, fds, &n_fds);
    if (code != 0)
        json_object_put(parameters);
    else
        code = begin_call_fds(c, &link, "Provision", parameters, true, fds, n_fds);
    while (n_fds > 0)
        (void)safe_close(fds[--n_fds]);
    if (code != 0)
        return code;
    progress_init(&p, c->json);
    /* The end of this connection before the last answer is what gives the session up. */
    code = follow_session(c, &link, &p, "is given up, ilrd takes back what it has taken so far", &reply);
    if (code == 0) {
        if (!c->json)
            show_ready(reply_session(c, &reply), stdout);
        reply_done(&reply);
    }
    progress_done(&p);
    link_close(&link);
    return code;
}

int verb_list(const Client *c, int argc, char **argv)
{
    json_object *sessions;
    Reply reply;
    int code = ask(c, "List", NULL, &reply);

    if (code != 0)
        return code;
    if (json_get_array(reply.parameters, "sessions", &sessions) <= 0)
        code = tell_link(c, -EBADMSG, NULL);
    else if (c->json)
        print_json(reply.parameters);
    else
        show_list(sessions, stdout);
    reply_done(&reply);
    return code;
}

int verb_status(const Client *c, int argc, char **argv)
{
    _cleanup_free_ char *id = NULL;
    json_object *session;
    Reply reply;
    int code;

    code = ask_session(c, argv[0], &id, &session, &reply);
    if (code != 0)
        return code;
    if (c->json)
        print_json(session);
    else
        show_session(session, stdout);
    reply_done(&reply);
    return 0;
}

static void show_change(json_object *session, const char *warning)
{
    _cleanup_free_ char *id = text_escape(session_text(session, "id"));
    _cleanup_free_ char *vm = text_escape(session_text(session, "vm"));
    _cleanup_free_ char *state = text_escape(session_text(session, "state"));
    _cleanup_free_ char *detail = text_escape(session_text(session, "detail"));
    char buf[TIMESTAMP_MAX];
    json_object *f;

    if (warning) {
        _cleanup_free_ char *text = text_escape(warning);

        printf("%s %s %s warning: %s\n", timestamp_format(now_usec(CLOCK_REALTIME), buf), id, vm, text);
        fflush(stdout);
        return;
    }
    printf("%s %s %s %s%s%s", timestamp_format(now_usec(CLOCK_REALTIME), buf), id, vm, state,
           streq(detail, "-") ? "" : ": ", streq(detail, "-") ? "" : detail);
    if (json_get_object(session, "failure", &f) > 0) {
        _cleanup_free_ char *name = text_escape(session_text(f, "name"));
        _cleanup_free_ char *message = text_escape(session_text(f, "message"));

        printf(" (%s: %s)", name, message);
    }
    puts("");
    fflush(stdout);
}

int verb_monitor(const Client *c, int argc, char **argv)
{
    _cleanup_free_ char *id = NULL;
    bool over = false;
    Link link;
    int r, code;

    code = argc > 0 ? resolve_id(c, argv[0], &id) : 0;
    if (code == 0)
        code = begin_call(c, &link, "Monitor", id ? id_parameters(id) : NULL, true);
    if (code != 0)
        return code;
    while (!over && code == 0) {
        const char *warning = NULL;
        json_object *session;
        Reply reply;

        r = next_answer(c, &link, NULL, &reply);
        if (r == -EINTR)
            break; /* the way to end it */
        if (r < 0) {
            code = tell_link(c, r, NULL);
            break;
        }
        session = reply.error ? NULL : reply_session(c, &reply);
        if (reply.error)
            code = tell_error(c, &reply);
        else if (!session)
            code = EXIT_UNREACHABLE;
        else if (json_get_string(reply.parameters, "warning", &warning) >= 0 && c->json) {
            if (json_add_string(session, "warning", warning) < 0)
                out_of_memory();
            print_json(session);
        } else
            show_change(session, warning);
        /* There is nothing more to come of one that is closed. */
        over = !reply.continues || (id && session && streq(session_text(session, "state"), "closed"));
        reply_done(&reply);
    }
    link_close(&link);
    return code;
}
