/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "check.h"

#include "child.h"
#include "files.h"
#include "initiator-name.h"
#include "verb.h"

#include <ctype.h>
#include <fcntl.h>
#include <pwd.h>
#include <stdarg.h>
#include <sys/statvfs.h>

#define PROGRAM_TIMEOUT_USEC (10 * USEC_PER_SEC)
#define UNIX_SOCKETS_MAX (16 * MIB)
/* open-iscsi's address, where iscsid or, before its first use, systemd listens. */
#define ISCSID_ADDRESS "ISCSIADM_ABSTRACT_NAMESPACE"

/* hint: what to do; NULL: it is in order. */
static int add(json_object *array, const char *name, const char *hint, const char *format, ...)
    _printf_(4, 5);

static int add(json_object *array, const char *name, const char *hint, const char *format, ...)
{
    _cleanup_json_ json_object *o = json_object_new_object();
    _cleanup_free_ char *message = NULL;
    va_list ap;
    int r;

    va_start(ap, format);
    r = vasprintf(&message, format, ap);
    va_end(ap);
    if (r < 0 || !o)
        return -ENOMEM;
    if ((r = json_add_string(o, "name", name)) < 0 ||
        (r = json_add_string(o, "result", hint ? "failed" : "ok")) < 0 ||
        (r = json_add_string(o, "message", message)) < 0 || (r = json_add_string(o, "hint", hint)) < 0)
        return r;
    return json_append(array, TAKE_PTR(o));
}

bool version_at_least(const char *text, unsigned major, unsigned minor)
{
    unsigned a, b;

    for (; *text; text++)
        if (isdigit((unsigned char)*text) && sscanf(text, "%5u.%5u", &a, &b) == 2)
            return a > major || (a == major && b >= minor);
    return false;
}

bool abstract_listener(const char *proc_net_unix, const char *name)
{
    const char *line = proc_net_unix;
    unsigned flags;

    while (*line) {
        size_t n = strcspn(line, "\n");
        const char *at = memrchr(line, '@', n);

        /* Num RefCount Protocol Flags ... Path; __SO_ACCEPTCON is 1 << 16. */
        if (at && at > line && at[-1] == ' ' && n - (size_t)(at + 1 - line) == strlen(name) &&
            strncmp(at + 1, name, strlen(name)) == 0 && sscanf(line, "%*s %*s %*s %8x", &flags) == 1 &&
            (flags & 0x10000))
            return true;
        line += n + (line[n] == '\n');
    }
    return false;
}

static int check_iscsid(json_object *array)
{
    _cleanup_free_ char *text = NULL;
    size_t size;

    if (file_read(AT_FDCWD, "/proc/net/unix", UNIX_SOCKETS_MAX, &text, &size) >= 0 &&
        abstract_listener(text, ISCSID_ADDRESS))
        return add(array, "iscsid", NULL, "it listens, or systemd for it");
    return add(
        array, "iscsid",
        "install open-iscsi; systemctl enable --now iscsid.socket (or iscsid.service where there is no "
        "socket)",
        "nobody listens at iscsid's address");
}

/* Loaded, built in, or there to be loaded? */
static int check_module(json_object *array, const char *name, const char *module)
{
    _cleanup_free_ char *loaded = NULL;
    _cleanup_child_ ChildResult result = {};

    if (asprintf(&loaded, "/sys/module/%s", module) < 0)
        return -ENOMEM;
    if (access(loaded, F_OK) == 0)
        return add(array, name, NULL, "the kernel has the module %s", module);
    if (child_run((char *[]){"modprobe", "-n", "-q", (char *)module, NULL},
                  &(ChildOptions){.timeout_usec = PROGRAM_TIMEOUT_USEC}, &result) >= 0 &&
        result.status == 0)
        return add(array, name, NULL, "the module %s can be loaded", module);
    return add(
        array, name,
        "install the distribution's full kernel package (kernels for clouds leave modules out) and boot it",
        "the running kernel has no module %s", module);
}

static int check_initiator(const Config *config, json_object *array)
{
    _cleanup_failure_ Failure *failure = NULL;
    _cleanup_free_ char *name = NULL;

    if (config->initiator_mode == INITIATOR_NAME)
        return add(array, "initiator name", NULL, "%s, by Initiator= in ilrd.conf", config->initiator_name);
    if (initiator_name_read(&name, &failure) >= 0)
        return add(array, "initiator name", NULL, "%s", name);
    return add(array, "initiator name",
               failure ? failure_hint(failure) : "see /etc/iscsi/initiatorname.iscsi", "%s",
               failure && failure->message ? failure->message : "it cannot be read");
}

/* minor UINT_MAX: any version. */
static int check_program(json_object *array, const char *name, const char *program, unsigned major,
                         unsigned minor, const char *hint)
{
    _cleanup_child_ ChildResult result = {};
    const char *said;
    int r;

    r = child_run((char *[]){(char *)program, "--version", NULL},
                  &(ChildOptions){.timeout_usec = PROGRAM_TIMEOUT_USEC}, &result);
    if (r < 0 || result.status == 127)
        return add(array, name, hint, "%s is not there", program);
    said = result.output && *result.output ? result.output : result.error ? result.error : "";
    r = (int)strcspn(said, "\n");
    if (result.status != 0)
        return add(array, name, hint, "%s --version ended with %d", program, result.status);
    if (!version_at_least(said, major, minor))
        return add(array, name, hint, "%.*s: at least %u.%u is needed", r, said, major, minor);
    return add(array, name, NULL, "%.*s", r, said);
}

/* What a connection script cannot do without. Isolated: no variable and no user's own modules. */
static int check_python_modules(json_object *array)
{
    static const struct {
        const char *name, *hint;
    } modules[] = {
        {"ssl", "install python3 whole, as the distribution has it: the tunnel speaks TLS"},
        {"asyncore", "install python3-pyasyncore: Python 3.12 and later come without asyncore"},
    };
    size_t i;
    int r;

    for (i = 0; i < ELEMENTSOF(modules); i++) {
        _cleanup_child_ ChildResult result = {};
        _cleanup_free_ char *code = NULL;

        if (asprintf(&code, "import %s", modules[i].name) < 0)
            return -ENOMEM;
        r = child_run((char *[]){"python3", "-I", "-W", "ignore", "-c", code, NULL},
                      &(ChildOptions){.timeout_usec = PROGRAM_TIMEOUT_USEC}, &result);
        if (r == -ENOMEM)
            return r;
        if (r < 0 || result.status != 0)
            return add(array, "python3 modules", modules[i].hint, "python3 cannot import %s",
                       modules[i].name);
    }
    return add(array, "python3 modules", NULL, "ssl and asyncore are there");
}

/* A switch of the kernel that keeps ordinary users from what bubblewrap needs. Absent: there is none. */
static bool forbidden(const char *path, const char *value)
{
    _cleanup_free_ char *line = NULL;

    return file_read_line(path, &line) >= 0 && streq(line, value);
}

static int check_namespaces(json_object *array)
{
    static const struct {
        const char *path, *bad, *hint;
    } switches[] = {
        {"/proc/sys/user/max_user_namespaces", "0",
         "sysctl -w user.max_user_namespaces=1024, and in sysctl.d"},
        {"/proc/sys/kernel/unprivileged_userns_clone", "0",
         "sysctl -w kernel.unprivileged_userns_clone=1, and in sysctl.d"},
        {"/proc/sys/kernel/apparmor_restrict_unprivileged_userns", "1",
         "give bwrap an AppArmor profile with userns, or sysctl -w "
         "kernel.apparmor_restrict_unprivileged_userns=0"},
    };
    size_t i;

    for (i = 0; i < ELEMENTSOF(switches); i++)
        if (forbidden(switches[i].path, switches[i].bad))
            return add(array, "user namespaces", switches[i].hint,
                       "%s is %s, the script's sandbox needs them", switches[i].path, switches[i].bad);
    return add(array, "user namespaces", NULL, "ordinary users may make them");
}

static int check_user(json_object *array)
{
    if (getpwnam("ilr-connect"))
        return add(array, "user ilr-connect", NULL, "it is there");
    return add(array, "user ilr-connect", "run systemd-sysusers",
               "there is no such user, scripts could not run");
}

static int check_run(const Config *config, json_object *array)
{
    /* One session with one disk, whose journal changes little: the bound itself is for the worst one. */
    const uint64_t needed =
        config->work_size_bytes + MIN(config->overlay_size_bytes, config->overlay_total_bytes) / 16;
    struct statvfs v;
    uint64_t available;

    if (statvfs("/run", &v) < 0)
        return add(array, "space on /run", "see why /run cannot be looked at", "%s", strerror(errno));
    available = (uint64_t)v.f_bavail * v.f_frsize;
    if (available < needed)
        return add(array, "space on /run",
                   "free memory or space there, or make WorkSizeBytes= and OverlaySizeBytes= smaller",
                   "%llu MiB are free, a session with one disk may take %llu MiB",
                   (unsigned long long)(available / MIB), (unsigned long long)(needed / MIB));
    return add(array, "space on /run", NULL, "%llu MiB are free", (unsigned long long)(available / MIB));
}

int host_checks(const Config *config, json_object *array)
{
    int r;

    if ((r = check_iscsid(array)) < 0 || (r = check_module(array, "iSCSI over TCP", "iscsi_tcp")) < 0 ||
        (r = check_module(array, "overlays", "dm_snapshot")) < 0 ||
        (r = check_initiator(config, array)) < 0 ||
        (r = check_program(array, "iscsiadm", "iscsiadm", 2, 0, "install open-iscsi")) < 0 ||
        (r = check_program(array, "bubblewrap", "bwrap", 0, 8, "install bubblewrap 0.8 or later")) < 0 ||
        (r = check_program(array, "python3", "python3", 3, 0,
                           "install python3, the connection script is Python")) < 0 ||
        (r = check_python_modules(array)) < 0 || (r = check_namespaces(array)) < 0 ||
        (r = check_user(array)) < 0)
        return r;
    return check_run(config, array);
}

int verb_check(Request *request, json_object **ret_answer, Failure **ret_failure)
{
    _cleanup_json_ json_object *answer = json_object_new_object(), *array = json_object_new_array();
    int r;

    if (!answer || !array)
        return -ENOMEM;
    r = host_checks(request->config, array);
    if (r >= 0)
        r = json_add(answer, "checks", TAKE_PTR(array));
    if (r < 0)
        return r;
    *ret_answer = TAKE_PTR(answer);
    return 0;
}
