/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* azure_provision(): what must be known before (the recovery point, whose disks), the POST, its operation,
 * and the script from wherever this Azure delivers it: the operation's status, the list action, or the status
 * once more at an older version. */

#include "azure-internal.h"

#include "azure-points.h"
#include "log.h"

/* From this version on scripts are not in the status any more but in an answer of their own. */
#define LIST_API_VERSION "2026-08-01"
#define LIST_VERB "listInstantItemRecoveryOperationResult"

static void provision_fail(AzureOperation *o, Failure *failure)
{
    o->provision_callbacks.done(NULL, failure, o->nothing_sent, o->userdata);
}

/* ---- the script ---- */

static void provision_succeed(AzureOperation *o, Secret *script)
{
    Failure *failure = NULL;
    int r;

    o->provision->script = script;
    r = script ? script_info_parse(secret_text(script), secret_size(script), &o->provision->info, &failure)
               : 0;
    if (r < 0) {
        provision_fail(o, failure);
        return;
    }
    o->provision->renewed = o->renew;
    o->provision->vm_name = strdup(o->point->vm_name);
    if (!o->provision->vm_name ||
        str_copy(o->point->virtual_machine_id, &o->provision->virtual_machine_id) < 0) {
        provision_fail(o, NULL);
        return;
    }
    if (o->renew)
        log_full(LOG_NOTICE, o->session,
                 "Azure renewed the registration of recovery point %s of %s (operation %s)",
                 o->point->recovery_point, o->point->vm_name, o->provision->operation_id);
    o->provision_callbacks.done(TAKE_PTR(o->provision), NULL, false, o->userdata);
}

/* The scripts of a status body, or NULL. */
static json_object *status_scripts(json_object *status)
{
    json_object *target = json_get_nocase(json_get_nocase(status, "properties"), "recoveryTarget");

    return json_get_nocase(target, "clientScripts");
}

/* Keeps the more telling one: that there is none is less than what is wrong with one. */
static void keep(AzureOperation *o, Failure *failure)
{
    if (!failure || (o->kept && (failure->name == FAILURE_NO_SCRIPT || o->kept->name != FAILURE_NO_SCRIPT))) {
        failure_free(failure);
        return;
    }
    failure_free(o->kept);
    o->kept = failure;
}

/* The end, with the script or without one. */
static void take_script(AzureOperation *o, json_object *scripts)
{
    _cleanup_secret_ Secret *script = NULL;
    Failure *f = NULL;
    int r = script_choose(scripts, &script, &f);

    if (r >= 0)
        provision_succeed(o, TAKE_PTR(script));
    else if (r == -ENOMEM)
        provision_fail(o, NULL);
    else {
        keep(o, f);
        provision_fail(o, TAKE_PTR(o->kept));
    }
}

static void on_fallback(const AzureAnswer *a, Failure *failure, void *userdata)
{
    AzureOperation *o = userdata;

    if (!a->ok) {
        log_full(LOG_INFO, o->session, "Azure: %s",
                 failure && failure->message ? failure->message : "no memory");
        failure_free(failure);
        provision_fail(o, TAKE_PTR(o->kept));
        return;
    }
    take_script(o, status_scripts(a->json));
}

/* The vault's view of the operation, at a version that still shows scripts. */
static void fall_back(AzureOperation *o)
{
    const Config *c = o->azure->client.config;
    _cleanup_free_ char *path = azure_point_vault_path(o->point), *verb = NULL;
    const char *version =
        strcmp(c->api_version, LIST_API_VERSION) < 0 ? c->api_version : c->fallback_api_version;
    int r = -ENOMEM;

    if (asprintf(&verb, "/backupOperations/%s", o->provision->operation_id) >= 0)
        r = azure_read(o, "GET", path, verb, version, NULL,
                       "fetch the connection script from the operation's status",
                       "Microsoft.RecoveryServices/Vaults/backupOperations/read", on_fallback);
    else
        verb = NULL;
    if (r < 0)
        provision_fail(o, azure_errno_failure(o, r));
}

static void on_list(const AzureAnswer *a, Failure *failure, void *userdata)
{
    AzureOperation *o = userdata;
    json_object *scripts;
    Failure *f;
    int status;

    if (a->ok) {
        scripts = json_get_nocase(a->json, "clientScripts");
        take_script(o, scripts ? scripts : status_scripts(a->json));
        return;
    }
    status = a->http ? a->http->status : 0;
    if (status != 404 && status != 400 && status != 405) {
        provision_fail(o, failure);
        return;
    }
    /* This cloud does not know the action yet. */
    f = failure_new(FAILURE_NO_SCRIPT,
                    "Azure gave no connection script: not in the operation's status, and not from " LIST_VERB
                    " (status %d%s%s)",
                    status, failure && failure->code ? " " : "",
                    failure && failure->code ? failure->code : "");
    if (f && failure) {
        f->code = TAKE_PTR(failure->code);
        f->request_id = TAKE_PTR(failure->request_id);
        f->correlation_id = TAKE_PTR(failure->correlation_id);
    }
    failure_free(failure);
    if (o->kept && o->kept->name == FAILURE_NO_SCRIPT)
        o->kept = failure_free(o->kept);
    keep(o, f);
    fall_back(o);
}

static void list_scripts(AzureOperation *o)
{
    const Config *c = o->azure->client.config;
    _cleanup_free_ char *path = azure_point_path(o->point, false);
    _cleanup_json_ json_object *body = json_object_new_object();
    int r = -ENOMEM;

    azure_tell(o, "Fetching the connection script");
    if (body &&
        json_add_string(body, "provisionInstantItemRecoveryOperationId", o->provision->operation_id) >= 0)
        r = azure_read(o, "POST", path, "/" LIST_VERB,
                       strcmp(c->api_version, LIST_API_VERSION) < 0 ? LIST_API_VERSION : c->api_version, body,
                       "fetch the connection script", POINT_ACTION LIST_VERB "/action", on_list);
    if (r < 0)
        provision_fail(o, azure_errno_failure(o, r));
}

/* ---- provision ---- */

static void on_posted(const char *operation_id, void *userdata)
{
    AzureOperation *o = userdata;

    o->nothing_sent = false;
    if (o->provision_callbacks.posted)
        o->provision_callbacks.posted(operation_id, o->userdata);
}

static void on_provisioned(const AzureLongResult *result, Failure *failure, void *userdata)
{
    AzureOperation *o = userdata;
    _cleanup_secret_ Secret *script = NULL;
    Failure *f = NULL;
    int r;

    if (!result->ok) {
        o->nothing_sent = result->nothing_done;
        provision_fail(o, failure);
        return;
    }
    o->nothing_sent = false;
    o->provision->operation_id = strdup(result->operation_id ? result->operation_id : "");
    o->provision->started_usec = result->started_usec;
    o->provision->expires_usec = result->started_usec + AZURE_LIFETIME_USEC;
    o->provision->expires_boot_usec = result->started_boot_usec + AZURE_LIFETIME_USEC;
    if (!o->provision->operation_id) {
        provision_fail(o, NULL);
        return;
    }
    if (o->file_share) { /* there is no script for it */
        provision_succeed(o, NULL);
        return;
    }
    r = script_choose(status_scripts(result->status), &script, &f);
    if (r >= 0) {
        provision_succeed(o, TAKE_PTR(script));
        return;
    }
    if (r == -ENOMEM || !result->operation_id || (f && f->name == FAILURE_WINDOWS_POINT)) {
        provision_fail(o, f);
        return;
    }
    keep(o, f);
    list_scripts(o);
}

/* "properties" of the request, for each kind of what is protected. */
static int make_properties(const AzureOperation *o, json_object **ret)
{
    _cleanup_json_ json_object *p = json_object_new_object();
    int r;

    if (!p)
        return -ENOMEM;
    if (o->file_share ? (r = json_add_string(p, "objectType", "AzureFileShareProvisionILRRequest")) < 0 ||
                            (r = json_add_string(p, "recoveryPointId", o->point->recovery_point)) < 0 ||
                            (r = json_add_string(p, "sourceResourceId", o->point->storage_account_id)) < 0
                      : (r = json_add_string(p, "objectType", "IaasVMILRRegistrationRequest")) < 0 ||
                            (r = json_add_string(p, "recoveryPointId", o->point->recovery_point)) < 0 ||
                            (r = json_add_string(p, "virtualMachineId", o->point->virtual_machine_id)) < 0 ||
                            (r = json_add_bool(p, "renewExistingRegistration", o->renew)) < 0 ||
                            (r = json_add_string(p, "initiatorName", o->initiator_name)) < 0)
        return r;
    *ret = TAKE_PTR(p);
    return 0;
}

static int post_provision(AzureOperation *o)
{
    _cleanup_json_ json_object *properties = NULL, *body = NULL;
    int r;

    azure_tell(o, o->renew ? "The recovery point has an active recovery already, asking Azure to renew it"
                           : "Asking Azure for the recovery point");
    if ((r = make_properties(o, &properties)) < 0 ||
        (r = azure_resource_body(o->resource, TAKE_PTR(properties), &body)) < 0)
        return r;
    if (o->provision_callbacks.sending && (r = o->provision_callbacks.sending(o->userdata)) < 0)
        return r;
    return azure_start_long(o, "provisionInstantItemRecovery", body,
                            POINT_ACTION "provisionInstantItemRecovery/action", true, on_posted,
                            on_provisioned);
}

/* ---- what must be known before ---- */

static void go_on(AzureOperation *o);

static void on_item(const AzureAnswer *a, Failure *failure, void *userdata)
{
    AzureOperation *o = userdata;
    json_object *properties, *id = NULL;
    Failure *f = NULL;
    const char *text;
    int r;

    if (!a->ok) {
        provision_fail(o, failure);
        return;
    }
    properties = json_get_nocase(a->json, "properties");
    if (!o->file_share)
        id = json_get_nocase(properties, "virtualMachineId");
    if (!json_object_is_type(id, json_type_string))
        id = json_get_nocase(properties, "sourceResourceId");
    text = json_object_is_type(id, json_type_string) ? json_object_get_string(id) : "";
    r = o->file_share ? azure_point_set_storage_account(o->point, text, &f)
                      : azure_point_set_virtual_machine(o->point, text, &f);
    if (r == -EINVAL) {
        Failure *invalid =
            failure_new(FAILURE_AZURE_ANSWER_INVALID, "Azure does not say which %s %s protects: %s",
                        o->file_share ? "storage account" : "virtual machine", o->point->item,
                        f && f->message ? f->message : "");

        failure_free(f);
        provision_fail(o, invalid);
        return;
    }
    if (r < 0)
        provision_fail(o, azure_errno_failure(o, r));
    else
        go_on(o);
}

static int look_at_item(AzureOperation *o)
{
    _cleanup_free_ char *path = azure_point_path(o->point, true), *what = NULL;

    if (asprintf(&what, "look up the %s of %s", o->file_share ? "storage account" : "virtual machine",
                 o->point->item) < 0)
        return -ENOMEM;
    return azure_read(
        o, "GET", path, "", o->azure->client.config->api_version, NULL, what,
        "Microsoft.RecoveryServices/Vaults/backupFabrics/protectionContainers/protectedItems/read", on_item);
}

/* Is the point of the kind that was asked for, and of use? */
static Failure *judge_point(const AzureOperation *o, const AzurePointInfo *i)
{
    const char *unusable = azure_point_unusable(i);
    bool share = i->object_type && startswith(i->object_type, "AzureFileShare");

    if (i->object_type && share != o->file_share)
        return failure_new(
            FAILURE_POINT_UNUSABLE, "Recovery point %s of %s is of %s, not of %s (Azure says %s)",
            o->point->recovery_point, o->point->vm_name, share ? "a file share" : "a virtual machine",
            share ? "a virtual machine" : "a file share", i->object_type);
    if (unusable)
        return failure_new(FAILURE_POINT_UNUSABLE, "Recovery point %s of %s %s", o->point->recovery_point,
                           o->point->vm_name, unusable);
    return NULL;
}

static void on_point(const AzureAnswer *a, Failure *failure, void *userdata)
{
    _cleanup_azure_point_info_ AzurePointInfo info = {};
    AzureOperation *o = userdata;
    const char *problem = NULL;
    Failure *f;
    int r;

    if (!a->ok) {
        provision_fail(o, failure);
        return;
    }
    r = azure_point_read_properties(a->json, &info, &problem);
    if (r == -EBADMSG)
        provision_fail(o, failure_new(FAILURE_AZURE_ANSWER_INVALID,
                                      "Could not %s: the answer of Azure says: %s", o->what, problem));
    else if (r < 0)
        provision_fail(o, azure_errno_failure(o, r));
    else if ((f = judge_point(o, &info)))
        provision_fail(o, f);
    else {
        o->point->judged = true;
        o->point->session_active = info.session_active;
        go_on(o);
    }
}

static int look_at_point(AzureOperation *o)
{
    _cleanup_free_ char *path = azure_point_path(o->point, false), *what = NULL;

    azure_tell(o, "Looking at the recovery point");
    if (asprintf(&what, "read recovery point %s of %s", o->point->recovery_point, o->point->vm_name) < 0)
        return -ENOMEM;
    return azure_read(o, "GET", path, "", o->azure->client.config->api_version, NULL, what,
                      POINT_ACTION "read", on_point);
}

/* The next of what is not known yet, then the POST. */
static int next(AzureOperation *o)
{
    if (!o->point->judged)
        return look_at_point(o);
    if (o->file_share ? !o->point->storage_account_id : !o->point->virtual_machine_id)
        return look_at_item(o);
    if (o->point->session_active && !o->file_share) {
        char *what;

        /* Of this host after a crash, or of another one. Without this flag the service's answer is not known.
         */
        o->renew = true;
        if (asprintf(&what, "renew the registration that recovery point %s of %s has already",
                     o->point->recovery_point, o->point->vm_name) < 0)
            return -ENOMEM;
        free_and_replace(&o->what, what);
    }
    return post_provision(o);
}

static void go_on(AzureOperation *o)
{
    int r = next(o);

    if (r < 0)
        provision_fail(o, azure_errno_failure(o, r));
}

int azure_provision(Azure *a, const AzurePoint *p, const AzureProvisionOptions *options,
                    const AzureProvisionCallbacks *callbacks, void *userdata, AzureOperation **ret)
{
    _cleanup_(azure_operation_freep) AzureOperation *o = NULL;
    int r;

    r = azure_operation_new(a, OPERATION_PROVISION, userdata, &o);
    if (r < 0)
        return r;
    o->provision_callbacks = *callbacks;
    o->uid = options->uid;
    o->file_share = options->file_share;
    o->nothing_sent = true;
    o->point = azure_point_copy(p);
    o->resource = options->resource ? azure_resource_copy(options->resource) : NULL;
    o->provision = calloc(1, sizeof(*o->provision));
    if (!o->point || !o->provision || str_copy(options->initiator_name, &o->initiator_name) < 0 ||
        str_copy(options->session, &o->session) < 0 || (options->resource && !o->resource) ||
        asprintf(&o->what, "provision recovery point %s of %s", p->recovery_point, p->vm_name) < 0)
        return -ENOMEM;
    r = next(o);
    if (r < 0)
        return r;
    *ret = TAKE_PTR(o);
    return 0;
}

AzureProvision *azure_provision_free(AzureProvision *p)
{
    if (!p)
        return NULL;
    free(p->operation_id);
    secret_unref(p->script);
    script_info_free(p->info);
    free(p->vm_name);
    free(p->virtual_machine_id);
    free(p);
    return NULL;
}
