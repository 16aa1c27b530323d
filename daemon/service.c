/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "service.h"

#include "doctor.h"
#include "finder.h"
#include "log.h"
#include "recovery-interface.h"
#include "sign-in.h"

#include <grp.h>
#include <pwd.h>

#define REASON_MAX 512 /* bytes, it goes into the journal */

typedef enum WaiterKind {
    WAIT_PROVISION, /* until ready, or an error */
    WAIT_RELEASE,   /* until closed, or an error */
    WAIT_MONITOR,   /* for ever */
} WaiterKind;

/* A call that is not answered finally yet. */
typedef struct Waiter {
    Service *service;
    VarlinkCall *call;
    WaiterKind kind;
    char session[SESSION_ID_LENGTH + 1]; /* "": all (monitor) */
    char *told;                          /* what was told last, so that nothing is said twice */
    LIST_FIELDS(struct Waiter);
} Waiter;

struct Service {
    Manager *manager;
    const Config *config;
    VarlinkServer *server;
    Waiter *waiters;
    Finder *finder;
    Doctor *doctor;
    SignIns *sign_ins;
};

static void waiter_free(Waiter *w)
{
    LIST_REMOVE(w->service->waiters, w);
    free(w->told);
    free(w);
}

Service *service_free(Service *s)
{
    if (!s)
        return NULL;
    manager_set_changed(s->manager, NULL, NULL);
    finder_free(s->finder); /* before the calls that it keeps */
    doctor_free(s->doctor); /* the same */
    sign_ins_free(s->sign_ins);
    varlink_server_free(s->server);
    while (s->waiters)
        waiter_free(s->waiters);
    free(s);
    return NULL;
}

/* ---- who may call ---- */

static int authorize(const VarlinkPeer *peer, void *userdata)
{
    struct group *g;
    size_t i;

    if (peer->uid == 0)
        return 1;
    g = getgrnam("ilr");
    if (!g)
        return 0;
    if (peer->gid == g->gr_gid)
        return 1;
    for (i = 0; i < peer->n_groups; i++)
        if (peer->groups[i] == g->gr_gid)
            return 1;
    return 0;
}

static char *user_name(uid_t uid)
{
    struct passwd *p = getpwuid(uid);
    char *name;

    if (p)
        return strdup(p->pw_name);
    return asprintf(&name, "%u", (unsigned)uid) < 0 ? NULL : name;
}

/* ---- answers ---- */

static json_object *session_parameters(Session *s)
{
    _cleanup_json_ json_object *o = json_object_new_object();
    json_object *description;

    if (!o || session_describe(s, &description) < 0 || json_add(o, "session", description) < 0) {
        log_oom();
        return NULL;
    }
    return TAKE_PTR(o);
}

static int reply_session(VarlinkCall *call, Session *s)
{
    _cleanup_json_ json_object *o = session_parameters(s);

    return o ? varlink_call_reply(call, o) : -ENOMEM;
}

static int fail_with(VarlinkCall *call, const Failure *f, Session *s)
{
    _cleanup_json_ json_object *o = s ? session_parameters(s) : NULL;

    return varlink_call_fail(call, f, o);
}

static int fail_no_session(VarlinkCall *call, const char *id)
{
    _cleanup_failure_ Failure *f = failure_new(FAILURE_NO_SUCH_SESSION, "There is no session \"%.64s\"", id);

    return f ? varlink_call_fail(call, f, NULL) : -ENOMEM;
}

/* Ends a waiting call with what it waits for, or tells it about a change. */
static void tell(Waiter *w, Session *s)
{
    _cleanup_failure_ Failure *cancelled = NULL;
    _cleanup_json_ json_object *o = NULL;
    SessionState state = session_state(s);
    VarlinkCall *call = w->call;

    switch (w->kind) {
    case WAIT_PROVISION:
        /* After a restart it is not known yet whether what the record says still stands. */
        if (state == SESSION_READY && !s->adopting) {
            waiter_free(w);
            (void)reply_session(call, s);
            return;
        }
        /* The error comes when everything is given back, or cannot be for now: then there is no more to wait
         * for. */
        if (s->closed || s->release_failure) {
            const Failure *f = s->failure;

            if (!f)
                f = cancelled =
                    failure_new(FAILURE_CANCELLED, "The session was released before it was ready");
            waiter_free(w);
            (void)fail_with(call, f, s);
            return;
        }
        break;
    case WAIT_RELEASE:
        if (s->closed) {
            waiter_free(w);
            (void)reply_session(call, s);
            return;
        }
        if (s->release_failure && s->work == WORK_NONE) {
            waiter_free(w);
            (void)fail_with(call, s->release_failure, s);
            return;
        }
        break;
    case WAIT_MONITOR:
        break;
    }
    o = session_parameters(s);
    if (!o || streq_ptr(json_text(o), w->told))
        return;
    free_and_replace(&w->told, strdup(json_text(o)));
    (void)varlink_call_notify(call, o);
}

static void on_changed(Session *session, void *userdata)
{
    Service *s = userdata;
    Waiter *w, *next;

    LIST_FOREACH_SAFE (w, next, s->waiters)
        if (!*w->session || streq(w->session, session->id))
            tell(w, session);
}

/* ---- calls that wait ---- */

static bool awaited(Service *s, const char *session)
{
    Waiter *w;

    LIST_FOREACH (w, s->waiters)
        if (w->kind == WAIT_PROVISION && streq(w->session, session))
            return true;
    return false;
}

static void on_gone(VarlinkCall *call, void *userdata)
{
    _cleanup_failure_ Failure *f = NULL;
    char id[SESSION_ID_LENGTH + 1];
    Waiter *w = userdata;
    Service *s = w->service;
    WaiterKind kind = w->kind;
    Session *session;

    strcpy(id, w->session);
    waiter_free(w);
    if (kind != WAIT_PROVISION || awaited(s, id))
        return;
    session = manager_find(s->manager, id);
    if (!session || session->down || session_state(session) == SESSION_READY)
        return;
    f = failure_new(FAILURE_CANCELLED, "The caller closed the connection before the session was ready");
    session_release(session, f);
}

static Waiter *waiter_new(Service *s, VarlinkCall *call, WaiterKind kind, const char *session)
{
    Waiter *w = calloc(1, sizeof(*w));

    if (!w)
        return NULL;
    w->service = s;
    w->call = call;
    w->kind = kind;
    if (session)
        strcpy(w->session, session);
    LIST_PREPEND(s->waiters, w);
    varlink_call_set_gone(call, on_gone, w);
    return w;
}

/* ---- parameters ---- */

static int get_session(Service *s, VarlinkCall *call, json_object *parameters, Session **ret)
{
    const char *id = NULL;
    int r = varlink_call_get_text(call, parameters, "id", 64, &id);

    if (r < 0)
        return r;
    if (r == 0) {
        (void)varlink_call_invalid_parameter(call, "id");
        return -EINVAL;
    }
    *ret = manager_find(s->manager, id);
    if (!*ret) {
        (void)fail_no_session(call, id);
        return -ENOENT;
    }
    return 0;
}

/* ---- methods ---- */

/* The point as ids name it. 1: the call has been answered. */
static int parse_point(Service *s, VarlinkCall *call, json_object *parameters, AzurePoint **ret,
                       Failure **ret_failure)
{
    const char *point = NULL, *vault = NULL, *container = NULL, *item = NULL, *vm = NULL, *source = NULL;
    _cleanup_(azure_point_freep) AzurePoint *p = NULL;
    int r;

    r = varlink_call_get_text(call, parameters, "recoveryPoint", AZURE_RESOURCE_ID_MAX, &point);
    if (r == 0)
        (void)varlink_call_invalid_parameter(call, "recoveryPoint");
    if (r <= 0 || varlink_call_get_text(call, parameters, "vault", AZURE_RESOURCE_ID_MAX, &vault) < 0 ||
        varlink_call_get_text(call, parameters, "container", AZURE_RESOURCE_ID_MAX, &container) < 0 ||
        varlink_call_get_text(call, parameters, "item", AZURE_RESOURCE_ID_MAX, &item) < 0 ||
        varlink_call_get_text(call, parameters, "virtualMachineId", AZURE_RESOURCE_ID_MAX, &vm) < 0 ||
        varlink_call_get_text(call, parameters, "sourceResourceId", AZURE_RESOURCE_ID_MAX, &source) < 0)
        return 1; /* answered */
    if (*point == '/')
        r = azure_point_parse(point, &p, ret_failure);
    else if (!container || !item) {
        *ret_failure =
            failure_new(FAILURE_INVALID_REQUEST,
                        "recoveryPoint is \"%.64s\": expected a resource id, or the id of a point together "
                        "with vm, or with vault (or one Vault= in ilrd.conf), container and item",
                        point);
        return -EINVAL;
    } else {
        _cleanup_strv_free_ char **vaults = NULL;

        r = azure_vaults_choose(s->config->vaults, vault, &vaults, ret_failure);
        if (r >= 0 && strv_length(vaults) != 1) {
            *ret_failure =
                failure_new(FAILURE_INVALID_REQUEST,
                            "vault is missing: expected a resource id, or one Vault= in ilrd.conf");
            r = -EINVAL;
        }
        if (r >= 0)
            r = azure_point_make(vaults[0], container, item, point, &p, ret_failure);
    }
    if (r >= 0 && vm)
        r = azure_point_set_virtual_machine(p, vm, ret_failure);
    if (r >= 0 && source)
        r = azure_point_set_storage_account(p, source, ret_failure);
    if (r < 0)
        return r;
    *ret = TAKE_PTR(p);
    return 0;
}

/* eTag, location and tags. 1: the call has been answered. */
static int parse_resource(VarlinkCall *call, json_object *parameters, AzureResource **ret,
                          Failure **ret_failure)
{
    const char *etag = NULL, *location = NULL;
    json_object *tags = NULL;

    if (varlink_call_get_text(call, parameters, "eTag", 4 * AZURE_ETAG_MAX, &etag) < 0 ||
        varlink_call_get_text(call, parameters, "location", 4 * AZURE_LOCATION_MAX, &location) < 0)
        return 1;
    if (json_get_object(parameters, "tags", &tags) < 0) {
        (void)varlink_call_invalid_parameter(call, "tags");
        return 1;
    }
    return etag || location || tags ? azure_resource_new(etag, location, tags, ret, ret_failure) : 0;
}

/* The point is known: a session for it, and the call waits for that. point is taken. Negative: the call is
 * not answered. */
static int provision(Service *s, VarlinkCall *call, json_object *parameters, AzurePoint *point)
{
    _cleanup_failure_ Failure *f = NULL;
    _cleanup_free_ char *caller = user_name(varlink_call_uid(call));
    ManagerRequest request = {.point = point, .uid = varlink_call_uid(call), .caller = caller};
    Session *session;
    Waiter *w;
    int r;

    /* All of this was looked at before. */
    (void)json_get_string(parameters, "kind", &request.kind);
    (void)json_get_string(parameters, "reason", &request.reason);
    r = parse_resource(call, parameters, &request.resource, &f);
    if (r < 0)
        azure_point_free(point);
    else
        r = manager_provision(s->manager, &request, &session, &f);
    if (r < 0 && f) {
        (void)varlink_call_fail(call, f, NULL);
        return 0;
    }
    if (r < 0)
        return r;
    w = waiter_new(s, call, WAIT_PROVISION, session->id);
    if (!w) {
        if (!awaited(s, session->id) && session_state(session) != SESSION_READY)
            session_release(session, NULL); /* nobody would know of it */
        return -ENOMEM;
    }
    tell(w, session);
    return 0;
}

static int on_found(VarlinkCall *call, json_object *parameters, AzurePoint *point, void *userdata)
{
    return provision(userdata, call, parameters, point);
}

static int method_provision(VarlinkCall *call, json_object *parameters, void *userdata)
{
    _cleanup_(azure_resource_freep) AzureResource *resource = NULL;
    _cleanup_(azure_point_freep) AzurePoint *point = NULL;
    const char *kind = NULL, *reason = NULL;
    _cleanup_failure_ Failure *f = NULL;
    Service *s = userdata;
    int r;

    if (varlink_call_get_text(call, parameters, "kind", 32, &kind) < 0 ||
        varlink_call_get_text(call, parameters, "reason", REASON_MAX, &reason) < 0)
        return 0;
    r = parse_resource(call, parameters, &resource, &f);
    if (r == 0)
        r = manager_check_kind(kind, &f);
    if (r != 0)
        return r > 0 ? 0 : f ? varlink_call_fail(call, f, NULL) : r;
    if (finder_wants(parameters) && kind && !streq(kind, "vm")) {
        f = failure_new(
            FAILURE_INVALID_REQUEST,
            "kind is \"%s\": only virtual machines are found by words, give the resource id of the "
            "recovery point",
            kind);
        return f ? varlink_call_fail(call, f, NULL) : -ENOMEM;
    }
    if (finder_wants(parameters))
        return finder_point(s->finder, call, parameters, on_found, s);
    r = parse_point(s, call, parameters, &point, &f);
    if (r > 0)
        return 0;
    if (r < 0)
        return f ? varlink_call_fail(call, f, NULL) : r;
    return provision(s, call, parameters, TAKE_PTR(point));
}

static int method_items(VarlinkCall *call, json_object *parameters, void *userdata)
{
    Service *s = userdata;

    return finder_items(s->finder, call, parameters);
}

static int method_points(VarlinkCall *call, json_object *parameters, void *userdata)
{
    Service *s = userdata;

    return finder_points(s->finder, call, parameters);
}

static int method_doctor(VarlinkCall *call, json_object *parameters, void *userdata)
{
    Service *s = userdata;

    return doctor_examine(s->doctor, call, parameters);
}

static int method_login(VarlinkCall *call, json_object *parameters, void *userdata)
{
    Service *s = userdata;

    return sign_in_login(s->sign_ins, call, parameters);
}

static int method_logout(VarlinkCall *call, json_object *parameters, void *userdata)
{
    Service *s = userdata;

    return sign_in_logout(s->sign_ins, call, parameters);
}

static int method_list(VarlinkCall *call, json_object *parameters, void *userdata)
{
    _cleanup_json_ json_object *o = json_object_new_object(), *list = json_object_new_array();
    Service *s = userdata;
    Session *session;

    if (!o || !list)
        return -ENOMEM;
    LIST_FOREACH (session, manager_sessions(s->manager)) {
        json_object *d;
        int r;

        if (session->closed)
            continue;
        r = session_describe(session, &d);
        if (r < 0)
            return r;
        json_object_array_add(list, d);
    }
    if (json_add(o, "sessions", TAKE_PTR(list)) < 0)
        return -ENOMEM;
    return varlink_call_reply(call, o);
}

static int method_describe(VarlinkCall *call, json_object *parameters, void *userdata)
{
    Service *s = userdata;
    Session *session;

    if (get_session(s, call, parameters, &session) < 0)
        return 0;
    return reply_session(call, session);
}

static int method_release(VarlinkCall *call, json_object *parameters, void *userdata)
{
    Service *s = userdata;
    Session *session;

    if (get_session(s, call, parameters, &session) < 0)
        return 0;
    log_full(LOG_INFO, session->id, "Release asked for by uid %u", (unsigned)varlink_call_uid(call));
    /* An old answer must not be taken for the answer to this request. */
    session->release_failure = failure_free(session->release_failure);
    if (!waiter_new(s, call, WAIT_RELEASE, session->id))
        return -ENOMEM;
    session_release(session, NULL);
    return 0;
}

static int method_monitor(VarlinkCall *call, json_object *parameters, void *userdata)
{
    Service *s = userdata;
    Session *session = NULL;
    const char *id = NULL;
    Waiter *w;
    int r;

    r = json_get_string(parameters, "id", &id);
    if (r < 0)
        return varlink_call_invalid_parameter(call, "id");
    if (r > 0 && get_session(s, call, parameters, &session) < 0)
        return 0;
    w = waiter_new(s, call, WAIT_MONITOR, session ? session->id : NULL);
    if (!w)
        return -ENOMEM;
    if (session)
        tell(w, session);
    else
        LIST_FOREACH (session, manager_sessions(s->manager))
            if (!session->closed)
                tell(w, session);
    return 0;
}

static const char *const provision_parameters[] = {
    "kind",     "recoveryPoint", "vault",  "container", "item",       "virtualMachineId", "reason",
    "vm",       "resourceGroup", "latest", "atUsec",    "beforeUsec", "sourceResourceId", "eTag",
    "location", "tags",          NULL};
static const char *const items_parameters[] = {"vault", "resourceGroup", "vm", NULL};
static const char *const points_parameters[] = {"vm",   "vault",     "resourceGroup", "container",
                                                "item", "sinceUsec", "untilUsec",     NULL};
static const char *const doctor_parameters[] = {"portal", NULL};
static const char *const id_parameters[] = {"id", NULL};

static const VarlinkMethod methods[] = {
    {RECOVERY_INTERFACE ".Provision", method_provision, false, provision_parameters},
    {RECOVERY_INTERFACE ".Items", method_items, false, items_parameters},
    {RECOVERY_INTERFACE ".Points", method_points, false, points_parameters},
    {RECOVERY_INTERFACE ".List", method_list, false, NULL},
    {RECOVERY_INTERFACE ".Describe", method_describe, false, id_parameters},
    {RECOVERY_INTERFACE ".Release", method_release, false, id_parameters},
    {RECOVERY_INTERFACE ".Monitor", method_monitor, true, id_parameters},
    {RECOVERY_INTERFACE ".Doctor", method_doctor, true, doctor_parameters},
    {RECOVERY_INTERFACE ".Login", method_login, true, NULL},
    {RECOVERY_INTERFACE ".Logout", method_logout, false, NULL},
    {},
};

int service_new(Service **ret, sd_event *event, Manager *manager, const Config *config)
{
    static const VarlinkIdentity identity = {
        .vendor = "ilrd",
        .product = "ilrd",
        .version = PACKAGE_VERSION,
        .url = "",
    };
    _cleanup_(service_freep) Service *s = calloc(1, sizeof(*s));
    int r;

    if (!s)
        return -ENOMEM;
    s->manager = manager;
    s->config = config;
    r = finder_new(&s->finder, manager_azure(manager));
    if (r >= 0)
        r = doctor_new(&s->doctor, event, manager, config);
    if (r >= 0)
        r = sign_ins_new(&s->sign_ins, manager_azure(manager));
    if (r < 0)
        return r;
    r = varlink_server_new(&s->server, event, RECOVERY_INTERFACE, &identity, NULL);
    if (r < 0)
        return r;
    r = varlink_server_add_interface(s->server, RECOVERY_INTERFACE, recovery_interface, methods, s);
    if (r < 0)
        return r;
    r = varlink_server_set_authorize(s->server, authorize, "only root and members of group ilr may call ilrd",
                                     s);
    if (r < 0)
        return r;
    manager_set_changed(manager, on_changed, s);
    *ret = TAKE_PTR(s);
    return 0;
}

int service_listen_fd(Service *s, int fd)
{
    return varlink_server_listen_fd(s->server, fd);
}
