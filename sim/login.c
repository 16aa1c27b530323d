/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Entra ID's side: the OpenID document, and a token for a client's secret. */

#include "request.h"
#include <ctype.h>
#include <strings.h>

static int hex(char c)
{
    return c >= '0' && c <= '9'   ? c - '0'
           : c >= 'a' && c <= 'f' ? c - 'a' + 10
           : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                  : -1;
}

/* One field of a form, decoded; NULL: not there or out of memory. A NUL byte ends the value. */
static char *form_get(const char *form, const char *key)
{
    for (const char *p = form; *p;) {
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

static bool scope_known(Request *q, const char *scope)
{
    static const char *const usual[] = {
        "https://management.azure.com/.default",
        "https://management.azure.com//.default",
        "https://management.core.windows.net/.default",
        "https://management.core.windows.net//.default",
    };
    char base[300];
    const char *rest;

    for (size_t i = 0; i < ELEMENTSOF(usual); i++)
        if (streq(scope, usual[i]))
            return true;
    if (strv_contains(q->state->config->scopes, scope))
        return true;
    rest = startswith(scope, request_base(q, base, sizeof(base)));
    return rest && (streq(rest, "/.default") || streq(rest, "//.default"));
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

static void token(Request *q)
{
    const SimConfig *c = q->state->config;
    const char *form = q->body ? q->body : "";
    _cleanup_free_ char *grant = form_get(form, "grant_type"), *id = form_get(form, "client_id"),
                        *scope = form_get(form, "scope");
    _cleanup_erase_ char *secret = form_get(form, "client_secret");
    char text[TOKEN_SIZE];
    json_object *o;

    if (!grant || !id || !scope) {
        reply_login_error(q, 400, "invalid_request", 900144,
                          "The request body must contain the following parameter: '%s'.",
                          !grant ? "grant_type"
                          : !id  ? "client_id"
                                 : "scope");
        return;
    }
    if (!streq(grant, "client_credentials")) {
        reply_login_error(q, 400, "unsupported_grant_type", 70003,
                          "The app requested an unsupported grant type '%.80s'.", grant);
        return;
    }
    if (strcasecmp(id, c->client_id) != 0) {
        reply_login_error(q, 400, "unauthorized_client", 700016,
                          "Application with identifier '%.80s' was not found in the directory '%s'.", id,
                          c->tenant);
        return;
    }
    if (!secret) {
        reply_login_error(q, 401, "invalid_client", 7000218,
                          "The request body must contain the following parameter: 'client_assertion' or "
                          "'client_secret'.");
        return;
    }
    if (!streq(secret, c->client_secret)) {
        reply_login_error(
            q, 401, "invalid_client", 7000215,
            "Invalid client secret provided. Ensure the secret being sent in the request is the client "
            "secret value, not the client secret ID, for a secret added to app '%s'.",
            c->client_id);
        return;
    }
    if (!scope_known(q, scope)) {
        reply_login_error(q, 400, "invalid_scope", 70011,
                          "The provided value for the input parameter 'scope' is not "
                          "valid. The scope %.200s is not valid.",
                          scope);
        return;
    }
    state_token_new(q->state, text);
    o = json_object_new_object();
    json_add_string(o, "token_type", "Bearer");
    json_add_int64(o, "expires_in", (int64_t)c->token_seconds);
    json_add_int64(o, "ext_expires_in", (int64_t)c->token_seconds);
    json_add_string(o, "access_token", text);
    reply_json(q, 200, o);
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
    else
        token(q);
}
