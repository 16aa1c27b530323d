/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Managed identities: the metadata service of an Azure VM, and that of a machine with Azure Arc, which proves
 * by a file that it talks to somebody whom the machine's administrator trusts. */

#include "azure-credential.h"

#include <fcntl.h>
#include <sys/stat.h>

#define IMDS_PATH "/metadata/identity/oauth2/token"
#define ARC_URL "http://127.0.0.1:40342" IMDS_PATH
#define ARC_PROGRAM "/opt/azcmagent/bin/himds"
#define ARC_KEY_MAX 4096
#define REALM "Basic realm="

/* What may follow the host: else what looks like a host may be the user of another one. */
static bool is_port_and_path(const char *s)
{
    size_t digits = *s == ':' ? strspn(s + 1, "0123456789") : 0;

    if (*s == ':' && (digits == 0 || digits > 5))
        return false;
    s += digits ? 1 + digits : 0;
    return *s == '/' && !strpbrk(s, "@?# \t\r\n");
}

static int arc_endpoint(char **ret, Failure **ret_failure)
{
    const char *endpoint = getenv("IDENTITY_ENDPOINT"), *imds = getenv("IMDS_ENDPOINT"), *rest;

    if (endpoint && *endpoint && imds && *imds) {
        rest = startswith(endpoint, "http://localhost");
        if (!rest)
            rest = startswith(endpoint, "http://127.0.0.1");
        if (!rest || !is_port_and_path(rest)) {
            *ret_failure =
                failure_new(FAILURE_NOT_CONFIGURED,
                            "IDENTITY_ENDPOINT is \"%.200s\": expected http://127.0.0.1:PORT/...", endpoint);
            return -EINVAL;
        }
        return asprintf(ret, "http://127.0.0.1%s", rest) < 0 ? -ENOMEM : 0;
    }
    if (access(ARC_PROGRAM, F_OK) < 0) {
        *ret_failure =
            failure_new(FAILURE_NOT_CONFIGURED,
                        "This machine has no Azure Arc: neither IDENTITY_ENDPOINT and IMDS_ENDPOINT "
                        "in the environment nor " ARC_PROGRAM);
        return -ENOENT;
    }
    return (*ret = strdup(ARC_URL)) ? 0 : -ENOMEM;
}

int azure_managed_url(const Config *c, CredentialKind kind, char **ret, Failure **ret_failure)
{
    const char *name = c->managed_client_id   ? "client_id"
                       : c->managed_object_id ? "object_id"
                                              : "msi_res_id",
               *id = c->managed_client_id   ? c->managed_client_id
                     : c->managed_object_id ? c->managed_object_id
                                            : c->managed_resource_id;
    _cleanup_free_ char *endpoint = NULL, *resource = NULL, *escaped = NULL;
    bool arc = kind == CREDENTIAL_ARC;
    int r;

    r = arc                                                    ? arc_endpoint(&endpoint, ret_failure)
        : asprintf(&endpoint, "%s" IMDS_PATH, c->imds_url) < 0 ? -ENOMEM
                                                               : 0;
    if (r < 0)
        return r;
    resource = http_escape(c->management_url);
    escaped = id ? http_escape(id) : NULL;
    if (!resource || (id && !escaped))
        return -ENOMEM;
    return asprintf(ret, "%s?api-version=%s&resource=%s%s%s%s%s", endpoint, arc ? "2020-06-01" : "2018-02-01",
                    resource, id ? "&" : "", id ? name : "", id ? "=" : "", id ? escaped : "") < 0
               ? -ENOMEM
               : 0;
}

/* What is wrong with where the challenge points, or NULL. */
static const char *path_problem(const char *path, const char *directory)
{
    const char *name = startswith(path, directory);

    if (!name)
        return "it is not in the directory of Arc's keys";
    if (strchr(name, '/') || *name == '.' || !endswith(name, ".key") || strlen(name) <= strlen(".key"))
        return "expected NAME.key directly in it";
    if (strlen(path) > 255)
        return "it is too long";
    return NULL;
}

int azure_arc_key(const char *challenge, const char *directory, Secret **ret, Failure **ret_failure)
{
    const char *realm = challenge ? strcasestr(challenge, REALM) : NULL, *problem;
    _cleanup_free_ char *path = NULL;
    _cleanup_close_ int fd = -EBADF;
    char key[ARC_KEY_MAX + 1], buf[128];
    struct stat st;
    ssize_t n;

    if (!realm) {
        *ret_failure = failure_new(FAILURE_CREDENTIAL_REJECTED,
                                   "Azure Arc's service did not say which key file it wants read: expected "
                                   "WWW-Authenticate: " REALM "PATH");
        return -EBADMSG;
    }
    realm += strlen(REALM);
    realm += *realm == '"';
    path = strndup(realm, strcspn(realm, "\", \t\r\n"));
    if (!path)
        return -ENOMEM;
    problem = path_problem(path, directory);
    if (problem) {
        *ret_failure = failure_new(FAILURE_CREDENTIAL_REJECTED,
                                   "Azure Arc's service wants \"%.255s\" read, which is refused: %s (%s)",
                                   path, problem, directory);
        return -EBADMSG;
    }
    fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (fd < 0 || fstat(fd, &st) < 0) {
        *ret_failure = failure_new(
            FAILURE_CREDENTIAL_REJECTED, "Azure Arc's key file %s cannot be read: %s%s", path,
            strerror_r(errno, buf, sizeof(buf)),
            errno == EACCES ? "; ilrd.service needs SupplementaryGroups=himds, see ilrd.conf(5)" : "");
        return -EACCES;
    }
    if (!S_ISREG(st.st_mode) || st.st_size > ARC_KEY_MAX) {
        *ret_failure =
            failure_new(FAILURE_CREDENTIAL_REJECTED, "Azure Arc's key file %s is %s, which is refused", path,
                        S_ISREG(st.st_mode) ? "larger than 4096 bytes" : "no regular file");
        return -EBADMSG;
    }
    n = read(fd, key, sizeof(key));
    if (n <= 0 || n > ARC_KEY_MAX || memchr(key, 0, (size_t)n) || memchr(key, '\n', (size_t)n) ||
        memchr(key, '\r', (size_t)n)) {
        explicit_bzero(key, sizeof(key));
        *ret_failure = failure_new(FAILURE_CREDENTIAL_REJECTED,
                                   "Azure Arc's key file %s does not hold one line of text", path);
        return -EBADMSG;
    }
    *ret = secret_new_take(key, (size_t)n);
    return *ret ? 0 : -ENOMEM;
}
