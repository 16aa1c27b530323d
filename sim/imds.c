/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Tokens of managed identities: the metadata service of a virtual machine, and that of a machine with Arc,
 * which wants to see first that the caller may read a file. */

#include "files.h"
#include "log.h"
#include "request.h"
#include "timeutil.h"
#include <fcntl.h>
#include <strings.h>

#define KEYS_MAX 16
#define KEY_SIZE 65
#define KEY_USEC (60 * USEC_PER_SEC)

/* Keys that were written and not used yet. Under the state's lock. */
typedef struct ArcKeys {
    struct {
        char text[KEY_SIZE];
        char *path;
        uint64_t expires_usec; /* CLOCK_BOOTTIME */
    } key[KEYS_MAX];
    size_t next;
} ArcKeys;

static void key_forget(ArcKeys *k, size_t i)
{
    if (!k->key[i].path)
        return;
    (void)unlink(k->key[i].path);
    free(k->key[i].path);
    memset(&k->key[i], 0, sizeof(k->key[i]));
}

/* With the lock held. */
static int key_write(State *s, char **ret_path)
{
    const char *directory = s->config->login.arc_key_directory;
    _cleanup_free_ char *path = NULL;
    char name[13];
    ArcKeys *k = s->arc_keys;
    size_t i;
    int r;

    if (!k && !(k = s->arc_keys = calloc(1, sizeof(*k))))
        return -ENOMEM;
    i = k->next++ % KEYS_MAX;
    key_forget(k, i);
    random_text(name, sizeof(name) - 1, "0123456789abcdef");
    random_text(k->key[i].text, KEY_SIZE - 1, "0123456789abcdef");
    if (asprintf(&path, "%s/%s.key", directory, name) < 0) {
        path = NULL;
        return -ENOMEM;
    }
    r = file_write_atomic(AT_FDCWD, path, k->key[i].text, KEY_SIZE - 1, 0640, (uid_t)-1, (gid_t)-1);
    if (r < 0)
        return r;
    *ret_path = strdup(path);
    k->key[i].path = TAKE_PTR(path);
    k->key[i].expires_usec = now_usec(CLOCK_BOOTTIME) + KEY_USEC;
    return *ret_path ? 0 : -ENOMEM;
}

/* With the lock held. A key is good once. */
static bool key_use(State *s, const char *text)
{
    uint64_t now = now_usec(CLOCK_BOOTTIME);

    for (size_t i = 0; s->arc_keys && i < KEYS_MAX; i++)
        if (s->arc_keys->key[i].path && streq(s->arc_keys->key[i].text, text)) {
            bool good = s->arc_keys->key[i].expires_usec > now;

            key_forget(s->arc_keys, i);
            return good;
        }
    return false;
}

void imds_done(State *s)
{
    for (size_t i = 0; s->arc_keys && i < KEYS_MAX; i++)
        key_forget(s->arc_keys, i);
    free(s->arc_keys);
    s->arc_keys = NULL;
}

static const char *request_header(Request *q, const char *name)
{
    return MHD_lookup_connection_value(q->connection, MHD_HEADER_KIND, name);
}

/* Did the caller show what only a reader of the key file has? If not, the answer tells it where that is. */
static bool arc_proved(Request *q)
{
    const char *value = request_header(q, "Authorization");
    _cleanup_free_ char *path = NULL;
    bool good = false;
    int r = 0;

    state_lock(q->state);
    if (value)
        good = strncasecmp(value, "Basic ", 6) == 0 && key_use(q->state, value + 6);
    else
        r = key_write(q->state, &path);
    state_unlock(q->state);
    if (r < 0) {
        log_error("A key could not be written to %s: %s", q->state->config->login.arc_key_directory,
                  strerror(-r));
        reply_error(q, 500, "server_error", "The key could not be written.");
    } else if (value && !good)
        reply_error(q, 403, "forbidden", "The key is wrong, was used before or is too old.");
    else if (!value) {
        reply_error(q, 401, "unauthorized", "A key is needed.");
        reply_header(q, "WWW-Authenticate", "Basic realm=%s", path);
    }
    return good;
}

static bool resource_known(const SimConfig *c, const char *resource)
{
    static const char *const hosts[] = {"https://management.azure.com",
                                        "https://management.core.windows.net"};
    size_t n = strlen(resource);

    n -= n > 0 && resource[n - 1] == '/';
    for (size_t i = 0; i < ELEMENTSOF(hosts); i++)
        if (strlen(hosts[i]) == n && strncmp(hosts[i], resource, n) == 0)
            return true;
    for (size_t i = 0; c->scopes && c->scopes[i]; i++) {
        const char *rest = strncmp(c->scopes[i], resource, n) == 0 ? c->scopes[i] + n : NULL;

        if (rest && (streq(rest, "/.default") || streq(rest, "//.default")))
            return true;
    }
    return false;
}

static bool same(const char *a, const char *b)
{
    return a && b && strcasecmp(a, b) == 0;
}

/* Which identity is asked for; NULL after the answer that says no. */
static const ManagedIdentity *identity_find(Request *q)
{
    const LoginConfig *c = &q->state->config->login;
    const char *client = request_query(q, "client_id"), *object = request_query(q, "object_id"),
               *resource = request_query(q, "msi_res_id");

    if (!resource)
        resource = request_query(q, "mi_res_id");
    if (q->route.kind == REQUEST_ARC) {
        if ((!client && !object && !resource) || same(client, c->arc.client_id))
            return &c->arc;
        reply_error(q, 400, "invalid_request", "A machine with Arc has its own identity only.");
        return NULL;
    }
    if ((client != NULL) + (object != NULL) + (resource != NULL) > 1) {
        reply_error(q, 400, "invalid_request",
                    "Only one of client_id, object_id and msi_res_id may be given.");
        return NULL;
    }
    if (!client && !object && !resource) {
        if (c->system.client_id)
            return &c->system;
        if (c->user_count == 1)
            return &c->users[0];
        reply_error(q, 400, "invalid_request",
                    c->user_count ? "Multiple user assigned identities exist, please specify the clientId / "
                                    "resourceId of the identity in the token request"
                                  : "Identity not found");
        return NULL;
    }
    for (size_t i = 0; i < c->user_count; i++)
        if (same(client, c->users[i].client_id) || same(object, c->users[i].object_id) ||
            same(resource, c->users[i].resource_id))
            return &c->users[i];
    if (same(client, c->system.client_id) || same(object, c->system.object_id))
        return &c->system;
    reply_error(q, 400, "invalid_request", "Identity not found");
    return NULL;
}

static bool request_good(Request *q)
{
    const char *metadata = request_header(q, "Metadata"), *resource = request_query(q, "resource");

    if (!same(metadata, "true"))
        reply_error(q, 400, "bad_request_102", "Required metadata header not specified");
    else if (request_header(q, "X-Forwarded-For"))
        reply_error(q, 400, "bad_request_102", "The request came through a proxy");
    else if (isempty(q->api_version))
        reply_error(q, 400, "invalid_request", "The api-version is missing");
    else if (isempty(resource))
        reply_error(q, 400, "invalid_request", "Required query variable 'resource' is missing");
    else if (!resource_known(q->state->config, resource))
        reply_error(q, 400, "invalid_resource",
                    "AADSTS500011: The resource principal named %.100s was not found in the tenant.",
                    resource);
    else
        return true;
    return false;
}

/* Numbers are strings here. */
static void add_number(json_object *o, const char *key, uint64_t n)
{
    char text[24];

    snprintf(text, sizeof(text), "%llu", (unsigned long long)n);
    json_add_string(o, key, text);
}

void imds_handle(Request *q)
{
    uint64_t now = now_usec(CLOCK_REALTIME) / USEC_PER_SEC,
             seconds = (uint64_t)q->state->config->token_seconds;
    const ManagedIdentity *i;
    json_object *o;
    char text[TOKEN_SIZE];

    if (!request_good(q) || (q->route.kind == REQUEST_ARC && !arc_proved(q)) || !(i = identity_find(q)))
        return;
    snprintf(q->principal, sizeof(q->principal), "identity:%.120s", i->client_id);
    q->credential = q->route.kind == REQUEST_ARC ? "arc" : "imds";
    state_token_new(q->state, q->principal, false, text);
    o = json_object_new_object();
    json_add_string(o, "access_token", text);
    json_add_string(o, "client_id", i->client_id);
    add_number(o, "expires_in", seconds);
    add_number(o, "ext_expires_in", seconds);
    add_number(o, "expires_on", now + seconds);
    add_number(o, "not_before", now);
    json_add_string(o, "refresh_token", "");
    json_add_string(o, "resource", request_query(q, "resource"));
    json_add_string(o, "token_type", "Bearer");
    reply_json(q, 200, o);
    explicit_bzero(text, sizeof(text));
}
