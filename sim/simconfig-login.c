/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "simconfig-login.h"

#define SECONDS_MAX 86400.0
#define USERS_MAX 64

bool listen_text_valid(const char *s)
{
    const char *colon = strrchr(s, ':');
    size_t n = colon ? strlen(colon + 1) : 0;

    return n > 0 && n <= 5 && strspn(colon + 1, "0123456789") == n;
}

static const char *listen_parse(Document *d, json_object *o, const char *path)
{
    const char *s = document_string(d, o, path, "listen", true);

    if (s && !listen_text_valid(s))
        document_refuse(d, path, "listen", "is \"%.80s\", ADDRESS:PORT is expected", s);
    return s;
}

static void identity_parse(Document *d, json_object *o, const char *path, ManagedIdentity *i)
{
    static const char *const known[] = {"clientId", "objectId", "resourceId", NULL};

    if (!document_check(d, o, path, known))
        return;
    i->client_id = document_string(d, o, path, "clientId", true);
    i->object_id = document_string(d, o, path, "objectId", false);
    i->resource_id = document_string(d, o, path, "resourceId", false);
}

static void imds_parse(Document *d, json_object *o, LoginConfig *c)
{
    static const char *const known[] = {"listen", "systemAssigned", "userAssigned", NULL};
    json_object *system, *users;

    if (!document_check(d, o, "imds", known))
        return;
    c->imds_listen = listen_parse(d, o, "imds");
    system = document_object(d, o, "imds", "systemAssigned");
    users = document_array(d, o, "imds", "userAssigned");
    if (system)
        identity_parse(d, system, "imds.systemAssigned", &c->system);
    if (!users)
        return;
    c->user_count = json_object_array_length(users);
    if (c->user_count > USERS_MAX || !(c->users = calloc(c->user_count + 1, sizeof(*c->users)))) {
        c->user_count = 0;
        document_refuse(d, "imds", "userAssigned", "has more than %d entries", USERS_MAX);
        return;
    }
    for (size_t n = 0; n < c->user_count && !d->error; n++) {
        char where[DOCUMENT_PATH_MAX];

        identity_parse(d, json_object_array_get_idx(users, n),
                       document_path(where, "imds", "userAssigned", n), &c->users[n]);
    }
}

static void arc_parse(Document *d, json_object *o, LoginConfig *c)
{
    static const char *const known[] = {"listen", "keyDirectory", "clientId", NULL};

    if (!document_check(d, o, "arc", known))
        return;
    c->arc_listen = listen_parse(d, o, "arc");
    c->arc.client_id = document_string(d, o, "arc", "clientId", true);
    c->arc_key_directory = document_string(d, o, "arc", "keyDirectory", false);
    if (!c->arc_key_directory)
        c->arc_key_directory = "/var/opt/azcmagent/tokens";
    else if (c->arc_key_directory[0] != '/')
        document_refuse(d, "arc", "keyDirectory", "is \"%.200s\", an absolute path is expected",
                        c->arc_key_directory);
}

void login_config_parse(Document *d, json_object *root, LoginConfig *c)
{
    json_object *imds = document_object(d, root, "", "imds"), *arc = document_object(d, root, "", "arc");

    c->expired_secrets = document_strv(d, root, "", "expiredSecrets");
    c->client_certificates = document_strv(d, root, "", "clientCertificates");
    c->federated_tokens = document_strv(d, root, "", "federatedTokens");
    c->public_client_id = document_string(d, root, "", "publicClientId", false);
    c->device_code_seconds = document_number(d, root, "", "deviceCodeSeconds", 900, 0, SECONDS_MAX);
    c->device_interval_seconds = document_number(d, root, "", "deviceIntervalSeconds", 5, 0, SECONDS_MAX);
    if (imds)
        imds_parse(d, imds, c);
    if (arc)
        arc_parse(d, arc, c);
}

void login_config_done(LoginConfig *c)
{
    strv_free(c->expired_secrets);
    strv_free(c->client_certificates);
    strv_free(c->federated_tokens);
    free(c->users);
}
