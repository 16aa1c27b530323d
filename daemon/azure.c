/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "azure.h"

#include "azure-operation.h"
#include "log.h"
#include "timeutil.h"

#define SCRIPT_ANSWER_MAX (32 * MIB)
#define ATTEMPTS_MAX 5
#define PROBE_TIMEOUT_USEC (15 * USEC_PER_SEC)
/* From this version on scripts are not in the status any more but in an answer of their own. */
#define LIST_API_VERSION "2026-08-01"
#define POINT_ACTION                                                                                         \
    "Microsoft.RecoveryServices/Vaults/backupFabrics/protectionContainers/protectedItems/recoveryPoints/"
#define LIST_VERB "listInstantItemRecoveryOperationResult"

struct Azure {
    AzureClient client;
};

typedef enum OperationKind {
    OPERATION_PROVISION,
    OPERATION_REVOKE,
    OPERATION_PROBE
} OperationKind;

struct AzureOperation {
    Azure *azure;
    OperationKind kind;
    void *userdata;
    AzureProvisionCallbacks provision_callbacks;
    AzureRevokeCallbacks revoke_callbacks;
    void (*probed)(char *const *addresses, Failure *failure, void *userdata);

    AzurePoint *point;
    char *initiator_name;
    bool renew;
    char *what; /* "provision recovery point 1 of my-vm" */

    AzureRequest *request;
    AzureLong *running;
    HttpRequest *probe;
    char *host;                /* probed */
    AzureProvision *provision; /* as far as it has got */
    bool nothing_sent;
    Failure *kept; /* why the script of an earlier place would not do, for when there is none elsewhere */
};

/* ---- telling ---- */

static void progress(AzureOperation *o, const char *detail)
{
    void (*f)(const char *, void *) =
        o->kind == OPERATION_PROVISION ? o->provision_callbacks.progress : o->revoke_callbacks.progress;

    if (f)
        f(detail, o->userdata);
}

static void on_progress(const char *detail, void *userdata)
{
    progress(userdata, detail);
}

static void provision_fail(AzureOperation *o, Failure *failure)
{
    o->provision_callbacks.done(NULL, failure, o->nothing_sent, o->userdata);
}

static Failure *errno_failure(AzureOperation *o, int r)
{
    char buf[128];

    return r == -ENOMEM
               ? NULL
               : failure_new(FAILURE_INTERNAL, "Could not %s: %s", o->what, strerror_r(-r, buf, sizeof(buf)));
}

/* Starts a request that only reads: it may be sent as often as it takes. */
static int request(AzureOperation *o, const char *method, const char *path, const char *verb,
                   const char *api_version, json_object *body, const char *what, const char *action,
                   AzureRequestDone done)
{
    const Config *c = o->azure->client.config;
    _cleanup_free_ char *url = NULL;

    if (!path || asprintf(&url, "%s%s%s?api-version=%s", c->management_url, path, verb, api_version) < 0)
        return -ENOMEM;
    o->request = azure_request_free(o->request);
    return azure_request_start(
        &o->azure->client,
        &(AzureRequestOptions){
            .method = method,
            .url = url,
            .body = body,
            .subject = {.what = what, .action = action, .not_found = FAILURE_POINT_NOT_FOUND},
            .body_max = SCRIPT_ANSWER_MAX,
            .want_json = true,
            .attempts_max = ATTEMPTS_MAX,
            .deadline_usec = now_usec(CLOCK_BOOTTIME) + c->operation_timeout_usec,
            .waiting = on_progress,
        },
        done, o, &o->request);
}

/* ---- the script ---- */

static void provision_succeed(AzureOperation *o, Secret *script)
{
    Failure *failure = NULL;
    int r;

    o->provision->script = script;
    r = script_info_parse(secret_text(script), secret_size(script), &o->provision->info, &failure);
    if (r < 0) {
        provision_fail(o, failure);
        return;
    }
    o->provision->vm_name = strdup(o->point->vm_name);
    o->provision->virtual_machine_id = strdup(o->point->virtual_machine_id);
    if (!o->provision->vm_name || !o->provision->virtual_machine_id) {
        provision_fail(o, NULL);
        return;
    }
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

static void on_fallback(const AzureAnswer *a, Failure *failure, void *userdata)
{
    AzureOperation *o = userdata;
    _cleanup_secret_ Secret *script = NULL;
    Failure *f = NULL;
    int r;

    if (!a->ok) {
        log_info("Azure: %s", failure && failure->message ? failure->message : "no memory");
        failure_free(failure);
        provision_fail(o, TAKE_PTR(o->kept));
        return;
    }
    r = script_choose(status_scripts(a->json), &script, &f);
    if (r >= 0)
        provision_succeed(o, TAKE_PTR(script));
    else if (r == -ENOMEM)
        provision_fail(o, NULL);
    else {
        keep(o, f);
        provision_fail(o, TAKE_PTR(o->kept));
    }
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
        r = request(o, "GET", path, verb, version, NULL,
                    "fetch the connection script from the operation's status",
                    "Microsoft.RecoveryServices/Vaults/backupOperations/read", on_fallback);
    else
        verb = NULL;
    if (r < 0)
        provision_fail(o, errno_failure(o, r));
}

static void on_list(const AzureAnswer *a, Failure *failure, void *userdata)
{
    AzureOperation *o = userdata;
    _cleanup_secret_ Secret *script = NULL;
    json_object *scripts;
    Failure *f = NULL;
    int r, status;

    if (a->ok) {
        scripts = json_get_nocase(a->json, "clientScripts");
        r = script_choose(scripts ? scripts : status_scripts(a->json), &script, &f);
        if (r >= 0)
            provision_succeed(o, TAKE_PTR(script));
        else if (r == -ENOMEM)
            provision_fail(o, NULL);
        else {
            keep(o, f);
            provision_fail(o, TAKE_PTR(o->kept));
        }
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

    progress(o, "Fetching the connection script");
    if (body &&
        json_add_string(body, "provisionInstantItemRecoveryOperationId", o->provision->operation_id) >= 0)
        r = request(o, "POST", path, "/" LIST_VERB,
                    strcmp(c->api_version, LIST_API_VERSION) < 0 ? LIST_API_VERSION : c->api_version, body,
                    "fetch the connection script", POINT_ACTION LIST_VERB "/action", on_list);
    if (r < 0)
        provision_fail(o, errno_failure(o, r));
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
    if (!o->provision->operation_id) {
        provision_fail(o, NULL);
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

static int make_provision_body(AzureOperation *o, json_object **ret)
{
    _cleanup_json_ json_object *body = json_object_new_object(), *p = json_object_new_object();
    int r;

    if (!body || !p)
        return -ENOMEM;
    if ((r = json_add_string(p, "objectType", "IaasVMILRRegistrationRequest")) < 0 ||
        (r = json_add_string(p, "recoveryPointId", o->point->recovery_point)) < 0 ||
        (r = json_add_string(p, "virtualMachineId", o->point->virtual_machine_id)) < 0 ||
        (r = json_add_bool(p, "renewExistingRegistration", o->renew)) < 0 ||
        (r = json_add_string(p, "initiatorName", o->initiator_name)) < 0 ||
        (r = json_add(body, "properties", TAKE_PTR(p))) < 0)
        return r;
    *ret = TAKE_PTR(body);
    return 0;
}

static int start_long(AzureOperation *o, const char *verb, json_object *body, const char *action, bool once,
                      AzureLongDone done)
{
    const Config *c = o->azure->client.config;
    _cleanup_free_ char *path = azure_point_path(o->point, false), *url = NULL;

    if (!path || asprintf(&url, "%s%s/%s?api-version=%s", c->management_url, path, verb, c->api_version) < 0)
        return -ENOMEM;
    return azure_long_start(
        &o->azure->client,
        &(AzureLongOptions){
            .url = url,
            .body = body,
            .subject = {.what = o->what, .action = action, .not_found = FAILURE_POINT_NOT_FOUND},
            .status_max = SCRIPT_ANSWER_MAX,
            .once = once,
            .progress = on_progress,
            .posted = o->kind == OPERATION_PROVISION ? on_posted : NULL},
        done, o, &o->running);
}

static int post_provision(AzureOperation *o)
{
    _cleanup_json_ json_object *body = NULL;
    int r;

    progress(o, "Asking Azure for the recovery point");
    r = make_provision_body(o, &body);
    if (r < 0)
        return r;
    return start_long(o, "provisionInstantItemRecovery", body,
                      POINT_ACTION "provisionInstantItemRecovery/action", true, on_provisioned);
}

static void on_item(const AzureAnswer *a, Failure *failure, void *userdata)
{
    AzureOperation *o = userdata;
    json_object *properties, *id;
    Failure *f = NULL;
    int r;

    if (!a->ok) {
        provision_fail(o, failure);
        return;
    }
    properties = json_get_nocase(a->json, "properties");
    id = json_get_nocase(properties, "virtualMachineId");
    if (!json_object_is_type(id, json_type_string))
        id = json_get_nocase(properties, "sourceResourceId");
    r = azure_point_set_virtual_machine(
        o->point, json_object_is_type(id, json_type_string) ? json_object_get_string(id) : NULL, &f);
    if (r == -EINVAL) {
        Failure *invalid = failure_new(FAILURE_AZURE_ANSWER_INVALID,
                                       "Azure does not say which virtual machine %s protects: %s",
                                       o->point->item, f && f->message ? f->message : "");

        failure_free(f);
        provision_fail(o, invalid);
        return;
    }
    if (r >= 0)
        r = post_provision(o);
    if (r < 0)
        provision_fail(o, errno_failure(o, r));
}

/* ---- revoke ---- */

static void revoke_finish(AzureOperation *o, bool ok, Failure *failure)
{
    o->revoke_callbacks.done(ok, failure, o->userdata);
}

/* After a failed revoke: is there still anything to revoke? */
static void on_point(const AzureAnswer *a, Failure *failure, void *userdata)
{
    AzureOperation *o = userdata;
    json_object *active =
        json_get_nocase(json_get_nocase(a->json, "properties"), "isInstantIlrSessionActive");

    if ((a->ok && json_object_is_type(active, json_type_boolean) && !json_object_get_boolean(active)) ||
        (!a->ok && a->http && a->http->status == 404)) {
        log_info("Azure: could not %s, but it has no session any more", o->what);
        failure_free(failure);
        revoke_finish(o, true, NULL);
        return;
    }
    failure_free(failure);
    revoke_finish(o, false, TAKE_PTR(o->kept));
}

static void on_revoked(const AzureLongResult *result, Failure *failure, void *userdata)
{
    AzureOperation *o = userdata;
    _cleanup_free_ char *path = NULL;
    int r;

    if (result->ok) {
        revoke_finish(o, true, NULL);
        return;
    }
    if (result->post_status == 404) {
        log_info("Azure: could not %s: it is gone", o->what);
        failure_free(failure);
        revoke_finish(o, true, NULL);
        return;
    }
    if (!failure || (failure->name != FAILURE_OPERATION_FAILED && failure->name != FAILURE_AZURE_REFUSED)) {
        revoke_finish(o, false, failure);
        return;
    }
    o->kept = failure;
    path = azure_point_path(o->point, false);
    r = request(o, "GET", path, "", o->azure->client.config->api_version, NULL, "look at the recovery point",
                POINT_ACTION "read", on_point);
    if (r < 0)
        revoke_finish(o, false, TAKE_PTR(o->kept));
}

/* ---- probe ---- */

static void on_probed(const HttpAnswer *a, void *userdata)
{
    AzureOperation *o = userdata;
    char address[sizeof(a->address)];

    if (a->outcome != HTTP_ANSWERED || !a->address[0]) {
        o->probed(NULL,
                  failure_new(FAILURE_PORTAL_UNREACHABLE, "The recovery portal %s cannot be reached: %s",
                              o->host, a->detail[0] ? a->detail : "no address"),
                  o->userdata);
        return;
    }
    snprintf(address, sizeof(address), "%s", a->address);
    o->probed((char *[]){address, NULL}, NULL, o->userdata);
}

/* ---- starting and freeing ---- */

static int operation_new(Azure *a, OperationKind kind, void *userdata, AzureOperation **ret)
{
    AzureOperation *o = calloc(1, sizeof(*o));

    if (!o)
        return -ENOMEM;
    o->azure = a;
    o->kind = kind;
    o->userdata = userdata;
    *ret = o;
    return 0;
}

int azure_provision(Azure *a, const AzurePoint *p, const char *initiator_name, bool renew,
                    const AzureProvisionCallbacks *callbacks, void *userdata, AzureOperation **ret)
{
    _cleanup_(azure_operation_freep)
    AzureOperation *o = NULL;
    _cleanup_free_ char *path = NULL, *what = NULL;
    int r;

    r = operation_new(a, OPERATION_PROVISION, userdata, &o);
    if (r < 0)
        return r;
    o->provision_callbacks = *callbacks;
    o->renew = renew;
    o->nothing_sent = true;
    o->point = azure_point_copy(p);
    o->initiator_name = initiator_name ? strdup(initiator_name) : NULL;
    o->provision = calloc(1, sizeof(*o->provision));
    if (!o->point || !o->provision || (initiator_name && !o->initiator_name) ||
        asprintf(&o->what, "provision recovery point %s of %s", p->recovery_point, p->vm_name) < 0)
        return -ENOMEM;
    if (o->point->virtual_machine_id)
        r = post_provision(o);
    else {
        path = azure_point_path(o->point, true);
        if (!path || asprintf(&what, "look up the virtual machine of %s", o->point->item) < 0)
            return -ENOMEM;
        r = request(
            o, "GET", path, "", a->client.config->api_version, NULL, what,
            "Microsoft.RecoveryServices/Vaults/backupFabrics/protectionContainers/protectedItems/read",
            on_item);
    }
    if (r < 0)
        return r;
    *ret = TAKE_PTR(o);
    return 0;
}

int azure_revoke(Azure *a, const AzurePoint *p, const AzureRevokeCallbacks *callbacks, void *userdata,
                 AzureOperation **ret)
{
    _cleanup_(azure_operation_freep)
    AzureOperation *o = NULL;
    int r;

    r = operation_new(a, OPERATION_REVOKE, userdata, &o);
    if (r < 0)
        return r;
    o->revoke_callbacks = *callbacks;
    o->point = azure_point_copy(p);
    if (!o->point || asprintf(&o->what, "revoke recovery point %s of %s", p->recovery_point, p->vm_name) < 0)
        return -ENOMEM;
    /* To be revoked twice does no harm. */
    r = start_long(o, "revokeInstantItemRecovery", NULL, POINT_ACTION "revokeInstantItemRecovery/action",
                   false, on_revoked);
    if (r < 0)
        return r;
    *ret = TAKE_PTR(o);
    return 0;
}

int azure_probe_portal(Azure *a, const char *host, uint16_t port,
                       void (*done)(char *const *addresses, Failure *failure, void *userdata), void *userdata,
                       AzureOperation **ret)
{
    _cleanup_(azure_operation_freep)
    AzureOperation *o = NULL;
    int r;

    r = operation_new(a, OPERATION_PROBE, userdata, &o);
    if (r < 0)
        return r;
    o->probed = done;
    if (asprintf(&o->host, "%s:%u", host, port) < 0)
        return -ENOMEM;
    r = http_probe(a->client.http, host, port,
                   MIN(PROBE_TIMEOUT_USEC, a->client.config->request_timeout_usec), on_probed, o, &o->probe);
    if (r < 0)
        return r;
    *ret = TAKE_PTR(o);
    return 0;
}

AzureOperation *azure_operation_free(AzureOperation *o)
{
    if (!o)
        return NULL;
    azure_request_free(o->request);
    azure_long_free(o->running);
    http_request_free(o->probe);
    azure_provision_free(o->provision);
    azure_point_free(o->point);
    failure_free(o->kept);
    free(o->initiator_name);
    free(o->what);
    free(o->host);
    free(o);
    return NULL;
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

int azure_new(Azure **ret, sd_event *event, const Config *config, Failure **ret_failure)
{
    _cleanup_(azure_freep)
    Azure *a = calloc(1, sizeof(*a));
    int r;

    if (!a)
        return -ENOMEM;
    a->client.config = config;
    a->client.event = sd_event_ref(event);
    if (config->ca_file && access(config->ca_file, R_OK) < 0) {
        r = -errno;
        *ret_failure = failure_new(FAILURE_NOT_CONFIGURED, "CAFile=%s cannot be read: %m", config->ca_file);
        return r;
    }
    r = http_new(&a->client.http, event, config->ca_file, config->request_timeout_usec);
    if (r < 0)
        return r;
    r = azure_token_new(&a->client.token, a->client.http, config);
    if (r < 0)
        return r;
    *ret = TAKE_PTR(a);
    return 0;
}

Azure *azure_free(Azure *a)
{
    if (!a)
        return NULL;
    azure_token_free(a->client.token);
    http_free(a->client.http);
    sd_event_unref(a->client.event);
    free(a);
    return NULL;
}
