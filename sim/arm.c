/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Resource Manager's side: lists, recovery points, provision, revoke, the state of operations, the scripts.
 */

#include "arm.h"
#include "scripts.h"
#include "timeutil.h"
#include "validate.h"
#include <strings.h>

#define VERSION_WITHOUT_SCRIPTS "2026-08-01"

/* "YYYY-MM-DD", "YYYY-MM-DD-preview" */
static bool api_version_valid(const char *s)
{
    static const char shape[] = "dddd-dd-dd";

    if (strlen(s) < sizeof(shape) - 1)
        return false;
    for (size_t i = 0; i < sizeof(shape) - 1; i++)
        if (shape[i] == 'd' ? s[i] < '0' || s[i] > '9' : s[i] != shape[i])
            return false;
    s += sizeof(shape) - 1;
    return !*s || streq(s, "-preview");
}

/* The date decides, a preview of a day counts as that day. */
static bool scripts_in_status(const Request *q)
{
    return strncmp(q->api_version, VERSION_WITHOUT_SCRIPTS, strlen(VERSION_WITHOUT_SCRIPTS)) < 0;
}

static bool check_version(Request *q)
{
    const char *max = q->state->config->api_version_max;

    if (isempty(q->api_version)) {
        reply_error(q, 400, "MissingApiVersionParameter",
                    "The api-version query parameter (?api-version=) is required for all requests.");
        return false;
    }
    if (!api_version_valid(q->api_version)) {
        reply_error(q, 400, "InvalidApiVersionParameter", "The api-version '%.40s' is invalid.",
                    q->api_version);
        return false;
    }
    if ((max && strcmp(q->api_version, max) > 0) ||
        (q->route.kind == REQUEST_LIST_SCRIPTS && scripts_in_status(q))) {
        reply_error(q, 400, "NoRegisteredProviderFound",
                    "No registered resource provider found for API version '%s' and this resource type.",
                    q->api_version);
        return false;
    }
    return true;
}

static bool check_token(Request *q)
{
    const char *value = MHD_lookup_connection_value(q->connection, MHD_HEADER_KIND, "Authorization");

    if (!value) {
        reply_error(q, 401, "AuthenticationFailed",
                    "Authentication failed. The 'Authorization' header is missing.");
        return false;
    }
    if (strncasecmp(value, "Bearer ", 7) != 0 ||
        !state_token_valid(q->state, value + 7, false, q->principal)) {
        reply_error(q, 401, "InvalidAuthenticationToken", "The access token is invalid or has expired.");
        return false;
    }
    return true;
}

/* ---- bodies of requests ---- */

static json_object *request_json(Request *q)
{
    const char *type = MHD_lookup_connection_value(q->connection, MHD_HEADER_KIND, "Content-Type");
    json_object *o = NULL;

    if (!type || strncasecmp(type, "application/json", strlen("application/json")) != 0) {
        reply_error(q, 415, "UnsupportedMediaType", "The content media type '%.80s' is not supported.",
                    type ? type : "<null>");
        return NULL;
    }
    if (json_parse(q->body ? q->body : "", q->body_size, &o) < 0 ||
        !json_object_is_type(o, json_type_object)) {
        json_object_put(o);
        reply_error(q, 400, "InvalidRequestContent",
                    "The request content was invalid and could not be deserialized.");
        return NULL;
    }
    return o;
}

static void backup_status(Request *q)
{
    static const char *const known[] = {"resourceType", "resourceId", "poLogicalName", NULL};
    _cleanup_json_ json_object *body = request_json(q);
    SimConfig *c = q->state->config;
    Document d = {};
    const char *id;
    json_object *o;

    if (!body)
        return;
    document_check(&d, body, "", known);
    (void)document_string(&d, body, "", "resourceType", true);
    id = document_string(&d, body, "", "resourceId", true);
    if (d.error) {
        reply_error(q, 400, "CloudInvalidInputError", "%s", d.error);
        free(d.error);
        return;
    }
    o = json_object_new_object();
    json_add_string(o, "protectionStatus", "NotProtected");
    for (size_t v = 0; v < c->vault_count; v++)
        for (size_t n = 0; n < c->vaults[v].item_count; n++) {
            const Item *i = &c->vaults[v].items[n];

            if (strcasecmp(i->vm_id, id) != 0)
                continue;
            json_add_string(o, "protectionStatus", "Protected");
            json_add_string(o, "vaultId", i->vault->id);
            json_add_string(o, "fabricName", "Azure");
            json_add_string(o, "containerName", i->container);
            json_add_string(o, "protectedItemName", i->name);
        }
    reply_json(q, 200, o);
}

static void accepted(Request *q, const Point *p, const char *operation)
{
    char base[300];

    request_base(q, base, sizeof(base));
    reply_empty(q, 202);
    reply_header(q, "Location", "%s%s/operationResults/%s?api-version=%s", base, p->item->id, operation,
                 q->api_version);
    reply_header(q, "Azure-AsyncOperation", "%s%s/operationsStatus/%s?api-version=%s", base, p->item->id,
                 operation, q->api_version);
    reply_header(q, "Retry-After", "%.0f", state_retry_after(q->state, p));
}

/* What the body of a provision says, judged. */
static bool provision_parse(Document *d, json_object *body, const Point *p, const char **ret_initiator,
                            bool *ret_renew)
{
    static const char *const known[] = {"properties", "id", "name", "type", "location", "tags", "eTag", NULL};
    static const char *const vm_known[] = {"objectType",    "recoveryPointId",           "virtualMachineId",
                                           "initiatorName", "renewExistingRegistration", NULL};
    static const char *const share_known[] = {"objectType", "recoveryPointId", "sourceResourceId", NULL};
    const bool share = p->item->file_share;
    const char *kind = share ? "AzureFileShareProvisionILRRequest" : "IaasVMILRRegistrationRequest",
               *source = share ? "sourceResourceId" : "virtualMachineId";
    json_object *o, *tags;
    const char *s;

    if (!document_check(d, body, "", known))
        return false;
    o = document_object(d, body, "", "properties");
    if (!o)
        document_refuse(d, "", "properties", "missing, an object is expected");
    else if ((s = document_string(d, o, "properties", "objectType", true)) && !streq(s, kind))
        document_refuse(d, "properties", "objectType", "is \"%.80s\", %s is expected for %s", s, kind,
                        share ? "a file share" : "a virtual machine");
    if (!document_check(d, o, "properties", share ? share_known : vm_known))
        return false;
    (void)document_string(d, body, "", "eTag", false);
    (void)document_string(d, body, "", "location", false);
    if ((tags = document_object(d, body, "", "tags"))) {
        json_object_object_foreach(tags, name, value)
        {
            (void)value;
            (void)document_string(d, tags, "tags", name, true);
        }
    }
    s = document_string(d, o, "properties", "recoveryPointId", true);
    if (s && !streq(s, p->id))
        document_refuse(d, "properties", "recoveryPointId", "is \"%.80s\", the path has \"%s\"", s, p->id);
    s = document_string(d, o, "properties", source, true);
    if (s && strcasecmp(s, p->item->vm_id) != 0)
        document_refuse(d, "properties", source, "is \"%.300s\", what is protected is \"%s\"", s,
                        p->item->vm_id);
    *ret_renew = document_bool(d, o, "properties", "renewExistingRegistration", false);
    *ret_initiator = document_string(d, o, "properties", "initiatorName", false);
    if (*ret_initiator && !iscsi_name_valid(*ret_initiator))
        document_refuse(d, "properties", "initiatorName", "is \"%.230s\", an iSCSI name is expected",
                        *ret_initiator);
    return !d->error;
}

static void provision_point(Request *q)
{
    Point *p = arm_find_point(q);
    _cleanup_json_ json_object *body = NULL;
    Document d = {};
    const char *initiator = NULL;
    bool renew = false;
    char id[GUID_SIZE];
    int r;

    if (!p || !(body = request_json(q)))
        return;
    if (!provision_parse(&d, body, p, &initiator, &renew)) {
        reply_error(q, 400, "CloudInvalidInputError", "%s", d.error ? d.error : "Out of memory");
        free(d.error);
        return;
    }
    if (p->encrypted || p->archived) {
        reply_error(q, 400, "CloudInvalidInputError", "Item level recovery is not supported for %s.",
                    p->encrypted ? "an encrypted virtual machine" : "a recovery point in the archive tier");
        return;
    }
    r = state_provision(q->state, p, initiator, renew, id);
    if (r < 0)
        reply_error(q, 503, "CloudInternalError", "The operation could not be started: %s", strerror(-r));
    else
        accepted(q, p, id);
}

static void revoke_point(Request *q)
{
    Point *p = arm_find_point(q);
    char id[GUID_SIZE];
    int r;

    if (!p)
        return;
    if (q->body_size > 0) {
        reply_error(q, 400, "InvalidRequestContent", "An empty body is expected.");
        return;
    }
    r = state_revoke(q->state, p, id);
    if (r < 0)
        reply_error(q, 503, "CloudInternalError", "The operation could not be started: %s", strerror(-r));
    else
        accepted(q, p, id);
}

/* ---- operations ---- */

/* With the lock held. */
static Operation *find_operation(Request *q, const char *id)
{
    const char *item = q->route.field[FIELD_ITEM], *group = q->route.field[FIELD_GROUP];
    Operation *o = state_operation(q->state, id);

    if (!o || strcasecmp(o->point->item->vault->name, q->route.field[FIELD_VAULT]) != 0 ||
        strcasecmp(o->point->item->vault->resource_group, group) != 0)
        return NULL;
    return !*item || strcasecmp(o->point->item->name, item) == 0 ? o : NULL;
}

static json_object *operation_error(const Operation *o)
{
    json_object *e = json_object_new_object();
    const Fault *f = o->fault;

    if (f) {
        json_add_string(e, "code", f->code ? f->code : "CloudInternalError");
        json_add_string(e, "message",
                        f->message ? f->message
                                   : "The operation failed because of an internal error of the service.");
        if (f->recommendations)
            json_add_strv(e, "recommendations", f->recommendations);
    } else {
        json_add_string(e, "code", "CloudInternalError");
        json_add_string(e, "message",
                        o->session && o->session->error ? o->session->error : "The target failed.");
    }
    return e;
}

/* With the lock held. */
static json_object *status_json(Request *q, const Operation *o)
{
    OperationStatus status = operation_status(o);
    json_object *body = json_object_new_object(), *properties, *target;
    char time[TIMESTAMP_MAX], started[TIMESTAMP_MAX + 16];

    timestamp_format(o->started_usec, time);
    snprintf(started, sizeof(started), "%.19s.%06u1Z", time, (unsigned)(o->started_usec % USEC_PER_SEC));
    json_add_string(body, "id", o->id);
    json_add_string(body, "name", o->id);
    json_add_string(body, "status", operation_status_to_string(status));
    json_add_string(body, "startTime", started);
    json_add_string(body, "endTime", status == OPERATION_IN_PROGRESS ? "0001-01-01T00:00:00" : started);
    if (status == OPERATION_FAILED || status == OPERATION_CANCELED)
        json_add(body, "error", operation_error(o));
    if (status != OPERATION_SUCCEEDED || o->kind != REQUEST_PROVISION || o->point->item->file_share ||
        (o->fault && o->fault->kind == FAULT_NO_PROPERTIES))
        return body;
    properties = json_object_new_object();
    json_add_string(properties, "objectType", "OperationStatusProvisionILRExtendedInfo");
    if (scripts_in_status(q) && !(o->fault && o->fault->kind == FAULT_NO_SCRIPTS)) {
        json_object *scripts = operation_scripts(o);

        target = json_object_new_object();
        json_add(target, "clientScripts", scripts ? scripts : json_object_new_array());
        json_add(properties, "recoveryTarget", target);
    }
    json_add(body, "properties", properties);
    return body;
}

static void operation_not_found(Request *q)
{
    reply_error(q, 404, "OperationNotFound", "The operation was not found.");
}

static void status(Request *q)
{
    json_object *body = NULL;
    Operation *o;

    if (!arm_find_vault(q))
        return;
    state_lock(q->state);
    o = find_operation(q, q->route.field[FIELD_OPERATION]);
    if (o)
        body = status_json(q, o);
    state_unlock(q->state);
    if (body)
        reply_json(q, 200, body);
    else
        operation_not_found(q);
}

static void result(Request *q)
{
    OperationStatus s = OPERATION_STATUS_INVALID;
    json_object *error = NULL;
    Point *p = NULL;
    char id[GUID_SIZE];
    Operation *o;

    if (!arm_find_vault(q))
        return;
    state_lock(q->state);
    o = find_operation(q, q->route.field[FIELD_OPERATION]);
    if (o) {
        s = operation_status(o);
        p = o->point;
        memcpy(id, o->id, sizeof(id));
        if (s == OPERATION_FAILED || s == OPERATION_CANCELED)
            error = operation_error(o);
    }
    state_unlock(q->state);
    if (!p)
        operation_not_found(q);
    else if (s == OPERATION_IN_PROGRESS)
        accepted(q, p, id);
    else if (error) {
        json_object *body = json_object_new_object();

        json_add(body, "error", error);
        reply_json(q, 400, body);
    } else
        reply_empty(q, 204);
}

static void list_scripts(Request *q)
{
    static const char *const known[] = {"provisionInstantItemRecoveryOperationId", NULL};
    Point *p = arm_find_point(q);
    _cleanup_json_ json_object *body = NULL;
    json_object *scripts = NULL, *answer;
    Document d = {};
    OperationStatus s = OPERATION_STATUS_INVALID;
    const char *id;
    Operation *o;

    if (!p || !(body = request_json(q)))
        return;
    document_check(&d, body, "", known);
    id = document_string(&d, body, "", known[0], true);
    if (d.error) {
        reply_error(q, 400, "CloudInvalidInputError", "%s", d.error);
        free(d.error);
        return;
    }
    state_lock(q->state);
    o = find_operation(q, id);
    if (o && o->point == p && o->kind == REQUEST_PROVISION) {
        s = operation_status(o);
        if (s == OPERATION_SUCCEEDED)
            scripts = o->fault && o->fault->kind == FAULT_NO_SCRIPTS ? json_object_new_array()
                                                                     : operation_scripts(o);
    }
    state_unlock(q->state);
    if (s < 0)
        operation_not_found(q);
    else if (s == OPERATION_IN_PROGRESS)
        reply_error(q, 409, "BMSUserErrorObjectLocked", "The provision operation is still in progress.");
    else if (!scripts)
        reply_error(q, 404, "InstantItemRecoveryNotActive",
                    "No instant item recovery of this point is active.");
    else {
        answer = json_object_new_object();
        json_add(answer, "clientScripts", scripts);
        reply_json(q, 200, answer);
    }
}

void arm_handle(Request *q)
{
    if (!check_token(q) || !check_version(q))
        return;
    /* Counters only: nothing is refused here unless a scenario says so. */
    if (streq(q->method, "POST"))
        reply_header(q, "x-ms-ratelimit-remaining-subscription-writes", "%u",
                     1199 - __atomic_fetch_add(&q->state->writes, 1, __ATOMIC_RELAXED) % 1000);
    else
        reply_header(q, "x-ms-ratelimit-remaining-subscription-resource-requests", "%u",
                     149 - __atomic_fetch_add(&q->state->reads, 1, __ATOMIC_RELAXED) % 100);
    reply_header(q, "x-ms-routing-request-id", "REHEARSAL:%s", q->request_id);
    switch (q->route.kind) {
    case REQUEST_SUBSCRIPTIONS:
        arm_subscriptions(q);
        return;
    case REQUEST_BACKUP_STATUS:
        backup_status(q);
        return;
    case REQUEST_VAULT:
        arm_vault(q);
        return;
    case REQUEST_ITEMS:
        arm_items(q);
        return;
    case REQUEST_CONTAINERS:
        arm_containers(q);
        return;
    case REQUEST_ITEM:
        arm_item(q);
        return;
    case REQUEST_POINTS:
        arm_points(q);
        return;
    case REQUEST_POINT:
        arm_point(q);
        return;
    case REQUEST_PROVISION:
        provision_point(q);
        return;
    case REQUEST_REVOKE:
        revoke_point(q);
        return;
    case REQUEST_LIST_SCRIPTS:
        list_scripts(q);
        return;
    case REQUEST_STATUS:
        status(q);
        return;
    case REQUEST_RESULT:
        result(q);
        return;
    case REQUEST_OPENID:
    case REQUEST_TOKEN:
    case REQUEST_INSTANCE:
    case REQUEST_DEVICE_CODE:
    case REQUEST_IMDS:
    case REQUEST_ARC:
    case REQUEST_SIM_STATE:
    case REQUEST_SIM_LOG:
    case REQUEST_SIM_TOKENS:
    case REQUEST_SIM_DEVICE:
    case REQUEST_SIM_SCENARIO:
    case REQUEST_SIM_POINT_SCENARIO:
    case REQUEST_KIND_MAX:
    case REQUEST_KIND_INVALID:
        break;
    }
    reply_error(q, 404, "NotFound", "Nothing is served here.");
}
