/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Disks whose owner means harm: what he wrote on them becomes neither a path, nor a text that nobody can
 * read back, nor work without an end. */

#include "disk.h"
#include "ext-journal.h"
#include "files.h"
#include "guest.h"
#include "luks.h"
#include "lvm-report.h"
#include "lvm.h"
#include "md-super.h"
#include "names.h"
#include "paths.h"
#include "probe.h"
#include "record.h"
#include "timeutil.h"
#include "tower.h"
#include "up-state.h"
#include "utf8.h"

#include <fcntl.h>
#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include <cmocka.h>

#define DEVICE_SECTORS 4096

/* ---- names ---- */

static void names_are_no_paths(void **state)
{
    static const char *const names[] = {"../..",     "../../..", "/",           "..",
                                        ".",         "-",        "/etc",        "a/b",
                                        "\xff/\xfe", "disk1",    "disk1-part2", "\xe2\x80\xae/\x1b[2J"};
    Volume v[3 * ELEMENTSOF(names)] = {};
    size_t n = ELEMENTSOF(v), i, k;

    /* Alone, with a label that others have, too, and as a volume group. */
    for (i = 0; i < n; i++) {
        const char *name = names[i % ELEMENTSOF(names)];

        v[i].disk = i;
        v[i].base = strdup(name);
        if (i / ELEMENTSOF(names) == 1)
            v[i].label = strdup("data");
        if (i / ELEMENTSOF(names) == 2)
            v[i].group = strdup(name);
    }
    assert_int_equal(volumes_name(v, n), 0);
    for (i = 0; i < n; i++) {
        assert_true(volume_name_usable(v[i].name));
        for (k = 0; k < i; k++)
            assert_string_not_equal(v[i].name, v[k].name);
    }
    for (i = 0; i < n; i++) {
        free(v[i].name);
        free(v[i].base);
        free(v[i].label);
        free(v[i].group);
    }
}

/* ---- towers ---- */

#define LEVELS 40
#define WIDTH 4

static char directory[64];

static int setup(void **state)
{
    snprintf(directory, sizeof(directory), "/tmp/test-hostile-XXXXXX");
    return mkdtemp(directory) ? 0 : -1;
}

static int teardown(void **state)
{
    return file_remove_tree(AT_FDCWD, directory);
}

static dev_t device_at(unsigned level, unsigned i)
{
    return makedev(253, level * WIDTH + i);
}

static void link_make(unsigned from, const char *direction, unsigned to)
{
    char path[PATH_MAX], target[64];

    snprintf(path, sizeof(path), "%s/devices/dm-%u/%s/dm-%u", directory, from, direction, to);
    snprintf(target, sizeof(target), "../../dm-%u", to);
    assert_int_equal(symlink(target, path), 0);
}

/* As sysfs would have it: each device of a level stands on all of the level below. */
static void tower_make(void)
{
    static const char *const parts[] = {"dev", "dev/block", "devices"};
    char path[PATH_MAX], target[64], text[32];

    paths.sysfs = directory;
    for (size_t i = 0; i < ELEMENTSOF(parts); i++) {
        snprintf(path, sizeof(path), "%s/%s", directory, parts[i]);
        assert_int_equal(mkdir(path, 0755), 0);
    }
    for (unsigned n = 0; n < LEVELS * WIDTH; n++) {
        static const char *const below[] = {"", "/holders", "/slaves", "/dm"};

        for (size_t i = 0; i < ELEMENTSOF(below); i++) {
            snprintf(path, sizeof(path), "%s/devices/dm-%u%s", directory, n, below[i]);
            assert_int_equal(mkdir(path, 0755), 0);
        }
        snprintf(path, sizeof(path), "%s/devices/dm-%u/dm/name", directory, n);
        snprintf(text, sizeof(text), "ilr_aaaaaaaa_x%u\n", n);
        assert_int_equal(file_write_atomic(AT_FDCWD, path, text, strlen(text), 0644, (uid_t)-1, (gid_t)-1),
                         0);
        snprintf(path, sizeof(path), "%s/dev/block/253:%u", directory, n);
        snprintf(target, sizeof(target), "../../devices/dm-%u", n);
        assert_int_equal(symlink(target, path), 0);
    }
    for (unsigned n = 0; n < (LEVELS - 1) * WIDTH; n++)
        for (unsigned above = (n / WIDTH + 1) * WIDTH; above < (n / WIDTH + 2) * WIDTH; above++) {
            link_make(n, "holders", above);
            link_make(above, "slaves", n);
        }
}

/* Four to the power of 39 ways lead from the bottom to the top. */
static void towers_are_climbed_once(void **state)
{
    _cleanup_free_ DmDevice *devices = calloc(LEVELS * WIDTH, sizeof(*devices));
    _cleanup_strv_free_ char **above = NULL;
    unsigned n;

    tower_make();
    assert_non_null(devices);
    (void)alarm(60);
    for (n = 0; n < LEVELS * WIDTH; n++)
        devices[n].device = makedev(253, n);
    assert_int_equal(tower_heights(devices, LEVELS * WIDTH), 0);
    for (n = 0; n < LEVELS * WIDTH; n++)
        assert_int_equal(devices[n].height, LEVELS - 1 - n / WIDTH);
    assert_true(device_lies_on(device_at(LEVELS - 1, 0), "ilr_aaaaaaaa_x0"));
    assert_false(device_lies_on(device_at(LEVELS - 1, 0), "ilr_aaaaaaaa_x"));
    assert_false(device_lies_on(device_at(LEVELS - 1, 0), "ilr_aaaaaaaa_x159"));
    assert_int_equal(tower_walk(device_at(1, 0), "holders", &above), 0);
    assert_true(tower_has(above, device_at(LEVELS - 1, 3)));
    assert_true(tower_has(above, device_at(1, 0)));
    assert_false(tower_has(above, device_at(1, 1)));
    assert_false(tower_has(above, device_at(0, 0)));
    (void)alarm(0);
}

/* ---- arrays ---- */

static void put(uint8_t *p, uint64_t v, size_t n)
{
    for (; n > 0; n--, v >>= 8)
        *p++ = (uint8_t)v;
}

/* A superblock of 1.2 with this name. */
static void super_make(uint8_t s[static MD_SUPER_SIZE], const char *name)
{
    uint64_t sum = 0;
    size_t i;

    memset(s, 0, MD_SUPER_SIZE);
    put(s, 0xa92b4efc, 4);
    put(s + 4, 1, 4);
    memcpy(s + 32, name, strlen(name));
    put(s + 72, 1, 4);    /* raid1 */
    put(s + 80, 1024, 8); /* of each member */
    put(s + 92, 1, 4);    /* members */
    put(s + 128, 16, 8);
    put(s + 136, 1024, 8);
    put(s + 144, 8, 8); /* where it is */
    put(s + 220, 1, 4);
    for (i = 0; i < 258 / 4 * 4; i += 4)
        sum += (uint32_t)s[i] | (uint32_t)s[i + 1] << 8 | (uint32_t)s[i + 2] << 16 | (uint32_t)s[i + 3] << 24;
    put(s + 216, (uint32_t)(sum + (sum >> 32)), 4);
}

static void names_of_arrays_are_text(void **state)
{
    static const char *const names[] = {"host:\xff\xfe", "\x1b[2J\n",
                                        "\xc2\x9b"
                                        "31m"};
    uint8_t bytes[MD_SUPER_SIZE];
    MdSuper super;
    size_t i, k;

    for (i = 0; i < ELEMENTSOF(names); i++) {
        super_make(bytes, names[i]);
        assert_int_equal(md_super_parse(bytes, 8, DEVICE_SECTORS, &super), 0);
        assert_true(*super.name && utf8_valid(super.name));
        for (k = 0; super.name[k]; k++)
            assert_true((unsigned char)super.name[k] >= ' ');
        assert_null(strstr(super.name, "\xc2\x9b"));
    }
}

/* Two members of a raid0 of two zones, of which the staler one says nothing of chunks. */
static void members_that_differ(void **state)
{
    _cleanup_free_ MdSuper *m = calloc(2, sizeof(*m));
    _cleanup_free_ MdZone *zones = NULL;
    char reason[160] = "";
    MdPlan plan;
    size_t n;

    assert_non_null(m);
    for (unsigned i = 0; i < 2; i++)
        m[i] = (MdSuper){.level = 0,
                         .layout = 1,
                         .chunk_sectors = 128,
                         .raid_disks = 2,
                         .data_size = 1024 * (i + 1),
                         .events = 5 + i,
                         .number = i,
                         .clean = true,
                         .roles = {0, 1}};
    assert_int_equal(md_plan(m, 2, &plan, reason), 0);
    assert_int_equal(md_zones(m, &plan, &zones, &n), 0);
    assert_int_equal(n, 2);
    m[0].chunk_sectors = 0;
    if (md_plan(m, 2, &plan, reason) == 0) {
        MdZone *other = NULL;

        (void)md_zones(m, &plan, &other, &n);
        free(other);
        fail();
    }
    assert_non_null(strstr(reason, "1 of its 2 members are there"));
}

/* What has redundancy says how large its members are, or it would be taken for one of those that need them
 * all.
 */
static void members_of_no_size(void **state)
{
    static const struct {
        int level;
        uint32_t layout;
        uint64_t size;
    } cases[] = {{1, 0, 0},   {4, 0, 0},        {4, 0, 127},     {5, 2, 0},
                 {5, 2, 127}, {10, 0x102, 127}, {10, 0x201, 128}};
    _cleanup_free_ MdSuper *m = calloc(1, sizeof(*m));
    size_t i;

    assert_non_null(m);
    for (i = 0; i < ELEMENTSOF(cases); i++) {
        char reason[160] = "";
        MdPlan plan;

        /* The first one is missing. */
        *m = (MdSuper){.level = cases[i].level,
                       .layout = cases[i].layout,
                       .size = cases[i].size,
                       .chunk_sectors = 128,
                       .raid_disks = 2,
                       .data_size = 1024,
                       .number = 1,
                       .clean = true,
                       .roles = {0, 1}};
        assert_int_equal(md_plan(m, 1, &plan, reason), -EINVAL);
        assert_string_equal(reason, "its size is not known");
    }
}

/* An array of four partitions of an array of four partitions ... */
static void layers_have_an_end(void **state)
{
    Volume v[4] = {};
    Volume *members[] = {&v[0], &v[1], &v[2], &v[3]};
    char **layers = NULL;
    size_t length = 0;
    int level;

    for (level = 0; level < 8; level++) {
        char **next = volumes_join_layers(members, 4, "md raid5");
        char **l;

        strv_free(layers);
        layers = next;
        assert_non_null(layers);
        length = 0;
        STRV_FOREACH (l, layers)
            length += strlen(*l);
        for (size_t i = 0; i < 4; i++)
            v[i].layers = layers;
    }
    assert_true(length < 4096);
    assert_string_equal(layers[strv_length(layers) - 1], "md raid5");
    strv_free(layers);
}

/* ---- what is looked up ---- */

/* Each of 64 lines leads to the other 63 and to itself. */
static void lines_that_lead_to_each_other(void **state)
{
    CrypttabEntry crypts[FSTAB_ENTRIES_MAX];
    const Fstab f = {.crypts = crypts, .n_crypts = ELEMENTSOF(crypts)};
    Volume volumes[200] = {};
    char *reason = NULL;
    size_t i;

    for (i = 0; i < ELEMENTSOF(crypts); i++)
        crypts[i] = (CrypttabEntry){.name = (char *)"a", .what = (char *)"/dev/mapper/a"};
    (void)alarm(20);
    assert_int_equal(guest_match(volumes, ELEMENTSOF(volumes), &f, 0, "/dev/mapper/a", &reason), -ENOENT);
    (void)alarm(0);
    assert_non_null(reason);
    free(reason);
}

/* Each of eight volumes is made of 64 pieces of the next one. */
static void volumes_that_lead_to_each_other(void **state)
{
    const unsigned volumes = 8, pieces = 64;
    LvmSegment *segments = calloc(volumes, sizeof(*segments));
    const char *why = NULL;
    unsigned i, k;

    assert_non_null(segments);
    for (i = 0; i < volumes; i++) {
        snprintf(segments[i].lv, sizeof(segments[i].lv), "v%u", i);
        strcpy(segments[i].type, "striped");
        for (k = 0; k < pieces; k++)
            assert_int_equal(strv_extendf(&segments[i].pieces, "v%u(%u)", i + 1, k), 0);
    }
    (void)alarm(20);
    assert_int_equal(lvm_way(segments, volumes, "v0", &why), LVM_WAY_REFUSE);
    assert_int_equal(lvm_way(segments, volumes, "v7", &why), LVM_WAY_ACTIVATE);
    (void)alarm(0);
    lvm_segments_free(segments, volumes);
}

/* As many volumes as a report may have, and each is made of another one of many pieces. */
static void volumes_of_one_of_many_pieces(void **state)
{
    const unsigned n = 4096, pieces = 900;
    LvmSegment *segments = calloc(n, sizeof(*segments));
    const char *why = NULL;
    unsigned i;

    assert_non_null(segments);
    for (i = 0; i < n; i++) {
        snprintf(segments[i].lv, sizeof(segments[i].lv), i < pieces ? "a" : "b%04u", i);
        strcpy(segments[i].type, "linear");
        assert_int_equal(strv_extend(&segments[i].pieces, i < pieces ? "gone(0)" : "a(0)"), 0);
    }
    (void)alarm(20);
    for (i = 0; i < n; i++)
        assert_int_equal(lvm_way(segments, n, segments[i].lv, &why), LVM_WAY_ACTIVATE);
    (void)alarm(0);
    lvm_segments_free(segments, n);
}

/* The first volume of a group that misses one is made of many pieces of the second, and so on; below is a
 * hole. */
static void volumes_over_a_hole(void **state)
{
    const unsigned volumes = 4, pieces = 400, n = volumes * pieces;
    const LvmPv pv = {.vg = "vg0", .extent_sectors = 8192};
    LvmSegment *segments = calloc(n, sizeof(*segments));
    Assembly a = {.id = "abcd1234"};
    size_t member = 0;
    Group g = {
        .a = &a, .members = &member, .n_members = 1, .pvs = &pv, .n_pvs = 1, .first = &pv, .n_missing = 1};
    unsigned i;

    assert_non_null(segments);
    assert_non_null(assembly_add(&a, 0, 0, 1 * MIB));
    for (i = 0; i < n; i++) {
        LvmSegment *s = &segments[i];

        snprintf(s->lv, sizeof(s->lv), "v%u", i / pieces);
        strcpy(s->type, "linear");
        s->start = (uint64_t)(i % pieces) * pv.extent_sectors;
        s->sectors = pv.extent_sectors;
        assert_int_equal(i / pieces + 1 < volumes
                             ? strv_extendf(&s->pieces, "v%u(%u)", i / pieces + 1, i % pieces)
                             : strv_extend(&s->pieces, "[unknown](0)"),
                         0);
    }
    (void)alarm(20);
    assert_int_equal(lvm_map(&g, segments, n, "v0"), 0);
    (void)alarm(0);
    assert_int_equal(a.n_volumes, 2);
    assert_non_null(strstr(a.volumes[1].reason, "more pieces than are looked at"));
    assert_int_equal(a.n_devices, 0);
    lvm_segments_free(segments, n);
    assembly_done(&a);
}

/* One more would make a record that nobody reads again. */
static void as_many_volumes_as_there_may_be(void **state)
{
    Assembly a = {.id = "abcd1234"};
    _cleanup_failure_ Failure *failure = NULL;
    _cleanup_secret_ Secret *key = secret_new("key", 3);

    assert_non_null(key);
    while (a.n_volumes < VOLUMES_MAX)
        assert_non_null(assembly_add(&a, 0, 0, 1 * MIB));
    a.volumes[0].name = strdup("disk1");
    a.volumes[0].node = strdup("ilr_abcd1234_d1");
    assert_int_equal(luks_open(&a, 0, key, &failure), -E2BIG);
    assert_int_equal(failure->name, FAILURE_UNLOCK_FAILED);
    assert_int_equal(a.n_volumes, VOLUMES_MAX);
    assembly_done(&a);
}

/* ---- file systems ---- */

/* The kernel would open what a f2fs over several devices names: a disk of this host. */
static void file_systems_that_name_devices(void **state)
{
    static const off_t copies[] = {1024, 4096 + 1024};
    _cleanup_close_ int fd = -EBADF;
    char path[PATH_MAX];
    size_t i;

    snprintf(path, sizeof(path), "%s/image", directory);
    fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    assert_true(fd >= 0 && ftruncate(fd, 8 * MIB) >= 0);
    for (i = 0; i < ELEMENTSOF(copies); i++)
        assert_int_equal(pwrite(fd, "\x10\x20\xf5\xf2\x01\x00\x0f\x00", 8, 1 * MIB + copies[i]), 8);
    for (i = 0; i <= ELEMENTSOF(copies); i++) {
        Volume *v = calloc(1, sizeof(*v));

        assert_non_null(v);
        v->start_bytes = 1 * MIB;
        v->size_bytes = 7 * MIB;
        assert_int_equal(volume_probe(fd, v, 30 * USEC_PER_SEC), 0);
        assert_string_equal(v->type, "f2fs");
        if (i == 0)
            assert_null(v->reason);
        else
            assert_non_null(strstr(v->reason, "several devices"));
        volumes_free(v, 1);
        if (i == 0) /* in the second copy alone, then in both */
            assert_int_equal(pwrite(fd, "/dev/sda", 8, 1 * MIB + copies[1] + 2201), 8);
        else
            assert_int_equal(pwrite(fd, "/dev/sda", 8, 1 * MIB + copies[0] + 2201), 8);
    }
}

/* The kernel would open what an ext4 names by its number. */
static void journals_elsewhere(void **state)
{
    static const struct {
        uint8_t magic, features, inode;
        int result;
    } supers[] = {{0x53, 0x3c, 8, 0}, {0x53, 0x38, 0, 0}, {0x53, 0x3c, 0, 1}, {0, 0x3c, 0, 0}};
    _cleanup_close_ int fd = -EBADF;
    char path[PATH_MAX];
    size_t i;

    snprintf(path, sizeof(path), "%s/journal", directory);
    fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    assert_int_equal(ext_journal_elsewhere(fd), 0); /* there is nothing */
    for (i = 0; i < ELEMENTSOF(supers); i++) {
        uint8_t super[1024] = {
            [0x38] = supers[i].magic, [0x39] = 0xef, [0x5c] = supers[i].features, [0xe0] = supers[i].inode};

        assert_int_equal(pwrite(fd, super, sizeof(super), 1024), sizeof(super));
        assert_int_equal(ext_journal_elsewhere(fd), supers[i].result);
    }
}

/* ---- what takes its time ---- */

/* The kernel keeps whoever scans for a target that does not answer; here a pipe does, which nobody reads. */
static void targets_that_do_not_answer(void **state)
{
    static const char *const parts[] = {"class", "class/scsi_host"};
    _cleanup_failure_ Failure *failure = NULL;
    IscsiSession sessions[6] = {};
    uint64_t start, took;
    Disk *disks = NULL;
    size_t n = 0, i;

    paths.sysfs = directory;
    for (i = 0; i < ELEMENTSOF(parts); i++) {
        char path[PATH_MAX];

        snprintf(path, sizeof(path), "%s/%s", directory, parts[i]);
        assert_int_equal(mkdir(path, 0755), 0);
    }
    for (i = 0; i < ELEMENTSOF(sessions); i++) {
        char path[PATH_MAX];

        snprintf(path, sizeof(path), "%s/class/scsi_host/host%zu", directory, i);
        assert_int_equal(mkdir(path, 0755), 0);
        strcat(path, "/scan");
        assert_int_equal(mkfifo(path, 0600), 0);
        sessions[i] =
            (IscsiSession){.host = (unsigned)i, .target = (char *)"iqn.x", .device = (char *)"/nonexistent"};
    }
    start = now_usec(CLOCK_MONOTONIC);
    assert_int_equal(disks_wait(sessions, ELEMENTSOF(sessions), 1 * USEC_PER_SEC, &disks, &n, &failure),
                     -ETIMEDOUT);
    took = now_usec(CLOCK_MONOTONIC) - start;
    assert_int_equal(failure->name, FAILURE_DISKS_MISSING);
    assert_true(took < 20 * USEC_PER_SEC); /* one scan alone has 30 s */
}

/* ---- records ---- */

#define ID "abcd1234"

static int load(const char *text)
{
    _cleanup_(record_freep) Record *r = NULL;
    char path[PATH_MAX];

    snprintf(path, sizeof(path), "%s/" ID "/session.json", directory);
    assert_int_equal(file_write_atomic(AT_FDCWD, path, text, strlen(text), 0600, (uid_t)-1, (gid_t)-1), 0);
    return record_load(ID, &r);
}

static void records_of_the_wrong_kind(void **state)
{
    static const char *const lists[] = {"[1]", "[null]", "[[]]", "[\"a\"]", "[{},true]"};
    static const char *const keys[] = {"disks", "volumes", "roots"};
    _cleanup_(record_freep) Record *r = NULL, *again = NULL;
    char path[PATH_MAX], text[256];
    size_t i, k, n;

    paths.private_dir = directory;
    snprintf(path, sizeof(path), "%s/" ID, directory);
    assert_int_equal(mkdir(path, 0700), 0);
    for (i = 0; i < ELEMENTSOF(lists); i++)
        for (k = 0; k < ELEMENTSOF(keys); k++) {
            snprintf(text, sizeof(text),
                     "{\"version\":1,\"session\":\"" ID
                     "\",\"targets\":[],\"disks\":%s,\"volumes\":%s,\"roots\":%s}",
                     k == 0 ? lists[i] : "[]", k == 1 ? lists[i] : "[]", k == 2 ? lists[i] : "[]");
            assert_int_equal(load(text), -EBADMSG);
        }
    assert_int_equal(load("{\"version\":1,\"session\":\"" ID
                          "\",\"targets\":[],\"disks\":[{}],\"volumes\":[{}],\"roots\":[{}]}"),
                     0);
    /* What nobody would read is not written: the last one stays. */
    assert_int_equal(record_new(ID, &r), 0);
    assert_int_equal(record_save(r), 0);
    for (n = 0; n < RECORD_SIZE_MAX; n += 64 * KIB) {
        json_object *o = json_object_new_object();
        _cleanup_free_ char *reason = malloc(64 * KIB);

        assert_non_null(reason);
        memset(reason, 'x', 64 * KIB);
        reason[64 * KIB - 1] = '\0';
        assert_int_equal(json_add_string(o, "reason", reason), 0);
        assert_int_equal(json_object_array_add(r->volumes, o), 0);
    }
    assert_int_equal(record_save(r), -EFBIG);
    assert_int_equal(record_load(ID, &again), 0);
    assert_int_equal(json_object_array_length(again->volumes), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_are_no_paths),
        cmocka_unit_test_setup_teardown(towers_are_climbed_once, setup, teardown),
        cmocka_unit_test(names_of_arrays_are_text),
        cmocka_unit_test(members_that_differ),
        cmocka_unit_test(members_of_no_size),
        cmocka_unit_test(layers_have_an_end),
        cmocka_unit_test(lines_that_lead_to_each_other),
        cmocka_unit_test(volumes_that_lead_to_each_other),
        cmocka_unit_test(volumes_of_one_of_many_pieces),
        cmocka_unit_test(volumes_over_a_hole),
        cmocka_unit_test(as_many_volumes_as_there_may_be),
        cmocka_unit_test_setup_teardown(file_systems_that_name_devices, setup, teardown),
        cmocka_unit_test_setup_teardown(journals_elsewhere, setup, teardown),
        cmocka_unit_test_setup_teardown(targets_that_do_not_answer, setup, teardown),
        cmocka_unit_test_setup_teardown(records_of_the_wrong_kind, setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
