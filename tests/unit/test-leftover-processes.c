/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Which processes are told as left, on a made-up /proc; and that of real ones only a tunnel is ended. */

#include "files.h"
#include "helper-host.h"
#include "leftover.h"
#include "paths.h"
#include "process.h"

#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include <cmocka.h>

#define LEFT "left5678"

static char *const known[] = {(char *)ID, NULL};

static void put(int pid, const char *name, const char *text)
{
    char path[64];

    snprintf(path, sizeof(path), "proc/%d/%s", pid, name);
    scratch_put(path, text);
}

static void put_process(int pid, const char *comm, const char *unit)
{
    char text[128];

    snprintf(text, sizeof(text), "0::/system.slice/system-ilr.slice/%s\n", unit);
    put(pid, "comm", comm);
    put(pid, "cgroup", text);
    put(pid, "stat", "1 (x y) D 1 1 1 0 -1 0 0 0 0 0 0 0 0 0 20 0 1 0 4242 0 0\n");
}

/* How it was started: each word ends with a NUL. */
static void put_words(int pid, const char *first, const char *second)
{
    char path[64];
    FILE *f;

    put(pid, "cmdline", "");
    snprintf(path, sizeof(path), "%s/proc/%d/cmdline", scratch, pid);
    f = fopen(path, "we");
    assert_non_null(f);
    fprintf(f, "%s%c%s%c", first, 0, second, 0);
    assert_int_equal(fclose(f), 0);
}

static void remove_process(int pid)
{
    char path[64];

    snprintf(path, sizeof(path), "%s/proc/%d", scratch, pid);
    assert_int_equal(file_remove_tree(AT_FDCWD, path), 0);
}

static const Leftover *find(const Leftovers *l, const char *name)
{
    size_t i;

    for (i = 0; i < l->n; i++)
        if (streq(l->items[i].name, name))
            return &l->items[i];
    return NULL;
}

#define HOST_TEST(name) cmocka_unit_test_setup_teardown(name, host_make_with_proc, scratch_remove)

/* However many processes the sessions have that are known, one that is nobody's is told. */
static void beside_many(void **state)
{
    Leftovers l = {.filter = {.without = known}};
    int pid;

    for (pid = 2000; pid < 2400; pid++)
        put_process(pid, "bwrap\n", "ilr-connection@" ID ".service");
    put_process(4711, "python3\n", "ilr-connection@" LEFT ".service");
    assert_int_equal(leftover_add_processes(&l, USEC_PER_MINUTE), 0);
    assert_int_equal(l.n, 1);
    assert_string_equal(l.items[0].name, "4711");
    assert_string_equal(l.items[0].session, LEFT);
    assert_int_equal(l.items[0].kind, LEFTOVER_PROCESS);
    assert_true(l.items[0].ours);
    assert_false(l.cut);
    leftovers_done(&l);
    /* All of them, if nobody is known. */
    assert_int_equal(leftover_add_processes(&l, USEC_PER_MINUTE), 0);
    assert_int_equal(l.n, 401);
    assert_false(l.cut);
    leftovers_done(&l);
    l.filter.only = LEFT;
    assert_int_equal(leftover_add_processes(&l, USEC_PER_MINUTE), 0);
    assert_int_equal(l.n, 1);
    leftovers_done(&l);
}

/* More than a child may tell: that there is more is told. */
static void too_many(void **state)
{
    Leftovers l = {};
    char comm[901];
    int pid;

    memset(comm, 'x', sizeof(comm) - 1);
    comm[sizeof(comm) - 1] = '\0';
    for (pid = 2000; pid < 3500; pid++)
        put_process(pid, comm, "ilr-connection@" ID ".service");
    assert_int_equal(leftover_add_processes(&l, USEC_PER_MINUTE), 0);
    assert_true(l.n > 500 && l.n < 1500);
    assert_true(l.cut);
    leftovers_done(&l);
    /* Those of a session that is known take nobody's room. */
    put_process(4711, "python3\n", "ilr-connection@" LEFT ".service");
    l.filter.without = known;
    assert_int_equal(leftover_add_processes(&l, USEC_PER_MINUTE), 0);
    assert_int_equal(l.n, 1);
    assert_false(l.cut);
    leftovers_done(&l);
}

/* What the list has room for is for what is asked about. */
static void full(void **state)
{
    Leftovers l = {.filter = {.without = known}};
    Leftover item = {.kind = LEFTOVER_FILE, .session = ID};
    int i;

    for (i = 0; i <= LEFTOVERS_MAX; i++)
        assert_int_equal(leftovers_addf(&l, item, "/x", "of a session"), 0);
    assert_int_equal(l.n, 0);
    assert_false(l.cut);
    strcpy(item.session, LEFT);
    for (i = 0; i <= LEFTOVERS_MAX; i++)
        assert_int_equal(leftovers_addf(&l, item, "/x", "of a session"), 0);
    assert_int_equal(l.n, LEFTOVERS_MAX);
    assert_true(l.cut);
    leftovers_done(&l);
}

/* A process may have any name. */
static void odd_name(void **state)
{
    Leftovers l = {};

    put_process(4711, "\xff\x1b[2J\"\n", "ilr-session@" LEFT ".service");
    assert_int_equal(leftover_add_processes(&l, USEC_PER_MINUTE), 0);
    assert_int_equal(l.n, 1);
    assert_non_null(find(&l, "4711"));
    assert_null(strchr(l.items[0].detail, '\x1b'));
    leftovers_done(&l);
}

/* A process that the kernel does not tell about, as one that waits for a dead disk with its memory locked:
 * what was seen until then counts, and it is told that there may be more. */
static void hanging_entry(void **state)
{
    Leftovers l = {};
    char path[64];

    scratch_dir("proc/4712");
    snprintf(path, sizeof(path), "%s/proc/4712/comm", scratch);
    assert_int_equal(mkfifo(path, 0600), 0); /* who opens it waits */
    assert_int_equal(leftover_add_processes(&l, 300 * USEC_PER_MSEC), 0);
    assert_true(l.cut);
    leftovers_done(&l);
}

/* A helper's or a hook's process is left when its unit is not there any more, and only then: such units come
 * and go beside us. */
static void outlives_its_unit(void **state)
{
    Leftovers l = {.filter = {.without = known}}, processes = l;
    LeftoverUnits units = {.found = &l, .processes = &processes, .ending.filter = l.filter};

    put_process(4711, "mount\n", "ilr-helper@5-77-0.service");
    put_process(4712, "ilr-helper\n", "ilr-helper@6-78-988.service");
    put_process(4713, "iscsiadm\n", "ilr-helper@7-79-988.service");
    put_process(4714, "dmsetup\n", "ilr-helper@8-80-988.service");
    put_process(4715, "mail\n", "ilr-hook@closed-" LEFT ".service");
    put_process(4716, "mail\n", "ilr-hook@ready-" ID ".service"); /* of a session that is known */
    put_process(4717, "sh\n", "ilr-helpers@1.service");
    assert_int_equal(leftover_add_processes(&processes, USEC_PER_MINUTE), 0);
    assert_int_equal(processes.n, 5);
    assert_int_equal(leftover_unit_listed(&units, "ilr-helper@6-78-988.service", "active", "running"), 0);
    assert_int_equal(
        leftover_unit_listed(&units, "ilr-helper@7-79-988.service", "deactivating", "stop-sigterm"), 0);
    assert_int_equal(
        leftover_unit_listed(&units, "ilr-helper@8-80-988.service", "deactivating", "stop-sigterm"), 0);
    assert_int_equal(
        leftover_unit_listed(&units, "ilr-helper@9-81-988.service", "deactivating", "stop-sigterm"), 0);
    assert_int_equal(leftover_unit_listed(&units, "ilr-helper@3-70-988.service", "failed", "failed"), 0);
    assert_int_equal(leftover_unit_listed(&units, "ilr-hook@ready-" LEFT ".service", "activating", "start"),
                     0);
    assert_int_equal(leftover_unit_listed(&units, "ilr-session@" LEFT ".service", "inactive", "dead"), 0);
    assert_int_equal(leftover_unit_listed(&units, "ilr-connection@" LEFT ".service", "deactivating", "stop"),
                     0);
    assert_int_equal(leftover_unit_listed(&units, "ilr-connection@" ID ".service", "active", "running"), 0);
    remove_process(4714); /* it was only just ending */
    assert_int_equal(leftover_units_finish(&units), 0);
    assert_non_null(find(&l, "4711"));
    assert_true(find(&l, "4711")->ours);
    assert_string_equal(find(&l, "4711")->session, "");
    assert_non_null(strstr(find(&l, "4711")->detail, "ilr-helper@5-77-0.service"));
    assert_null(find(&l, "4712"));
    assert_non_null(find(&l, "4713"));
    assert_non_null(find(&l, "ilr-helper@7-79-988.service"));
    assert_null(find(&l, "4714"));
    assert_null(find(&l, "ilr-helper@8-80-988.service"));
    assert_null(find(&l, "ilr-helper@9-81-988.service"));
    assert_non_null(find(&l, "ilr-helper@3-70-988.service"));
    assert_non_null(find(&l, "4715"));
    assert_string_equal(find(&l, "4715")->session, LEFT);
    assert_null(find(&l, "4716"));
    assert_null(find(&l, "4717"));
    assert_null(find(&l, "ilr-hook@ready-" LEFT ".service"));
    assert_null(find(&l, "ilr-session@" LEFT ".service"));
    assert_non_null(find(&l, "ilr-connection@" LEFT ".service"));
    assert_string_equal(find(&l, "ilr-connection@" LEFT ".service")->session, LEFT);
    assert_int_equal(l.n, 6);
    leftovers_done(&l);
}

/* An old semaphore of device-mapper is left if a helper has noted it: the host's own LVM has such, too. By
 * number and by key, since a number is used again. */
static void cookies(void **state)
{
    Leftovers l = {};

    /* Noted; the host's; noted with another key; young; no cookie. */
    scratch_put("proc/sysvipc/sem", "key semid perms nsems uid gid cuid cgid otime ctime\n"
                                    "223150081 11 600 1 0 0 0 0 1000 900\n"
                                    "223150082 12 600 1 0 0 0 0 1000 900\n"
                                    "223150083 13 600 1 0 0 0 0 1000 900\n"
                                    "223150084 14 600 1 0 0 0 0 4000 900\n"
                                    "123456789 15 600 1 0 0 0 0 1000 900\n");
    scratch_put("private/" LEFT "/cookies",
                "9 223150090\n11 223150081\n13 223150091\n14 223150084\n15 123456789\n");
    assert_int_equal(leftover_add_cookies(&l, 4100), 0);
    assert_int_equal(l.n, 1);
    assert_int_equal(l.items[0].kind, LEFTOVER_UDEV_COOKIE);
    assert_string_equal(l.items[0].name, "0xd4d0001");
    assert_string_equal(l.items[0].session, LEFT);
    assert_true(l.items[0].ours);
    assert_int_equal(l.items[0].number, 11);
    leftovers_done(&l);
}

/* A tunnel of a script that somebody has run by hand, and who keeps a mount of ours in a name space of his
 * own; one that follows the host's is not kept. */
static void of_others(void **state)
{
    Leftovers l = {};
    char line[256];

    put(4711, "comm", "SecureTCPTunnel\n");
    put_words(4711, "./SecureTCPTunnel", "2.3.4.5");
    put(4712, "comm", "vim\n");
    put_words(4712, "vim", "SecureTCPTunnel.py");
    put(4713, "comm", "sleep\n");
    put(4713, "ns/mnt", "");
    snprintf(line, sizeof(line), "36 35 253:3 / %s/" LEFT "/volumes/root ro - ext4 /dev/dm-3 ro\n",
             paths.mounts_dir);
    put(4713, "mountinfo", line);
    put(4714, "comm", "sleep\n");
    put(4714, "ns/mnt", "");
    snprintf(line, sizeof(line), "36 35 253:3 / %s/" LEFT "/volumes/root ro master:5 - ext4 /dev/dm-3 ro\n",
             paths.mounts_dir);
    put(4714, "mountinfo", line);
    assert_int_equal(leftover_add_processes(&l, USEC_PER_MINUTE), 0);
    assert_int_equal(l.n, 2);
    assert_non_null(find(&l, "4711"));
    assert_int_equal(find(&l, "4711")->kind, LEFTOVER_PROCESS);
    assert_false(find(&l, "4711")->ours);
    assert_non_null(find(&l, "4713"));
    assert_int_equal(find(&l, "4713")->kind, LEFTOVER_NAMESPACE);
    assert_false(find(&l, "4713")->ours);
    assert_string_equal(find(&l, "4713")->session, LEFT);
    leftovers_done(&l);
}

/* A real process that was started as name; when this returns, it is what it is going to be. */
static pid_t start(const char *name, bool deaf, uint64_t *ret_since)
{
    char path[32], byte;
    int fds[2], dir;
    pid_t pid;

    assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
    pid = fork();
    if (pid == 0) {
        if (deaf)
            (void)signal(SIGTERM, SIG_IGN);
        (void)execl("/bin/sleep", name, "1000", NULL);
        _exit(127);
    }
    assert_true(pid > 0);
    close(fds[1]);
    assert_int_equal(read(fds[0], &byte, 1), 0);
    close(fds[0]);
    snprintf(path, sizeof(path), "/proc/%d", (int)pid);
    dir = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    assert_true(dir >= 0);
    *ret_since = process_since(dir);
    close(dir);
    return pid;
}

static int end_signal(pid_t pid)
{
    int status;

    assert_int_equal(waitpid(pid, &status, 0), pid);
    return WIFSIGNALED(status) ? WTERMSIG(status) : 0;
}

/* Only what still is the very tunnel that was found is ended; one that does not listen, too. */
static void ended(void **state)
{
    uint64_t since;
    pid_t pid;

    paths.proc = "/proc";
    pid = start("SecureTCPTunnel", false, &since);
    assert_int_equal(process_end(pid, since + 1, USEC_PER_SEC), 0);
    assert_int_equal(process_end(pid, 0, USEC_PER_SEC), 0);
    assert_true(process_exists(pid, since));
    assert_int_equal(process_end(pid, since, 30 * USEC_PER_SEC), 0);
    assert_int_equal(end_signal(pid), SIGTERM);
    assert_int_equal(process_end(pid, since, USEC_PER_SEC), 0);
    pid = start("SecureTCPTunnel", true, &since);
    assert_int_equal(process_end(pid, since, 300 * USEC_PER_MSEC), 0);
    assert_int_equal(end_signal(pid), SIGKILL);
    pid = start("less", false, &since);
    assert_int_equal(process_end(pid, since, USEC_PER_SEC), 0);
    assert_true(process_exists(pid, since));
    assert_int_equal(kill(pid, SIGUSR1), 0);
    assert_int_equal(end_signal(pid), SIGUSR1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        HOST_TEST(beside_many), HOST_TEST(too_many),      HOST_TEST(full),
        HOST_TEST(odd_name),    HOST_TEST(hanging_entry), HOST_TEST(outlives_its_unit),
        HOST_TEST(cookies),     HOST_TEST(of_others),     HOST_TEST(ended),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
