/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "iscsiadm.h"

#include "files.h"
#include "iscsid-conf.h"
#include "log.h"
#include "paths.h"
#include "verb.h"

#include <fcntl.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/stat.h>

#define INITIATOR_FILE_MAX (64 * KIB)

static const char *const status_texts[] = {
    [ISCSIADM_OK] = "success",
    [1] = "generic failure",
    [ISCSIADM_SESSION_NOT_FOUND] = "no such session",
    [3] = "out of resources",
    [ISCSIADM_TRANSPORT] = "cannot connect to the portal",
    [5] = "login failed",
    [6] = "bad record database",
    [7] = "invalid argument",
    [ISCSIADM_TRANSPORT_TIMEOUT] = "connection timed out",
    [ISCSIADM_INTERNAL] = "internal failure",
    [10] = "logout failed",
    [ISCSIADM_PDU_TIMEOUT] = "the target did not answer in time",
    [12] = "no iSCSI transport, is iscsi_tcp loaded?",
    [13] = "not permitted",
    [14] = "transport lacks a capability",
    [ISCSIADM_SESSION_EXISTS] = "session exists already",
    [16] = "unknown request",
    [17] = "iSNS is missing",
    [ISCSIADM_CANNOT_REACH] = "cannot reach iscsid",
    [19] = "the target refused the login for good, it may be gone or not admit this initiator",
    [ISCSIADM_NO_DAEMON] = "cannot reach iscsid",
    [ISCSIADM_NOTHING_FOUND] = "nothing found",
    [22] = "sysfs lookup failed",
    [23] = "host not found",
    [ISCSIADM_LOGIN_REJECTED] = "authorisation failed",
    [25] = "iSNS query failed",
    [26] = "iSNS registration failed",
    [27] = "not supported",
    [28] = "device busy",
    [29] = "try again",
    [30] = "unknown discovery type",
    [31] = "child terminated",
    [ISCSIADM_NOT_CONNECTED] = "session is not connected",
};

const char *iscsiadm_status_text(int status)
{
    if (status < 0 || (size_t)status >= ELEMENTSOF(status_texts))
        return status > 128 ? "ended by a signal" : "unknown failure";
    return status_texts[status];
}

/* A target may tell an initiator to log in elsewhere (RFC 7143, 11.13.5, "target moved"): iscsid would
 * connect to any address, past the tunnel and past what the script's unit may reach. Bound to this interface
 * its connections do not leave the host. */
static const char interface_text[] = "iface.iscsi_ifacename = " ISCSIADM_INTERFACE "\n"
                                     "iface.transport_name = tcp\n"
                                     "iface.net_ifacename = lo\n";

static int bind_over(const char *source, const char *target)
{
    return mount(source, target, NULL, MS_BIND, NULL) < 0 ? -errno : 0;
}

static int mount_tmpfs(const char *directory)
{
    return mount("tmpfs", directory, "tmpfs", MS_NOSUID | MS_NODEV | MS_NOEXEC, "mode=0700,size=1m") < 0
               ? -errno
               : 0;
}

/* What is mounted here stays here; what the host unmounts goes here, too, or the copy would hold the volumes
 * of every other session. */
static int own_namespace(void)
{
    return unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_SLAVE, NULL) < 0 ? -errno : 0;
}

/* In the child, before exec. */
static int private_namespace(void *userdata)
{
    const char *source = userdata;
    int r = own_namespace();

    if (r < 0)
        return r;
    r = bind_over(source, "/etc/iscsi");
    if (r < 0) {
        dprintf(2, "bind over /etc/iscsi: %s\n", strerror(-r));
        return r;
    }
    r = bind_over(source, "/var/lib/iscsi");
    if (r < 0 && r != -ENOENT)
        return r;
    return mount_tmpfs("/run/lock");
}

/* The same for a session of ours whose directory is lost: iscsiadm looks for the interface that the kernel
 * names. */
static int bare_namespace(void *userdata)
{
    _cleanup_close_ int fd = -EBADF;
    int r = own_namespace();

    if (r >= 0)
        r = mount_tmpfs("/etc/iscsi");
    if (r < 0)
        return r;
    if (mkdir("/etc/iscsi/ifaces", 0700) < 0)
        return -errno;
    fd = open("/etc/iscsi/ifaces/" ISCSIADM_INTERFACE, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0 || dprintf(fd, "%s", interface_text) < 0)
        return -errno;
    r = bind_over("/etc/iscsi", "/var/lib/iscsi");
    if (r < 0 && r != -ENOENT)
        return r;
    return mount_tmpfs("/run/lock");
}

int iscsiadm_run(const char *id, char *const *arguments, uint64_t timeout_usec, ChildResult *ret)
{
    const bool bare = id && !*id;
    _cleanup_free_ char *directory = id && !bare ? private_path(id, "iscsi") : NULL, **argv = NULL;
    ChildOptions options = {.timeout_usec = timeout_usec,
                            .setup = bare ? bare_namespace
                                     : id ? private_namespace
                                          : NULL,
                            .userdata = directory};
    size_t n = strv_length(arguments);
    int r;

    if (id && !bare && !directory)
        return -ENOMEM;
    argv = calloc(n + 2, sizeof(*argv));
    if (!argv)
        return -ENOMEM;
    argv[0] = (char *)"iscsiadm";
    memcpy(argv + 1, arguments, n * sizeof(*argv));
    r = child_run(argv, &options, ret);
    if (r < 0)
        return r;
    if (ret->status != 0)
        log_full(LOG_INFO, bare ? NULL : id, "iscsiadm ended with %d (%s): %.200s", ret->status,
                 ret->timed_out ? "deadline passed" : iscsiadm_status_text(ret->status), ret->error);
    return 0;
}

static int write_file(const char *directory, const char *name, const char *text)
{
    _cleanup_free_ char *path = NULL;

    if (asprintf(&path, "%s/%s", directory, name) < 0)
        return -ENOMEM;
    return file_write_atomic(AT_FDCWD, path, text, strlen(text), 0600, (uid_t)-1, (gid_t)-1);
}

int iscsiadm_prepare(const char *id, const char *initiator_name)
{
    _cleanup_free_ char *directory = private_path(id, "iscsi"),
                        *interfaces = private_path(id, "iscsi/ifaces"), *host_file = NULL, *text = NULL;
    int r;

    if (!directory || !interfaces || asprintf(&host_file, "%s/iscsi/initiatorname.iscsi", paths.etc) < 0)
        return -ENOMEM;
    r = dir_make(directory, 0700, 0, 0);
    if (r >= 0)
        r = iscsid_conf_write(directory, NULL);
    if (r < 0)
        return r;
    /* iscsid answers with the host's name when it is asked; this copy is for the versions that read the file.
     */
    r = file_read(AT_FDCWD, host_file, INITIATOR_FILE_MAX, &text, NULL);
    if (r >= 0)
        r = write_file(directory, "initiatorname.iscsi", text);
    if (r < 0 && r != -ENOENT)
        return r;
    free_and_replace(&text, NULL);
    if (asprintf(&text, "%s%s%s%s", interface_text, initiator_name ? "iface.initiatorname = " : "",
                 initiator_name ? initiator_name : "", initiator_name ? "\n" : "") < 0) {
        text = NULL;
        return -ENOMEM;
    }
    r = dir_make(interfaces, 0700, 0, 0);
    return r < 0 ? r : write_file(interfaces, ISCSIADM_INTERFACE, text);
}

int iscsiadm_forget_records(const char *id)
{
    static const char *const directories[] = {"iscsi/nodes", "iscsi/send_targets"};
    size_t i;
    int r = 0;

    for (i = 0; i < ELEMENTSOF(directories); i++) {
        _cleanup_free_ char *path = private_path(id, directories[i]);
        int k = path ? file_remove_tree(AT_FDCWD, path) : -ENOMEM;

        if (k < 0)
            r = k;
    }
    return r;
}

FailureName iscsiadm_failure_name(int status, FailureName otherwise)
{
    switch (status) {
    case ISCSIADM_LOGIN_REJECTED:
        return FAILURE_LOGIN_REJECTED;
    case ISCSIADM_TRANSPORT:
    case ISCSIADM_TRANSPORT_TIMEOUT:
    case ISCSIADM_PDU_TIMEOUT:
        return otherwise == FAILURE_DISCOVERY_FAILED ? FAILURE_PORTAL_UNREACHABLE : otherwise;
    default:
        return otherwise;
    }
}

int iscsiadm_fail(Failure **ret_failure, FailureName name, const ChildResult *result, const char *what)
{
    int r = result->timed_out ? -ETIMEDOUT : -EIO;

    if (!ret_failure || *ret_failure)
        return r;
    *ret_failure = failure_new(name, "%s failed: iscsiadm %s", what,
                               result->timed_out ? "did not end before its deadline"
                                                 : iscsiadm_status_text(result->status));
    if (*ret_failure && asprintf(&(*ret_failure)->code, "iscsiadm %d", result->status) < 0)
        (*ret_failure)->code = NULL;
    return r;
}
