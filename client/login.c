/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* ilrctl login, logout: the caller's own sign-in to Azure, kept by ilrd. */

#include "client.h"
#include "show.h"
#include "text.h"
#include "timeutil.h"

static void show_code(json_object *o)
{
    _cleanup_free_ char *url = text_escape(session_text(o, "verificationUri"));
    _cleanup_free_ char *code = text_escape(session_text(o, "userCode"));
    char buf[TIMESTAMP_MAX];
    int64_t expires = 0;

    (void)json_get_int64(o, "expiresUsec", &expires);
    fprintf(stderr, "Open %s and enter the code %s", url, code);
    if (expires > 0)
        fprintf(stderr, ", before %s", timestamp_format((uint64_t)expires, buf));
    fputs(".\n", stderr);
}

static void on_answer(const Client *c, const Reply *reply, void *userdata)
{
    _cleanup_free_ char *name = NULL;
    const char *account = NULL;

    if (c->json)
        print_json(reply->parameters);
    else if (reply->continues)
        show_code(reply->parameters);
    else {
        (void)json_get_string(reply->parameters, "account", &account);
        name = text_escape(account ? account : "somebody whose name is not told");
        printf("Signed in as %s.\n", name);
    }
}

int verb_login(const Client *c, int argc, char **argv)
{
    return ask_each(c, "Login", NULL, "the sign-in is given up", on_answer, NULL);
}

int verb_logout(const Client *c, int argc, char **argv)
{
    bool was = false;
    Reply reply;
    int code = ask(c, "Logout", NULL, &reply);

    if (code != 0)
        return code;
    (void)json_get_bool(reply.parameters, "signedIn", &was);
    if (c->json)
        print_json(reply.parameters);
    else
        puts(was ? "Signed out." : "You were not signed in.");
    reply_done(&reply);
    return 0;
}
