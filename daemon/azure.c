/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "azure-internal.h"

#include "timeutil.h"

#define SCRIPT_ANSWER_MAX (32 * MIB) /* a script of 8 MiB as base64 or escaped, and what is around it */
#define ATTEMPTS_MAX 5
#define PROBE_TIMEOUT_USEC (15 * USEC_PER_SEC)

void azure_tell(AzureOperation *o, const char *detail)
{
    void (*f)(const char *, void *) =
        o->kind == OPERATION_PROVISION ? o->provision_callbacks.progress : o->revoke_callbacks.progress;

    if (f)
        f(detail, o->userdata);
}

static void on_progress(const char *detail, void *userdata)
{
    azure_tell(userdata, detail);
}

Failure *azure_errno_failure(AzureOperation *o, int r)
{
    char buf[128];

    return r == -ENOMEM
               ? NULL
               : failure_new(FAILURE_INTERNAL, "Could not %s: %s", o->what, strerror_r(-r, buf, sizeof(buf)));
}

int azure_read(AzureOperation *o, const char *method, const char *path, const char *verb,
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
            .uid = o->uid,
            .session = o->session,
            .subject = {.what = what, .action = action, .not_found = FAILURE_POINT_NOT_FOUND},
            .body_max = o->provision && o->provision->operation_id ? SCRIPT_ANSWER_MAX : 0,
            .secret = o->provision && o->provision->operation_id,
            .host_too = o->kind == OPERATION_REVOKE,
            .want_json = true,
            .attempts_max = ATTEMPTS_MAX,
            .deadline_usec = o->deadline_usec,
            .waiting = on_progress,
        },
        done, o, &o->request);
}

int azure_start_long(AzureOperation *o, const char *verb, json_object *body, const char *action, bool once,
                     void (*posted)(const char *operation_id, void *userdata), AzureLongDone done)
{
    const Config *c = o->azure->client.config;
    _cleanup_free_ char *path = azure_point_path(o->point, false), *vault = azure_point_vault_path(o->point),
                        *url = NULL;

    if (!path || !vault ||
        asprintf(&url, "%s%s/%s?api-version=%s", c->management_url, path, verb, c->api_version) < 0)
        return -ENOMEM;
    return azure_long_start(
        &o->azure->client,
        &(AzureLongOptions){
            .url = url,
            .body = body,
            .uid = o->uid,
            .session = o->session,
            .vault_path = vault,
            .subject = {.what = o->what, .action = action, .not_found = FAILURE_POINT_NOT_FOUND},
            .status_max = o->kind == OPERATION_PROVISION ? SCRIPT_ANSWER_MAX : 0,
            .once = once,
            .secret = o->kind == OPERATION_PROVISION,
            .host_too = o->kind == OPERATION_REVOKE,
            .deadline_usec = o->deadline_usec,
            .progress = on_progress,
            .posted = posted},
        done, o, &o->running);
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

int azure_operation_new(Azure *a, OperationKind kind, void *userdata, AzureOperation **ret)
{
    AzureOperation *o = calloc(1, sizeof(*o));

    if (!o)
        return -ENOMEM;
    o->azure = a;
    o->kind = kind;
    o->userdata = userdata;
    o->deadline_usec = now_usec(CLOCK_BOOTTIME) + a->client.config->operation_timeout_usec;
    *ret = o;
    return 0;
}

int azure_probe_portal(Azure *a, const char *host, uint16_t port,
                       void (*done)(char *const *addresses, Failure *failure, void *userdata), void *userdata,
                       AzureOperation **ret)
{
    _cleanup_(azure_operation_freep) AzureOperation *o = NULL;
    int r;

    r = azure_operation_new(a, OPERATION_PROBE, userdata, &o);
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
    azure_resource_free(o->resource);
    free(o->session);
    free(o->initiator_name);
    free(o->what);
    free(o->host);
    free(o);
    return NULL;
}

int azure_new(Azure **ret, sd_event *event, const Config *config, Failure **ret_failure)
{
    _cleanup_(azure_freep) Azure *a = calloc(1, sizeof(*a));
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
    r = azure_limit_new(&a->client.limit, event);
    if (r < 0)
        return r;
    r = http_new(&a->client.http, event, config->ca_file, config->request_timeout_usec);
    if (r < 0)
        return r;
    r = http_set_proxy(a->client.http, config->proxy);
    if (r < 0)
        return r;
    r = azure_logins_new(&a->client.logins, event, a->client.http, config);
    if (r < 0)
        return r;
    r = azure_token_new(&a->client.token, a->client.http, config);
    if (r < 0)
        return r;
    *ret = TAKE_PTR(a);
    return 0;
}

AzureLogins *azure_logins(Azure *a)
{
    return a->client.logins;
}

Azure *azure_free(Azure *a)
{
    if (!a)
        return NULL;
    azure_logins_free(a->client.logins);
    azure_token_free(a->client.token);
    http_free(a->client.http);
    azure_limit_free(a->client.limit);
    sd_event_unref(a->client.event);
    free(a);
    return NULL;
}
