/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What an application says to the login service: its secret, an assertion by its certificate, or the token of
 * another issuer that is trusted there (workload identity federation). */

#include "azure-credential.h"

#include <fcntl.h>

#include "files.h"

#define SECRET_MAX (4 * KIB)
#define FEDERATED_MAX (32 * KIB)
#define ASSERTION_TYPE "urn%%3Aietf%%3Aparams%%3Aoauth%%3Aclient-assertion-type%%3Ajwt-bearer"

int azure_secret_read(const char *credential, const char *path, const char *what, size_t max, Secret **ret,
                      Failure **ret_failure)
{
    const char *dir = getenv("CREDENTIALS_DIRECTORY");
    _cleanup_free_ char *file = NULL;
    mode_t forbidden = 077;
    char buf[128];
    int r;

    if (dir) {
        if (asprintf(&file, "%s/%s", dir, credential) < 0)
            return -ENOMEM;
        if (access(file, F_OK) < 0)
            file = (free(file), NULL);
        else
            /* systemd lets the unit's user read it by an ACL, whose mask stands in the group's bits. */
            forbidden = 037;
    }
    if (!file && path && !(file = strdup(path)))
        return -ENOMEM;
    if (!file)
        return -ENOENT;
    r = secret_read_file(file, forbidden, max, ret);
    if (r >= 0 || r == -ENOMEM)
        return r;
    if (r == -EPERM)
        *ret_failure =
            failure_new(FAILURE_NOT_CONFIGURED,
                        "The %s %s can be read by others than its owner: expected mode 0600", what, file);
    else if (r == -ENODATA)
        *ret_failure = failure_new(FAILURE_NOT_CONFIGURED, "The %s %s is empty", what, file);
    else
        *ret_failure = failure_new(FAILURE_NOT_CONFIGURED, "The %s %s cannot be read: %s", what, file,
                                   strerror_r(-r, buf, sizeof(buf)));
    return r == -ENOENT ? -ENOKEY : r; /* it was named: that is not "not configured" */
}

static int secret_form(const Config *c, char **ret, Failure **ret_failure)
{
    _cleanup_secret_ Secret *secret = NULL;
    _cleanup_erase_ char *escaped = NULL;
    int r;

    r = azure_secret_read("azure-client-secret", c->client_secret_file, "client secret", SECRET_MAX, &secret,
                          ret_failure);
    if (r == -ENOENT)
        *ret_failure =
            failure_new(FAILURE_NOT_CONFIGURED,
                        "There is no client secret: neither the credential azure-client-secret nor "
                        "ClientSecretFile= in [Azure]");
    if (r < 0)
        return r;
    escaped = http_escape(secret_text(secret));
    if (!escaped || asprintf(ret, "client_secret=%s", escaped) < 0)
        return -ENOMEM;
    return 0;
}

static int assertion_form(Secret *assertion, char **ret)
{
    _cleanup_erase_ char *escaped = http_escape(secret_text(assertion));

    if (!escaped ||
        asprintf(ret, "client_assertion_type=" ASSERTION_TYPE "&client_assertion=%s", escaped) < 0)
        return -ENOMEM;
    return 0;
}

/* Read again at each fetch: whoever issues the token puts a new one there before the old one ends. The file's
 * mode is the issuer's business. */
static int federated_form(const Config *c, char **ret, Failure **ret_failure)
{
    const char *path =
        c->federated_token_file ? c->federated_token_file : getenv("AZURE_FEDERATED_TOKEN_FILE");
    _cleanup_secret_ Secret *token = NULL;
    char *text = NULL, buf[128];
    size_t size;
    int r;

    if (!path || !*path) {
        *ret_failure = failure_new(FAILURE_NOT_CONFIGURED,
                                   "There is no federated token: neither FederatedTokenFile= in [Azure] nor "
                                   "AZURE_FEDERATED_TOKEN_FILE in the environment");
        return -ENOENT;
    }
    r = file_read(AT_FDCWD, path, FEDERATED_MAX, &text, &size);
    if (r < 0) {
        *ret_failure = failure_new(FAILURE_NOT_CONFIGURED, "The federated token %s cannot be read: %s", path,
                                   strerror_r(-r, buf, sizeof(buf)));
        return r == -ENOENT ? -ENOKEY : r;
    }
    size = strcspn(text, " \t\r\n");
    token = secret_new(text, size);
    explicit_bzero(text, strlen(text));
    free(text);
    if (!token)
        return -ENOMEM;
    if (size == 0) {
        *ret_failure = failure_new(FAILURE_NOT_CONFIGURED, "The federated token %s is empty", path);
        return -ENODATA;
    }
    return assertion_form(token, ret);
}

static const char *from_environment(const char *value, CredentialKind kind, const char *name)
{
    return value || kind != CREDENTIAL_WORKLOAD_IDENTITY ? value : getenv(name);
}

/* Where the application of a federation is known: who gives it its token may say that, too. */
static int login_url(const Config *c, CredentialKind kind, char **ret, Failure **ret_failure)
{
    const char *url = c->login_url_default ? from_environment(NULL, kind, "AZURE_AUTHORITY_HOST") : NULL;
    size_t n;

    if (!url || !*url)
        return (*ret = strdup(c->login_url)) ? 0 : -ENOMEM;
    n = strlen(url);
    while (n > 0 && url[n - 1] == '/')
        n--;
    if (!http_url_same_origin(url, url) || n < 9 || strcspn(url + 8, "/?#") != n - 8) {
        *ret_failure = failure_new(FAILURE_NOT_CONFIGURED,
                                   "AZURE_AUTHORITY_HOST is \"%.200s\": expected https://HOST", url);
        return -EINVAL;
    }
    return (*ret = strndup(url, n)) ? 0 : -ENOMEM;
}

int azure_login_request(const Config *c, CredentialKind kind, char **ret_url, Secret **ret_body,
                        Failure **ret_failure)
{
    const char *tenant = from_environment(c->tenant_id, kind, "AZURE_TENANT_ID"),
               *client = from_environment(c->client_id, kind, "AZURE_CLIENT_ID");
    _cleanup_free_ char *host = NULL, *url = NULL, *id = NULL, *scope = NULL, *scope_escaped = NULL;
    _cleanup_erase_ char *proof = NULL, *form = NULL;
    _cleanup_secret_ Secret *assertion = NULL;
    int r;

    if (!tenant || !*tenant || !client || !*client) {
        *ret_failure = failure_new(FAILURE_NOT_CONFIGURED, "%s= is missing in [Azure]",
                                   tenant && *tenant ? "ClientId" : "TenantId");
        return -ENOENT;
    }
    r = login_url(c, kind, &host, ret_failure);
    if (r < 0)
        return r;
    if (asprintf(&url, "%s/%s/oauth2/v2.0/token", host, tenant) < 0)
        return -ENOMEM;
    if (kind == CREDENTIAL_CLIENT_SECRET)
        r = secret_form(c, &proof, ret_failure);
    else if (kind == CREDENTIAL_WORKLOAD_IDENTITY)
        r = federated_form(c, &proof, ret_failure);
    else {
        r = azure_assertion_make(c, url, &assertion, ret_failure);
        if (r >= 0)
            r = assertion_form(assertion, &proof);
    }
    if (r < 0)
        return r;
    id = http_escape(client);
    if (asprintf(&scope, "%s/.default", c->management_url) < 0)
        return -ENOMEM;
    scope_escaped = http_escape(scope);
    if (!id || !scope_escaped ||
        asprintf(&form, "grant_type=client_credentials&client_id=%s&scope=%s&%s", id, scope_escaped, proof) <
            0)
        return -ENOMEM;
    *ret_body = secret_new(form, strlen(form));
    if (!*ret_body)
        return -ENOMEM;
    *ret_url = TAKE_PTR(url);
    return 0;
}

int azure_refresh_request(const Config *c, const Secret *refresh_token, char **ret_url, Secret **ret_body,
                          Failure **ret_failure)
{
    _cleanup_free_ char *url = NULL, *id = NULL, *scope = NULL, *scope_escaped = NULL;
    _cleanup_erase_ char *escaped = NULL, *form = NULL;

    if (!refresh_token) {
        *ret_failure = failure_new(FAILURE_CREDENTIAL_REJECTED, "The sign-in is over and cannot be renewed");
        failure_advise(*ret_failure, "sign in again: ilrctl login");
        return -EKEYEXPIRED;
    }
    if (asprintf(&url, "%s/%s/oauth2/v2.0/token", c->login_url, c->tenant_id) < 0)
        return -ENOMEM;
    if (asprintf(&scope, "%s/user_impersonation openid profile offline_access", c->management_url) < 0)
        return -ENOMEM;
    id = http_escape(c->login_client_id ? c->login_client_id : c->client_id);
    scope_escaped = http_escape(scope);
    escaped = http_escape(secret_text(refresh_token));
    if (!id || !scope_escaped || !escaped ||
        asprintf(&form, "grant_type=refresh_token&client_id=%s&scope=%s&refresh_token=%s", id, scope_escaped,
                 escaped) < 0)
        return -ENOMEM;
    *ret_body = secret_new(form, strlen(form));
    if (!*ret_body)
        return -ENOMEM;
    *ret_url = TAKE_PTR(url);
    return 0;
}
