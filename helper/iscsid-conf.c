/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "iscsid-conf.h"

#include "files.h"
#include "verb.h"

#include <fcntl.h>

/* Records are made with what stands here at that moment; nothing of the host's iscsid.conf counts. Times in
 * seconds. */
static const char settings[] =
    "node.startup = manual\n"
    "node.leading_login = No\n"
    "node.session.nr_sessions = 1\n"
    /* The helper scans, when it is ready for the disks: nothing appears by itself. */
    "node.session.scan = manual\n"
    /* How long I/O waits for a connection that broke before it ends with EIO. Longer than a tunnel's hiccup,
     * shorter than people wait: the stock 120 s leave every reader in state D. Together with the two below a
     * reader on a dead recovery point gets EIO after 25 s and what the kernel's rounding of timers and a busy
     * machine add, within 30 s, whatever the size of its disk. */
    "node.session.timeo.replacement_timeout = " REPLACEMENT_TIMEOUT "\n"
    /* A dead target is noticed 5 + 10 s after its last byte. A ping waits behind the data in the tunnel's
     * buffers, so 5 s for its answer, the stock value, is too little for a slow line that is busy; data that
     * comes counts as well. */
    "node.conn[0].timeo.noop_out_interval = 5\n"
    "node.conn[0].timeo.noop_out_timeout = 10\n"
    /* One try answers within a round trip or not at all; the tunnel is on this host. At most 2 x 15 s, the
     * deadline of the iscsiadm call is above that. The stock values are 8 x 15 s. */
    "node.conn[0].timeo.login_timeout = 15\n"
    "node.session.initial_login_retry_max = 2\n"
    /* A dead target never answers the logout: do not wait for it. */
    "node.conn[0].timeo.logout_timeout = 5\n"
    "node.session.err_timeo.abort_timeout = 10\n"
    "node.session.err_timeo.lu_reset_timeout = 15\n"
    "node.session.err_timeo.tgt_reset_timeout = 15\n"
    "node.session.err_timeo.host_reset_timeout = 30\n"
    /* The stock 0 tries for ever, several times a second, after the tunnel has gone. */
    "node.session.reopen_max = 32\n"
    "node.session.cmds_max = 128\n"
    "node.session.queue_depth = 32\n"
    "node.session.iscsi.InitialR2T = No\n"
    "node.session.iscsi.ImmediateData = Yes\n"
    "node.session.iscsi.FirstBurstLength = 262144\n"
    "node.session.iscsi.MaxBurstLength = 16776192\n"
    "node.conn[0].iscsi.MaxRecvDataSegmentLength = 262144\n"
    "node.conn[0].iscsi.MaxXmitDataSegmentLength = 0\n"
    "node.session.iscsi.FastAbort = Yes\n"
    "discovery.sendtargets.iscsi.MaxRecvDataSegmentLength = 32768\n"
    "discovery.sendtargets.timeo.login_timeout = 15\n"
    "discovery.sendtargets.reopen_max = 1\n";

static bool chap_text_valid(const char *s, size_t max)
{
    size_t n = strlen(s), i;

    if (n == 0 || n > max || s[0] == ' ' || s[n - 1] == ' ')
        return false;
    for (i = 0; i < n; i++)
        if (s[i] < ' ' || s[i] > '~')
            return false;
    return true;
}

int chap_from_json(json_object *parameters, Chap *ret, Failure **ret_failure)
{
    static const char *const known[] = {"username", "password", NULL};
    json_object *o;
    const char *unknown;
    int r = json_get_object(parameters, "chap", &o);

    if (r == 0)
        return 0;
    if (r < 0)
        return verb_fail(ret_failure, r, FAILURE_INVALID_REQUEST, "chap: an object is expected");
    unknown = json_unknown_key(o, known);
    if (unknown)
        return verb_fail(ret_failure, -EINVAL, FAILURE_INVALID_REQUEST, "chap: %.40s is not known", unknown);
    /* The values are not shown: both are credentials. */
    if (json_get_string(o, "username", &ret->username) <= 0 || !chap_text_valid(ret->username, CHAP_NAME_MAX))
        return verb_fail(ret_failure, -EINVAL, FAILURE_INVALID_REQUEST,
                         "chap.username: 1 to %d printable ASCII characters are expected", CHAP_NAME_MAX);
    if (json_get_string(o, "password", &ret->password) <= 0 ||
        !chap_text_valid(ret->password, CHAP_PASSWORD_MAX))
        return verb_fail(ret_failure, -EINVAL, FAILURE_INVALID_REQUEST,
                         "chap.password: 1 to %d printable ASCII characters are expected", CHAP_PASSWORD_MAX);
    return 1;
}

Secret *iscsid_conf_text(const Chap *chap)
{
    static const char *const prefixes[] = {"node.session", "discovery.sendtargets"};
    _cleanup_erase_ char *text = NULL;
    size_t size, i;
    FILE *f = open_memstream(&text, &size);
    bool failed;

    if (!f)
        return NULL;
    fputs(settings, f);
    for (i = 0; i < ELEMENTSOF(prefixes); i++) {
        fprintf(f, "%s.auth.authmethod = %s\n", prefixes[i], chap ? "CHAP" : "None");
        if (chap)
            fprintf(f, "%s.auth.username = %s\n%s.auth.password = %s\n", prefixes[i], chap->username,
                    prefixes[i], chap->password);
    }
    failed = ferror(f);
    if (fclose(f) != 0 || failed)
        return NULL;
    return secret_new(text, size);
}

int iscsid_conf_write(const char *directory, const Chap *chap)
{
    _cleanup_secret_ Secret *text = iscsid_conf_text(chap);
    _cleanup_free_ char *path = NULL;

    if (!text || asprintf(&path, "%s/iscsid.conf", directory) < 0)
        return -ENOMEM;
    return file_write_atomic(AT_FDCWD, path, secret_text(text), secret_size(text), 0600, (uid_t)-1,
                             (gid_t)-1);
}
