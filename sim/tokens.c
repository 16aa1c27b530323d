/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The part of the state that knows who is signed in: tokens and their principals, sign ins by device code. */

#include "state.h"
#include "timeutil.h"
#include <strings.h>

#define ALPHANUMERIC "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
#define REFRESH_SECONDS (90 * 86400.0)
#define SLOWER_USEC (5 * USEC_PER_SEC) /* RFC 8628, 3.5 */

static uint64_t later(double seconds)
{
    return now_usec(CLOCK_BOOTTIME) + (uint64_t)(seconds * (double)USEC_PER_SEC);
}

/* Clients that look into a token find what they expect there: a JSON web token whose signature is none. */
static void token_text(const State *s, const char *principal, char buf[static TOKEN_SIZE])
{
    static const char header[] = "{\"typ\":\"JWT\",\"alg\":\"none\"}";
    const char *name = strchr(principal, ':') + 1;
    bool person = startswith(principal, "person:") != NULL;
    uint64_t now = now_usec(CLOCK_REALTIME) / USEC_PER_SEC;
    _cleanup_json_ json_object *o = json_object_new_object();
    char unique[23], signature[44];
    size_t n;

    random_text(unique, sizeof(unique) - 1, ALPHANUMERIC);
    random_text(signature, sizeof(signature) - 1, ALPHANUMERIC);
    json_add_string(o, "aud", "https://management.azure.com/");
    json_add_string(o, "tid", s->config->tenant);
    json_add_int64(o, "iat", (int64_t)now);
    json_add_int64(o, "exp", (int64_t)now + (int64_t)s->config->token_seconds);
    json_add_string(o, "idtyp", person ? "user" : "app");
    json_add_string(o, person ? "upn" : "appid", name);
    json_add_string(o, "scp", person ? "user_impersonation" : NULL);
    json_add_string(o, "uti", unique);
    n = base64url_encode(header, sizeof(header) - 1, buf);
    buf[n++] = '.';
    n += base64url_encode(json_text(o), strlen(json_text(o)), buf + n);
    snprintf(buf + n, TOKEN_SIZE - n, ".%s", signature);
}

void state_token_new(State *s, const char *principal, bool refresh, char buf[static TOKEN_SIZE])
{
    Token *t;

    if (refresh)
        random_text(buf, 100, ALPHANUMERIC);
    else
        token_text(s, principal, buf);
    state_lock(s);
    t = &s->tokens[s->token_next++ % TOKENS_MAX];
    snprintf(t->text, sizeof(t->text), "%s", buf);
    snprintf(t->principal, sizeof(t->principal), "%s", principal);
    t->refresh = refresh;
    t->expires_usec = later(refresh ? REFRESH_SECONDS : s->config->token_seconds);
    state_unlock(s);
}

bool state_token_valid(State *s, const char *text, bool refresh, char principal[static PRINCIPAL_SIZE])
{
    uint64_t now = now_usec(CLOCK_BOOTTIME);
    bool valid = false;

    state_lock(s);
    for (size_t i = 0; i < TOKENS_MAX && *text && !valid; i++) {
        const Token *t = &s->tokens[i];

        valid = streq(t->text, text) && t->refresh == refresh && t->expires_usec > now;
        if (valid)
            memcpy(principal, t->principal, PRINCIPAL_SIZE);
    }
    state_unlock(s);
    return valid;
}

void state_tokens_clear(State *s, const char *principal)
{
    state_lock(s);
    for (size_t i = 0; i < TOKENS_MAX; i++)
        if (principal ? strcasecmp(s->tokens[i].principal, principal) == 0 : !s->tokens[i].refresh)
            memset(&s->tokens[i], 0, sizeof(s->tokens[i]));
    state_unlock(s);
}

/* ---- device codes ---- */

static void device_clear(Device *d)
{
    free(d->client_id);
    free(d->scope);
    memset(d, 0, sizeof(*d));
}

int state_device_new(State *s, const char *client_id, const char *scope, Device *ret)
{
    _cleanup_free_ char *client = strdup(client_id), *scopes = strdup(scope);
    Device *d;

    if (!client || !scopes)
        return -ENOMEM;
    state_lock(s);
    d = &s->devices[s->device_next++ % DEVICES_MAX];
    device_clear(d);
    random_text(d->code, sizeof(d->code) - 1, ALPHANUMERIC);
    /* Without letters and digits that look alike. */
    random_text(d->user_code, sizeof(d->user_code) - 1, "ABCDEFGHJKLMNPQRSTUVWXYZ23456789");
    d->client_id = TAKE_PTR(client);
    d->scope = TAKE_PTR(scopes);
    d->expires_usec = later(s->config->login.device_code_seconds);
    d->interval_usec = (uint64_t)(s->config->login.device_interval_seconds * (double)USEC_PER_SEC);
    *ret = *d;
    state_unlock(s);
    return 0;
}

static DeviceStatus device_poll(Device *d, const char *client_id)
{
    uint64_t now = now_usec(CLOCK_BOOTTIME);
    /* Some leeway for what the network does to the time between two looks. */
    bool early = d->asked_usec > 0 && now - d->asked_usec < d->interval_usec * 9 / 10;

    if (strcasecmp(d->client_id, client_id) != 0 || d->status == DEVICE_USED)
        return DEVICE_UNKNOWN;
    if (d->expires_usec <= now)
        return DEVICE_EXPIRED;
    d->asked_usec = now;
    if (!early)
        return d->status;
    d->interval_usec += SLOWER_USEC;
    return DEVICE_SLOW_DOWN;
}

DeviceStatus state_device_poll(State *s, const char *code, const char *client_id,
                               char principal[static PRINCIPAL_SIZE], char **ret_scope)
{
    DeviceStatus status = DEVICE_UNKNOWN;

    state_lock(s);
    for (size_t i = 0; i < DEVICES_MAX; i++) {
        Device *d = &s->devices[i];

        if (!*code || !streq(d->code, code))
            continue;
        status = device_poll(d, client_id);
        if (status == DEVICE_APPROVED) {
            memcpy(principal, d->principal, PRINCIPAL_SIZE);
            *ret_scope = TAKE_PTR(d->scope);
            d->status = DEVICE_USED;
        }
        break;
    }
    state_unlock(s);
    return status;
}

int state_device_decide(State *s, const char *user_code, const char *person)
{
    int r = -ENOENT;

    state_lock(s);
    for (size_t i = 0; i < DEVICES_MAX && r < 0; i++) {
        Device *d = &s->devices[i];

        if (!*d->user_code || strcasecmp(d->user_code, user_code) != 0 || d->status != DEVICE_PENDING ||
            d->expires_usec <= now_usec(CLOCK_BOOTTIME))
            continue;
        d->status = person ? DEVICE_APPROVED : DEVICE_DECLINED;
        if (person)
            snprintf(d->principal, sizeof(d->principal), "person:%s", person);
        r = 0;
    }
    state_unlock(s);
    return r;
}

json_object *state_devices_describe(const State *s)
{
    static const char *const names[] = {"pending", "approved", "declined", "used"};
    json_object *array = json_object_new_array();

    for (size_t i = 0; i < DEVICES_MAX; i++) {
        const Device *d = &s->devices[i];
        json_object *o;

        if (!*d->user_code)
            continue;
        o = json_object_new_object();
        json_add_string(o, "userCode", d->user_code);
        json_add_string(o, "clientId", d->client_id);
        json_add_string(o, "status",
                        d->status == DEVICE_PENDING && d->expires_usec <= now_usec(CLOCK_BOOTTIME)
                            ? "expired"
                            : names[d->status]);
        json_add_string(o, "principal", *d->principal ? d->principal : NULL);
        json_object_array_add(array, o);
    }
    return array;
}

void state_devices_done(State *s)
{
    for (size_t i = 0; i < DEVICES_MAX; i++)
        device_clear(&s->devices[i]);
}
