/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Entra ID's side: the OpenID document, and a token for an application's secret, certificate or federated
 * token. */

#include "request.h"
#include "timeutil.h"
#include <strings.h>

static int hex(char c)
{
    return c >= '0' && c <= '9'   ? c - '0'
           : c >= 'a' && c <= 'f' ? c - 'a' + 10
           : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                  : -1;
}

char *request_form(const Request *q, const char *key)
{
    for (const char *p = q->body ? q->body : ""; *p;) {
        size_t n = strcspn(p, "&"), k = strcspn(p, "=&");

        if (k == strlen(key) && strncmp(p, key, k) == 0 && p[k] == '=') {
            char *value = malloc(n - k), *w = value;

            for (const char *c = p + k + 1; value && c < p + n; c++)
                if (*c == '+')
                    *w++ = ' ';
                else if (*c == '%' && p + n - c > 2 && hex(c[1]) >= 0 && hex(c[2]) >= 0) {
                    *w++ = (char)(hex(c[1]) << 4 | hex(c[2]));
                    c += 2;
                } else
                    *w++ = *c;
            if (value)
                *w = '\0';
            return value;
        }
        p += n + (p[n] == '&');
    }
    return NULL;
}

/* "HOST/WORD", for the hosts that are Azure's management, and for this one; a second slash does no harm. */
static bool scope_is(Request *q, const char *scope, const char *word)
{
    char base[300];
    const char *const hosts[] = {
        "https://management.azure.com",
        "https://management.core.windows.net",
        request_base(q, base, sizeof(base)),
    };

    for (size_t i = 0; i < ELEMENTSOF(hosts); i++) {
        const char *rest = startswith(scope, hosts[i]);

        if (rest && *rest == '/' && streq(rest + 1 + (rest[1] == '/'), word))
            return true;
    }
    return false;
}

/* What an application may ask for. */
static bool scope_default(Request *q, const char *scope)
{
    return scope_is(q, scope, ".default") || strv_contains(q->state->config->scopes, scope);
}

static bool scope_personal(Request *q, const char *scope)
{
    return scope_is(q, scope, "user_impersonation");
}

bool login_scope_known(Request *q, const char *scope)
{
    static const char *const all[] = {"openid", "profile", "offline_access", "email", NULL};
    _cleanup_free_ char *copy = strdup(scope);
    char *save = NULL;
    bool found = false;

    for (char *s = copy ? strtok_r(copy, " ", &save) : NULL; s; s = strtok_r(NULL, " ", &save)) {
        bool resource = scope_default(q, s) || scope_personal(q, s);

        if (!resource && !strv_contains((char **)all, s))
            return false;
        found = found || resource;
    }
    return found;
}

static void openid(Request *q)
{
    json_object *o = json_object_new_object();
    const char *tenant = q->state->config->tenant;
    char base[300], url[700];

    request_base(q, base, sizeof(base));
    snprintf(url, sizeof(url), "%s/%s/oauth2/v2.0/token", base, tenant);
    json_add_string(o, "token_endpoint", url);
    snprintf(url, sizeof(url), "%s/%s/oauth2/v2.0/authorize", base, tenant);
    json_add_string(o, "authorization_endpoint", url);
    snprintf(url, sizeof(url), "%s/%s/discovery/v2.0/keys", base, tenant);
    json_add_string(o, "jwks_uri", url);
    snprintf(url, sizeof(url), "%s/%s/v2.0", base, tenant);
    json_add_string(o, "issuer", url);
    reply_json(q, 200, o);
}

static void instance(Request *q)
{
    json_object *o = json_object_new_object();
    char base[300], url[700];

    snprintf(url, sizeof(url), "%s/%s/v2.0/.well-known/openid-configuration",
             request_base(q, base, sizeof(base)), q->state->config->tenant);
    json_add_string(o, "tenant_discovery_endpoint", url);
    json_add_string(o, "api-version", "1.1");
    json_add(o, "metadata", json_object_new_array());
    reply_json(q, 200, o);
}

static void check_assertion(Request *q, const char *assertion, const char *client_id, AssertionFailure *f)
{
    const SimConfig *c = q->state->config;
    char base[300], token[700], issuer[700];
    const char *const audiences[] = {token, issuer, NULL};
    _cleanup_json_ json_object *claims = NULL;
    json_object *exp;
    int r;

    if (strv_contains(c->login.federated_tokens, assertion)) {
        q->credential = "federated";
        claims = assertion_claims(assertion);
        if (claims && json_object_object_get_ex(claims, "exp", &exp) &&
            json_object_get_int64(exp) <= (int64_t)(now_usec(CLOCK_REALTIME) / USEC_PER_SEC)) {
            f->aadsts = 700024;
            snprintf(f->message, sizeof(f->message), "Client assertion is not within its valid time range.");
        }
        return;
    }
    claims = assertion_claims(assertion);
    if (claims && c->login.federated_tokens &&
        !streq_ptr(json_object_get_string(json_get_nocase(claims, "iss")), client_id)) {
        f->aadsts = 700213;
        snprintf(f->message, sizeof(f->message),
                 "No matching federated identity record found for presented assertion subject.");
        return;
    }
    q->credential = "certificate";
    request_base(q, base, sizeof(base));
    snprintf(token, sizeof(token), "%s/%s/oauth2/v2.0/token", base, c->tenant);
    snprintf(issuer, sizeof(issuer), "%s/%s/v2.0", base, c->tenant);
    state_lock(q->state);
    r = assertions_check(q->state->assertions, assertion, client_id, audiences, now_usec(CLOCK_REALTIME), f);
    state_unlock(q->state);
    if (r < 0 && r != -EACCES) {
        f->aadsts = 90033;
        snprintf(f->message, sizeof(f->message), "A transient error has occurred. Please try again.");
    }
}

static void by_assertion(Request *q, const char *assertion, const char *client_id, AssertionFailure *f)
{
    static const char type[] = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
    _cleanup_free_ char *given = request_form(q, "client_assertion_type");

    if (!streq_ptr(given, type)) {
        f->aadsts = 900144;
        snprintf(f->message, sizeof(f->message),
                 "The request body must contain the following parameter: 'client_assertion_type' with %s.",
                 type);
        return;
    }
    check_assertion(q, assertion, client_id, f);
}

static void by_secret(Request *q, const char *secret, AssertionFailure *f)
{
    const SimConfig *c = q->state->config;

    q->credential = "secret";
    if (strv_contains(c->login.expired_secrets, secret)) {
        f->aadsts = 7000222;
        snprintf(f->message, sizeof(f->message),
                 "The provided client secret keys for app '%.80s' are expired.", c->client_id);
    } else if (!streq(secret, c->client_secret)) {
        f->aadsts = 7000215;
        snprintf(f->message, sizeof(f->message),
                 "Invalid client secret provided. Ensure the secret being sent in the request is the client "
                 "secret value, not the client secret ID, for a secret added to app '%.80s'.",
                 c->client_id);
    }
}

static void client_credentials(Request *q, const char *id, const char *scope)
{
    _cleanup_erase_ char *secret = request_form(q, "client_secret"),
                         *assertion = request_form(q, "client_assertion");
    AssertionFailure failure = {};
    char principal[PRINCIPAL_SIZE];

    if (assertion)
        by_assertion(q, assertion, id, &failure);
    else if (secret)
        by_secret(q, secret, &failure);
    else {
        failure.aadsts = 7000218;
        snprintf(failure.message, sizeof(failure.message),
                 "The request body must contain the following parameter: 'client_assertion' or "
                 "'client_secret'.");
    }
    if (failure.aadsts)
        reply_login_error(q, 401, "invalid_client", failure.aadsts, "%s", failure.message);
    else if (!scope_default(q, scope))
        reply_login_error(
            q, 400, "invalid_scope", scope_personal(q, scope) ? 1002012 : 70011,
            "The provided value for scope %.200s is not valid. Client credential flows must have a "
            "scope value with /.default suffixed to the resource identifier (application ID URI).",
            scope);
    else {
        snprintf(principal, sizeof(principal), "app:%.120s", q->state->config->client_id);
        reply_token(q, principal, q->credential, NULL);
    }
}

void reply_token(Request *q, const char *principal, const char *credential, const char *scope)
{
    int64_t seconds = (int64_t)q->state->config->token_seconds;
    json_object *o = json_object_new_object();
    char text[TOKEN_SIZE];

    state_token_new(q->state, principal, false, text);
    json_add_string(o, "token_type", "Bearer");
    json_add_int64(o, "expires_in", seconds);
    json_add_int64(o, "ext_expires_in", seconds);
    json_add_string(o, "access_token", text);
    if (scope) {
        json_add_string(o, "scope", scope);
        /* Says the same about the person as the access token. */
        json_add_string(o, "id_token", strstr(scope, "openid") ? text : NULL);
    }
    if (scope && strstr(scope, "offline_access")) {
        state_token_new(q->state, principal, true, text);
        json_add_string(o, "refresh_token", text);
    }
    snprintf(q->principal, sizeof(q->principal), "%s", principal);
    q->credential = credential;
    reply_json(q, 200, o);
    explicit_bzero(text, sizeof(text));
}

static bool client_known(Request *q, const char *id, bool person)
{
    const SimConfig *c = q->state->config;

    if (strcasecmp(id, c->client_id) == 0 ||
        (person && c->login.public_client_id && strcasecmp(id, c->login.public_client_id) == 0))
        return true;
    reply_login_error(q, 400, "unauthorized_client", 700016,
                      "Application with identifier '%.80s' was not found in the directory '%s'.", id,
                      c->tenant);
    return false;
}

/* The text, or NULL after an answer that says what is missing. */
static char *form_required(Request *q, const char *key)
{
    char *value = request_form(q, key);

    if (!value)
        reply_login_error(q, 400, "invalid_request", 900144,
                          "The request body must contain the following parameter: '%s'.", key);
    return value;
}

static void token(Request *q)
{
    _cleanup_free_ char *grant = form_required(q, "grant_type"),
                        *id = grant ? form_required(q, "client_id") : NULL, *scope = NULL;
    bool application = grant && streq(grant, "client_credentials");

    if (!id)
        return;
    if (application) {
        scope = form_required(q, "scope");
        if (scope && client_known(q, id, false))
            client_credentials(q, id, scope);
    } else if (streq(grant, "urn:ietf:params:oauth:grant-type:device_code") || streq(grant, "device_code")) {
        if (client_known(q, id, true))
            login_device_token(q, id);
    } else if (streq(grant, "refresh_token")) {
        if (client_known(q, id, true))
            login_refresh(q);
    } else
        reply_login_error(q, 400, "unsupported_grant_type", 70003,
                          "The app requested an unsupported grant type '%.80s'.", grant);
}

static void device_code(Request *q)
{
    _cleanup_free_ char *id = form_required(q, "client_id");

    if (id && client_known(q, id, true))
        login_device_code(q);
}

void login_handle(Request *q)
{
    const char *tenant = q->route.field[FIELD_TENANT];

    if (*tenant && strcasecmp(tenant, q->state->config->tenant) != 0) {
        reply_login_error(
            q, 400, "invalid_request", 90002,
            "Tenant '%.80s' not found. Check to make sure you have the correct tenant ID and are signing "
            "into the correct cloud.",
            tenant);
        return;
    }
    if (q->route.kind == REQUEST_OPENID)
        openid(q);
    else if (q->route.kind == REQUEST_INSTANCE)
        instance(q);
    else if (q->route.kind == REQUEST_DEVICE_CODE)
        device_code(q);
    else
        token(q);
}
