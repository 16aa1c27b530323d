/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "sandbox.h"

#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <termios.h>

#define BWRAP "/usr/bin/bwrap"
#define FILES_MAX 8

/* What scripts, their Python, curl and openssl read in /etc. Absent ones are left out. Not here: anything
 * that holds a secret, and nsswitch.conf and passwd, which we write ourselves (the host's may name modules
 * that talk to sockets in /run). */
static const char *const etc_paths[] = {
    "/etc/alternatives",
    "/etc/ca-certificates",
    "/etc/ca-certificates.conf",
    "/etc/centos-release",
    "/etc/crypto-policies",
    "/etc/debian_version",
    "/etc/fedora-release",
    "/etc/gai.conf",
    "/etc/ld.so.cache",
    "/etc/ld.so.conf",
    "/etc/ld.so.conf.d",
    "/etc/localtime",
    "/etc/lsb-release",
    "/etc/oracle-release",
    "/etc/os-release",
    "/etc/pki/ca-trust",
    "/etc/pki/tls/cert.pem",
    "/etc/pki/tls/certs",
    "/etc/pki/tls/openssl.cnf",
    "/etc/protocols",
    "/etc/python3",
    "/etc/python3.11",
    "/etc/redhat-release",
    "/etc/resolv.conf",
    "/etc/services",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
    "/etc/ssl/certs",
    "/etc/ssl/openssl.cnf",
    "/etc/SuSE-release",
    "/etc/system-release",
    "/var/lib/ca-certificates",
};

/* The script appends CHAP lines to this and drops others; the words are its own business. */
static const char iscsid_conf[] = "# Written by ilr-connect, read by its iscsiadm only.\n"
                                  "node.startup = manual\n"
                                  "node.leading_login = No\n";

typedef struct Argv {
    char **v;
    int fds[FILES_MAX];
    size_t n_fds;
    int r; /* the first error: the many additions are checked once */
} Argv;

static void argv_done(Argv *a)
{
    size_t i;

    strv_free(a->v);
    for (i = 0; i < a->n_fds; i++)
        safe_close(a->fds[i]);
}

/* Several arguments at once, ended by NULL. */
static void _sentinel_ argv_add(Argv *a, ...)
{
    const char *s;
    va_list ap;

    va_start(ap, a);
    while ((s = va_arg(ap, const char *)) && a->r >= 0)
        a->r = strv_extend(&a->v, s);
    va_end(ap);
}

static void argv_add_file(Argv *a, const char *mode, const char *path, const char *content)
{
    size_t n = strlen(content);
    char number[16];
    int fd;

    if (a->r < 0)
        return;
    if (a->n_fds == FILES_MAX) {
        a->r = -E2BIG;
        return;
    }
    fd = memfd_create("ilr-connect", MFD_CLOEXEC);
    if (fd < 0) {
        a->r = -errno;
        return;
    }
    a->fds[a->n_fds++] = fd;
    if (write(fd, content, n) != (ssize_t)n || lseek(fd, 0, SEEK_SET) < 0) {
        a->r = -EIO;
        return;
    }
    snprintf(number, sizeof(number), "%d", fd);
    argv_add(a, "--perms", mode, "--file", number, path, NULL);
}

const char *sandbox_interpreter(const char *script, size_t size)
{
    char line[128];
    size_t n = 0;

    /* A byte order mark is no part of the line. */
    if (size >= 3 && memcmp(script, "\xef\xbb\xbf", 3) == 0) {
        script += 3;
        size -= 3;
    }
    if (size < 2 || script[0] != '#' || script[1] != '!')
        return "python3";
    for (; n < size && n < sizeof(line) - 1 && script[n] != '\n' && script[n]; n++)
        line[n] = script[n];
    line[n] = '\0';
    return !strstr(line, "python") && strstr(line, "sh") ? "bash" : "python3";
}

char *sandbox_hosts(const SandboxOptions *o)
{
    char *text = NULL;
    size_t size = 0;
    char *const *s;
    FILE *f;

    f = open_memstream(&text, &size);
    if (!f)
        return NULL;
    fprintf(f, "127.0.0.1 localhost ilr-%s\n::1 localhost\n", o->session);
    STRV_FOREACH (s, o->portal_host ? o->portal_addresses : NULL)
        fprintf(f, "%s %s\n", *s, o->portal_host);
    if (fclose(f) != 0) {
        free(text);
        return NULL;
    }
    return text;
}

/* /bin and its kin as they are on the host: links into /usr, or directories of their own. */
static void add_root_dirs(Argv *a)
{
    static const char *const names[] = {"/bin", "/lib", "/lib32", "/lib64", "/libx32", "/sbin"};
    char target[64];
    struct stat st;
    size_t i;

    for (i = 0; i < ELEMENTSOF(names); i++) {
        ssize_t n;

        if (lstat(names[i], &st) < 0)
            continue;
        if (S_ISDIR(st.st_mode)) {
            argv_add(a, "--ro-bind", names[i], names[i], NULL);
            continue;
        }
        n = readlink(names[i], target, sizeof(target) - 1);
        if (n <= 0)
            continue;
        target[n] = '\0';
        argv_add(a, "--symlink", target, names[i], NULL);
    }
}

static int add_session_dir(Argv *a, const SandboxOptions *o)
{
    _cleanup_free_ char *script = NULL, *work = NULL, *control = NULL;

    if (asprintf(&script, "%s/script", o->session_dir) < 0 ||
        asprintf(&work, "%s/work", o->session_dir) < 0 ||
        asprintf(&control, "%s/control", o->session_dir) < 0)
        return -ENOMEM;
    argv_add(a, "--ro-bind", script, "/run/script", "--ro-bind", control, SANDBOX_SOCKET, "--bind", work,
             "/work", "--ro-bind", o->stand_in_dir, "/run/stand-in", "--chdir", "/work", NULL);
    return 0;
}

static void add_etc(Argv *a, const char *hosts)
{
    size_t i;

    argv_add(a, "--size", "4194304", "--perms", "0755", "--tmpfs", "/etc", NULL);
    for (i = 0; i < ELEMENTSOF(etc_paths); i++)
        argv_add(a, "--ro-bind-try", etc_paths[i], etc_paths[i], NULL);
    argv_add(a, "--dir", "/etc/MicrosoftAzureBackupILR", "--dir", "/etc/iscsi", NULL);
    argv_add_file(a, "0600", SANDBOX_ISCSID_CONF, iscsid_conf);
    argv_add_file(a, "0644", "/etc/hosts", hosts);
    argv_add_file(a, "0644", "/etc/passwd", "root:x:0:0:root:/root:/bin/sh\n");
    argv_add_file(a, "0644", "/etc/group", "root:x:0:\n");
    argv_add_file(a, "0644", "/etc/nsswitch.conf", "passwd: files\ngroup: files\nhosts: files dns\n");
}

static int make_argv(const SandboxOptions *o, Argv *a)
{
    _cleanup_free_ char *hosts = sandbox_hosts(o), *host_name = NULL;
    int r;

    if (!hosts || asprintf(&host_name, "ilr-%s", o->session) < 0)
        return -ENOMEM;
    /* CAP_DAC_OVERRIDE, inside only: scripts give their tunnel's file a mode that its owner cannot read. */
    argv_add(a, BWRAP, "--unshare-user", "--unshare-pid", "--unshare-ipc", "--unshare-uts",
             "--disable-userns", "--uid", "0", "--gid", "0", "--cap-drop", "ALL", "--cap-add",
             "CAP_DAC_OVERRIDE", "--hostname", host_name, "--new-session", "--die-with-parent", "--ro-bind",
             "/usr", "/usr", NULL);
    add_root_dirs(a);
    argv_add(a, "--proc", "/proc", "--dev", "/dev", NULL);
    add_etc(a, hosts);
    argv_add(a, "--size", "16777216", "--perms", "1777", "--tmpfs", "/tmp", "--size", "1048576", "--tmpfs",
             "/run", "--dir", "/root", "--dir", "/mnt", "--symlink", "/run", "/var/run", "--symlink", "/tmp",
             "/var/tmp", NULL);
    r = add_session_dir(a, o);
    if (r < 0)
        return r;
    /* The root of it all is bubblewrap's own tmpfs without a limit: nobody writes there. */
    argv_add(a, "--remount-ro", "/", NULL);
    argv_add(a, "--", sandbox_interpreter(o->script, o->script_size), "/run/script", NULL);
    return a->r;
}

static int terminal_open(int *ret_master, int *ret_slave)
{
    _cleanup_close_ int master = -EBADF, slave = -EBADF;
    struct winsize size = {.ws_row = 50, .ws_col = 200};
    struct termios t;
    char name[64];

    master = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC | O_NONBLOCK);
    if (master < 0)
        return -errno;
    if (grantpt(master) < 0 || unlockpt(master) < 0 || ptsname_r(master, name, sizeof(name)) != 0)
        return -errno;
    slave = open(name, O_RDWR | O_NOCTTY | O_CLOEXEC);
    if (slave < 0)
        return -errno;
    if (tcgetattr(slave, &t) < 0)
        return -errno;
    /* Lines are edited by nobody and what we type must not come back as output. */
    t.c_lflag &= ~(ECHO | ECHOE | ECHOK | ECHONL | ISIG);
    t.c_oflag &= ~ONLCR;
    if (tcsetattr(slave, TCSANOW, &t) < 0 || ioctl(slave, TIOCSWINSZ, &size) < 0)
        return -errno;
    *ret_master = TAKE_FD(master);
    *ret_slave = TAKE_FD(slave);
    return 0;
}

static void _noreturn_ child_exec(const Argv *a, int slave, pid_t parent)
{
    static char *const environment[] = {
        "PATH=/run/stand-in:/usr/sbin:/usr/bin:/sbin:/bin",
        "HOME=/root",
        "USER=root",
        "LOGNAME=root",
        "SHELL=/bin/sh",
        "TERM=dumb",
        "LC_ALL=C.UTF-8",
        "TMPDIR=/tmp",
        "PYTHONDONTWRITEBYTECODE=1",
        "PYTHONNOUSERSITE=1",
        NULL,
    };
    sigset_t none;
    size_t i;

    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    /* bubblewrap asks for the same only after it has started. */
    if (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0 || getppid() != parent)
        _exit(126);
    if (dup2(slave, STDIN_FILENO) < 0 || dup2(slave, STDOUT_FILENO) < 0 || dup2(slave, STDERR_FILENO) < 0)
        _exit(126);
    for (i = 0; i < a->n_fds; i++)
        if (fcntl(a->fds[i], F_SETFD, 0) < 0)
            _exit(126);
    umask(0022);
    execve(BWRAP, a->v, environment);
    dprintf(STDERR_FILENO, "bwrap: %s: %s\n", BWRAP, strerror(errno));
    _exit(127);
}

int sandbox_start(const SandboxOptions *o, pid_t *ret_pid, int *ret_terminal)
{
    _cleanup_close_ int master = -EBADF, slave = -EBADF;
    _cleanup_(argv_done) Argv a = {};
    pid_t pid, parent = getpid();
    int r;

    r = make_argv(o, &a);
    if (r < 0)
        return r;
    r = terminal_open(&master, &slave);
    if (r < 0)
        return r;
    pid = fork();
    if (pid < 0)
        return -errno;
    if (pid == 0)
        child_exec(&a, slave, parent);
    *ret_pid = pid;
    *ret_terminal = TAKE_FD(master);
    return 0;
}
