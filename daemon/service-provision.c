/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Provision: a session for the point that the caller names, by ids or by words. */
#include "service-internal.h"

#define REASON_MAX 512 /* bytes, it goes into the journal */

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
                            "vault is missing, and Vault= in ilrd.conf names %zu: say which one by "
                            "its name or resource id",
                            strv_length(vaults));
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

int service_provision_point(Service *s, VarlinkCall *call, json_object *parameters, AzurePoint *point)
{
    _cleanup_failure_ Failure *f = NULL;
    _cleanup_free_ char *caller = user_names_get(s->users, varlink_call_uid(call));
    ManagerRequest request = {.point = point, .uid = varlink_call_uid(call), .caller = caller};
    Session *session = manager_find_point(s->manager, point);
    int64_t idle = 0;
    bool held;
    Waiter *w;
    int r;

    if (session && session->down)
        return service_wait_turn(s, call, parameters, point, session);
    held = session && session_holders_find(&session->holders, request.uid);

    /* All of this was looked at before. */
    (void)json_get_string(parameters, "kind", &request.kind);
    (void)json_get_string(parameters, "reason", &request.reason);
    (void)json_get_string(parameters, "replay", &request.replay);
    request.keys = varlink_call_data(call);
    request.idle_given = json_get_int64(parameters, "idleUsec", &idle) > 0;
    request.idle_usec = (uint64_t)idle;
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
    w = service_wait(s, call, WAIT_PROVISION, session->id);
    if (!w) {
        if (!held)
            service_let_go(session, request.uid, NULL); /* nobody would know of it */
        return -ENOMEM;
    }
    w->fresh = !held;
    service_tell(w, session);
    return 0;
}

static int on_found(VarlinkCall *call, json_object *parameters, AzurePoint *point, void *userdata)
{
    return service_provision_point(userdata, call, parameters, point);
}

/* 1: the call has been answered. */
static int check_idle(VarlinkCall *call, json_object *parameters, Failure **ret_failure)
{
    int64_t idle = 0;

    if (json_get_int64(parameters, "idleUsec", &idle) < 0) {
        (void)varlink_call_invalid_parameter(call, "idleUsec");
        return 1;
    }
    if (idle == 0 || (idle >= (int64_t)USEC_PER_SEC && idle <= (int64_t)IDLE_SPAN_MAX_USEC))
        return 0;
    *ret_failure =
        failure_new(FAILURE_INVALID_REQUEST,
                    "idleUsec is %lld: expected a time from 1 s to 24 h in microseconds, or 0 for never",
                    (long long)idle);
    return -EINVAL;
}

/* 1: the call has been answered. */
static int check_replay(VarlinkCall *call, json_object *parameters, const char *kind, Failure **ret_failure)
{
    const char *replay = NULL;

    if (varlink_call_get_text(call, parameters, "replay", 32, &replay) < 0)
        return 1;
    if (!replay)
        return 0;
    if (!streq(replay, "overlay") && !streq(replay, "none"))
        *ret_failure = failure_new(FAILURE_INVALID_REQUEST,
                                   "replay is \"%s\": expected \"overlay\" or \"none\"", replay);
    else if (kind && !streq(kind, "vm"))
        *ret_failure = failure_new(FAILURE_INVALID_REQUEST, "replay is not for kind \"%s\"", kind);
    else
        return 0;
    return -EINVAL;
}

/* What the way to say which point does not read is refused: the caller counts on it. */
static int check_ways(json_object *parameters, const char *kind, Failure **ret_failure)
{
    static const char *const by_words[] = {"virtualMachineId", "sourceResourceId"};
    bool words = finder_wants(parameters);
    json_object *o;
    size_t i;

    if (words && kind && !streq(kind, "vm")) {
        *ret_failure = failure_new(
            FAILURE_INVALID_REQUEST,
            "kind is \"%s\": only virtual machines are found by words, give the resource id of the "
            "recovery point",
            kind);
        return -EINVAL;
    }
    for (i = 0; words && i < ELEMENTSOF(by_words); i++)
        if (json_object_object_get_ex(parameters, by_words[i], &o) && o) {
            *ret_failure =
                failure_new(FAILURE_INVALID_REQUEST,
                            "%s does not go together with vm, which says what machine is meant", by_words[i]);
            return -EINVAL;
        }
    if (!words && json_object_object_get_ex(parameters, "resourceGroup", &o) && o) {
        *ret_failure =
            failure_new(FAILURE_INVALID_REQUEST,
                        "resourceGroup goes with vm: recoveryPoint alone says which point is meant");
        return -EINVAL;
    }
    return 0;
}

int service_provision(VarlinkCall *call, json_object *parameters, void *userdata)
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
        r = check_idle(call, parameters, &f);
    if (r == 0)
        r = check_replay(call, parameters, kind, &f);
    if (r == 0)
        r = manager_check_kind(kind, &f);
    if (r == 0)
        r = check_ways(parameters, kind, &f);
    if (r == 0)
        r = service_take_keys(call, parameters, kind, &f);
    if (r != 0)
        return r > 0 ? 0 : f ? varlink_call_fail(call, f, NULL) : r;
    if (finder_wants(parameters))
        return finder_point(s->finder, call, parameters, on_found, s);
    r = parse_point(s, call, parameters, &point, &f);
    if (r > 0)
        return 0;
    if (r < 0)
        return f ? varlink_call_fail(call, f, NULL) : r;
    return service_provision_point(s, call, parameters, TAKE_PTR(point));
}
