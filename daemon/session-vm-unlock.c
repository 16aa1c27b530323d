/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Opening what is locked: one volume with one key because somebody asks for it, or all keys that came with a
 * Provision, each tried with each volume that it may be for. One at a time; the helper does it. A key that
 * opens nothing never ends a session. */

#include "session-vm-internal.h"

#include "log.h"

/* Over what the helper gives cryptsetup and the kernel. */
#define HELPER_UNLOCK_USEC (21 * USEC_PER_MINUTE)
#define HELPER_STATUS_USEC (60 * USEC_PER_SEC)

static void keys_go_on(Session *s);

static void tell(Session *s)
{
    s->context->changed(s, s->context->userdata);
}

static int ask(Session *s, const char *volume, Secret *key, HelperDone done)
{
    _cleanup_json_ json_object *request = NULL;
    VmSession *v = s->data;
    int r;

    /* What it would tell is as it was before. */
    v->refresh = helper_call_free(v->refresh);
    free_and_replace(&v->unlock_volume, strdup(volume));
    if (!v->unlock_volume)
        return -ENOMEM;
    r = session_helper_request(s, "unlock", &request);
    if (r >= 0)
        r = json_add_string(request, "volume", volume);
    return r < 0 ? r
                 : helper_call_new(&v->unlock, s->context->event, services(s)->helper_socket, request, "key",
                                   key, HELPER_UNLOCK_USEC, done, s);
}

/* What was said of a volume that is open now is over. */
static void drop_warnings(VmSession *v, const char *volume)
{
    size_t i, n = 0, length = strlen(volume);

    for (i = 0; v->warnings && v->warnings[i]; i++)
        if (strncmp(v->warnings[i], volume, length) == 0 && v->warnings[i][length] == ':')
            free(v->warnings[i]);
        else
            v->warnings[n++] = v->warnings[i];
    if (v->warnings)
        v->warnings[n] = NULL;
}

static void warn(Session *s, const char *volume, const char *text)
{
    VmSession *v = s->data;

    log_full(LOG_WARNING, s->id, "Volume %s: %s", volume, text);
    drop_warnings(v, volume);
    if (strv_extendf(&v->warnings, "%s: %s", volume, text) < 0)
        log_oom();
}

static void opened(Session *s, json_object *answer)
{
    VmSession *v = s->data;

    log_full(LOG_INFO, s->id, "Volume %s is unlocked", v->unlock_volume);
    drop_warnings(v, v->unlock_volume);
    session_vm_take(v, answer);
}

/* ---- one volume ---- */

static void on_unlocked(HelperCall *call, json_object *answer, Failure *failure, void *userdata)
{
    _cleanup_failure_ Failure *f = failure_copy(failure);
    SessionUnlockDone done;
    Session *s = userdata;
    VmSession *v = s->data;

    if (answer) {
        opened(s, answer);
        (void)session_save(s);
    } else
        log_full(LOG_WARNING, s->id, "Volume %s was not unlocked: %s", v->unlock_volume,
                 f && f->message ? f->message : "?");
    v->unlock = helper_call_free(v->unlock);
    done = v->done;
    v->done = NULL;
    if (done)
        done(s, f, v->done_userdata);
    if (answer)
        tell(s);
    if (v->keys.n > 0)
        keys_go_on(s);
    else if (!answer) /* what changed meanwhile was not asked for */
        session_vm_refresh(s);
}

int session_vm_unlock(Session *s, const char *volume, Secret *key, SessionUnlockDone done, void *userdata,
                      Failure **ret_failure)
{
    VmSession *v = s->data;
    int r;

    if (v->unlock) {
        *ret_failure =
            failure_new(FAILURE_BUSY, "Volume %s of session %s is being unlocked, one goes at a time",
                        v->unlock_volume, s->id);
        failure_advise(*ret_failure, "try again in a moment");
        return -EBUSY;
    }
    r = ask(s, volume, key, on_unlocked);
    if (r < 0)
        return r;
    v->done = done;
    v->done_userdata = userdata;
    return 0;
}

void session_vm_unlock_forget(Session *s, void *userdata)
{
    VmSession *v = s->data;

    if (v->done && v->done_userdata == userdata)
        v->done = NULL;
}

/* ---- the keys of a Provision ---- */

static json_object *volume_at(const VmSession *v, size_t i, const char **ret_name, bool *ret_locked)
{
    json_object *o = NULL;

    *ret_locked = false;
    *ret_name = NULL;
    if (v->volumes && i < json_object_array_length(v->volumes))
        o = json_object_array_get_idx(v->volumes, i);
    if (o && json_get_string(o, "name", ret_name) > 0)
        (void)json_get_bool(o, "locked", ret_locked);
    return o;
}

static bool fits(const SessionKey *key, const char *volume)
{
    return !key->volume || streq(key->volume, volume);
}

/* The next key that was not tried yet with a volume that it may be for. 1: there is one. */
static int next_try(VmSession *v, size_t *ret_key, const char **ret_volume)
{
    const char *name;
    bool locked;
    size_t i, k;

    for (i = 0; volume_at(v, i, &name, &locked); i++)
        for (k = 0; name && locked && k < v->keys.n; k++) {
            char word[32 + SESSION_VOLUME_NAME_MAX];

            snprintf(word, sizeof(word), "%zu %s", k, name);
            if (!fits(&v->keys.items[k], name) || strv_contains(v->tried, word))
                continue;
            if (strv_extend(&v->tried, word) < 0)
                return -ENOMEM;
            *ret_key = k;
            *ret_volume = name;
            return 1;
        }
    return 0;
}

/* What the keys did not do. */
static void look_back(Session *s)
{
    VmSession *v = s->data;
    const char *name;
    bool locked;
    size_t i, k;

    for (k = 0; k < v->keys.n; k++) {
        const char *wanted = v->keys.items[k].volume;
        bool there = !wanted;

        for (i = 0; !there && volume_at(v, i, &name, &locked); i++)
            there = streq_ptr(name, wanted);
        if (!there)
            warn(s, wanted, "there is no such volume to unlock");
    }
    for (i = 0; volume_at(v, i, &name, &locked); i++) {
        bool tried = false;
        char prefix[8 + SESSION_VOLUME_NAME_MAX];

        for (k = 0; name && locked && !tried && k < v->keys.n; k++)
            tried = fits(&v->keys.items[k], name);
        if (!tried)
            continue;
        snprintf(prefix, sizeof(prefix), "%s:", name);
        for (k = 0; v->warnings && v->warnings[k] && !startswith(v->warnings[k], prefix); k++)
            ;
        if (!v->warnings || !v->warnings[k]) /* else it is told why already */
            warn(s, name, "none of the keys opens it");
    }
}

static void keys_end(Session *s)
{
    bool end_step;
    VmSession *v = s->data;

    look_back(s);
    end_step = v->keys_end_step;
    v->keys_end_step = false;
    session_keys_done(&v->keys);
    v->tried = strv_free(v->tried);
    s->pending = false;
    if (end_step) {
        session_step_done(s, NULL);
        return;
    }
    (void)session_save(s);
    session_set_detail(s, NULL);
    tell(s);
    session_vm_refresh(s);
}

static void on_tried(HelperCall *call, json_object *answer, Failure *failure, void *userdata)
{
    Session *s = userdata;
    VmSession *v = s->data;

    if (answer)
        opened(s, answer);
    else if (failure->name == FAILURE_WRONG_KEY)
        log_full(LOG_INFO, s->id, "A key that was given does not open volume %s", v->unlock_volume);
    else
        warn(s, v->unlock_volume, failure->message ? failure->message : "it could not be opened");
    v->unlock = helper_call_free(v->unlock);
    keys_go_on(s);
}

static void keys_go_on(Session *s)
{
    const char *volume = NULL;
    VmSession *v = s->data;
    size_t key = 0;

    if (next_try(v, &key, &volume) > 0 && ask(s, volume, v->keys.items[key].secret, on_tried) >= 0)
        session_set_detail(s, "unlocking %s", v->unlock_volume);
    else
        keys_end(s);
}

int session_vm_add_keys(Session *s, const SessionKeys *keys)
{
    VmSession *v = s->data;
    size_t i, before = v->keys.n;
    int r = 0;

    if (before + keys->n > SESSION_KEYS_MAX)
        return -E2BIG;
    for (i = 0; r >= 0 && i < keys->n; i++)
        r = session_keys_add(&v->keys, keys->items[i].volume, keys->items[i].secret);
    if (r < 0)
        return r;
    if (session_state(s) != SESSION_READY)
        return 0;
    s->pending = true;
    (void)session_save(s);
    if (!s->adopting && !v->unlock)
        keys_go_on(s);
    return 0;
}

bool session_vm_up_with_keys(Session *s)
{
    VmSession *v = s->data;

    if (v->keys.n == 0)
        return false;
    v->keys_end_step = true;
    keys_go_on(s);
    return true;
}

/* ---- with the session ---- */

void session_vm_unlock_ready(Session *s)
{
    VmSession *v = s->data;

    if (v->keys.n > 0 && !v->unlock) /* given while it was not known yet whether it stands */
        keys_go_on(s);
    if (!v->fresh) /* who knows what happened while nobody looked */
        session_vm_refresh(s);
}

void session_vm_unlock_done(VmSession *v)
{
    v->unlock = helper_call_free(v->unlock);
    v->refresh = helper_call_free(v->refresh);
    free_and_replace(&v->unlock_volume, NULL);
    session_keys_done(&v->keys);
    v->tried = strv_free(v->tried);
    v->warnings = strv_free(v->warnings);
}

void session_vm_unlock_stop(Session *s)
{
    _cleanup_failure_ Failure *f = NULL;
    SessionUnlockDone done;
    VmSession *v = s->data;

    done = v->done;
    v->done = NULL;
    v->unlock = helper_call_free(v->unlock);
    v->refresh = helper_call_free(v->refresh);
    session_keys_done(&v->keys);
    v->tried = strv_free(v->tried);
    v->keys_end_step = v->refresh_again = false;
    s->pending = false;
    if (!done)
        return;
    f = failure_new(FAILURE_CANCELLED, "Session %s is being released", s->id);
    done(s, f, v->done_userdata);
}

/* ---- what others unlock ---- */

static void on_refreshed(HelperCall *call, json_object *answer, Failure *failure, void *userdata)
{
    json_object *sessions = NULL, *volumes, *o;
    bool again, news = false;
    Session *s = userdata;
    VmSession *v = s->data;

    if (answer && json_get_array(answer, "sessions", &sessions) > 0 &&
        json_object_array_length(sessions) == 1) {
        o = json_object_array_get_idx(sessions, 0);
        news = json_get_array(o, "volumes", &volumes) > 0 && json_object_array_length(volumes) > 0 &&
               !(v->volumes && json_object_equal(volumes, v->volumes));
        if (news)
            session_vm_take(v, o);
    }
    again = v->refresh_again;
    v->refresh_again = false;
    v->refresh = helper_call_free(v->refresh);
    if (news) {
        (void)session_save(s);
        tell(s);
    }
    if (again)
        session_vm_refresh(s);
}

void session_vm_refresh(Session *s)
{
    _cleanup_json_ json_object *request = NULL;
    VmSession *v = s->data;

    if (v->unlock || session_state(s) != SESSION_READY) /* its own answer has it all */
        return;
    if (v->refresh) {
        v->refresh_again = true;
        return;
    }
    if (session_helper_request(s, "status", &request) < 0 ||
        helper_call_new(&v->refresh, s->context->event, services(s)->helper_socket, request, NULL, NULL,
                        HELPER_STATUS_USEC, on_refreshed, s) < 0)
        log_oom();
}

/* ---- record and description ---- */

int session_vm_unlock_save(const VmSession *v, json_object *o)
{
    int r;

    if ((v->keys.n > 0 && (r = json_add_bool(o, "keysPending", true)) < 0) ||
        (v->warnings && *v->warnings && (r = json_add_strv(o, "warnings", v->warnings)) < 0))
        return r;
    return 0;
}

int session_vm_unlock_load(VmSession *v, json_object *o)
{
    json_object *warnings = NULL;
    bool pending = false;
    size_t i;

    if (json_get_bool(o, "keysPending", &pending) < 0 || json_get_array(o, "warnings", &warnings) < 0)
        return -EINVAL;
    for (i = 0; warnings && i < json_object_array_length(warnings); i++) {
        json_object *w = json_object_array_get_idx(warnings, i);

        if (json_object_is_type(w, json_type_string) &&
            strv_extend(&v->warnings, json_object_get_string(w)) < 0)
            return -ENOMEM;
    }
    if (pending &&
        strv_extend(&v->warnings, "ilrd was restarted before all keys were tried, and has forgotten "
                                  "them: what is locked can be unlocked with ilrctl unlock") < 0)
        return -ENOMEM;
    return 0;
}

int session_vm_unlock_describe(const VmSession *v, json_object *o)
{
    return v->warnings && *v->warnings ? json_add_strv(o, "warnings", v->warnings) : 0;
}
