/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "sign-in.h"

#include "azure-login.h"
#include "list.h"
#include "log.h"

#define SIGN_INS_MAX 16 /* at a time */

typedef struct SignIn {
    SignIns *all;
    VarlinkCall *call;
    AzureLogin *login;
    LIST_FIELDS(struct SignIn);
} SignIn;

struct SignIns {
    Azure *azure;
    SignIn *list;
    size_t n;
};

static void sign_in_free(SignIn *s)
{
    if (s->call)
        varlink_call_set_gone(s->call, NULL, NULL);
    LIST_REMOVE(s->all->list, s);
    s->all->n--;
    azure_login_free(s->login);
    free(s);
}

int sign_ins_new(SignIns **ret, Azure *azure)
{
    SignIns *s = calloc(1, sizeof(*s));

    if (!s)
        return -ENOMEM;
    s->azure = azure;
    *ret = s;
    return 0;
}

SignIns *sign_ins_free(SignIns *s)
{
    if (!s)
        return NULL;
    while (s->list)
        sign_in_free(s->list);
    free(s);
    return NULL;
}

static void on_gone(VarlinkCall *call, void *userdata)
{
    SignIn *s = userdata;

    s->call = NULL;
    sign_in_free(s);
}

static void on_code(const char *url, const char *code, uint64_t expires_usec, void *userdata)
{
    _cleanup_json_ json_object *o = json_object_new_object();
    SignIn *s = userdata;

    if (!o || json_add_string(o, "verificationUri", url) < 0 || json_add_string(o, "userCode", code) < 0 ||
        json_add_int64(o, "expiresUsec", (int64_t)expires_usec) < 0)
        log_oom();
    else
        (void)varlink_call_notify(s->call, o);
}

static void on_done(bool ok, const char *account, Failure *failure, void *userdata)
{
    _cleanup_failure_ Failure *f = failure ? failure
                                   : ok    ? NULL
                                           : failure_new(FAILURE_INTERNAL, "Out of memory");
    _cleanup_json_ json_object *o = json_object_new_object();
    SignIn *s = userdata;
    VarlinkCall *call = TAKE_PTR(s->call);

    if (o && account)
        (void)json_add_string(o, "account", account);
    varlink_call_set_gone(call, NULL, NULL);
    sign_in_free(s);
    if (ok)
        (void)varlink_call_reply(call, o);
    else
        (void)varlink_call_fail(call, f, NULL);
}

int sign_in_login(SignIns *all, VarlinkCall *call, json_object *parameters)
{
    static const AzureLoginCallbacks callbacks = {.code = on_code, .done = on_done};
    _cleanup_failure_ Failure *f = NULL;
    SignIn *s;
    int r;

    if (all->n >= SIGN_INS_MAX) {
        f = failure_new(FAILURE_LIMIT_REACHED, "%d sign-ins are under way, wait for one of them",
                        SIGN_INS_MAX);
        failure_advise(f, "try again in a moment");
        return f ? varlink_call_fail(call, f, NULL) : -ENOMEM;
    }
    s = calloc(1, sizeof(*s));
    if (!s)
        return -ENOMEM;
    s->all = all;
    LIST_PREPEND(all->list, s);
    all->n++;
    r = azure_login_start(azure_logins(all->azure), varlink_call_uid(call), &callbacks, s, &s->login, &f);
    if (r < 0) {
        sign_in_free(s);
        return f ? varlink_call_fail(call, f, NULL) : r;
    }
    s->call = call;
    varlink_call_set_gone(call, on_gone, s);
    return 0;
}

int sign_in_logout(SignIns *all, VarlinkCall *call, json_object *parameters)
{
    _cleanup_json_ json_object *o = json_object_new_object();
    uid_t uid = varlink_call_uid(call);
    bool was = azure_logins_forget(azure_logins(all->azure), uid);

    if (was)
        log_notice("uid %u has signed out of Azure", (unsigned)uid);
    if (!o || json_add_bool(o, "signedIn", was) < 0)
        return -ENOMEM;
    return varlink_call_reply(call, o);
}
