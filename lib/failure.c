/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "failure.h"

#include "utf8.h"

#include <stdarg.h>

#define CLEAN_TEXT_MAX 1024 /* bytes of a line, a message, a hint */
#define CLEAN_LINES_MAX 50

static const struct {
    const char *name;
    int exit_code;
} class_table[FAILURE_CLASS_MAX] = {
    /* clang-format off */
    [FAILURE_CLASS_INTERNAL]   = { "InternalFailed",   1 },
    [FAILURE_CLASS_REQUEST]    = { "RequestRefused",   3 },
    [FAILURE_CLASS_NOT_FOUND]  = { "NotFound",         4 },
    [FAILURE_CLASS_AZURE]      = { "AzureFailed",      5 },
    [FAILURE_CLASS_CONNECTION] = { "ConnectionFailed", 6 },
    [FAILURE_CLASS_STORAGE]    = { "StorageFailed",    7 },
    [FAILURE_CLASS_BUSY]       = { "Busy",             8 },
    [FAILURE_CLASS_LIMIT]      = { "LimitReached",     9 },
    [FAILURE_CLASS_CANCELLED]  = { "Cancelled",       10 },
    /* clang-format on */
};

static const struct {
    const char *name;
    FailureClass class;
    const char *hint;
} name_table[FAILURE_NAME_MAX] = {
    [FAILURE_INVALID_REQUEST] = {"InvalidRequest", FAILURE_CLASS_REQUEST,
                                 "correct the request, see ilrctl(1)"},
    [FAILURE_NOT_CONFIGURED] =
        {"NotConfigured", FAILURE_CLASS_REQUEST,
         "complete /etc/ilrd/ilrd.conf, see ilrd.conf(5), then: systemctl restart ilrd"},
    [FAILURE_PERMISSION_DENIED] = {"PermissionDenied", FAILURE_CLASS_REQUEST,
                                   "become a member of group ilr, or root"},
    [FAILURE_AMBIGUOUS] = {"Ambiguous", FAILURE_CLASS_REQUEST,
                           "say which one with --vault= or --resource-group=, or give the VM's resource id"},
    [FAILURE_NOT_SUPPORTED] = {"NotSupported", FAILURE_CLASS_REQUEST,
                               "mount the share's snapshot by hand: mount.cifs(8), option snapshot="},
    [FAILURE_NO_SUCH_SESSION] = {"NoSuchSession", FAILURE_CLASS_NOT_FOUND, "ilrctl list shows what there is"},
    [FAILURE_NO_SUCH_VOLUME] = {"NoSuchVolume", FAILURE_CLASS_NOT_FOUND,
                                "ilrctl status SESSION shows the volumes and which of them are locked"},
    [FAILURE_POINT_NOT_FOUND] =
        {"PointNotFound", FAILURE_CLASS_NOT_FOUND,
         "check vault, container, item and recovery point; old points expire by policy"},
    [FAILURE_ITEM_NOT_FOUND] = {"ItemNotFound", FAILURE_CLASS_NOT_FOUND,
                                "ilrctl items shows what the vaults of Vault= protect"},
    [FAILURE_LIMIT_REACHED] = {"LimitReached", FAILURE_CLASS_LIMIT,
                               "release a session that is no longer needed"},
    [FAILURE_CREDENTIAL_REJECTED] = {"CredentialRejected", FAILURE_CLASS_AZURE,
                                     "check TenantId=, ClientId= and the client secret; secrets expire"},
    [FAILURE_PERMISSION_MISSING] =
        {"PermissionMissing", FAILURE_CLASS_AZURE,
         "give the identity the role Backup Operator on the vault and Virtual Machine "
         "Contributor on the VM, or a role with the action named"},
    [FAILURE_AZURE_UNREACHABLE] = {"AzureUnreachable", FAILURE_CLASS_AZURE,
                                   "check name resolution, routes and firewall towards the host named"},
    [FAILURE_AZURE_UNTRUSTED] = {"AzureUntrusted", FAILURE_CLASS_AZURE,
                                 "check the clock, a proxy that opens TLS, and CAFile="},
    [FAILURE_AZURE_THROTTLED] = {"AzureThrottled", FAILURE_CLASS_AZURE,
                                 "wait as long as said, then try again"},
    [FAILURE_AZURE_REFUSED] = {"AzureRefused", FAILURE_CLASS_AZURE, "see the service's code and message"},
    [FAILURE_AZURE_ANSWER_INVALID] =
        {"AzureAnswerInvalid", FAILURE_CLASS_AZURE,
         "see whether a proxy answers instead of Azure, try again, then report it with "
         "the request id"},
    [FAILURE_OPERATION_FAILED] =
        {"OperationFailed", FAILURE_CLASS_AZURE,
         "follow the service's recommendations; wait 20 to 30 minutes between attempts with "
         "large disks"},
    [FAILURE_OPERATION_TIMEOUT] = {"OperationTimeout", FAILURE_CLASS_AZURE,
                                   "try again later, or raise OperationTimeoutSec= for large disks"},
    [FAILURE_NO_SCRIPT] = {"NoScript", FAILURE_CLASS_AZURE,
                           "try the other ApiVersion= (before or from 2026-08-01), see ilrd.conf(5)"},
    [FAILURE_WINDOWS_POINT] = {"WindowsPoint", FAILURE_CLASS_AZURE,
                               "the service connects Windows VMs only from Windows"},
    [FAILURE_POINT_UNUSABLE] = {"PointUnusable", FAILURE_CLASS_AZURE, "choose another recovery point"},
    [FAILURE_SCRIPT_INVALID] = {"ScriptInvalid", FAILURE_CLASS_CONNECTION,
                                "try again; if it stays, report it: the service changed its script"},
    [FAILURE_PORTAL_UNREACHABLE] =
        {"PortalUnreachable", FAILURE_CLASS_CONNECTION,
         "open TCP 3260 from this host to the portal named (service tag AzureBackup)"},
    [FAILURE_PACKAGES_MISSING] = {"PackagesMissing", FAILURE_CLASS_CONNECTION,
                                  "install what the script's lines name"},
    [FAILURE_PYTHON_UNSUPPORTED] =
        {"PythonUnsupported", FAILURE_CLASS_CONNECTION,
         "install a Python that has asyncore (before 3.12), or python3-pyasyncore"},
    [FAILURE_CIPHER_MISSING] = {"CipherMissing", FAILURE_CLASS_CONNECTION,
                                "allow ECDHE-RSA-AES256-GCM-SHA384 in this host's crypto policy"},
    [FAILURE_PASSWORD_WANTED] = {"PasswordWanted", FAILURE_CLASS_CONNECTION,
                                 "the script came without its password; try again"},
    [FAILURE_SCRIPT_REPORTED] = {"ScriptReported", FAILURE_CLASS_CONNECTION, "see the script's last lines"},
    [FAILURE_UNKNOWN_PROMPT] = {"UnknownPrompt", FAILURE_CLASS_CONNECTION,
                                "report the question: nothing unknown is ever answered"},
    [FAILURE_SCRIPT_SILENT] = {"ScriptSilent", FAILURE_CLASS_CONNECTION,
                               "see the script's last lines; a blocked network is the usual reason"},
    [FAILURE_SCRIPT_EXITED] = {"ScriptExited", FAILURE_CLASS_CONNECTION, "see the script's last lines"},
    [FAILURE_CONNECT_TIMEOUT] = {"ConnectTimeout", FAILURE_CLASS_CONNECTION,
                                 "see the script's last lines; raise ConnectTimeoutSec= for large disks"},
    [FAILURE_TARGET_BLOCKED] =
        {"TargetBlocked", FAILURE_CLASS_CONNECTION,
         "the vault has private endpoints: run this host in a network that has one of them"},
    [FAILURE_TARGET_NOT_READY] = {"TargetNotReady", FAILURE_CLASS_CONNECTION,
                                  "large disks take long to prepare: try again in 10 minutes"},
    [FAILURE_DISCOVERY_FAILED] =
        {"DiscoveryFailed", FAILURE_CLASS_CONNECTION,
         "check that iscsid runs and iscsi_tcp is loaded, see the script's last lines"},
    [FAILURE_LOGIN_FAILED] = {"LoginFailed", FAILURE_CLASS_CONNECTION, "see iscsiadm's code in iscsiadm(8)"},
    [FAILURE_LOGIN_REJECTED] =
        {"LoginRejected", FAILURE_CLASS_CONNECTION,
         "the target refused password or initiator name: check Initiator=, provision again"},
    [FAILURE_CONNECTION_LOST] = {"ConnectionLost", FAILURE_CLASS_CONNECTION,
                                 "provision again; see journalctl -u ilr-connection@SESSION"},
    [FAILURE_DISKS_MISSING] = {"DisksMissing", FAILURE_CLASS_STORAGE,
                               "see the kernel's log for the target; raise DiskTimeoutSec= for a slow one"},
    [FAILURE_DISK_NOT_PROTECTED] =
        {"DiskNotProtected", FAILURE_CLASS_STORAGE,
         "check that 57-ilr.rules is installed and not overridden in /etc/udev/rules.d"},
    [FAILURE_OVERLAY_FAILED] = {"OverlayFailed", FAILURE_CLASS_STORAGE,
                                "see the kernel's log; check dm_snapshot, loop and the free space of /run"},
    [FAILURE_NOTHING_TO_MOUNT] = {"NothingToMount", FAILURE_CLASS_STORAGE,
                                  "see the reason of each volume; another recovery point may be whole"},
    [FAILURE_WRONG_KEY] = {"WrongKey", FAILURE_CLASS_STORAGE, "try another passphrase or key file"},
    [FAILURE_UNLOCK_FAILED] = {"UnlockFailed", FAILURE_CLASS_STORAGE,
                               "see the kernel's log; cryptsetup must be installed"},
    [FAILURE_BUSY] = {"Busy", FAILURE_CLASS_BUSY,
                      "leave the directory or end the processes named; the release is tried again by itself"},
    [FAILURE_CANCELLED] = {"Cancelled", FAILURE_CLASS_CANCELLED, "nothing: it was taken back as asked"},
    [FAILURE_HELPER_FAILED] = {"HelperFailed", FAILURE_CLASS_INTERNAL,
                               "see journalctl -u 'ilr-helper@*' -u ilr-session@SESSION"},
    [FAILURE_INTERNAL] = {"Internal", FAILURE_CLASS_INTERNAL, "see journalctl -u ilrd and report it"},
};

const char *failure_name_to_string(FailureName name)
{
    return name >= 0 && name < FAILURE_NAME_MAX ? name_table[name].name : NULL;
}

FailureName failure_name_from_string(const char *s)
{
    int i;

    for (i = 0; s && i < FAILURE_NAME_MAX; i++)
        if (streq(name_table[i].name, s))
            return i;
    return FAILURE_NAME_INVALID;
}

FailureClass failure_name_class(FailureName name)
{
    return name >= 0 && name < FAILURE_NAME_MAX ? name_table[name].class : FAILURE_CLASS_INTERNAL;
}

const char *failure_name_hint(FailureName name)
{
    return name_table[name >= 0 && name < FAILURE_NAME_MAX ? name : FAILURE_INTERNAL].hint;
}

const char *failure_class_to_string(FailureClass c)
{
    return c >= 0 && c < FAILURE_CLASS_MAX ? class_table[c].name : NULL;
}

FailureClass failure_class_from_string(const char *s)
{
    int i;

    for (i = 0; s && i < FAILURE_CLASS_MAX; i++)
        if (streq(class_table[i].name, s))
            return i;
    return FAILURE_CLASS_INVALID;
}

int failure_class_exit_code(FailureClass c)
{
    return c >= 0 && c < FAILURE_CLASS_MAX ? class_table[c].exit_code : 1;
}

Failure *failure_new(FailureName name, const char *format, ...)
{
    Failure *f = calloc(1, sizeof(*f));
    va_list ap;
    int n;

    if (!f)
        return NULL;
    f->name = name;
    va_start(ap, format);
    n = vasprintf(&f->message, format, ap);
    va_end(ap);
    if (n < 0)
        f->message = NULL;
    return f;
}

Failure *failure_free(Failure *f)
{
    if (!f)
        return NULL;
    free(f->message);
    free(f->code);
    free(f->hint);
    free(f->request_id);
    free(f->correlation_id);
    strv_free(f->recommendations);
    strv_free(f->lines);
    json_object_put(f->holders);
    free(f);
    return NULL;
}

Failure *failure_copy(const Failure *f)
{
    _cleanup_json_ json_object *o = NULL;
    Failure *copy;

    if (!f || failure_to_json(f, &o) < 0 || failure_from_json(o, &copy) < 0)
        return NULL;
    return copy;
}

Failure *failure_advise(Failure *f, const char *hint)
{
    if (f)
        free_and_replace(&f->hint, strdup(hint));
    return f;
}

const char *failure_hint(const Failure *f)
{
    return f->hint ? f->hint : failure_name_hint(f->name);
}

int failure_to_json(const Failure *f, json_object **ret)
{
    _cleanup_json_ json_object *o = json_object_new_object();
    int r;

    if (!o)
        return -ENOMEM;
    if ((r = json_add_string(o, "name", failure_name_to_string(f->name))) < 0 ||
        (r = json_add_string(o, "message", f->message ? f->message : failure_name_to_string(f->name))) < 0 ||
        (r = json_add_string(o, "hint", failure_hint(f))) < 0 ||
        (r = json_add_string(o, "code", f->code)) < 0 ||
        (r = json_add_string(o, "requestId", f->request_id)) < 0 ||
        (r = json_add_string(o, "correlationId", f->correlation_id)) < 0)
        return r;
    if (f->recommendations && (r = json_add_strv(o, "recommendations", f->recommendations)) < 0)
        return r;
    if (f->lines && (r = json_add_strv(o, "lines", f->lines)) < 0)
        return r;
    if (f->holders && (r = json_add(o, "holders", json_object_get(f->holders))) < 0)
        return r;
    *ret = TAKE_PTR(o);
    return 0;
}

static int get_copy(json_object *o, const char *key, char **ret)
{
    const char *s;

    if (json_get_string(o, key, &s) <= 0)
        return 0;
    *ret = strdup(s);
    return *ret ? 0 : -ENOMEM;
}

static int get_strv(json_object *o, const char *key, char ***ret)
{
    json_object *a;
    size_t i;
    int r;

    if (json_get_array(o, key, &a) <= 0)
        return 0;
    for (i = 0; i < json_object_array_length(a); i++) {
        json_object *s = json_object_array_get_idx(a, i);

        if (!json_object_is_type(s, json_type_string))
            continue;
        r = strv_extend(ret, json_object_get_string(s));
        if (r < 0)
            return r;
    }
    return 0;
}

int failure_from_json(json_object *o, Failure **ret)
{
    _cleanup_failure_ Failure *f = NULL;
    const char *name = NULL;
    json_object *holders;
    int r;

    if (!json_object_is_type(o, json_type_object))
        return -EINVAL;
    f = calloc(1, sizeof(*f));
    if (!f)
        return -ENOMEM;
    (void)json_get_string(o, "name", &name);
    f->name = failure_name_from_string(name);
    if (f->name < 0)
        f->name = FAILURE_INTERNAL;
    if ((r = get_copy(o, "message", &f->message)) < 0 || (r = get_copy(o, "code", &f->code)) < 0 ||
        (r = get_copy(o, "hint", &f->hint)) < 0 || (r = get_copy(o, "requestId", &f->request_id)) < 0 ||
        (r = get_copy(o, "correlationId", &f->correlation_id)) < 0 ||
        (r = get_strv(o, "recommendations", &f->recommendations)) < 0 ||
        (r = get_strv(o, "lines", &f->lines)) < 0)
        return r;
    if (json_get_array(o, "holders", &holders) > 0)
        f->holders = json_object_get(holders);
    *ret = TAKE_PTR(f);
    return 0;
}

/* Cut between characters, and with a space for what a terminal would obey. */
static void clean_text(char *s)
{
    size_t n = strlen(s);

    if (n > CLEAN_TEXT_MAX) {
        for (n = CLEAN_TEXT_MAX; n > 0 && ((unsigned char)s[n] & 0xc0) == 0x80; n--)
            ;
        s[n] = '\0';
    }
    utf8_disarm(s, ' ');
}

void failure_clean_lines(char **v)
{
    size_t n = strv_length(v), i;

    /* The last ones tell most. */
    for (i = 0; n > CLEAN_LINES_MAX && i < n - CLEAN_LINES_MAX; i++)
        free(v[i]);
    if (n > CLEAN_LINES_MAX)
        memmove(v, v + n - CLEAN_LINES_MAX, (CLEAN_LINES_MAX + 1) * sizeof(*v));
    for (i = 0; v && v[i]; i++)
        clean_text(v[i]);
}

void failure_clean(Failure *f)
{
    char *const fields[] = {f->message, f->code, f->hint, f->request_id, f->correlation_id};
    size_t i;

    for (i = 0; i < ELEMENTSOF(fields); i++)
        if (fields[i])
            clean_text(fields[i]);
    failure_clean_lines(f->recommendations);
    failure_clean_lines(f->lines);
    json_object_put(f->holders); /* nothing that such a one could know */
    f->holders = NULL;
}
