/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "session-provision.h"

#define HELPER_QUICK_USEC (30 * USEC_PER_SEC)

static VmServices *services(const Session *s)
{
    return s->context->services;
}

void session_provision_init(SessionProvision *p, AzurePoint *point, AzureResource *resource, bool file_share)
{
    *p = (SessionProvision){
        .point = point, .resource = resource, .file_share = file_share, .nothing_owed = true};
}

void session_provision_done(SessionProvision *p)
{
    azure_operation_free(p->azure);
    helper_call_free(p->call);
    azure_point_free(p->point);
    azure_resource_free(p->resource);
    free(p->operation_id);
    secret_unref(p->script);
    script_info_free(p->info);
}

const AzurePoint *session_point(const Session *s)
{
    return ((const SessionProvision *)s->data)->point;
}

int session_provision_set_replay(Session *s, const char *word)
{
    SessionProvision *p = s->data;

    if (!word)
        p->replay = s->context->config->replay ? "overlay" : "none";
    else if (streq(word, "overlay"))
        p->replay = "overlay";
    else if (streq(word, "none"))
        p->replay = "none";
    else
        return -EINVAL;
    return 0;
}

void session_provision_cancel(Session *s)
{
    SessionProvision *p = s->data;

    p->azure = azure_operation_free(p->azure);
    p->call = helper_call_free(p->call);
}

int session_helper_request(Session *s, const char *verb, json_object **ret)
{
    _cleanup_json_ json_object *o = json_object_new_object();
    int r;

    if (!o)
        return -ENOMEM;
    r = json_add_string(o, "verb", verb);
    if (r >= 0 && s)
        r = json_add_string(o, "session", s->id);
    if (r < 0)
        return r;
    *ret = TAKE_PTR(o);
    return 0;
}

/* ---- provision ---- */

static void on_progress(const char *detail, void *userdata)
{
    session_set_detail(userdata, "%s", detail);
}

/* Whatever becomes of the POST and of this program, the record says that it may have happened. Until now
 * nothing was owed, and a crash leads to no revoke: it would end what another host has on the same point. */
static int on_sending(void *userdata)
{
    Session *s = userdata;
    SessionProvision *p = s->data;
    int r;

    p->nothing_owed = false;
    r = session_save(s);
    if (r < 0)
        p->nothing_owed = true;
    return r;
}

static void on_posted(const char *operation_id, void *userdata)
{
    Session *s = userdata;
    SessionProvision *p = s->data;

    free_and_replace(&p->operation_id, strdup(operation_id));
    (void)session_save(s);
}

static void on_provisioned(AzureProvision *provision, Failure *failure, bool nothing_sent, void *userdata)
{
    _cleanup_(azure_provision_freep) AzureProvision *a = provision;
    _cleanup_failure_ Failure *f = failure;
    Session *s = userdata;
    SessionProvision *p = s->data;

    p->azure = azure_operation_free(p->azure);
    if (!a) {
        p->nothing_owed = nothing_sent;
        if (!f)
            f = failure_new(FAILURE_INTERNAL, "Out of memory");
        session_step_done(s, f);
        return;
    }
    p->script = TAKE_PTR(a->script);
    p->info = TAKE_PTR(a->info);
    if (p->info)
        free_and_replace(&services(s)->portal, strdup(p->info->portal_host));
    p->renewed = a->renewed;
    free_and_replace(&p->operation_id, TAKE_PTR(a->operation_id));
    if (!p->point->virtual_machine_id && a->virtual_machine_id)
        (void)azure_point_set_virtual_machine(p->point, a->virtual_machine_id, NULL);
    (void)session_set_expiry(s, a->expires_usec, a->expires_boot_usec);
    if (p->file_share)
        f = failure_new(FAILURE_NOT_SUPPORTED,
                        "Azure provisioned recovery point %s of %s, but mounting a share's snapshot is not "
                        "there yet",
                        p->point->recovery_point, p->point->vm_name);
    session_step_done(s, f);
}

static int provision(Session *s, const char *initiator_name)
{
    static const AzureProvisionCallbacks callbacks = {
        .progress = on_progress,
        .sending = on_sending,
        .posted = on_posted,
        .done = on_provisioned,
    };
    SessionProvision *p = s->data;

    return azure_provision(services(s)->azure, p->point,
                           &(AzureProvisionOptions){.uid = s->uid,
                                                    .session = s->id,
                                                    .file_share = p->file_share,
                                                    .initiator_name = initiator_name,
                                                    .resource = p->resource},
                           &callbacks, s, &p->azure);
}

static void on_initiator_name(HelperCall *call, json_object *answer, Failure *failure, void *userdata)
{
    _cleanup_failure_ Failure *f = NULL;
    Session *s = userdata;
    SessionProvision *p = s->data;
    const char *name = NULL;
    _cleanup_free_ char *copy = NULL;

    if (answer && (json_get_string(answer, "name", &name) <= 0 || !iscsi_name_valid(name)))
        failure = f = failure_new(FAILURE_HELPER_FAILED, "The helper gave no initiator name");
    copy = name ? strdup(name) : NULL;
    f = f ? f : failure_copy(failure); /* the call's own goes with the call */
    p->call = helper_call_free(p->call);
    if (failure || !copy || provision(s, copy) < 0) {
        if (!f)
            f = failure_new(FAILURE_INTERNAL, "Out of memory");
        session_step_done(s, f);
    }
}

int session_provision_acquire(Session *s)
{
    const Config *config = s->context->config;
    _cleanup_json_ json_object *request = NULL;
    SessionProvision *p = s->data;
    int r;

    if (p->file_share)
        return provision(s, NULL);
    switch (config->initiator_mode) {
    case INITIATOR_NONE:
        return provision(s, NULL);
    case INITIATOR_NAME:
        return provision(s, config->initiator_name);
    case INITIATOR_HOST:
    case INITIATOR_MODE_MAX:
    case INITIATOR_MODE_INVALID:
        break;
    }
    r = session_helper_request(NULL, "initiator-name", &request);
    return r < 0 ? r
                 : helper_call_new(&p->call, s->context->event, services(s)->helper_socket, request, NULL,
                                   NULL, HELPER_QUICK_USEC, on_initiator_name, s);
}

/* ---- revoke ---- */

static void on_revoked(bool ok, Failure *failure, void *userdata)
{
    _cleanup_failure_ Failure *f = failure;
    Session *s = userdata;
    SessionProvision *p = s->data;

    p->azure = azure_operation_free(p->azure);
    if (!ok && !f)
        f = failure_new(FAILURE_INTERNAL, "Out of memory");
    session_step_done(s, f);
}

int session_provision_release(Session *s)
{
    static const AzureRevokeCallbacks callbacks = {.progress = on_progress, .done = on_revoked};
    SessionProvision *p = s->data;

    p->script = secret_unref(p->script);
    p->info = script_info_free(p->info);
    if (p->nothing_owed)
        return 1;
    return azure_revoke(services(s)->azure, p->point, s->uid, s->id, &callbacks, s, &p->azure);
}

/* ---- record and description ---- */

int session_provision_save(Session *s, json_object *o)
{
    SessionProvision *p = s->data;
    int r;

    if ((r = json_add_string(o, "recoveryPoint", p->point->resource_id)) < 0 ||
        (r = json_add_string(o, "virtualMachineId", p->point->virtual_machine_id)) < 0 ||
        (r = json_add_string(o, "storageAccountId", p->point->storage_account_id)) < 0 ||
        (r = json_add_string(o, "operationId", p->operation_id)) < 0 ||
        (p->resource && ((r = json_add_string(o, "eTag", p->resource->etag)) < 0 ||
                         (r = json_add_string(o, "location", p->resource->location)) < 0 ||
                         (r = json_add(o, "tags", json_object_get(p->resource->tags))) < 0)) ||
        (r = json_add_bool(o, "renewed", p->renewed)) < 0 ||
        (r = json_add_bool(o, "nothingOwed", p->nothing_owed)) < 0)
        return r;
    return 0;
}

int session_provision_load(Session *s, json_object *o)
{
    const char *point = NULL, *vm = NULL, *account = NULL, *operation = NULL, *etag = NULL, *location = NULL;
    json_object *tags = NULL;
    SessionProvision *p = s->data;
    int r;

    p->nothing_owed = false;
    if (json_get_string(o, "recoveryPoint", &point) <= 0 || json_get_string(o, "virtualMachineId", &vm) < 0 ||
        json_get_string(o, "storageAccountId", &account) < 0 ||
        json_get_string(o, "operationId", &operation) < 0 || json_get_bool(o, "renewed", &p->renewed) < 0 ||
        json_get_string(o, "eTag", &etag) < 0 || json_get_string(o, "location", &location) < 0 ||
        json_get_object(o, "tags", &tags) < 0 || json_get_bool(o, "nothingOwed", &p->nothing_owed) < 0)
        return -EINVAL;
    r = azure_point_parse(point, &p->point, NULL);
    if (r >= 0 && vm)
        r = azure_point_set_virtual_machine(p->point, vm, NULL);
    if (r >= 0 && account)
        r = azure_point_set_storage_account(p->point, account, NULL);
    if (r >= 0 && (etag || location || tags))
        r = azure_resource_new(etag, location, tags, &p->resource, NULL);
    if (r < 0)
        return r;
    if (operation && !(p->operation_id = strdup(operation)))
        return -ENOMEM;
    return 0;
}

int session_provision_describe(Session *s, json_object *o)
{
    SessionProvision *p = s->data;
    int r;

    if ((r = json_add_string(o, "vault", p->point->vault)) < 0 ||
        (r = json_add_string(o, "container", p->point->container)) < 0 ||
        (r = json_add_string(o, "item", p->point->item)) < 0 ||
        (r = json_add_string(o, "recoveryPoint", p->point->recovery_point)) < 0 ||
        (r = json_add_string(o, "vm", p->point->vm_name)) < 0 ||
        (r = json_add_string(o, "virtualMachineId", p->point->virtual_machine_id)) < 0 ||
        (r = json_add_bool(o, "renewed", p->renewed)) < 0)
        return r;
    return 0;
}

void session_provision_subject(const Session *s, char *buf, size_t size)
{
    const SessionProvision *p = s->data;

    snprintf(buf, size, "%s %s, recovery point %s", p->file_share ? "file share" : "VM", p->point->vm_name,
             p->point->recovery_point);
}

void session_provision_names(const Session *s, const char **ret_vm, const char **ret_point)
{
    const SessionProvision *p = s->data;

    *ret_vm = p->point->vm_name;
    *ret_point = p->point->recovery_point;
}
