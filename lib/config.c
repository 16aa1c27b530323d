/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include "files.h"
#include "timeutil.h"
#include "validate.h"

#include <ctype.h>
#include <dirent.h>
#include <fcntl.h>
#include <strings.h>

#define CONFIG_SIZE_MAX (1 * MIB)

/* Where what must agree with other lines was written last: "FILE:LINE: KEY=VALUE". */
typedef struct Places {
    char *identity, *expiry;
} Places;

typedef struct Parser {
    Config *config;
    Places *places;
    const char *file;
    Failure *failure;
    int error;
    int lineno;
} Parser;

/* Says what is wrong with the line that is being read. The first mistake is kept. */
static int complain(Parser *p, const char *key, const char *value, const char *expected)
{
    if (!p->failure)
        p->failure = failure_new(FAILURE_NOT_CONFIGURED, "%s:%d: %s=%s: expected %s", p->file, p->lineno, key,
                                 value, expected);
    p->error = -EINVAL;
    return 0;
}

static int set_string(Parser *p, char **field, const char *value)
{
    char *s = *value ? strdup(value) : NULL;

    if (*value && !s) {
        p->error = -ENOMEM;
        return 0;
    }
    free_and_replace(field, s);
    return 1;
}

/* "HOST" or "HOST:PORT", nothing behind it. The caller's host, or NULL. */
static char *parse_authority(const char *s)
{
    size_t n = strcspn(s, ":"), digits = s[n] ? strspn(s + n + 1, "0123456789") : 0;
    _cleanup_free_ char *host = strndup(s, n);

    if (!host || (!host_name_valid(host) && !address_valid(host)) ||
        (s[n] &&
         (digits == 0 || digits > 5 || s[n + 1 + digits] || atoi(s + n + 1) < 1 || atoi(s + n + 1) > 65535)))
        return NULL;
    return TAKE_PTR(host);
}

static int parse_url(Parser *p, const char *key, const char *value, size_t offset)
{
    const char *rest = startswith(value, "https://");
    _cleanup_free_ char *host = rest ? parse_authority(rest) : NULL;

    if (!host)
        return complain(p, key, value, "https://HOST or https://HOST:PORT, without a path");
    return set_string(p, (char **)((char *)p->config + offset), value);
}

static const char *const credential_names[] = {
    [CREDENTIAL_AUTO] = "auto",
    [CREDENTIAL_CLIENT_SECRET] = "client-secret",
    [CREDENTIAL_CLIENT_CERTIFICATE] = "client-certificate",
    [CREDENTIAL_WORKLOAD_IDENTITY] = "workload-identity",
    [CREDENTIAL_ARC] = "arc",
    [CREDENTIAL_MANAGED_IDENTITY] = "managed-identity",
};

const char *credential_kind_to_string(CredentialKind kind)
{
    return kind >= 0 && kind < CREDENTIAL_KIND_MAX ? credential_names[kind] : NULL;
}

static int parse_credential(Parser *p, const char *key, const char *value, size_t offset)
{
    size_t i;

    for (i = 0; i < ELEMENTSOF(credential_names); i++)
        if (streq(value, credential_names[i])) {
            p->config->credential = (CredentialKind)i;
            return 1;
        }
    return complain(p, key, value,
                    "auto, client-secret, client-certificate, workload-identity, arc or managed-identity");
}

static const struct {
    const char *name, *management, *login;
} clouds[CLOUD_MAX] = {
    [CLOUD_PUBLIC] = {"public", "https://management.azure.com", "https://login.microsoftonline.com"},
    [CLOUD_CHINA] = {"china", "https://management.chinacloudapi.cn", "https://login.chinacloudapi.cn"},
    [CLOUD_USGOVERNMENT] = {"usgovernment", "https://management.usgovcloudapi.net",
                            "https://login.microsoftonline.us"},
};

static int parse_cloud(Parser *p, const char *key, const char *value, size_t offset)
{
    size_t i;

    for (i = 0; i < ELEMENTSOF(clouds); i++)
        if (streq(value, clouds[i].name)) {
            p->config->cloud = (CloudName)i;
            p->config->cloud_given = true;
            return 1;
        }
    return complain(p, key, value, "public, china or usgovernment");
}

static int parse_bool(Parser *p, const char *key, const char *value, size_t offset)
{
    if (!streq(value, "yes") && !streq(value, "no"))
        return complain(p, key, value, "yes or no");
    *(bool *)((char *)p->config + offset) = streq(value, "yes");
    return 1;
}

/* Tokens come from there in clear text: this machine or its own link only. */
static int parse_imds(Parser *p, const char *key, const char *value, size_t offset)
{
    const char *rest = startswith(value, "http://");
    _cleanup_free_ char *host = rest ? parse_authority(rest) : NULL;

    if (!host || !(startswith(host, "169.254.") || startswith(host, "127.")) || !address_valid(host))
        return complain(p, key, value, "http://ADDRESS or http://ADDRESS:PORT with 169.254.x.y or 127.x.y.z");
    return set_string(p, (char **)((char *)p->config + offset), value);
}

static int parse_proxy(Parser *p, const char *key, const char *value, size_t offset)
{
    const char *rest = startswith(value, "http://");
    _cleanup_free_ char *host = rest ? parse_authority(rest) : NULL;

    if (*value && (!host || !strchr(rest, ':')))
        return complain(p, key, value, "http://HOST:PORT, without user and password");
    return set_string(p, (char **)((char *)p->config + offset), value);
}

static int parse_resource(Parser *p, const char *key, const char *value, size_t offset)
{
    if (*value && (*value != '/' || strlen(value) > 1024 || strpbrk(value, "?#% \t")))
        return complain(p, key, value, "a resource id: /subscriptions/...");
    return set_string(p, (char **)((char *)p->config + offset), value);
}

static int parse_path(Parser *p, const char *key, const char *value, size_t offset)
{
    if (*value && *value != '/')
        return complain(p, key, value, "an absolute path");
    return set_string(p, (char **)((char *)p->config + offset), value);
}

static int parse_id(Parser *p, const char *key, const char *value, size_t offset)
{
    if (strlen(value) > 128 ||
        value[strspn(value, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_")])
        return complain(p, key, value, "an identifier of letters, digits, '.', '-' and '_'");
    return set_string(p, (char **)((char *)p->config + offset), value);
}

static int parse_api_version(Parser *p, const char *key, const char *value, size_t offset)
{
    static const char form[] = "dddd-dd-dd";
    size_t n;

    for (n = 0; form[n] && (form[n] == 'd' ? isdigit((unsigned char)value[n]) : value[n] == form[n]); n++)
        ;
    if (form[n] || (value[n] && !streq(value + n, "-preview")))
        return complain(p, key, value, "YYYY-MM-DD or YYYY-MM-DD-preview");
    return set_string(p, (char **)((char *)p->config + offset), value);
}

#define WORDS_MAX 64

/* A list: each assignment adds its words, an empty one forgets what was there. */
static int add_words(Parser *p, const char *key, const char *value, size_t offset,
                     bool (*valid)(const char *word), const char *expected)
{
    char ***list = (char ***)((char *)p->config + offset);
    _cleanup_strv_free_ char **words = NULL;
    char **w, **known;

    if (strv_split(value, " \t", &words) < 0) {
        p->error = -ENOMEM;
        return 0;
    }
    if (!words || !*words)
        *list = strv_free(*list);
    STRV_FOREACH (w, words) {
        if (!valid(*w))
            return complain(p, key, *w, expected);
        STRV_FOREACH (known, *list)
            if (strcasecmp(*known, *w) == 0)
                break;
        if (known && *known)
            continue;
        if (strv_length(*list) == WORDS_MAX)
            return complain(p, key, *w, "no more than 64 of them");
        if (strv_extend(list, *w) < 0) {
            p->error = -ENOMEM;
            return 0;
        }
    }
    return 1;
}

static bool vault_valid(const char *s)
{
    static const char *const form[] = {
        "subscriptions", NULL, "resourceGroups", NULL, "providers", "Microsoft.RecoveryServices",
        "vaults",        NULL};
    size_t i, n;

    if (strpbrk(s, "?#%") || strlen(s) > 1024)
        return false;
    for (i = 0; i < ELEMENTSOF(form); i++, s += n) {
        if (*s++ != '/')
            return false;
        n = strcspn(s, "/");
        if (n == 0 || (form[i] && (strlen(form[i]) != n || strncasecmp(s, form[i], n) != 0)))
            return false;
    }
    return !*s;
}

static int parse_vaults(Parser *p, const char *key, const char *value, size_t offset)
{
    return add_words(p, key, value, offset, vault_valid,
                     "a resource id: /subscriptions/SUB/resourceGroups/RG/providers/"
                     "Microsoft.RecoveryServices/vaults/NAME");
}

static bool location_valid(const char *s)
{
    return strlen(s) <= 64 && !s[strspn(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789")];
}

static int parse_locations(Parser *p, const char *key, const char *value, size_t offset)
{
    return add_words(p, key, value, offset, location_valid, "a region's short name, like westeurope");
}

static int parse_span(Parser *p, const char *key, const char *value, size_t offset)
{
    uint64_t usec;

    if (timespan_parse(value, &usec) < 0 || usec < 100 * USEC_PER_MSEC || usec > 24 * USEC_PER_HOUR)
        return complain(p, key, value, "a time from 100ms to 24h, like 90, 30s or 5min");
    *(uint64_t *)((char *)p->config + offset) = usec;
    return 1;
}

/* How long before Azure's end something happens. */
static int parse_before(Parser *p, const char *key, const char *value, size_t offset)
{
    bool may_be_never = streq(key, "ExpiryNoticeSec") || streq(key, "ExpiryWarningSec");
    uint64_t usec;

    if (timespan_parse(value, &usec) < 0 || (usec < USEC_PER_SEC && !(usec == 0 && may_be_never)) ||
        usec > 12 * USEC_PER_HOUR)
        return complain(p, key, value,
                        may_be_never ? "a time from 1s to 12h, or 0 for never" : "a time from 1s to 12h");
    *(uint64_t *)((char *)p->config + offset) = usec;
    return 1;
}

static int parse_idle(Parser *p, const char *key, const char *value, size_t offset)
{
    uint64_t usec;

    if (timespan_parse(value, &usec) < 0 || (usec > 0 && usec < USEC_PER_SEC) || usec > 24 * USEC_PER_HOUR)
        return complain(p, key, value, "a time from 1s to 24h, or 0 for never");
    *(uint64_t *)((char *)p->config + offset) = usec;
    return 1;
}

static int parse_size(Parser *p, const char *key, const char *value, size_t offset)
{
    uint64_t n, unit = 1;
    char *end;

    errno = 0;
    n = strtoull(value, &end, 10);
    if (streq(end, "K"))
        unit = KIB;
    else if (streq(end, "M"))
        unit = MIB;
    else if (streq(end, "G"))
        unit = GIB;
    else if (*end)
        unit = 0;
    if (!isdigit((unsigned char)*value) || errno || unit == 0 || __builtin_mul_overflow(n, unit, &n) ||
        n < MIB || n > 64 * GIB)
        return complain(p, key, value, "a size from 1M to 64G");
    *(uint64_t *)((char *)p->config + offset) = n;
    return 1;
}

static int parse_sessions(Parser *p, const char *key, const char *value, size_t offset)
{
    char *end;
    unsigned long n = strtoul(value, &end, 10);

    if (!isdigit((unsigned char)*value) || *end || n > 256 || (n == 0 && streq(key, "SessionsMax")))
        return complain(p, key, value,
                        streq(key, "SessionsMax") ? "a number from 1 to 256" : "a number from 0 to 256");
    *(uint64_t *)((char *)p->config + offset) = n;
    return 1;
}

static int parse_initiator(Parser *p, const char *key, const char *value, size_t offset)
{
    if (streq(value, "host"))
        p->config->initiator_mode = INITIATOR_HOST;
    else if (streq(value, "none"))
        p->config->initiator_mode = INITIATOR_NONE;
    else if (iscsi_name_valid(value))
        p->config->initiator_mode = INITIATOR_NAME;
    else
        return complain(p, key, value, "host, none, or an iSCSI name like iqn.2026-01.com.example:restore1");
    return set_string(p, (char **)((char *)p->config + offset),
                      p->config->initiator_mode == INITIATOR_NAME ? value : "");
}

static int parse_replay(Parser *p, const char *key, const char *value, size_t offset)
{
    if (!streq(value, "overlay") && !streq(value, "none"))
        return complain(p, key, value, "overlay or none");
    *(bool *)((char *)p->config + offset) = streq(value, "overlay");
    return 1;
}

static const struct {
    const char *section, *key;
    int (*parse)(Parser *p, const char *key, const char *value, size_t offset);
    size_t offset;
} keys[] = {
    {"Azure", "ManagementUrl", parse_url, offsetof(Config, management_url)},
    {"Azure", "LoginUrl", parse_url, offsetof(Config, login_url)},
    {"Azure", "CAFile", parse_path, offsetof(Config, ca_file)},
    {"Azure", "ApiVersion", parse_api_version, offsetof(Config, api_version)},
    {"Azure", "FallbackApiVersion", parse_api_version, offsetof(Config, fallback_api_version)},
    {"Azure", "TenantId", parse_id, offsetof(Config, tenant_id)},
    {"Azure", "ClientId", parse_id, offsetof(Config, client_id)},
    {"Azure", "LoginClientId", parse_id, offsetof(Config, login_client_id)},
    {"Azure", "Cloud", parse_cloud, 0},
    {"Azure", "Proxy", parse_proxy, offsetof(Config, proxy)},
    {"Azure", "Credential", parse_credential, 0},
    {"Azure", "ClientCertificateFile", parse_path, offsetof(Config, client_certificate_file)},
    {"Azure", "ClientKeyFile", parse_path, offsetof(Config, client_key_file)},
    {"Azure", "ClientKeyPassphraseFile", parse_path, offsetof(Config, client_key_passphrase_file)},
    {"Azure", "SendCertificateChain", parse_bool, offsetof(Config, send_certificate_chain)},
    {"Azure", "FederatedTokenFile", parse_path, offsetof(Config, federated_token_file)},
    {"Azure", "ImdsUrl", parse_imds, offsetof(Config, imds_url)},
    {"Azure", "ManagedIdentityClientId", parse_id, offsetof(Config, managed_client_id)},
    {"Azure", "ManagedIdentityObjectId", parse_id, offsetof(Config, managed_object_id)},
    {"Azure", "ManagedIdentityResourceId", parse_resource, offsetof(Config, managed_resource_id)},
    {"Azure", "ClientSecretFile", parse_path, offsetof(Config, client_secret_file)},
    {"Azure", "Vault", parse_vaults, offsetof(Config, vaults)},
    {"Azure", "Location", parse_locations, offsetof(Config, locations)},
    {"Azure", "PollIntervalSec", parse_span, offsetof(Config, poll_interval_usec)},
    {"Azure", "OperationTimeoutSec", parse_span, offsetof(Config, operation_timeout_usec)},
    {"Azure", "RequestTimeoutSec", parse_span, offsetof(Config, request_timeout_usec)},
    {"Connection", "Initiator", parse_initiator, offsetof(Config, initiator_name)},
    {"Connection", "ConnectTimeoutSec", parse_span, offsetof(Config, connect_timeout_usec)},
    {"Connection", "SilenceTimeoutSec", parse_span, offsetof(Config, silence_timeout_usec)},
    {"Connection", "PromptTimeoutSec", parse_span, offsetof(Config, prompt_timeout_usec)},
    {"Connection", "WorkSizeBytes", parse_size, offsetof(Config, work_size_bytes)},
    {"Storage", "DiskTimeoutSec", parse_span, offsetof(Config, disk_timeout_usec)},
    {"Storage", "MountTimeoutSec", parse_span, offsetof(Config, mount_timeout_usec)},
    {"Storage", "OverlaySizeBytes", parse_size, offsetof(Config, overlay_size_bytes)},
    {"Storage", "OverlayTotalBytes", parse_size, offsetof(Config, overlay_total_bytes)},
    {"Storage", "Replay", parse_replay, offsetof(Config, replay)},
    {"Storage", "FollowSymlinks", parse_bool, offsetof(Config, follow_symlinks)},
    {"Session", "SessionsMax", parse_sessions, offsetof(Config, sessions_max)},
    {"Session", "SessionsPerCallerMax", parse_sessions, offsetof(Config, sessions_per_caller_max)},
    {"Session", "BusyRetrySec", parse_span, offsetof(Config, busy_retry_usec)},
    {"Session", "IdleSec", parse_idle, offsetof(Config, idle_usec)},
    {"Session", "ExpiryNoticeSec", parse_before, offsetof(Config, expiry_notice_usec)},
    {"Session", "ExpiryWarningSec", parse_before, offsetof(Config, expiry_warning_usec)},
    {"Session", "ExpiryReleaseSec", parse_before, offsetof(Config, expiry_release_usec)},
    {"Session", "ExpiryForceSec", parse_before, offsetof(Config, expiry_force_usec)},
};

static int place_note(Parser *p, const char *key, const char *value)
{
    char **at = startswith(key, "ManagedIdentity")                               ? &p->places->identity
                : streq(key, "ExpiryReleaseSec") || streq(key, "ExpiryForceSec") ? &p->places->expiry
                                                                                 : NULL,
         *s = NULL;

    if (!at || !*value)
        return 1;
    if (asprintf(&s, "%s:%d: %s=%s", p->file, p->lineno, key, value) < 0) {
        p->error = -ENOMEM;
        return 0;
    }
    free(*at);
    *at = s;
    return 1;
}

static void places_done(Places *places)
{
    free(places->identity);
    free(places->expiry);
}

static void assign(Parser *p, const char *section, const char *key, const char *value)
{
    size_t i;

    for (i = 0; i < ELEMENTSOF(keys); i++)
        if (streq_ptr(keys[i].section, section) && streq(keys[i].key, key)) {
            if (keys[i].parse(p, key, value, keys[i].offset))
                (void)place_note(p, key, value);
            return;
        }
    p->failure = section
                     ? failure_new(FAILURE_NOT_CONFIGURED, "%s:%d: unknown key %s= in [%s], see ilrd.conf(5)",
                                   p->file, p->lineno, key, section)
                     : failure_new(FAILURE_NOT_CONFIGURED, "%s:%d: %s= stands before the first [SECTION]",
                                   p->file, p->lineno, key);
    p->error = -EINVAL;
}

/* Also one without keys is refused: what is written below it some day would be for nobody. */
static void begin_section(Parser *p, const char *section)
{
    size_t i;

    for (i = 0; i < ELEMENTSOF(keys); i++)
        if (streq(keys[i].section, section))
            return;
    p->failure = failure_new(FAILURE_NOT_CONFIGURED, "%s:%d: unknown section [%s], see ilrd.conf(5)", p->file,
                             p->lineno, section);
    p->error = -EINVAL;
}

/* Without the blanks around it, in its place. */
static char *trim(char *s)
{
    size_t n;

    s += strspn(s, " \t\r");
    for (n = strlen(s); n > 0 && strchr(" \t\r", s[n - 1]); n--)
        ;
    s[n] = '\0';
    return s;
}

/* One line: nothing, a comment, [SECTION] or KEY=VALUE. Libraries for such files take lines of 200 bytes, and
 * one resource id may have 1024. */
static void parse_line(Parser *p, char *line, const char **section)
{
    char *s = trim(line), *value = strchr(s, '=');
    size_t n = strlen(s);

    if (!*s || *s == '#' || *s == ';')
        return;
    if (*s == '[' && s[n - 1] == ']') {
        s[n - 1] = '\0';
        *section = trim(s + 1);
        begin_section(p, *section);
    } else if (*s != '[' && value && value != s) {
        *value++ = '\0';
        assign(p, *section, trim(s), trim(value));
    } else {
        p->failure =
            failure_new(FAILURE_NOT_CONFIGURED, "%s:%d: expected KEY=VALUE or [SECTION]", p->file, p->lineno);
        p->error = -EBADMSG;
    }
}

static int load_file(const char *path, Config *c, Places *places, Failure **ret_failure)
{
    _cleanup_free_ char *text = NULL;
    Parser p = {.config = c, .places = places, .file = path};
    const char *section = NULL;
    char *next, *line;
    size_t size;
    int r;

    r = file_read(AT_FDCWD, path, CONFIG_SIZE_MAX, &text, &size);
    if (r < 0) {
        char buf[128];

        if (r != -ENOENT)
            *ret_failure =
                failure_new(FAILURE_NOT_CONFIGURED, "%s: %s", path, strerror_r(-r, buf, sizeof(buf)));
        return r;
    }
    if (memchr(text, 0, size)) {
        *ret_failure = failure_new(FAILURE_NOT_CONFIGURED, "%s: contains a NUL byte", path);
        return -EBADMSG;
    }
    next = (char *)(startswith(text, "\xef\xbb\xbf") ?: text); /* an editor's mark of UTF-8 */
    while (p.error >= 0 && (line = strsep(&next, "\n"))) {
        p.lineno++;
        parse_line(&p, line, &section);
    }
    *ret_failure = p.failure;
    return p.error;
}

static int is_dropin(const struct dirent *e)
{
    return e->d_name[0] != '.' && endswith(e->d_name, ".conf");
}

int config_load(const char *path, Config **ret, Failure **ret_failure)
{
    _cleanup_(config_freep) Config *c = config_new();
    _cleanup_(places_done) Places places = {};
    _cleanup_free_ char *dir = NULL;
    struct dirent **entries = NULL;
    int r, i, n;

    if (!c)
        return -ENOMEM;
    if (!path)
        path = secure_getenv("ILRD_CONFIG");
    if (!path)
        path = CONFIG_FILE;
    r = load_file(path, c, &places, ret_failure);
    if (r < 0 && r != -ENOENT)
        return r;
    if (asprintf(&dir, "%s.d", path) < 0)
        return -ENOMEM;
    n = scandir(dir, &entries, is_dropin, alphasort);
    if (n < 0 && errno != ENOENT) {
        char buf[128];

        r = -errno;
        *ret_failure = failure_new(FAILURE_NOT_CONFIGURED, "%s: %s", dir, strerror_r(-r, buf, sizeof(buf)));
        return r;
    }
    r = 0;
    for (i = 0; i < n; i++) {
        _cleanup_free_ char *file = NULL;

        if (r >= 0)
            r = asprintf(&file, "%s/%s", dir, entries[i]->d_name) < 0
                    ? -ENOMEM
                    : load_file(file, c, &places, ret_failure);
        free(entries[i]);
    }
    free(entries);
    if (r < 0)
        return r;
    if (!!c->managed_client_id + !!c->managed_object_id + !!c->managed_resource_id > 1) {
        *ret_failure = failure_new(FAILURE_NOT_CONFIGURED,
                                   "%s: only one of ManagedIdentityClientId=, ManagedIdentityObjectId= and "
                                   "ManagedIdentityResourceId= can be meant",
                                   places.identity);
        return -EINVAL;
    }
    if (c->expiry_force_usec >= c->expiry_release_usec) {
        *ret_failure =
            failure_new(FAILURE_NOT_CONFIGURED,
                        "%s: ExpiryReleaseSec= must be longer than ExpiryForceSec=", places.expiry);
        return -EINVAL;
    }
    c->login_url_default = !c->login_url;
    c->own_cloud = c->management_url && !c->cloud_given;
    if ((!c->management_url && !(c->management_url = strdup(clouds[c->cloud].management))) ||
        (!c->login_url && !(c->login_url = strdup(clouds[c->cloud].login))))
        return -ENOMEM;
    *ret = TAKE_PTR(c);
    return 0;
}
