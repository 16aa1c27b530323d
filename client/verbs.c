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

    code = resolve_id(c, argv[0], &id);
    if (code == 0)
        code = ask(c, "Describe", id_parameters(id), &reply);
    if (code != 0)
        return code;
    session = reply_session(c, &reply);
    if (!session)
        code = EXIT_UNREACHABLE;
    else if (c->json)
        print_json(session);
    else
        show_session(session, stdout);
    reply_done(&reply);
    return code;
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

static bool in_path(const char *program)
{
    const char *path = getenv("PATH");
    _cleanup_strv_free_ char **dirs = NULL;
    char **d;

    if (!path || strv_split(path, ":", &dirs) < 0)
        return false;
    STRV_FOREACH (d, dirs) {
        _cleanup_free_ char *file = NULL;

        if (asprintf(&file, "%s/%s", *d, program) >= 0 && access(file, X_OK) >= 0)
            return true;
    }
    return false;
}

/* On a terminal it is opened if there is something to open it with, unasked. */
static int open_directory(const Client *c, const char *path)
{
    const bool terminal = isatty(STDIN_FILENO) && isatty(STDOUT_FILENO),
               desktop = !isempty(getenv("DISPLAY")) || !isempty(getenv("WAYLAND_DISPLAY"));
    const char *program = NULL;
    char buf[128];

    if (!c->open && !terminal)
        return 0;
    if (terminal && in_path("mc"))
        program = "mc";
    else if (desktop && in_path("xdg-open"))
        program = "xdg-open";
    if (!program && !c->open)
        return 0;
    if (!program)
        return tell_failure(
            c, 1, "Internal", "install mc, or go there with cd",
            "There is no file manager to open %s with (mc on a terminal, xdg-open on a desktop)", path);
    fflush(stdout);
    link_unblock_interrupt();
    execlp(program, program, path, NULL);
    return tell_failure(c, 1, "Internal", NULL, "%s: %s", program, strerror_r(errno, buf, sizeof(buf)));
}

static int browse_volume(const Client *c, json_object *session, const char *name, const char **ret)
{
    const char *id = session_text(session, "id"), *reason = "no reason is known";
    _cleanup_strv_free_ char **names = NULL;
    _cleanup_free_ char *text = NULL;
    json_object *volumes = NULL;
    size_t i;

    (void)json_get_array(session, "volumes", &volumes);
    for (i = 0; volumes && i < json_object_array_length(volumes); i++) {
        json_object *v = json_object_array_get_idx(volumes, i);

        if (strv_extend(&names, session_text(v, "name")) < 0)
            out_of_memory();
        if (!streq(session_text(v, "name"), name))
            continue;
        if (json_get_string(v, "path", ret) > 0)
            return 0;
        (void)json_get_string(v, "reason", &reason);
        return tell_failure(c, EXIT_NOT_MOUNTED, "NotMounted", "choose another volume, see ilrctl status",
                            "Volume \"%s\" of session %s is not mounted: %s", name, id, reason);
    }
    text = strv_join(names, ", ");
    return tell_failure(c, EXIT_NOT_FOUND, "NoSuchVolume", "choose one of those named",
                        "Session %s has no volume \"%s\", but: %s", id, name, isempty(text) ? "none" : text);
}

int verb_browse(const Client *c, int argc, char **argv)
{
    _cleanup_free_ char *id = NULL;
    const char *path = NULL;
    json_object *session;
    Reply reply;
    int code;

    code = resolve_id(c, argv[0], &id);
    if (code == 0)
        code = ask(c, "Describe", id_parameters(id), &reply);
    if (code != 0)
        return code;
    session = reply_session(c, &reply);
    if (!session)
        code = EXIT_UNREACHABLE;
    else if (!streq(session_text(session, "state"), "ready"))
        code = tell_failure(c, EXIT_REFUSED, "InvalidRequest", "wait until it is ready: ilrctl monitor",
                            "Session %s is not ready, it is %s", id, session_text(session, "state"));
    else if (argc > 1)
        code = browse_volume(c, session, argv[1], &path);
    else if (json_get_string(session, "path", &path) <= 0)
        code = tell_failure(c, EXIT_NOT_MOUNTED, "NotMounted", "see ilrctl status",
                            "Session %s has no directory", id);
    if (code == 0 && c->json) {
        _cleanup_json_ json_object *o = id_parameters(id);

        if ((argc > 1 && json_add_string(o, "volume", argv[1]) < 0) || json_add_string(o, "path", path) < 0)
            out_of_memory();
        print_json(o);
    } else if (code == 0)
        puts(path);
    if (code == 0 && !c->json)
        code = open_directory(c, path);
    reply_done(&reply);
    return code;
}
