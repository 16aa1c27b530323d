/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "service-internal.h"

#include "recovery-interface.h"

#include <grp.h>

/* Who cannot be named by then is told by number: nothing else is done while a directory service is waited
 * for. */
#define NAME_WAIT_USEC USEC_PER_SEC

Service *service_free(Service *s)
{
    if (!s)
        return NULL;
    manager_set_changed(s->manager, NULL, NULL);
    finder_free(s->finder); /* before the calls that it keeps */
    doctor_free(s->doctor); /* the same */
    leftover_calls_free(s->leftovers);
    sign_ins_free(s->sign_ins);
    varlink_server_free(s->server);
    while (s->waiters)
        service_waiter_free(s->waiters);
    sd_event_source_disable_unref(s->turns);
    user_names_free(s->users);
    free(s);
    return NULL;
}

/* ---- who may call ---- */

/* Once: the group is this host's own (sysusers) and the socket's, and no caller shall wait for a directory
 * service. */
static void find_group(Service *s)
{
    const struct group *g = getgrnam("ilr");

    s->has_group = g;
    if (g)
        s->group = g->gr_gid;
    else
        log_notice("There is no group ilr, so only root may call ilrd; it is looked for at ilrd's start");
}

static int authorize(const VarlinkPeer *peer, void *userdata)
{
    const Service *s = userdata;
    size_t i;

    if (peer->uid == 0)
        return 1;
    if (!s->has_group)
        return 0;
    if (peer->gid == s->group)
        return 1;
    for (i = 0; i < peer->n_groups; i++)
        if (peer->groups[i] == s->group)
            return 1;
    return 0;
}

/* ---- methods ---- */

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

static int method_leftovers(VarlinkCall *call, json_object *parameters, void *userdata)
{
    Service *s = userdata;

    return leftovers_method(s->leftovers, call, parameters);
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
        if (json_append(list, d) < 0)
            return -ENOMEM;
    }
    if (json_add(o, "sessions", TAKE_PTR(list)) < 0)
        return -ENOMEM;
    return varlink_call_reply(call, o);
}

static int method_describe(VarlinkCall *call, json_object *parameters, void *userdata)
{
    Service *s = userdata;
    Session *session;

    if (service_get_session(s, call, parameters, &session) < 0)
        return 0;
    return service_reply_session(call, session);
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
    if (r > 0 && service_get_session(s, call, parameters, &session) < 0)
        return 0;
    w = service_wait(s, call, WAIT_MONITOR, session ? session->id : NULL);
    if (!w)
        return -ENOMEM;
    if (session)
        service_tell(w, session);
    else
        LIST_FOREACH (session, manager_sessions(s->manager))
            if (!session->closed)
                service_tell(w, session);
    return 0;
}

static const char *const provision_parameters[] = {"kind",
                                                   "recoveryPoint",
                                                   "vault",
                                                   "container",
                                                   "item",
                                                   "virtualMachineId",
                                                   "reason",
                                                   "vm",
                                                   "resourceGroup",
                                                   "latest",
                                                   "atUsec",
                                                   "beforeUsec",
                                                   "sourceResourceId",
                                                   "eTag",
                                                   "location",
                                                   "tags",
                                                   "idleUsec",
                                                   "replay",
                                                   "keys",
                                                   NULL};
static const char *const items_parameters[] = {"vault", "resourceGroup", "vm", NULL};
static const char *const points_parameters[] = {"vm",   "vault",     "resourceGroup", "container",
                                                "item", "sinceUsec", "untilUsec",     NULL};
static const char *const doctor_parameters[] = {"portal", NULL};
static const char *const leftovers_parameters[] = {"sweep", "foreign", NULL};
static const char *const inhibit_parameters[] = {"id", "why", NULL};
static const char *const unlock_parameters[] = {"id", "volume", NULL};
static const char *const id_parameters[] = {"id", NULL};
static const char *const release_parameters[] = {"id", "force", "all", NULL};

static const VarlinkMethod methods[] = {
    {RECOVERY_INTERFACE ".Provision", service_provision, false, provision_parameters,
     .fds_max = SESSION_KEYS_MAX},
    {RECOVERY_INTERFACE ".Items", method_items, false, items_parameters},
    {RECOVERY_INTERFACE ".Points", method_points, false, points_parameters},
    {RECOVERY_INTERFACE ".List", method_list, false, NULL},
    {RECOVERY_INTERFACE ".Describe", method_describe, false, id_parameters},
    {RECOVERY_INTERFACE ".Release", service_release, false, release_parameters},
    {RECOVERY_INTERFACE ".Unlock", service_unlock, false, unlock_parameters, .fds_max = 1},
    {RECOVERY_INTERFACE ".Metrics", service_metrics, false, NULL},
    {RECOVERY_INTERFACE ".Inhibit", service_inhibit, true, inhibit_parameters},
    {RECOVERY_INTERFACE ".Monitor", method_monitor, true, id_parameters},
    {RECOVERY_INTERFACE ".Doctor", method_doctor, true, doctor_parameters},
    {RECOVERY_INTERFACE ".Leftovers", method_leftovers, true, leftovers_parameters},
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
    s->event = event;
    s->manager = manager;
    s->config = config;
    r = sd_event_add_defer(event, &s->turns, service_on_turns, s);
    if (r >= 0)
        r = sd_event_source_set_enabled(s->turns, SD_EVENT_OFF);
    if (r < 0)
        return r;
    find_group(s);
    r = user_names_new(&s->users, NULL, NAME_WAIT_USEC);
    if (r < 0)
        return r;
    r = finder_new(&s->finder, manager_azure(manager));
    if (r >= 0)
        r = doctor_new(&s->doctor, event, manager, config);
    if (r >= 0)
        r = leftover_calls_new(&s->leftovers, event, manager);
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
    manager_set_changed(manager, service_on_changed, s);
    *ret = TAKE_PTR(s);
    return 0;
}

int service_listen_fd(Service *s, int fd)
{
    return varlink_server_listen_fd(s->server, fd);
}
