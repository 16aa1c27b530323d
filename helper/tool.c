/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "tool.h"

#include "volume.h"

#include <fcntl.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#define WORDS_MAX 300
#define MEMORY_MIN (256 * MIB)
#define MEMORY_OF_ITS_OWN (64 * MIB) /* addresses of program, libraries and stacks */

typedef struct ToolCall {
    const ToolNode *nodes;
    size_t n_nodes;
    const char *lvm_config;
} ToolCall;

bool tool_exists(const char *program)
{
    static const char *const directories[] = {"/usr/sbin", "/usr/bin", "/sbin", "/bin"};
    size_t i;

    for (i = 0; i < ELEMENTSOF(directories); i++) {
        char path[128];

        snprintf(path, sizeof(path), "%s/%s", directories[i], program);
        if (access(path, X_OK) == 0)
            return true;
    }
    return false;
}

static int node_make(const char *path, mode_t type, dev_t device)
{
    return mknod(path, type | 0600, device) < 0 && errno != EEXIST ? -errno : 0;
}

static int make_dev(const ToolCall *c)
{
    static const struct {
        const char *path;
        unsigned major, minor;
    } fixed[] = {
        {"/dev/null", 1, 3},
        {"/dev/zero", 1, 5},
        {"/dev/random", 1, 8},
        {"/dev/urandom", 1, 9},
        {"/dev/mapper/control", 10, 236},
    };
    size_t i;
    int r = 0;

    if (mkdir("/dev/mapper", 0755) < 0)
        return -errno;
    for (i = 0; r >= 0 && i < ELEMENTSOF(fixed); i++)
        r = node_make(fixed[i].path, S_IFCHR, makedev(fixed[i].major, fixed[i].minor));
    for (i = 0; r >= 0 && i < c->n_nodes; i++) {
        char path[256];

        snprintf(path, sizeof(path), "/dev/mapper/%s", c->nodes[i].name);
        r = node_make(path, S_IFBLK, c->nodes[i].device);
    }
    return r;
}

static int text_write(const char *path, const char *text)
{
    _cleanup_close_ int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    size_t n = strlen(text);

    return fd < 0 || write(fd, text, n) != (ssize_t)n ? -EIO : 0;
}

static int make_namespace(const ToolCall *c)
{
    int r;

    /* Slave: a copy of another session's mounts would hold them, after that had unmounted them. */
    if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_SLAVE, NULL) < 0 ||
        mount("tmpfs", "/dev", "tmpfs", MS_NOSUID | MS_NOEXEC, "mode=0755,size=1m") < 0)
        return -errno;
    /* libdevmapper waits for udev only where it finds udev's socket. */
    if (mkdir("/dev/udev", 0755) < 0 || mount("/run/udev", "/dev/udev", NULL, MS_BIND, NULL) < 0 ||
        mount("tmpfs", "/run", "tmpfs", MS_NOSUID | MS_NODEV | MS_NOEXEC, "mode=0755,size=16m") < 0 ||
        mkdir("/run/udev", 0755) < 0 || mount("/dev/udev", "/run/udev", NULL, MS_MOVE, NULL) < 0 ||
        rmdir("/dev/udev") < 0)
        return -errno;
    if (mkdir("/run/lvm", 0700) < 0 || mkdir("/run/lock", 0755) < 0 || mkdir("/run/cryptsetup", 0700) < 0)
        return -errno;
    r = c->lvm_config ? text_write("/run/lvm/lvm.conf", c->lvm_config) : 0;
    return r < 0 ? r : make_dev(c);
}

/* A LUKS header says how much memory its keys are derived in, up to 4 GiB: what somebody else wrote must not
 * bring the kernel to kill what else runs here. Beyond the limit the tool is refused memory, and says so. */
static int limit_memory(void)
{
    _cleanup_fclose_ FILE *f = fopen("/proc/meminfo", "re");
    struct rlimit limit;
    uint64_t kib = 0;
    char line[128];

    while (f && kib == 0 && fgets(line, sizeof(line), f))
        (void)sscanf(line, "MemAvailable: %" SCNu64, &kib);
    limit.rlim_cur = limit.rlim_max = MAX(kib * KIB / 4 * 3 + MEMORY_OF_ITS_OWN, MEMORY_MIN);
    return setrlimit(RLIMIT_AS, &limit) < 0 ? -errno : 0;
}

static int setup(void *userdata)
{
    int r = limit_memory();

    if (r >= 0)
        r = make_namespace(userdata);
    if (r < 0) /* taken for the tool's own words */
        dprintf(STDERR_FILENO, "its namespace cannot be made: %s\n", strerror(-r));
    return r;
}

int tool_run(const ToolNode *nodes, size_t n_nodes, char *const *argv, const char *lvm_config,
             const char *input, size_t input_size, uint64_t timeout_usec, ChildResult *ret)
{
    static char *const environment[] = {(char *)"PATH=/usr/sbin:/usr/bin:/sbin:/bin",
                                        (char *)"LC_ALL=C.UTF-8", (char *)"LVM_SYSTEM_DIR=/run/lvm",
                                        (char *)"LVM_SUPPRESS_FD_WARNINGS=1", NULL};
    ToolCall call = {.nodes = nodes, .n_nodes = n_nodes, .lvm_config = lvm_config};
    const ChildOptions options = {.timeout_usec = timeout_usec,
                                  .input = input,
                                  .input_size = input_size,
                                  .environment = environment,
                                  .setup = setup,
                                  .userdata = &call};

    if (!tool_exists(argv[0]))
        return -ENOENT;
    return child_run(argv, &options, ret);
}

char *tool_last_words(const ChildResult *result)
{
    _cleanup_strv_free_ char **lines = NULL;
    const char *words = NULL;
    char **line, *clean;

    if (result->timed_out)
        return strdup("it took too long");
    if (strv_split(result->error, "\n", &lines) < 0)
        return NULL;
    STRV_FOREACH (line, lines)
        if ((*line)[strspn(*line, " ")] && !strstr(*line, "Internal error: Unreleased"))
            words = *line + strspn(*line, " ");
    if (words)
        return text_clean(words, WORDS_MAX);
    return asprintf(&clean, "exit status %d without a word", result->status) < 0 ? NULL : clean;
}
