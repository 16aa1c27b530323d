/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* What the helper reads of and writes for open-iscsi: the session's record, sysfs (a false one), the private
 * iscsid.conf, the initiator's name, discovery's answer, and whose a listener is. */

#include "check.h"
#include "discover.h"
#include "dm-cookie.h"
#include "files.h"
#include "initiator-name.h"
#include "iscsi.h"
#include "iscsid-conf.h"
#include "leftover.h"
#include "listener.h"
#include "paths.h"
#include "session-dirs.h"
#include "validate.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <sys/sem.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
/* cmocka wants the four above. */
#include <cmocka.h>

#define ID "abcd1234"
#define ONE TARGET_PREFIX "one"
#define TWO TARGET_PREFIX "two"

static char root[] = "/tmp/ilr-test-XXXXXX";
static char private_dir[64], sysfs[64], etc[64], connect_dir[64], mounts_dir[64], unit_dir[64];

static void put(const char *path, const char *text)
{
    char full[512];
    char *p;
    int fd;

    snprintf(full, sizeof(full), "%s/%s", root, path);
    for (p = full + strlen(root) + 1; (p = strchr(p, '/')); *p++ = '/') {
        *p = '\0';
        (void)mkdir(full, 0700);
    }
    fd = open(full, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), strlen(text));
    close(fd);
}

static int setup(void **state)
{
    if (!mkdtemp(root))
        return -1;
    snprintf(private_dir, sizeof(private_dir), "%s/private", root);
    snprintf(sysfs, sizeof(sysfs), "%s/sys", root);
    snprintf(etc, sizeof(etc), "%s/etc", root);
    snprintf(connect_dir, sizeof(connect_dir), "%s/connect", root);
    snprintf(mounts_dir, sizeof(mounts_dir), "%s/mounts", root);
    snprintf(unit_dir, sizeof(unit_dir), "%s/unit", root);
    paths.connect_dir = connect_dir;
    paths.mounts_dir = mounts_dir;
    paths.unit_dir = unit_dir;
    paths.private_dir = private_dir;
    paths.sysfs = sysfs;
    paths.etc = etc;
    put("private/" ID "/x", "");
    return 0;
}

static int teardown(void **state)
{
    return file_remove_tree(AT_FDCWD, root);
}

static void test_record(void **state)
{
    static const char *const corrupt[] = {
        "",
        "{",
        "{}",
        "{\"version\":1,\"session\":\"zzzz9999\",\"targets\":[],\"disks\":[],\"volumes\":[]}",
        "{\"version\":999,\"session\":\"" ID "\",\"targets\":[],\"disks\":[],\"volumes\":[]}",
        "{\"version\":999,\"compatible\":998,\"session\":\"" ID
        "\",\"targets\":[],\"disks\":[],\"volumes\":[]}",
        "{\"version\":0,\"session\":\"" ID "\",\"targets\":[],\"disks\":[],\"volumes\":[]}",
        "{\"version\":1,\"session\":\"" ID "\",\"targets\":{},\"disks\":[],\"volumes\":[]}",
        "{\"version\":1,\"session\":\"" ID "\",\"targets\":[],\"disks\":[]}",
        "{\"version\":1,\"session\":\"" ID
        "\",\"targets\":[{\"name\":\"iqn.x:y\",\"portal\":\"127.0.0.1:5365\"}],"
        "\"disks\":[],\"volumes\":[]}",
        "{\"version\":1,\"session\":\"" ID "\",\"targets\":[],\"disks\":[],\"volumes\":[],\"failure\":7}",
    };
    _cleanup_strv_free_ char **ids = NULL;
    Record *r, *back;
    size_t i;

    assert_int_equal(record_load(ID, &r), -ENOENT);
    assert_int_equal(record_new("../../..", &r), -EINVAL);
    for (i = 0; i < ELEMENTSOF(corrupt); i++) {
        put("private/" ID "/session.json", corrupt[i]);
        assert_int_equal(record_load(ID, &r), -EBADMSG);
    }
    /* A newer program's, and it says that this one may use it. */
    put("private/" ID "/session.json", "{\"version\":999,\"compatible\":1,\"new\":{},\"session\":\"" ID
                                       "\",\"targets\":[],\"disks\":[],\"volumes\":[]}");
    assert_int_equal(record_load(ID, &r), 0);
    record_free(r);
    assert_int_equal(record_new(ID, &r), 0);
    assert_int_equal(record_target_add(r, ONE, "127.0.0.1:5365"), 0);
    assert_int_equal(record_target_add(r, TWO, "127.0.0.1:5365"), 0);
    record_target(r, TWO)->sid = 7;
    r->failure = failure_new(FAILURE_DISKS_MISSING, "none");
    assert_int_equal(record_save(r), 0);
    assert_int_equal(record_load(ID, &back), 0);
    assert_int_equal(back->n_targets, 2);
    assert_int_equal(record_target(back, ONE)->sid, -1);
    assert_int_equal(record_target(back, TWO)->sid, 7);
    assert_int_equal(back->failure->name, FAILURE_DISKS_MISSING);
    record_target_remove(back, ONE);
    record_target_remove(back, ONE);
    assert_int_equal(back->n_targets, 1);
    assert_string_equal(back->targets[0].name, TWO);
    record_free(back);
    for (i = r->n_targets; i < RECORD_TARGETS_MAX; i++) {
        char name[64];

        snprintf(name, sizeof(name), ONE "-%zu", i);
        assert_int_equal(record_target_add(r, name, "127.0.0.1:5365"), 0);
    }
    assert_int_equal(record_target_add(r, ONE "-more", "127.0.0.1:5365"), -E2BIG);
    record_free(r);
    assert_int_equal(record_list(&ids), 0);
    assert_int_equal(strv_length(ids), 1);
    assert_string_equal(ids[0], ID);
}

static void test_lock(void **state)
{
    pid_t child;
    int a, b;

    assert_int_equal(session_lock("zzzz9999", 0, &a), -ENOENT);
    assert_int_equal(session_lock("..", 0, &a), -EINVAL);
    assert_int_equal(session_lock(ID, 0, &a), 0);
    assert_int_equal(session_lock(ID, 60 * USEC_PER_MSEC, &b), -ETIMEDOUT);
    /* A child that cannot be ended has the descriptor, too. */
    child = fork();
    if (child == 0) {
        (void)pause();
        _exit(0);
    }
    assert_true(child > 0);
    assert_int_equal(session_unlock(a), -EBADF);
    assert_int_equal(session_lock(ID, 0, &b), 0);
    session_unlock(b);
    assert_int_equal(kill(child, SIGKILL), 0);
    assert_int_equal(waitpid(child, NULL, 0), child);
}

/* What a session leaves that never came to its start. */
static void test_directories(void **state)
{
    char path[128];
    int a, b;

    if (geteuid() != 0)
        skip(); /* they are given to root */
    snprintf(path, sizeof(path), "%s/fresh123", private_dir);
    assert_int_equal(session_dirs_lock("fresh123", 0, &a), 0);
    assert_int_equal(session_dirs_lock("fresh123", 0, &b), -ETIMEDOUT);
    put("private/fresh123/session.json", "{}");
    put("private/fresh123/iscsi/nodes/x", "");
    put("connect/fresh123/script", "#!/bin/sh\n");
    put("unit/ilr-connection@fresh123.service.d/50-addresses.conf", "");
    assert_int_equal(session_dirs_clear("fresh123"), 0);
    assert_int_equal(rmdir(path), 0); /* there, and empty */
    session_unlock(a);
    snprintf(path, sizeof(path), "%s/connect/fresh123", root);
    assert_int_equal(access(path, F_OK), -1);
    snprintf(path, sizeof(path), "%s/unit/ilr-connection@fresh123.service.d", root);
    assert_int_equal(access(path, F_OK), -1);
    assert_int_equal(session_dirs_remove("fresh123"), 0);
}

/* A file as old as a helper lets none become. */
static void put_old(const char *name, const char *text)
{
    const struct timespec times[2] = {{.tv_sec = time(NULL) - 3600}, {.tv_sec = time(NULL) - 3600}};
    char path[128];

    put(name, text);
    snprintf(path, sizeof(path), "%s/%s", root, name);
    assert_int_equal(utimensat(AT_FDCWD, path, times, 0), 0);
}

static const Leftover *left(const Leftovers *l, const char *end)
{
    size_t i;

    for (i = 0; i < l->n; i++)
        if (endswith(l->items[i].name, end))
            return &l->items[i];
    return NULL;
}

/* A semaphore as device-mapper makes it for a cookie that nobody has. */
static int semaphore_new(uint32_t *ret_cookie)
{
    uint32_t cookie = 0x0D4D0000U | (uint32_t)getpid() % 0xff00;
    int sem;

    while ((sem = semget((key_t)cookie, 1, IPC_CREAT | IPC_EXCL | 0600)) < 0 && errno == EEXIST)
        cookie++;
    assert_true(sem >= 0);
    *ret_cookie = cookie;
    return sem;
}

static bool semaphore_exists(int sem)
{
    return semctl(sem, 0, GETVAL) >= 0;
}

static void test_cookies(void **state)
{
    uint32_t cookie, other_cookie, not_noted;
    int left, others, foreign, next;

    left = semaphore_new(&cookie);
    dm_cookie_note("ilr_" ID "_d1", cookie);
    others = semaphore_new(&other_cookie);
    dm_cookie_note("ilr_abcd1235_d1", other_cookie);
    foreign = semaphore_new(&not_noted);
    dm_cookie_note("vg-lv", not_noted);
    dm_cookies_drop(ID);
    assert_false(semaphore_exists(left));
    assert_true(semaphore_exists(others));
    assert_true(semaphore_exists(foreign));
    /* The same cookie is somebody else's meanwhile. */
    next = semget((key_t)cookie, 1, IPC_CREAT | IPC_EXCL | 0600);
    assert_true(next >= 0 && next != left);
    dm_cookies_drop(ID);
    assert_true(semaphore_exists(next));
    dm_cookies_drop("nobody00");
    dm_cookie_note("ilr_" ID "_d1", 0);
    (void)semctl(next, 0, IPC_RMID);
    (void)semctl(others, 0, IPC_RMID);
    (void)semctl(foreign, 0, IPC_RMID);
}

static const LeftoverBlock *block_named(const LeftoverBlocks *b, const char *name)
{
    size_t i;

    for (i = 0; i < b->n; i++)
        if (streq(b->items[i].name, name))
            return &b->items[i];
    return NULL;
}

/* Nothing in sysfs leads from a disk to a loop device over it but the name of the node that the latter has
 * open. */
static void test_leftover_loops(void **state)
{
    LeftoverBlocks b;

    put("sys/class/scsi_device/6:0:0:1/device/vendor", TARGET_VENDOR "\n");
    put("sys/class/scsi_device/6:0:0:1/device/block/sdq/dev", "65:0\n");
    put("sys/class/block/sdq/dev", "65:0\n");
    put("sys/class/block/loop1/dev", "7:1\n");
    put("sys/class/block/loop1/loop/backing_file", "/dev/loop2\n");
    put("sys/class/block/loop2/dev", "7:2\n");
    put("sys/class/block/loop2/loop/backing_file", "/dev/sdq\n");
    put("sys/class/block/loop3/dev", "7:3\n");
    put("sys/class/block/loop3/loop/backing_file", "/dev/sda\n");
    put("sys/class/block/loop4/dev", "7:4\n");
    put("sys/class/block/loop4/loop/backing_file", "/home/sdq\n");
    put("sys/class/block/loop5/dev", "7:5\n");
    assert_int_equal(leftover_blocks_look(&b), 0);
    assert_int_equal(b.n, 3);
    assert_non_null(block_named(&b, "sdq"));
    assert_non_null(block_named(&b, "loop1"));
    assert_non_null(block_named(&b, "loop2"));
    assert_int_equal(block_named(&b, "loop2")->kind, LEFTOVER_LOOP);
    assert_false(block_named(&b, "loop2")->ours);
    /* What is on top goes first. */
    assert_int_equal(block_named(&b, "loop2")->height, 1);
    assert_int_equal(block_named(&b, "loop1")->height, 2);
    leftover_blocks_done(&b);
}

/* What a helper keeps for a moment is a leftover once it was there for longer, whose it is is told, and it
 * goes although it is no directory. */
static void test_leftover_files(void **state)
{
    char mine[64], dev[64];
    const Leftover *item;
    Leftovers l = {};

    snprintf(dev, sizeof(dev), "%s/dev", root);
    paths.dev = dev;
    snprintf(mine, sizeof(mine), "dev/.ilr-7-1-%d", (int)getpid());
    put_old("private/hook-ready-" ID ".env", "ILR_EVENT=\"ready\"\n");
    put("private/hook-closed-" ID ".env", "");
    put_old("private/hook-" ID ".env", "");
    put(mine, "");
    put("dev/.ilr-9-0-999999999", ""); /* nobody has that number */
    put_old("dev/.ilr-9-0-1x", "");
    put_old("dev/sda", "");
    assert_int_equal(leftover_add_files(&l), 0);
    item = left(&l, "/hook-ready-" ID ".env");
    assert_non_null(item);
    assert_int_equal(item->kind, LEFTOVER_FILE);
    assert_true(item->ours);
    assert_string_equal(item->session, ID);
    assert_int_equal(file_remove_tree(AT_FDCWD, item->name), 0);
    assert_int_equal(access(item->name, F_OK), -1);
    assert_null(left(&l, "/hook-closed-" ID ".env"));
    item = left(&l, "/hook-" ID ".env");
    assert_non_null(item);
    assert_false(item->ours);
    item = left(&l, "/.ilr-9-0-999999999");
    assert_non_null(item);
    assert_int_equal(item->kind, LEFTOVER_FILE);
    assert_null(left(&l, mine + 3));
    assert_null(left(&l, "1x"));
    assert_null(left(&l, "/sda"));
    leftovers_done(&l);
}

static void put_session(int sid, int host, const char *target, const char *port)
{
    char path[128], to[128], from[256];

    snprintf(path, sizeof(path), "sys/class/iscsi_session/session%d/targetname", sid);
    snprintf(to, sizeof(to), "%s\n", target);
    put(path, to);
    snprintf(path, sizeof(path), "sys/class/iscsi_session/session%d/state", sid);
    put(path, "LOGGED_IN\n");
    snprintf(path, sizeof(path), "sys/devices/platform/host%d/session%d/x", host, sid);
    put(path, "");
    if (port) {
        snprintf(path, sizeof(path), "sys/class/iscsi_connection/connection%d:0/persistent_address", sid);
        put(path, "127.0.0.1\n");
        snprintf(path, sizeof(path), "sys/class/iscsi_connection/connection%d:0/persistent_port", sid);
        put(path, port);
    }
    snprintf(to, sizeof(to), "../../../devices/platform/host%d/session%d", host, sid);
    snprintf(from, sizeof(from), "%s/class/iscsi_session/session%d/device", sysfs, sid);
    assert_int_equal(symlink(to, from), 0);
}

/* /run is full, or worse: what is gone is gone, and nothing stays up because that cannot be written down. */
static void test_logout_without_room(void **state)
{
    _cleanup_failure_ Failure *f = NULL;
    char path[128];
    Record *r;

    put("private/full1234/x", "");
    snprintf(path, sizeof(path), "%s/full1234", private_dir);
    assert_int_equal(record_new("full1234", &r), 0);
    assert_int_equal(record_target_add(r, ONE, "127.0.0.1:5365"), 0);
    assert_int_equal(record_save(r), 0);
    assert_int_equal(file_remove_tree(AT_FDCWD, path), 0);
    assert_true(record_save(r) < 0);
    assert_int_equal(iscsi_targets_logout(r, USEC_PER_SEC, &f), 0);
    assert_int_equal(r->n_targets, 0);
    record_free(r);
}

static void test_sessions(void **state)
{
    IscsiSession *s;
    char path[128], *line;
    Record *r;
    size_t n;

    assert_int_equal(record_new(ID, &r), 0);
    assert_int_equal(record_target_add(r, ONE, "127.0.0.1:5365"), 0);
    assert_int_equal(record_target_add(r, TWO, "127.0.0.1:5365"), 0);
    assert_int_equal(iscsi_sessions_find(r, &s, &n), 0);
    assert_int_equal(n, 0); /* no such class: the transport is not loaded */
    free(s);
    put_session(12, 5, TWO, "5365\n");
    put_session(3, 4, ONE, "5365\n");
    put_session(4, 6, ONE, "5366\n"); /* the same target of another session of ours */
    put_session(5, 7, "iqn.2003-01.org.example:x", "5365\n");
    put_session(6, 8, TWO, NULL); /* its connection goes or is not there yet, another number */
    put("sys/class/iscsi_session/sessionx/targetname", ONE);
    put("sys/class/iscsi_session/session99/other", ""); /* goes away under our eyes */
    assert_int_equal(iscsi_sessions_find(r, &s, &n), 0);
    assert_int_equal(n, 2);
    assert_int_equal(s[0].sid, 3);
    assert_int_equal(s[0].host, 4);
    assert_string_equal(s[0].target, ONE);
    assert_string_equal(s[0].portal, "127.0.0.1:5365");
    assert_true(iscsi_session_logged_in(&s[0]));
    assert_int_equal(s[1].sid, 12);
    assert_true(endswith(s[1].device, "/session12/device"));
    iscsi_sessions_free(s, n);
    record_target(r, TWO)->sid = 6; /* known by its number even without a connection */
    assert_int_equal(iscsi_sessions_find(r, &s, &n), 0);
    assert_int_equal(n, 3);
    iscsi_sessions_free(s, n);
    assert_int_equal(iscsi_session_find(ONE, "127.0.0.1:5366", &s), 0);
    assert_int_equal(s->sid, 4);
    iscsi_sessions_free(s, 1);
    assert_int_equal(iscsi_session_find(ONE, "127.0.0.1:5367", &s), -ENOENT);
    record_free(r);
    assert_int_equal(iscsi_session_set_recovery(4, REPLACEMENT_TIMEOUT), -ENOENT);
    put("sys/class/iscsi_session/session4/recovery_tmo", "");
    assert_int_equal(iscsi_session_set_recovery(4, REPLACEMENT_TIMEOUT), 0);
    snprintf(path, sizeof(path), "%s/class/iscsi_session/session4/recovery_tmo", sysfs);
    assert_int_equal(file_read_line(path, &line), 0);
    assert_string_equal(line, "10");
    free(line);
    /* A number that is somebody else's session by now is not logged out; one that is gone is success. */
    assert_int_equal(iscsi_session_logout(ID, 5, USEC_PER_SEC, NULL), 0);
    assert_int_equal(iscsi_session_logout(ID, 77, USEC_PER_SEC, NULL), 0);
}

static int chap_of(const char *text, Chap *ret, json_object **ret_object, Failure **ret_failure)
{
    assert_int_equal(json_parse(text, strlen(text), ret_object), 0);
    return chap_from_json(*ret_object, ret, ret_failure);
}

static void test_chap(void **state)
{
    static const char *const bad[] = {
        "{\"chap\":\"x\"}",
        "{\"chap\":{}}",
        "{\"chap\":{\"username\":\"u\"}}",
        "{\"chap\":{\"username\":\"u\",\"password\":7}}",
        "{\"chap\":{\"username\":\"\",\"password\":\"p\"}}",
        "{\"chap\":{\"username\":\"u\\nx = y\",\"password\":\"SECRET\"}}",
        "{\"chap\":{\"username\":\"u\",\"password\":\"SECRET\\r\"}}",
        "{\"chap\":{\"username\":\"u\",\"password\":\" SECRET\"}}",
        "{\"chap\":{\"username\":\"u\",\"password\":\"SECRET\\u00e4\"}}",
        "{\"chap\":{\"username\":\"u\",\"password\":\"a\\u0000b\"}}",
        "{\"chap\":{\"username\":\"u\",\"password\":\"p\",\"more\":1}}",
    };
    _cleanup_json_ json_object *o = NULL;
    _cleanup_secret_ Secret *with = NULL, *without = NULL;
    Chap chap;
    size_t i;

    for (i = 0; i < ELEMENTSOF(bad); i++) {
        _cleanup_failure_ Failure *failure = NULL;
        _cleanup_json_ json_object *b = NULL;

        assert_int_equal(chap_of(bad[i], &chap, &b, &failure), -EINVAL);
        assert_non_null(strstr(failure->message, "chap"));
        assert_null(strstr(failure->message, "SECRET"));
    }
    assert_int_equal(
        chap_of("{\"chap\":{\"username\":\"Debian;12;u-1\",\"password\":\"a #=b\"}}", &chap, &o, NULL), 1);
    with = iscsid_conf_text(&chap);
    assert_non_null(strstr(secret_text(with), "\nnode.session.auth.authmethod = CHAP\n"));
    assert_non_null(strstr(secret_text(with), "\nnode.session.auth.username = Debian;12;u-1\n"));
    assert_non_null(strstr(secret_text(with), "\ndiscovery.sendtargets.auth.password = a #=b\n"));
    assert_non_null(strstr(secret_text(with), "\nnode.session.scan = manual\n"));
    assert_non_null(strstr(secret_text(with), "\nnode.session.timeo.replacement_timeout = 10\n"));
    without = iscsid_conf_text(NULL);
    assert_non_null(strstr(secret_text(without), "\nnode.session.auth.authmethod = None\n"));
    assert_null(strstr(secret_text(without), "password"));
}

static void test_initiator_name(void **state)
{
    static const char *const bad[] = {
        "",
        "# only\n",
        "GenerateName=yes\n",
        "InitiatorName=\n",
        "InitiatorName=iqn.1993-08.org.debian:01:UPPER\n",
        "InitiatorName=iqn.a:b\nInitiatorName=iqn.c:d\n",
        "Initiatorname=iqn.a:b\n",
        "InitiatorName\n",
        "garbage\n",
        "InitiatorName=iqn.a:b c\n",
    };
    char *name;
    size_t i;

    for (i = 0; i < ELEMENTSOF(bad); i++) {
        _cleanup_failure_ Failure *failure = NULL;

        assert_int_equal(initiator_name_parse(bad[i], &name, &failure), -EBADMSG);
        assert_int_equal(failure->name, FAILURE_NOT_CONFIGURED);
    }
    assert_int_equal(
        initiator_name_parse("## x\n\n InitiatorName = iqn.1993-08.org.debian:01:ab \r\nInitiatorAlias=me\n",
                             &name, NULL),
        0);
    assert_string_equal(name, "iqn.1993-08.org.debian:01:ab");
    free(name);
    {
        _cleanup_failure_ Failure *failure = NULL;

        assert_true(initiator_name_read(&name, &failure) < 0);
        assert_int_equal(failure->name, FAILURE_NOT_CONFIGURED);
        assert_non_null(strstr(failure_hint(failure), "iscsid"));
    }
    put("etc/iscsi/initiatorname.iscsi", "InitiatorName=iqn.1993-08.org.debian:01:cd");
    assert_int_equal(initiator_name_read(&name, NULL), 0);
    assert_string_equal(name, "iqn.1993-08.org.debian:01:cd");
    free(name);
}

static void test_discovery(void **state)
{
    static const char *const bad[] = {
        "127.0.0.1:5365 " ONE,    "127.0.0.1:5365,x " ONE,
        "127.0.0.1:5365,-2 " ONE, "127.0.0.1:5365,65536 " ONE,
        "127.0.0.1:5365,1",       "127.0.0.1:5365,1 ",
        "127.0.0.1:5365,1 a b",   ",1 " ONE,
        "127.0.0.1:5365,1 a\tb",  "127.0.0.1:5365,1x " ONE,
        "127.0.0.1:5365,+1 " ONE, "127.0.0.1:5365,1  " ONE,
    };
    char *many = NULL;
    json_object *a, *o;
    const char *name;
    size_t i, size;
    int64_t tpgt;
    FILE *f;

    for (i = 0; i < ELEMENTSOF(bad); i++)
        assert_int_equal(discovery_parse(bad[i], &a), -EBADMSG);
    assert_int_equal(discovery_parse("127.0.0.1:5365,-1 " ONE "\n[::1]:3260,1 notready\n", &a), 0);
    assert_int_equal(json_object_array_length(a), 2);
    o = json_object_array_get_idx(a, 0);
    assert_int_equal(json_get_string(o, "name", &name), 1);
    assert_string_equal(name, ONE);
    assert_int_equal(json_get_int64(o, "tpgt", &tpgt), 1);
    assert_int_equal(tpgt, -1);
    assert_int_equal(json_get_string(json_object_array_get_idx(a, 1), "name", &name), 1);
    assert_string_equal(name, "notready");
    json_object_put(a);
    f = open_memstream(&many, &size);
    for (i = 0; i <= DISCOVERED_MAX; i++)
        fprintf(f, "127.0.0.1:5365,1 " ONE "%zu\n", i);
    fclose(f);
    assert_int_equal(discovery_parse(many, &a), -E2BIG);
    free(many);
}

#define TCP_HEAD                                                                                             \
    "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n"
#define TCP(address, state, inode)                                                                           \
    "   0: " address " 00000000:0000 " state " 00000000:00000000 00:00000000 00000000   901        0 " inode \
    " 1 0 0 10 0\n"

static void test_listener_table(void **state)
{
    uint64_t inodes[LISTENERS_MAX];

    assert_int_equal(listener_inodes(TCP_HEAD, 5365, inodes), 0);
    assert_int_equal(listener_inodes("", 5365, inodes), 0);
    /* 5365 = 0x14F5; established, another port and another address do not count */
    assert_int_equal(listener_inodes(TCP_HEAD TCP("0100007F:14F5", "01", "11")
                                         TCP("0100007F:14F6", "0A", "12") TCP("0200007F:14F5", "0A", "13"),
                                     5365, inodes),
                     0);
    assert_int_equal(listener_inodes(TCP_HEAD TCP("00000000:14F5", "0A", "14"), 5365, inodes), 1);
    assert_int_equal(inodes[0], 14);
    /* one at the very address takes the connection */
    assert_int_equal(listener_inodes(TCP_HEAD TCP("00000000:14F5", "0A", "14")
                                         TCP("0100007F:14F5", "0A", "15")
                                             TCP("0100007F:14F5", "0A", "4294967299"),
                                     5365, inodes),
                     2);
    assert_int_equal(inodes[0], 15);
    assert_int_equal(inodes[1], 4294967299);
    assert_int_equal(listener_inodes(TCP_HEAD "nonsense\n", 5365, inodes), -EBADMSG);
}

/* A listener of our own, looked up through the real /proc and a control group that is a file here. */
static void test_listener_owner(void **state)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    _cleanup_close_ int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    socklen_t size = sizeof(a);
    char self[32];
    pid_t owner;
    int port;

    assert_int_equal(bind(fd, (struct sockaddr *)&a, sizeof(a)), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&a, &size), 0);
    port = ntohs(a.sin_port);
    snprintf(self, sizeof(self), "%d\n", (int)getpid());
    put("sys/fs/cgroup/ours/cgroup.procs", self);
    put("sys/fs/cgroup/others/cgroup.procs", "0\n");
    assert_int_equal(listener_owner(port, "/ours", &owner), -ECONNREFUSED);
    assert_int_equal(listen(fd, 1), 0);
    assert_int_equal(listener_owner(port, "/others", &owner), -EPERM);
    assert_int_equal(listener_owner(port, "/nobody", &owner), -ENOENT);
    assert_int_equal(listener_owner(port, "/ours", &owner), 0);
    assert_int_equal(owner, getpid());
}

static void test_versions(void **state)
{
    assert_true(version_at_least("bubblewrap 0.8.0\n", 0, 8));
    assert_true(version_at_least("bubblewrap 0.11.0\n", 0, 8));
    assert_true(version_at_least("iscsiadm version 2.1.8", 2, 0));
    assert_true(version_at_least("Python 3.11.2", 3, 0));
    assert_false(version_at_least("bubblewrap 0.4.1", 0, 8));
    assert_false(version_at_least("no number", 0, 0));
    assert_false(version_at_least("", 0, 0));
}

static void test_abstract_listener(void **state)
{
    static const char head[] = "Num       RefCount Protocol Flags    Type St Inode Path\n";
    _cleanup_free_ char *text = NULL;

    assert_true(asprintf(&text,
                         "%s0000000000000000: 00000002 00000000 00010000 0001 01 1234 /run/x\n"
                         "0000000000000000: 00000002 00000000 00010000 0001 01 1235 @NAME\n"
                         "0000000000000000: 00000003 00000000 00000000 0001 03 1236 @CONNECTED\n"
                         "0000000000000000: 00000003 00000000 00000000 0001 03 1237\n",
                         head) > 0);
    assert_true(abstract_listener(text, "NAME"));
    assert_false(abstract_listener(text, "NAM"));
    assert_false(abstract_listener(text, "NAMES"));
    assert_false(abstract_listener(text, "CONNECTED"));
    assert_false(abstract_listener(text, "/run/x"));
    assert_false(abstract_listener("", "NAME"));
    assert_false(abstract_listener("@", ""));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_versions),
        cmocka_unit_test(test_abstract_listener),
        cmocka_unit_test(test_record),
        cmocka_unit_test(test_leftover_files),
        cmocka_unit_test(test_leftover_loops),
        cmocka_unit_test(test_cookies),
        cmocka_unit_test(test_logout_without_room),
        cmocka_unit_test(test_lock),
        cmocka_unit_test(test_directories),
        cmocka_unit_test(test_sessions),
        cmocka_unit_test(test_chap),
        cmocka_unit_test(test_discovery),
        cmocka_unit_test(test_initiator_name),
        cmocka_unit_test(test_listener_table),
        cmocka_unit_test(test_listener_owner),
    };

    return cmocka_run_group_tests(tests, setup, teardown);
}
