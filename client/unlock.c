/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* ilrctl unlock: a key for a locked volume of a session that is ready. */

#include "client.h"
#include "show.h"
#include "text.h"

/* The volume as ilrd has it now, or NULL. */
static json_object *find_volume(json_object *session, const char *name)
{
    json_object *volumes, *v;
    size_t i;

    if (json_get_array(session, "volumes", &volumes) > 0)
        for (i = 0; i < json_object_array_length(volumes); i++) {
            v = json_object_array_get_idx(volumes, i);
            if (streq(session_text(v, "name"), name))
                return v;
        }
    return NULL;
}

/* Nobody shall type a passphrase for nothing. 0: go on; -1: there is nothing to do; or the exit code, told.
 */
static int look_first(const Client *c, const char *id, const char *name)
{
    json_object *session, *v;
    bool locked = false;
    Reply reply;
    int code = ask(c, "Describe", id_parameters(id), &reply);

    if (code != 0)
        return code;
    session = reply_session(c, &reply);
    v = session ? find_volume(session, name) : NULL;
    if (!session)
        code = EXIT_UNREACHABLE;
    else if (streq(session_text(session, "state"), "ready") && !v)
        code =
            tell_failure(c, EXIT_NOT_FOUND, failure_name_to_string(FAILURE_NO_SUCH_VOLUME),
                         failure_name_hint(FAILURE_NO_SUCH_VOLUME), "Session %s has no volume %s", id, name);
    else if (v && json_get_bool(v, "locked", &locked) >= 0 && !locked) {
        if (c->json)
            print_json(session);
        else
            printf("Volume %s is not locked.\n", name);
        code = -1;
    }
    reply_done(&reply);
    return code;
}

static int get_key(const Client *c, const char *id, const char *name, int *ret)
{
    _cleanup_free_ char *shown = NULL, *question = NULL;
    int code;

    if (c->key_files)
        return key_of_file(c, c->key_files[0], ret);
    if (c->key_fd)
        return key_of_fd(c, c->key_fd, ret);
    code = look_first(c, id, name);
    if (code != 0)
        return code;
    shown = text_escape(name);
    if (asprintf(&question, "Passphrase of %s in session %s: ", shown, id) < 0)
        out_of_memory();
    return key_of_prompt(c, question, ret);
}

static int unlock(const Client *c, const char *id, const char *name, int key)
{
    json_object *parameters = id_parameters(id), *session;
    Reply reply;
    Link link;
    int r, code;

    if (json_add_string(parameters, "volume", name) < 0)
        out_of_memory();
    code = begin_call_fds(c, &link, "Unlock", parameters, false, &key, 1);
    if (code != 0)
        return code;
    r = next_answer(c, &link, NULL, &reply);
    link_close(&link);
    if (r < 0)
        return tell_link(c, r, "the volume is unlocked in the background");
    if (reply.error)
        code = tell_error(c, &reply);
    else if (!(session = reply_session(c, &reply)))
        code = EXIT_UNREACHABLE;
    else if (c->json)
        print_json(session);
    else {
        _cleanup_free_ char *shown = text_escape(name), *path = text_escape(session_text(session, "path"));

        printf("Volume %s is unlocked.\n", shown);
        show_volumes(session, stdout);
        printf("Directory: %s\n", path);
        show_locked(session, stdout);
    }
    reply_done(&reply);
    return code;
}

int verb_unlock(const Client *c, int argc, char **argv)
{
    _cleanup_close_ int key = -EBADF;
    _cleanup_free_ char *id = NULL;
    int code;

    code = resolve_id(c, argv[0], &id);
    if (code == 0)
        code = get_key(c, id, argv[1], &key);
    if (code < 0)
        return 0;
    return code == 0 ? unlock(c, id, argv[1], key) : code;
}
