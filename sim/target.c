/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "target.h"

#include "child.h"
#include "log.h"
#include "timeutil.h"
#include "validate.h"

#include <ctype.h>
#include <signal.h>
#include <stdarg.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>

#define TGTADM_USEC (20 * USEC_PER_SEC)
#define START_USEC (15 * USEC_PER_SEC)
#define GONE_USEC (10 * USEC_PER_SEC)
#define POLL_USEC (50 * USEC_PER_MSEC)

struct Targets {
    char control[16];
    pid_t tgtd; /* our own, or 0 */
};

static int fail(char **ret_error, int r, const char *format, ...) _printf_(3, 4);
static int fail(char **ret_error, int r, const char *format, ...)
{
    va_list ap;

    va_start(ap, format);
    if (vasprintf(ret_error, format, ap) < 0)
        *ret_error = NULL;
    va_end(ap);
    return r;
}

/* Runs tgtadm; the arguments end with NULL. The account's password stands in its argument list because tgtadm
 * knows no other way: the secrets of a simulator are throw-away ones. */
static int tgtadm(Targets *t, char **ret_output, char **ret_error, ...) _sentinel_;
static int tgtadm(Targets *t, char **ret_output, char **ret_error, ...)
{
    const char *argv[32] = {"tgtadm", "-C", t->control, "--lld", "iscsi"}, *s;
    const ChildOptions options = {.timeout_usec = TGTADM_USEC};
    _cleanup_child_ ChildResult result = {};
    size_t n = 5;
    va_list ap;
    int r;

    va_start(ap, ret_error);
    while (n < ELEMENTSOF(argv) - 1 && (s = va_arg(ap, const char *)))
        argv[n++] = s;
    va_end(ap);
    r = child_run((char *const *)argv, &options, &result);
    if (r < 0)
        return fail(ret_error, r, "cannot run tgtadm: %s", strerror(-r));
    if (result.status != 0) {
        result.error[strcspn(result.error, "\n")] = '\0';
        return fail(ret_error, -EIO, "tgtadm %s %s %s %s: %s", argv[5], argv[6], argv[7], argv[8],
                    result.timed_out       ? "no answer"
                    : *result.error        ? result.error
                    : result.status == 127 ? "not installed (package tgt)"
                                           : "failed");
    }
    if (ret_output)
        *ret_output = TAKE_PTR(result.output);
    return 0;
}

unsigned target_parse_show(const char *output, const char *name, unsigned *ret_highest)
{
    unsigned found = 0, highest = 0;

    while (*output) {
        size_t n = strcspn(output, "\n");
        const char *p = startswith(output, "Target ");
        char *end;

        if (p && isdigit((unsigned char)*p)) {
            unsigned long tid = strtoul(p, &end, 10);

            if (tid > 0 && tid < 65536 && end[0] == ':' && end[1] == ' ') {
                size_t length = output + n - (end + 2);

                highest = MAX(highest, (unsigned)tid);
                if (name && strlen(name) == length && strncmp(end + 2, name, length) == 0)
                    found = tid;
            }
        }
        output += n + (output[n] == '\n');
    }
    if (ret_highest)
        *ret_highest = highest;
    return found;
}

static int show(Targets *t, char **ret, char **ret_error)
{
    return tgtadm(t, ret, ret_error, "--op", "show", "--mode", "target", NULL);
}

size_t target_count(const Registration *r)
{
    return r->multi_target ? strv_length(r->disks) : 1;
}

int target_name_make(const Registration *r, size_t n, char **ret)
{
    const char *dot, *digits;

    if (!r->multi_target) {
        *ret = strdup(r->target_name);
        return *ret ? 0 : -ENOMEM;
    }
    dot = strrchr(r->target_name, '.');
    for (digits = dot; digits && digits > r->target_name && isdigit((unsigned char)digits[-1]); digits--)
        ;
    if (!dot || digits == dot)
        return -EINVAL;
    return asprintf(ret, "%.*s%zu%s", (int)(digits - r->target_name), r->target_name, n, dot) < 0 ? -ENOMEM
                                                                                                  : 0;
}

/* Removes one target by name; gone already is fine. Its sessions may take a moment to end. */
static int remove_target(Targets *t, const char *name, char **ret_error)
{
    uint64_t deadline = now_usec(CLOCK_MONOTONIC) + GONE_USEC;

    for (;;) {
        _cleanup_free_ char *output = NULL;
        char tid[16];
        unsigned n;
        int r;

        free_and_replace(ret_error, NULL);
        r = show(t, &output, ret_error);
        if (r < 0)
            return r;
        n = target_parse_show(output, name, NULL);
        if (n == 0)
            return 0;
        snprintf(tid, sizeof(tid), "%u", n);
        r = tgtadm(t, NULL, ret_error, "--op", "delete", "--mode", "target", "--tid", tid, "--force", NULL);
        if (r < 0 && now_usec(CLOCK_MONOTONIC) > deadline)
            return r;
        if (r < 0)
            usleep(POLL_USEC);
    }
}

static bool account_exists(Targets *t, const char *user)
{
    _cleanup_free_ char *output = NULL, *error = NULL;
    const char *p;

    if (tgtadm(t, &output, &error, "--op", "show", "--mode", "account", NULL) < 0)
        return false;
    for (p = output; (p = strstr(p, user)); p++)
        if (p > output && isspace((unsigned char)p[-1]) &&
            (isspace((unsigned char)p[strlen(user)]) || !p[strlen(user)]))
            return true;
    return false;
}

static int account_delete(Targets *t, const char *user, char **ret_error)
{
    return tgtadm(t, NULL, ret_error, "--op", "delete", "--mode", "account", "--user", user, NULL);
}

static int account_new(Targets *t, const char *user, const char *password, char **ret_error)
{
    int q = account_exists(t, user) ? account_delete(t, user, ret_error) : 0;

    return q < 0 ? q
                 : tgtadm(t, NULL, ret_error, "--op", "new", "--mode", "account", "--user", user,
                          "--password", password, NULL);
}

int targets_remove(Targets *t, const Registration *r, char **ret_error)
{
    int q, first = 0;
    size_t i;

    *ret_error = NULL;
    for (i = 0; i < target_count(r); i++) {
        _cleanup_free_ char *name = NULL, *error = NULL;

        q = target_name_make(r, i, &name);
        if (q >= 0)
            q = remove_target(t, name, &error);
        if (q < 0 && first == 0) {
            first = q;
            *ret_error = TAKE_PTR(error);
        }
    }
    if (account_exists(t, r->user_name)) {
        _cleanup_free_ char *error = NULL;

        q = account_delete(t, r->user_name, &error);
        if (q < 0 && first == 0) {
            first = q;
            *ret_error = TAKE_PTR(error);
        }
    }
    return first;
}

static bool offline(const TargetOptions *options, size_t lun)
{
    for (size_t i = 0; options->offline && i < json_object_array_length(options->offline); i++)
        if (json_object_get_int64(json_object_array_get_idx(options->offline, i)) == (int64_t)lun)
            return true;
    return false;
}

/* disk counts from 0 over the whole registration, lun from 1 within its target: tgt keeps 0 for a controller.
 */
static int create_lun(Targets *t, const Registration *r, const TargetOptions *options, const char *tid,
                      size_t disk, size_t lun, char **ret_error)
{
    char number[16], block[16], params[256];
    int q;

    snprintf(number, sizeof(number), "%zu", lun);
    snprintf(block, sizeof(block), "%u", (unsigned)(options->block_bytes > 0 ? options->block_bytes : 512));
    q = tgtadm(t, NULL, ret_error, "--op", "new", "--mode", "logicalunit", "--tid", tid, "--lun", number,
               "--blocksize", block, "--backing-store", r->disks[disk], NULL);
    if (q < 0)
        return q;
    snprintf(params, sizeof(params),
             "vendor_id=%s,product_id=Recovered Disk,scsi_sn=%s%02zu,scsi_id=ILR %s%02zu,readonly=%d",
             TARGET_VENDOR, r->id, disk, r->id, disk, !options->writable);
    q = tgtadm(t, NULL, ret_error, "--op", "update", "--mode", "logicalunit", "--tid", tid, "--lun", number,
               "--params", params, NULL);
    if (q >= 0 && offline(options, disk + 1))
        q = tgtadm(t, NULL, ret_error, "--op", "update", "--mode", "logicalunit", "--tid", tid, "--lun",
                   number, "--params", "online=0", NULL);
    return q;
}

static int create_target(Targets *t, const Registration *r, const TargetOptions *options, size_t n,
                         char **ret_error)
{
    _cleanup_free_ char *name = NULL, *output = NULL;
    size_t first = r->multi_target ? n : 0, last = r->multi_target ? n + 1 : strv_length(r->disks), i;
    char tid[16];
    unsigned highest;
    int q;

    q = target_name_make(r, n, &name);
    if (q == -EINVAL || (q >= 0 && !target_name_valid(name)))
        return fail(ret_error, -EINVAL, "target name %s: expected " TARGET_PREFIX "...%s", r->target_name,
                    r->multi_target ? "-0.TICKS" : "");
    if (q >= 0)
        q = remove_target(t, name, ret_error); /* of an earlier simulator */
    if (q >= 0)
        q = show(t, &output, ret_error);
    if (q < 0)
        return q;
    (void)target_parse_show(output, NULL, &highest);
    snprintf(tid, sizeof(tid), "%u", highest + 1);
    q = tgtadm(t, NULL, ret_error, "--op", "new", "--mode", "target", "--tid", tid, "-T", name, NULL);
    for (i = first; q >= 0 && i < last && !options->no_luns; i++)
        q = create_lun(t, r, options, tid, i, i - first + 1, ret_error);
    if (q >= 0)
        q = tgtadm(t, NULL, ret_error, "--op", "bind", "--mode", "account", "--tid", tid, "--user",
                   r->user_name, NULL);
    if (q >= 0) /* last: nobody is admitted before all is there */
        q = tgtadm(t, NULL, ret_error, "--op", "bind", "--mode", "target", "--tid", tid,
                   r->initiator_name ? "--initiator-name" : "--initiator-address",
                   r->initiator_name ? r->initiator_name : "ALL", NULL);
    return q;
}

static int check_disks(const Registration *r, char **ret_error)
{
    char **disk;

    if (strv_length(r->disks) == 0 || strv_length(r->disks) > TARGET_DISKS_MAX)
        return fail(ret_error, -EINVAL, "%zu disks: expected 1 to %d", strv_length(r->disks),
                    TARGET_DISKS_MAX);
    STRV_FOREACH (disk, r->disks) {
        struct stat st;

        if (**disk != '/')
            return fail(ret_error, -EINVAL, "disk %s: expected an absolute path", *disk);
        if (stat(*disk, &st) < 0)
            return fail(ret_error, -errno, "disk %s: %s", *disk, strerror(errno));
        if (!S_ISREG(st.st_mode) && !S_ISBLK(st.st_mode))
            return fail(ret_error, -EINVAL, "disk %s: expected a regular file or a block device", *disk);
    }
    return 0;
}

int targets_create(Targets *t, const Registration *r, const TargetOptions *options, char **ret_error)
{
    size_t i;
    int q;

    *ret_error = NULL;
    if (r->initiator_name && !iscsi_name_valid(r->initiator_name))
        return fail(ret_error, -EINVAL, "initiator name %s: not an iSCSI name", r->initiator_name);
    q = check_disks(r, ret_error);
    if (q >= 0)
        q = account_new(t, r->user_name, r->password, ret_error);
    if (q < 0)
        return q;
    for (i = 0; q >= 0 && i < target_count(r); i++)
        q = create_target(t, r, options, i, ret_error);
    if (q < 0) {
        _cleanup_free_ char *error = NULL;

        (void)targets_remove(t, r, &error);
    }
    return q;
}

/* Targets of a simulator that was killed would stand for ever in a tgtd that is not ours. */
static int remove_leftovers(Targets *t, char **ret_error)
{
    _cleanup_free_ char *output = NULL;
    _cleanup_strv_free_ char **lines = NULL;
    char **line;
    int r;

    r = show(t, &output, ret_error);
    if (r >= 0)
        r = strv_split(output, "\n", &lines);
    STRV_FOREACH (line, lines) {
        const char *name = startswith(*line, "Target ") ? strstr(*line, ": " TARGET_PREFIX) : NULL;

        if (r < 0)
            return r;
        if (name) {
            log_info("Removing target %s of an earlier run", name + 2);
            r = remove_target(t, name + 2, ret_error);
        }
    }
    return r;
}

static int start_tgtd(Targets *t, const BackendConfig *config, char **ret_error)
{
    uint64_t deadline = now_usec(CLOCK_MONOTONIC) + START_USEC;
    _cleanup_free_ char *portal = NULL;
    int status;

    if (asprintf(&portal, "portal=%s", config->tgt_portal) < 0) {
        portal = NULL;
        return -ENOMEM;
    }
    t->tgtd = fork();
    if (t->tgtd < 0) {
        t->tgtd = 0;
        return -errno;
    }
    if (t->tgtd == 0) {
        sigset_t none;

        sigemptyset(&none);
        (void)sigprocmask(SIG_SETMASK, &none, NULL);
        (void)setpgid(0, 0); /* a ^C at our terminal is ours to handle, in order */
        (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
        (void)close_range(3, ~0U, 0);
        execlp("tgtd", "tgtd", "-f", "-C", t->control, "--iscsi", portal, NULL);
        execl("/usr/sbin/tgtd", "tgtd", "-f", "-C", t->control, "--iscsi", portal, NULL);
        _exit(127);
    }
    for (;;) {
        _cleanup_free_ char *output = NULL, *error = NULL;

        if (show(t, &output, &error) >= 0)
            return 0;
        if (waitpid(t->tgtd, &status, WNOHANG) == t->tgtd) {
            t->tgtd = 0;
            return fail(ret_error, -EIO, "tgtd on %s: %s", config->tgt_portal,
                        WIFEXITED(status) && WEXITSTATUS(status) == 127
                            ? "not installed (package tgt)"
                            : "ended at once (address or control port in use, not root?)");
        }
        if (now_usec(CLOCK_MONOTONIC) > deadline)
            return fail(ret_error, -ETIMEDOUT, "tgtd does not answer: %s", error ? error : "?");
        usleep(POLL_USEC);
    }
}

int targets_start(const BackendConfig *config, const char *discovery_user, const char *discovery_password,
                  Targets **ret, char **ret_error)
{
    _cleanup_free_ char *output = NULL, *error = NULL;
    Targets *t = calloc(1, sizeof(*t));
    bool running;
    int r;

    *ret_error = NULL;
    if (!t)
        return -ENOMEM;
    snprintf(t->control, sizeof(t->control), "%u", config->tgt_control_port);
    running = show(t, &output, &error) >= 0;
    if (config->tgt_start && running)
        r = fail(ret_error, -EADDRINUSE, "another tgtd has control port %s", t->control);
    else if (config->tgt_start)
        r = start_tgtd(t, config, ret_error);
    else if (running)
        r = remove_leftovers(t, ret_error);
    else
        r = fail(ret_error, -ECONNREFUSED, "no tgtd has control port %s: %s", t->control,
                 error ? error : "?");
    if (r >= 0)
        r = account_new(t, discovery_user, discovery_password, ret_error);
    /* Without a target's number: it is asked for in discovery sessions. */
    if (r >= 0)
        r = tgtadm(t, NULL, ret_error, "--op", "bind", "--mode", "account", "--user", discovery_user, NULL);
    if (r < 0) {
        targets_stop(t);
        return r;
    }
    *ret = t;
    return 0;
}

Targets *targets_stop(Targets *t)
{
    if (!t)
        return NULL;
    if (t->tgtd > 0) {
        /* Nothing of value is in it: the targets are gone, and images are not cached by it. */
        (void)kill(t->tgtd, SIGKILL);
        (void)waitpid(t->tgtd, NULL, 0);
    }
    free(t);
    return NULL;
}
