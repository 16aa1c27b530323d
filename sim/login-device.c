/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Entra ID's side for people: sign in by device code, and renewing what it gave. */

#include "request.h"

static bool scope_check(Request *q, const char *scope)
{
    if (login_scope_known(q, scope))
        return true;
    reply_login_error(
        q, 400, "invalid_scope", 70011,
        "The provided value for the input parameter 'scope' is not valid. The scope %.200s is not "
        "valid.",
        scope);
    return false;
}

void login_device_code(Request *q)
{
    static const char url[] = "https://microsoft.com/devicelogin";
    _cleanup_free_ char *scope = request_form(q, "scope"), *id = request_form(q, "client_id"),
                        *message = NULL;
    const LoginConfig *c = &q->state->config->login;
    json_object *o;
    Device device;

    if (!scope || !id) {
        reply_login_error(q, 400, "invalid_request", 900144,
                          "The request body must contain the following parameter: 'scope'.");
        return;
    }
    if (!scope_check(q, scope))
        return;
    if (state_device_new(q->state, id, scope, &device) < 0) {
        reply_empty(q, 500);
        return;
    }
    if (asprintf(&message,
                 "To sign in, use a web browser to open the page %s and enter the code %s to authenticate.",
                 url, device.user_code) < 0)
        message = NULL;
    o = json_object_new_object();
    json_add_string(o, "user_code", device.user_code);
    json_add_string(o, "device_code", device.code);
    json_add_string(o, "verification_uri", url);
    json_add_int64(o, "expires_in", (int64_t)c->device_code_seconds);
    json_add_int64(o, "interval", (int64_t)c->device_interval_seconds);
    json_add_string(o, "message", message);
    reply_json(q, 200, o);
}

void login_device_token(Request *q, const char *client_id)
{
    _cleanup_erase_ char *code = request_form(q, "device_code");
    _cleanup_free_ char *scope = NULL;
    char principal[PRINCIPAL_SIZE];

    if (!code) {
        reply_login_error(q, 400, "invalid_request", 900144,
                          "The request body must contain the following parameter: 'device_code'.");
        return;
    }
    switch (state_device_poll(q->state, code, client_id, principal, &scope)) {
    case DEVICE_APPROVED:
        reply_token(q, principal, "device", scope);
        return;
    case DEVICE_PENDING:
        reply_login_error(q, 400, "authorization_pending", 70016,
                          "OAuth 2.0 device flow error. Authorization is pending. Continue polling.");
        return;
    case DEVICE_SLOW_DOWN:
        reply_login_error(
            q, 400, "slow_down", 70016,
            "OAuth 2.0 device flow error. Polled too soon; the interval is 5 seconds longer now.");
        return;
    case DEVICE_DECLINED:
        reply_login_error(q, 400, "authorization_declined", 70017,
                          "OAuth 2.0 device flow error. The end user denied the authorization request.");
        return;
    case DEVICE_EXPIRED:
        reply_login_error(
            q, 400, "expired_token", 70020,
            "The provided value for the input parameter 'device_code' is not valid. This device "
            "code has expired.");
        return;
    case DEVICE_USED:
    case DEVICE_UNKNOWN:
    case DEVICE_STATUS_MAX:
    case DEVICE_STATUS_INVALID:
        break;
    }
    reply_login_error(q, 400, "bad_verification_code", 70018,
                      "The provided value for the input parameter 'device_code' is not valid.");
}

void login_refresh(Request *q)
{
    _cleanup_erase_ char *text = request_form(q, "refresh_token");
    _cleanup_free_ char *scope = request_form(q, "scope");
    char principal[PRINCIPAL_SIZE];

    if (!text || !scope)
        reply_login_error(q, 400, "invalid_request", 900144,
                          "The request body must contain the following parameter: '%s'.",
                          text ? "scope" : "refresh_token");
    else if (!state_token_valid(q->state, text, true, principal))
        reply_login_error(
            q, 400, "invalid_grant", 50173,
            "The provided grant has expired due to it being revoked, a fresh auth token is needed.");
    else if (scope_check(q, scope))
        reply_token(q, principal, "refresh", scope);
}
