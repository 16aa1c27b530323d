/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "hooks.h"

#include "files.h"
#include "helper-call.h"
#include "list.h"
#include "log.h"
#include "validate.h"

#define RUNNING_MAX 8
#define WAITING_MAX 256
#define HOOK_TIMEOUT_USEC (3 * USEC_PER_MINUTE) /* over all deadlines of the helper and the unit */

typedef struct Hook {
    Hooks *hooks;
    char session[SESSION_ID_LENGTH + 1];
    json_object *request;
    HelperCall *call; /* while it runs */
    LIST_FIELDS(struct Hook);
} Hook;

struct Hooks {
    sd_event *event;
    char *helper_socket;
    char **directories;
    Hook *queue; /* the newest first */
    size_t n, n_running;
};

static void hook_free(Hook *k)
{
    LIST_REMOVE(k->hooks->queue, k);
    k->hooks->n--;
    if (k->call)
        k->hooks->n_running--;
    helper_call_free(k->call);
    json_object_put(k->request);
    free(k);
}

Hooks *hooks_free(Hooks *h)
{
    if (!h)
        return NULL;
    while (h->queue)
        hook_free(h->queue);
    strv_free(h->directories);
    free(h->helper_socket);
    free(h);
    return NULL;
}

int hooks_new(Hooks **ret, sd_event *event, const char *helper_socket, const char *path)
{
    _cleanup_(hooks_freep) Hooks *h = calloc(1, sizeof(*h));
    int r;

    if (!h)
        return -ENOMEM;
    h->event = event;
    h->helper_socket = strdup(helper_socket);
    r = strv_split(path, ":", &h->directories);
    if (r < 0 || !h->helper_socket)
        return -ENOMEM;
    *ret = TAKE_PTR(h);
    return 0;
}

/* Whether they are good for anything is not ilrd's to say. */
static bool any_installed(const Hooks *h)
{
    bool any = false;
    char **path;

    STRV_FOREACH (path, h->directories) {
        _cleanup_(closedirp) DIR *dir = opendir(*path);
        struct dirent *e;

        while (dir && !any && (e = readdir(dir)))
            any = e->d_name[0] != '.';
    }
    return any;
}

static void start_next(Hooks *h);

static void on_done(HelperCall *call, json_object *answer, Failure *failure, void *userdata)
{
    Hook *k = userdata;
    Hooks *h = k->hooks;

    if (failure)
        log_full(LOG_WARNING, k->session, "The hooks were not told well: %s", failure->message);
    hook_free(k);
    start_next(h);
}

/* Of the session, before this one. */
static bool must_wait(const Hook *k)
{
    const Hook *older;

    LIST_FOREACH (older, k->list.next)
        if (streq(older->session, k->session))
            return true;
    return false;
}

static void start_next(Hooks *h)
{
    Hook *k = h->queue, *newer;

    while (k && k->list.next)
        k = k->list.next;
    for (; k && h->n_running < RUNNING_MAX; k = newer) {
        int r;

        newer = k->list.prev;
        if (k->call || must_wait(k))
            continue;
        r = helper_call_new(&k->call, h->event, h->helper_socket, k->request, NULL, NULL, HOOK_TIMEOUT_USEC,
                            on_done, k);
        if (r < 0) {
            log_errno_full(LOG_WARNING, k->session, r, "The hooks cannot be told");
            hook_free(k);
        } else
            h->n_running++;
    }
}

void hooks_tell(Hooks *h, const char *session, const char *event, json_object *variables)
{
    _cleanup_json_ json_object *v = variables;
    Hook *k;

    if (!h || !any_installed(h))
        return;
    if (h->n >= WAITING_MAX) {
        log_full(LOG_WARNING, session, "The hooks are not told that it is %s: %d others wait", event,
                 WAITING_MAX);
        return;
    }
    k = calloc(1, sizeof(*k));
    if (!k) {
        log_oom();
        return;
    }
    k->hooks = h;
    snprintf(k->session, sizeof(k->session), "%s", session);
    LIST_PREPEND(h->queue, k);
    h->n++;
    k->request = json_object_new_object();
    if (!k->request || json_add_string(k->request, "verb", "hook") < 0 ||
        json_add_string(k->request, "session", session) < 0 ||
        json_add_string(k->request, "event", event) < 0 ||
        json_add(k->request, "variables", TAKE_PTR(v)) < 0) {
        log_oom();
        hook_free(k);
        return;
    }
    start_next(h);
}
