/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Answers, good and bad, the way every verb tells them: as text for people, or as one JSON object a line. */

#include "client.h"
#include "show.h"
#include "text.h"
#include "timeutil.h"
#include "validate.h"

#include <stdarg.h>

void print_json(json_object *o)
{
    const char *text = json_text(o);

    if (!text)
        out_of_memory();
    puts(text);
    fflush(stdout);
}

int tell_failure(const Client *c, int code, const char *name, const char *hint, const char *format, ...)
{
    _cleanup_json_ json_object *o = json_object_new_object();
    _cleanup_failure_ Failure *f = NULL;
    _cleanup_free_ char *message = NULL;
    json_object *parameters, *failure;
    va_list ap;
    int r;

    va_start(ap, format);
    r = vasprintf(&message, format, ap);
    va_end(ap);
    if (r < 0)
        out_of_memory();
    f = failure_new(FAILURE_INTERNAL, "%s", message);
    if (!f || !o)
        out_of_memory();
    f->hint = strdup(hint ? hint : ""); /* not the table's: this name may not be in it */
    if (!f->hint)
        out_of_memory();
    if (!c->json) {
        show_failure(name, f, NULL, stderr);
        return code;
    }
    parameters = json_object_new_object();
    if (json_add_string(o, "error", name) < 0 || json_add(o, "parameters", parameters) < 0 ||
        failure_to_json(f, &failure) < 0 || json_add_string(failure, "name", name) < 0 ||
        json_add(parameters, "failure", failure) < 0)
        out_of_memory();
    print_json(o);
    return code;
}

int tell_error(const Client *c, const Reply *reply)
{
    const char *ours = startswith(reply->error, INTERFACE "."), *what = NULL;
    FailureClass class = ours ? failure_class_from_string(ours) : FAILURE_CLASS_INVALID;
    bool denied = ours && streq(ours, "PermissionDenied");
    bool parameter = streq(reply->error, "org.varlink.service.InvalidParameter");
    json_object *o = NULL, *session = NULL, *again;
    _cleanup_failure_ Failure *f = NULL;
    int code = class >= 0 ? failure_class_exit_code(class) : denied || parameter ? EXIT_REFUSED : 1;

    if (c->json) {
        print_json(reply->message);
        return code;
    }
    (void)json_get_object(reply->parameters, "session", &session);
    if (denied) {
        (void)json_get_string(reply->parameters, "reason", &what);
        f = failure_new(FAILURE_PERMISSION_DENIED, "%s", what ? what : "ilrd refuses to talk to you");
    } else if (parameter) {
        (void)json_get_string(reply->parameters, "parameter", &what);
        f = failure_new(FAILURE_INVALID_REQUEST, "ilrd does not accept the parameter \"%s\" as given",
                        what ? what : "?");
    } else if (json_get_object(reply->parameters, "failure", &o) <= 0 || failure_from_json(o, &f) < 0)
        f = failure_new(FAILURE_INTERNAL,
                        "ilrd answered with the error %s: are ilrd and ilrctl of the same version?",
                        reply->error);
    if (!f)
        out_of_memory();
    /* A name that this ilrctl does not know yet is shown as it came. */
    what = NULL;
    if (o)
        (void)json_get_string(o, "name", &what);
    show_failure(what, f, session, stderr);
    if (session && json_get_object(session, "releaseFailure", &again) > 0 && class != FAILURE_CLASS_BUSY) {
        _cleanup_failure_ Failure *release = NULL;

        if (failure_from_json(again, &release) >= 0) {
            fputs("Not everything could be given back yet; it is tried again:\n", stderr);
            show_failure(NULL, release, NULL, stderr);
        }
    }
    return code;
}

int tell_link(const Client *c, int r, const char *waiting)
{
    char buf[128];

    if (r == -EINTR)
        return tell_failure(c, EXIT_CANCELLED, "Cancelled", "nothing, or ask again", "Interrupted%s%s",
                            waiting ? ": " : "", waiting ? waiting : "");
    if (r == -ECONNRESET)
        return tell_failure(c, EXIT_UNREACHABLE, "Unreachable", "see journalctl -u ilrd",
                            "ilrd closed the connection before the answer%s%s", waiting ? ": " : "",
                            waiting ? waiting : "");
    if (r == -ETIMEDOUT)
        return tell_failure(c, EXIT_UNREACHABLE, "Unreachable",
                            "see systemctl status ilrd.service and journalctl -u ilrd",
                            "ilrd has not answered for %d seconds%s%s", c->timeout_msec / 1000,
                            waiting ? ": " : "", waiting ? waiting : "");
    if (r == -EBADMSG || r == -EMSGSIZE)
        return tell_failure(c, EXIT_UNREACHABLE, "Unreachable", "see what listens at that socket",
                            "What came from %s is no answer of ilrd", c->socket);
    return tell_failure(c, 1, "Internal", "report it", "Talking to ilrd failed: %s",
                        strerror_r(-r, buf, sizeof(buf)));
}

int begin_call(const Client *c, Link *l, const char *method, json_object *parameters, bool more)
{
    return begin_call_fds(c, l, method, parameters, more, NULL, 0);
}

int begin_call_fds(const Client *c, Link *l, const char *method, json_object *parameters, bool more,
                   const int *fds, size_t n)
{
    char buf[128];
    int r;

    r = link_open(l, c->socket);
    if (r < 0) {
        json_object_put(parameters);
        if (r == -EACCES || r == -EPERM)
            return tell_failure(c, EXIT_REFUSED, "PermissionDenied",
                                failure_name_hint(FAILURE_PERMISSION_DENIED),
                                "You may not talk to ilrd at %s", c->socket);
        return tell_failure(
            c, EXIT_UNREACHABLE, "Unreachable",
            "systemctl enable --now ilrd.socket; then see systemctl status ilrd.socket ilrd.service",
            "ilrd cannot be reached at %s: %s", c->socket, strerror_r(-r, buf, sizeof(buf)));
    }
    r = link_call_fds(l, method, parameters, more, fds, n);
    if (r < 0) {
        link_close(l);
        return tell_link(c, r, NULL);
    }
    return 0;
}

/* Only silence counts: a connection that is refused or closed is an answer, too. */
static bool ilrd_hangs(const Client *c)
{
    Reply reply;
    Link link;
    int r;

    if (link_open(&link, c->socket) < 0)
        return false;
    r = link_call(&link, "List", NULL, false);
    if (r >= 0) {
        r = link_next(&link, c->timeout_msec, &reply);
        if (r > 0)
            reply_done(&reply);
    } else
        r = 1;
    link_close(&link);
    return r == 0;
}

int next_answer(const Client *c, Link *l, Progress *p, Reply *ret)
{
    uint64_t heard = now_usec(CLOCK_MONOTONIC);
    bool ticks = p && p->terminal;

    for (;;) {
        int r = link_next(l, ticks ? MIN(PROGRESS_TICK_MSEC, c->timeout_msec) : c->timeout_msec, ret);

        if (r != 0)
            return r;
        if (ticks)
            progress_tick(p);
        if (now_usec(CLOCK_MONOTONIC) - heard < (uint64_t)c->timeout_msec * USEC_PER_MSEC)
            continue;
        if (ilrd_hangs(c))
            return -ETIMEDOUT;
        heard = now_usec(CLOCK_MONOTONIC);
    }
}

int ask(const Client *c, const char *method, json_object *parameters, Reply *ret)
{
    Reply reply;
    Link link;
    int r, code;

    code = begin_call(c, &link, method, parameters, false);
    if (code != 0)
        return code;
    r = link_next(&link, c->timeout_msec, &reply);
    link_close(&link);
    if (r <= 0)
        return tell_link(c, r < 0 ? r : -ETIMEDOUT, NULL);
    if (reply.error) {
        code = tell_error(c, &reply);
        reply_done(&reply);
        return code;
    }
    *ret = reply;
    return 0;
}

int ask_each(const Client *c, const char *method, json_object *parameters, const char *waiting,
             void (*on_answer)(const Client *c, const Reply *reply, void *userdata), void *userdata)
{
    bool over = false;
    Link link;
    int r, code;

    code = begin_call(c, &link, method, parameters, true);
    if (code != 0)
        return code;
    while (!over && code == 0) {
        Reply reply;

        r = next_answer(c, &link, NULL, &reply);
        if (r < 0) {
            code = tell_link(c, r, waiting);
            break;
        }
        if (reply.error)
            code = tell_error(c, &reply);
        else
            on_answer(c, &reply, userdata);
        over = !reply.continues;
        reply_done(&reply);
    }
    link_close(&link);
    return code;
}

json_object *reply_session(const Client *c, const Reply *reply)
{
    json_object *session = NULL;

    if (json_get_object(reply->parameters, "session", &session) <= 0)
        (void)tell_link(c, -EBADMSG, NULL);
    return session;
}

json_object *id_parameters(const char *id)
{
    json_object *o = json_object_new_object();

    if (!o || json_add_string(o, "id", id) < 0)
        out_of_memory();
    return o;
}

int resolve_id(const Client *c, const char *prefix, char **ret)
{
    const char *found = NULL;
    json_object *sessions;
    Reply reply;
    size_t i;
    int code = 0;

    if (!session_id_valid(prefix)) {
        code = ask(c, "List", NULL, &reply);
        if (code != 0)
            return code;
        if (json_get_array(reply.parameters, "sessions", &sessions) <= 0)
            code = tell_link(c, -EBADMSG, NULL);
        for (i = 0; code == 0 && i < json_object_array_length(sessions); i++) {
            const char *id = session_text(json_object_array_get_idx(sessions, i), "id");

            if (!startswith(id, prefix))
                continue;
            if (found)
                code = tell_failure(c, EXIT_USAGE, "Usage", "give more letters of the id",
                                    "\"%s\" could be session %s or %s", prefix, found, id);
            found = id;
        }
        if (code == 0 && (!found || !*prefix))
            code = tell_failure(c, EXIT_NOT_FOUND, failure_name_to_string(FAILURE_NO_SUCH_SESSION),
                                failure_name_hint(FAILURE_NO_SUCH_SESSION), "There is no session \"%s\"",
                                prefix);
        if (code == 0 && !(*ret = strdup(found)))
            out_of_memory();
        reply_done(&reply);
        return code;
    }
    *ret = strdup(prefix);
    if (!*ret)
        out_of_memory();
    return 0;
}

int ask_session(const Client *c, const char *prefix, char **ret_id, json_object **ret_session, Reply *ret)
{
    int code = resolve_id(c, prefix, ret_id);

    if (code == 0)
        code = ask(c, "Describe", id_parameters(*ret_id), ret);
    if (code != 0)
        return code;
    *ret_session = reply_session(c, ret);
    if (*ret_session)
        return 0;
    reply_done(ret);
    return EXIT_UNREACHABLE;
}
