/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* What of the disks' side of the helper needs no disk: names, tables, device-mapper's lines, REPORT LUNS, the
 * btrfs superblock, who is in the way (on a made-up /proc). */

#include "assembly.h"
#include "btrfs.h"
#include "child.h"
#include "disk.h"
#include "dm.h"
#include "files.h"
#include "holder.h"
#include "lvm-report.h"
#include "md-super.h"
#include "mount.h"
#include "names.h"
#include "overlay.h"
#include "partition.h"
#include "paths.h"
#include "probe.h"
#include "strv.h"

#include <endian.h>
#include <fcntl.h>
#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include <cmocka.h>

static char directory[64];

static int setup(void **state)
{
    snprintf(directory, sizeof(directory), "/tmp/test-storage-XXXXXX");
    return mkdtemp(directory) ? 0 : -1;
}

static int teardown(void **state)
{
    return file_remove_tree(AT_FDCWD, directory);
}

static void put_file(const char *name, const char *text)
{
    char path[PATH_MAX];

    snprintf(path, sizeof(path), "%s/%s", directory, name);
    assert_int_equal(file_write_atomic(AT_FDCWD, path, text, strlen(text), 0644, (uid_t)-1, (gid_t)-1), 0);
}

static void make_dir(const char *name)
{
    char path[PATH_MAX];

    snprintf(path, sizeof(path), "%s/%s", directory, name);
    assert_int_equal(mkdir(path, 0755), 0);
}

/* ---- names ---- */

static void usable_names(void **state)
{
    char longest[VOLUME_NAME_MAX + 2];

    assert_true(volume_name_usable("root"));
    assert_true(volume_name_usable("EFI_1.2-x"));
    assert_true(volume_name_usable("disk"));
    assert_true(volume_name_usable("disk1x"));
    assert_false(volume_name_usable(NULL));
    assert_false(volume_name_usable(""));
    assert_false(volume_name_usable(".."));
    assert_false(volume_name_usable(".hidden"));
    assert_false(volume_name_usable("-rf"));
    assert_false(volume_name_usable("a/b"));
    assert_false(volume_name_usable("two words"));
    assert_false(volume_name_usable("caf\xc3\xa9"));
    assert_false(volume_name_usable("disk1"));
    assert_false(volume_name_usable("disk12-part3"));
    memset(longest, 'a', sizeof(longest));
    longest[VOLUME_NAME_MAX] = '\0';
    assert_true(volume_name_usable(longest));
    longest[VOLUME_NAME_MAX] = 'a';
    longest[VOLUME_NAME_MAX + 1] = '\0';
    assert_false(volume_name_usable(longest));
}

static Volume *volumes_new(const Volume *from, size_t n)
{
    Volume *v = calloc(n, sizeof(*v));
    size_t i;

    assert_non_null(v);
    for (i = 0; i < n; i++) {
        v[i] = from[i];
        v[i].label = from[i].label ? strdup(from[i].label) : NULL;
        v[i].base = from[i].base ? strdup(from[i].base) : NULL;
        v[i].group = from[i].group ? strdup(from[i].group) : NULL;
        v[i].partition_label = from[i].partition_label ? strdup(from[i].partition_label) : NULL;
    }
    return v;
}

static void names_of_volumes(void **state)
{
    const Volume from[] = {
        {.disk = 0, .partition = 1, .label = (char *)"root"},
        {.disk = 0, .partition = 2, .label = (char *)"///", .partition_label = (char *)"boot"},
        {.disk = 0, .partition = 14},
        {.disk = 1, .partition = 0, .label = (char *)"data"},
        {.disk = 2, .partition = 0},
        {.disk = 3, .partition = 1, .label = (char *)"root"},
        {.disk = 4, .partition = 0, .label = (char *)"data"},
        /* looks like what the first one is called now */
        {.disk = 5, .partition = 1, .label = (char *)"root-disk1p1"},
        /* what a directory or a shell would not like */
        {.disk = 6, .partition = 1, .label = (char *)"System Reserved"},
        {.disk = 6, .partition = 2, .partition_label = (char *)"Basic data partition"},
        {.disk = 6, .partition = 3, .partition_label = (char *)"Basic data partition"},
        {.disk = 7, .partition = 1, .label = (char *)"../x"},
        {.disk = 7, .partition = 2, .label = (char *)"\xe4\xb8\xad\xe6\x96\x87"},
        {.disk = 7, .partition = 3, .label = (char *)"-caf\xc3\xa9/"},
        {.disk = 8, .base = (char *)"a+b", .group = (char *)"vg0"},
    };
    const char *expected[] = {"disk1-part1",
                              "boot",
                              "disk1-part14",
                              "data-disk2",
                              "disk3",
                              "root-disk4p1",
                              "data-disk5",
                              "disk6-part1",
                              "System_Reserved",
                              "Basic_data_partition-disk7p2",
                              "Basic_data_partition-disk7p3",
                              "_._x",
                              "disk8-part2",
                              "_caf__",
                              "a_b"};
    Volume *v = volumes_new(from, ELEMENTSOF(from));
    size_t i;

    assert_int_equal(volumes_name(v, ELEMENTSOF(from)), 0);
    for (i = 0; i < ELEMENTSOF(from); i++)
        assert_string_equal(v[i].name, expected[i]);
    /* Naming again changes nothing. */
    assert_int_equal(volumes_name(v, ELEMENTSOF(from)), 0);
    for (i = 0; i < ELEMENTSOF(from); i++)
        assert_string_equal(v[i].name, expected[i]);
    volumes_free(v, ELEMENTSOF(from));
}

static void names_of_logical_volumes(void **state)
{
    const Volume from[] = {
        {.disk = 0, .base = (char *)"root", .group = (char *)"vg0"},
        {.disk = 1, .base = (char *)"root", .group = (char *)"vg1"},
        {.disk = 1, .base = (char *)"var", .group = (char *)"vg1", .label = (char *)"logs"},
        {.disk = 1, .base = (char *)"srv", .group = (char *)"vg1"},
        {.disk = 2, .base = (char *)"home", .group = (char *)"vg2"},
        {.disk = 3, .base = (char *)"home", .group = (char *)"vg2"}, /* the disk is there twice */
        {.disk = 4, .base = (char *)"-", .group = (char *)"vg2"},
        {.disk = 5, .base = (char *)"md0"},
        {.disk = 6, .label = (char *)"pool"},
        {.disk = 7, .label = (char *)"pool", .used = true}, /* the second device of the same */
    };
    const char *expected[] = {"vg0-root",   "vg1-root", "logs", "srv",  "vg2-home",
                              "vg2-home-2", "vg2--",    "md0",  "pool", "disk8"};
    Volume *v = volumes_new(from, ELEMENTSOF(from));
    size_t i;

    v[9].reason = strdup("device of the btrfs on disk7");
    assert_int_equal(volumes_name(v, ELEMENTSOF(from)), 0);
    for (i = 0; i < ELEMENTSOF(from); i++)
        assert_string_equal(v[i].name, expected[i]);
    /* What comes later takes no name away. */
    v[3].name = (free(v[3].name), NULL);
    v[3].label = strdup("logs");
    assert_int_equal(volumes_name(v, ELEMENTSOF(from)), 0);
    assert_string_equal(v[2].name, "logs");
    assert_string_equal(v[3].name, "logs-vg1-srv");
    volumes_free(v, ELEMENTSOF(from));
}

static void layers_of_volumes(void **state)
{
    Volume a = {.disk = 0, .partition = 2}, b = {.disk = 1}, c = {.disk = 2};
    Volume *two[] = {&a, &b}, *one[] = {&c}, *three[] = {&a, &c};
    _cleanup_strv_free_ char **md = NULL, **lv = NULL, **mixed = NULL;

    md = volumes_join_layers(two, 2, "md raid1");
    assert_string_equal(md[0], "disk1-part2 + disk2");
    assert_string_equal(md[1], "md raid1");
    assert_null(md[2]);
    c.layers = md;
    lv = volumes_join_layers(one, 1, "LV vg0/root");
    assert_int_equal(strv_length(lv), 3);
    assert_string_equal(lv[2], "LV vg0/root");
    mixed = volumes_join_layers(three, 2, "LV vg0/root");
    assert_string_equal(mixed[0], "disk1-part2 + disk1-part2 + disk2 > md raid1");
}

/* ---- LVM's reports ---- */

static void lvm_reports(void **state)
{
    static const char pv[] =
        "{\"report\":[{\"pv\":[{\"pv_name\":\"/dev/mapper/ilr_abcd1234_d1\",\"vg_name\":\"vg0\","
        "\"vg_uuid\":\"Ab-1\",\"vg_systemid\":\"\",\"pv_fmt\":\"lvm2\",\"pv_missing\":\"\",\"vg_exported\":"
        "\"\","
        "\"pe_start\":\"2048\",\"vg_extent_size\":\"8192\"},{\"pv_name\":\"[unknown]\",\"vg_name\":\"vg0\","
        "\"vg_uuid\":\"Ab-1\",\"vg_systemid\":\"\",\"pv_fmt\":\"lvm2\",\"pv_missing\":\"missing\","
        "\"vg_exported\":\"\",\"pe_start\":\"2048\",\"vg_extent_size\":\"8192\"}]}]}";
    static const char lv[] =
        "{\"report\":[{\"lv\":[{\"lv_name\":\"root\",\"lv_uuid\":\"aB-1\",\"segtype\":\"linear\",\"lv_size\":"
        "\"24576\","
        "\"lv_active\":\"active\",\"lv_health_status\":\"\",\"lv_kernel_major\":\"253\",\"lv_kernel_minor\":"
        "\"4\"},"
        "{\"lv_name\":\"off\",\"lv_uuid\":\"\",\"segtype\":\"raid1\",\"lv_size\":\"1\",\"lv_active\":\"\","
        "\"lv_health_status\":\"partial\",\"lv_kernel_major\":\"-1\",\"lv_kernel_minor\":\"-1\"}]}]}";
    _cleanup_free_ LvmPv *pvs = NULL;
    _cleanup_free_ LvmLv *lvs = NULL;
    _cleanup_free_ char *bad = strdup(lv);
    size_t n;

    assert_int_equal(lvm_report_pvs(pv, &pvs, &n), 0);
    assert_int_equal(n, 2);
    assert_string_equal(pvs[0].vg, "vg0");
    assert_int_equal(pvs[0].extent_sectors, 8192);
    assert_false(pvs[0].missing);
    assert_true(pvs[1].missing);
    assert_int_equal(lvm_report_lvs(lv, &lvs, &n), 0);
    assert_int_equal(n, 2);
    assert_true(lvs[0].active && lvs[0].major == 253 && lvs[0].minor == 4 && !lvs[0].degraded);
    assert_true(!lvs[1].active && lvs[1].degraded);
    lvs = (free(lvs), NULL);
    memcpy(strstr(bad, "root"), "r/ot", 4); /* no name of LVM's */
    assert_int_equal(lvm_report_lvs(bad, &lvs, &n), -EBADMSG);
    assert_int_equal(lvm_report_lvs("", &lvs, &n), -EBADMSG);
    assert_int_equal(lvm_report_pvs("{\"report\":[]}", &pvs, &n), -EBADMSG);
}

static void lvm_segments(void **state)
{
    static const char text[] =
        "{\"report\":[{\"seg\":[{\"lv_name\":\"root\",\"segtype\":\"linear\",\"seg_start\":\"8192\","
        "\"seg_size\":\"16\",\"stripe_size\":\"0\",\"devices\":\"[unknown](3)\",\"origin\":\"\",\"pool_lv\":"
        "\"\",\"cache_mode\":\"\"},{\"lv_name\":\"root\","
        "\"segtype\":\"striped\",\"seg_start\":\"0\",\"seg_size\":\"8192\",\"stripe_size\":\"128\","
        "\"devices\":\"/dev/mapper/ilr_a_d1(0),/dev/mapper/"
        "ilr_a_d2(7)\",\"origin\":\"\",\"pool_lv\":\"\",\"cache_mode\":\"\"},{\"lv_name\":\"[m_rimage_0]\","
        "\"segtype\":\"linear\",\"seg_start\":\"0\",\"seg_size\":\"8\",\"stripe_size\":\"0\","
        "\"devices\":\"/dev/mapper/"
        "ilr_a_d1(9)\",\"origin\":\"[root]\",\"pool_lv\":\"\",\"cache_mode\":\"\"}]}]}";
    static const char *const bad[] = {"", "(1)", "x", "x(", "x()", "x(-1)", "x(1", "x(1)y", "x(99999999999)"};
    LvmSegment *segments;
    char name[256];
    uint64_t extent;
    size_t i, n;

    assert_int_equal(lvm_report_segments(text, &segments, &n), 0);
    assert_int_equal(n, 3);
    assert_string_equal(segments[0].lv, "m_rimage_0");
    assert_true(segments[0].hidden);
    assert_string_equal(segments[0].origin, "root");
    assert_string_equal(segments[1].lv, "root");
    assert_int_equal(segments[1].start, 0); /* sorted */
    assert_int_equal(strv_length(segments[1].pieces), 2);
    assert_int_equal(lvm_piece_parse(segments[1].pieces[1], name, &extent), 0);
    assert_string_equal(name, "/dev/mapper/ilr_a_d2");
    assert_int_equal(extent, 7);
    assert_int_equal(lvm_piece_parse(segments[2].pieces[0], name, &extent), 0);
    assert_string_equal(name, "[unknown]");
    lvm_segments_free(segments, n);
    for (i = 0; i < ELEMENTSOF(bad); i++)
        assert_int_equal(lvm_piece_parse(bad[i], name, &extent), -EBADMSG);
}

/* What a later helper finds is what the earlier one had. */
static void kept_assembly(void **state)
{
    Disk disk = {.name = (char *)"disk1",
                 .target = (char *)"iqn.x",
                 .lun = 1,
                 .device = makedev(8, 16),
                 .size_bytes = 1 << 20,
                 .sector_bytes = 512,
                 .overlay_bytes = 4096};
    char *layers[] = {(char *)"disk1", (char *)"md raid1", NULL},
         *partners[] = {(char *)"ilr_abcd1234_d2", NULL};
    Volume volumes[] = {{.name = (char *)"md0",
                         .base = (char *)"md0",
                         .type = (char *)"crypto_LUKS",
                         .node = (char *)"ilr_abcd1234_m1",
                         .device = makedev(253, 7),
                         .size_bytes = 4096,
                         .layers = layers,
                         .reason = (char *)"locked",
                         .locked = true,
                         .degraded = true,
                         .used = true},
                        {.name = (char *)"disk1-part2",
                         .partition = 2,
                         .start_bytes = 512,
                         .size_bytes = 1024,
                         .type = (char *)"btrfs",
                         .partners = partners,
                         .reason = (char *)"waits",
                         .waits = true}};
    const Assembly a = {
        .id = "abcd1234", .disks = &disk, .n_disks = 1, .volumes = volumes, .n_volumes = 2, .n_made = 3};
    _cleanup_json_ json_object *disks = json_object_new_array(), *list = json_object_new_array(),
                               *parts = NULL;
    Assembly b = {.id = "abcd1234"}, c = {.id = "abcd1234"};
    json_object *o;
    size_t i;

    assert_int_equal(disk_to_json(&disk, &o), 0);
    json_object_array_add(disks, o);
    for (i = 0; i < 2; i++) {
        assert_int_equal(volume_to_json(&volumes[i], &disk, "/run/ilr/abcd1234/volumes", &o), 0);
        json_object_array_add(list, o);
    }
    assert_int_equal(assembly_parts_to_json(&a, &parts), 0);
    assert_int_equal(assembly_load(&b, disks, list, parts), 0);
    assert_int_equal(b.n_made, 3);
    assert_int_equal(b.n_volumes, 2);
    assert_int_equal(b.disks[0].overlay_bytes, 4096);
    assert_string_equal(b.volumes[0].node, "ilr_abcd1234_m1");
    assert_int_equal(b.volumes[0].device, makedev(253, 7));
    assert_string_equal(b.volumes[0].layers[1], "md raid1");
    assert_true(b.volumes[0].locked && b.volumes[0].used && b.volumes[0].degraded);
    assert_int_equal(b.volumes[1].partition, 2);
    assert_null(b.volumes[1].layers);
    assert_string_equal(b.volumes[1].partners[0], "ilr_abcd1234_d2");
    assert_true(b.volumes[1].waits && !b.volumes[1].used);
    assembly_done(&b);
    json_object_array_del_idx(list, 1, 1);
    assert_int_equal(assembly_load(&c, disks, list, parts), -EBADMSG);
    assembly_done(&c);
}

/* ---- arrays ---- */

typedef struct ArrayCase {
    const char *what;
    int level;
    uint32_t layout, n;
    const char *there; /* which members, a digit each */
    bool dirty;
    const char *text, *type, *options; /* NULL text: refused */
    uint64_t sectors;
} ArrayCase;

static MdSuper array_member(const ArrayCase *c, unsigned number)
{
    MdSuper m = {.level = c->level,
                 .minor_version = 2,
                 .layout = c->layout,
                 .chunk_sectors = 128,
                 .raid_disks = c->n,
                 .size = 1280,
                 .data_offset = 2048,
                 .data_size = 1280,
                 .events = 7,
                 .clean = !c->dirty,
                 .number = number};
    unsigned i;

    for (i = 0; i < MD_ROLES_MAX; i++)
        m.roles[i] = i < c->n ? (uint16_t)i : MD_ROLE_SPARE;
    return m;
}

static void arrays(void **state)
{
    static const ArrayCase cases[] = {
        {"mirror", 1, 0, 2, "01", false, "md raid1", "raid1", "2 0 nosync", 1280},
        {"half a mirror", 1, 0, 2, "1", false, "md raid1 (degraded, 1 of 2)", "raid1", "2 0 nosync", 1280},
        {"raid5", 5, 2, 3, "012", false, "md raid5", "raid5_ls", "2 128 nosync", 2560},
        {"raid5 without one", 5, 0, 3, "02", true, "md raid5 (degraded, 2 of 3, not clean)", "raid5_la",
         "2 128 nosync", 2560},
        {"raid5 without two", 5, 2, 3, "0", false, NULL, NULL, NULL, 0},
        {"raid5 of no known layout", 5, 77, 3, "012", false, NULL, NULL, NULL, 0},
        {"raid6", 6, 2, 4, "0123", false, NULL, NULL, NULL, 0},
        {"near", 10, 0x102, 4, "03", false, "md raid10 (degraded, 2 of 4)", "raid10",
         "6 128 nosync raid10_copies 2 raid10_format near", 2560},
        {"both copies gone", 10, 0x102, 4, "01", false, NULL, NULL, NULL, 0},
        {"far", 10, 0x201, 4, "0123", false, "md raid10", "raid10",
         "7 128 nosync raid10_copies 2 raid10_format far raid10_use_near_sets", 2560},
        {"stripes", 0, 2, 2, "01", false, "md raid0", "", "", 0},
        {"half of them", 0, 2, 2, "0", false, NULL, NULL, NULL, 0},
        {"multipath", -4, 0, 2, "01", false, NULL, NULL, NULL, 0},
    };
    size_t i, k, n;

    for (i = 0; i < ELEMENTSOF(cases); i++) {
        const ArrayCase *c = &cases[i];
        _cleanup_free_ MdSuper *members = calloc(4, sizeof(*members));
        char reason[160] = "";
        MdPlan plan;

        assert_non_null(members);
        for (n = 0; c->there[n]; n++)
            members[n] = array_member(c, (unsigned)(c->there[n] - '0'));
        if (!c->text) {
            assert_int_equal(md_plan(members, n, &plan, reason), -EINVAL);
            assert_true(*reason);
            continue;
        }
        assert_int_equal(md_plan(members, n, &plan, reason), 0);
        assert_string_equal(plan.text, c->text);
        assert_string_equal(plan.type, c->type);
        assert_string_equal(plan.options, c->options);
        assert_int_equal(plan.sectors, c->sectors);
        for (k = 0; k < plan.n_legs; k++)
            assert_true(plan.legs[k] < 0 || (unsigned)(c->there[plan.legs[k]] - '0') == k);
    }
}

static void stale_members(void **state)
{
    const ArrayCase c = {.level = 1, .n = 2};
    _cleanup_free_ MdSuper *members = calloc(3, sizeof(*members));
    char reason[160];
    MdPlan plan;

    assert_non_null(members);
    members[0] = array_member(&c, 0);
    members[1] = array_member(&c, 1);
    members[0].events = 3; /* it fell out long ago */
    assert_int_equal(md_plan(members, 2, &plan, reason), 0);
    assert_string_equal(plan.text, "md raid1 (degraded, 1 of 2)");
    assert_int_equal(plan.legs[0], -1);
    assert_int_equal(plan.legs[1], 1);
    members[0].events = 6; /* the last moment before the power went */
    assert_int_equal(md_plan(members, 2, &plan, reason), 0);
    assert_int_equal(plan.n_present, 2);
    members[0].recovering = true;
    assert_int_equal(md_plan(members, 2, &plan, reason), 0);
    assert_int_equal(plan.n_present, 1);
    /* Not clean: one copy only is read. */
    members[0].recovering = false;
    members[0].clean = members[1].clean = false;
    assert_int_equal(md_plan(members, 2, &plan, reason), 0);
    assert_string_equal(plan.text, "md raid1 (not clean)");
    assert_int_equal(plan.legs[1], -1);
    members[1].reshaping = true;
    assert_int_equal(md_plan(members, 2, &plan, reason), -EINVAL);
    assert_non_null(strstr(reason, "reshaped"));
}

static void array_zones(void **state)
{
    const ArrayCase c = {.level = 0, .layout = 2, .n = 3};
    _cleanup_free_ MdSuper *members = calloc(3, sizeof(*members));
    _cleanup_free_ MdZone *zones = NULL;
    char reason[160];
    MdPlan plan;
    size_t i, n;

    assert_non_null(members);
    for (i = 0; i < 3; i++)
        members[i] = array_member(&c, (unsigned)i);
    members[1].data_size = 1280 + 300; /* two chunks and a bit more */
    members[2].data_size = 1280 + 256;
    assert_int_equal(md_plan(members, 3, &plan, reason), 0);
    assert_int_equal(md_zones(members, &plan, &zones, &n), 0);
    assert_int_equal(n, 2);
    assert_int_equal(zones[0].sectors, 3 * 1280);
    assert_int_equal(zones[1].start, 3 * 1280);
    assert_int_equal(zones[1].sectors, 2 * 256);
    assert_int_equal(zones[1].leg_start, 1280);
    assert_int_equal(zones[1].n_legs, 2);
    assert_int_equal(zones[1].legs[0], 1);
    zones = (free(zones), NULL);
    for (i = 0; i < 3; i++)
        members[i].layout = 0; /* nobody can say how the second zone lies */
    assert_int_equal(md_zones(members, &plan, &zones, &n), -EINVAL);
}

static void overlay_words(void **state)
{
    uint64_t used;

    assert_int_equal(overlay_status_parse("96/524288 32", &used), 0);
    assert_int_equal(used, 96 * 512);
    assert_int_equal(overlay_status_parse("Invalid", &used), -ENOSPC);
    assert_int_equal(overlay_status_parse("", &used), -EBADMSG);
}

static void labels_for_people(void **state)
{
    static const struct {
        const char *in, *out;
    } cases[] = {
        {"plain", "plain"},
        {"caf\xc3\xa9", "caf\xc3\xa9"},
        {"\x1b[31mred", "?[31mred"},
        {"bad\xff\xc3", "bad??"},
        {"c1\xc2\x9b", "c1?"},
        {"0123456789abcdef", "0123456789ab"},
        {"0123456789a\xc3\xa9", "0123456789a"}, /* never half a character */
    };
    size_t i;

    for (i = 0; i < ELEMENTSOF(cases); i++) {
        _cleanup_free_ char *s = text_clean(cases[i].in, 12);

        assert_string_equal(s, cases[i].out);
    }
}

/* ---- device-mapper ---- */

static void dm_words(void **state)
{
    char buf[DM_NAME_SIZE], params[DM_PARAMS_SIZE];

    dm_name("abcd1234", 1, 0, buf);
    assert_string_equal(buf, "ilr_abcd1234_d1");
    dm_name("abcd1234", 1, -1, buf);
    assert_string_equal(buf, "ilr_abcd1234_d1cow");
    dm_name("abcd1234", 12, 3, buf);
    assert_string_equal(buf, "ilr_abcd1234_d12p3");
    dm_uuid("abcd1234", 12, 3, buf);
    assert_string_equal(buf, "LVM-ILRabcd1234d12p3");
    assert_null(strchr(strchr(buf, '-') + 1, '-')); /* with a second dash libblkid would not look into it */
    dm_uuid("abcd1234", 2, -1, buf);
    assert_string_equal(buf, "LVM-ILRabcd1234d2cow");
    dm_prefix("abcd1234", buf);
    assert_string_equal(buf, "ilr_abcd1234_");
    dm_params_linear(makedev(7, 3), 2048, params);
    assert_string_equal(params, "7:3 2048");
    dm_params_snapshot(makedev(8, 16), makedev(253, 4), params);
    assert_string_equal(params, "8:16 253:4 P 16");
}

/* ---- REPORT LUNS ---- */

static void luns(void **state)
{
    const uint8_t answer[] = {
        0,    0,    0, 40, 0, 0, 0, 0, /* length, reserved */
        0,    0,    0, 0,  0, 0, 0, 0, /* 0 */
        0,    1,    0, 0,  0, 0, 0, 0, /* 1 */
        0x40, 0x80, 0, 0,  0, 0, 0, 0, /* flat space 128: the kernel says 16512 */
        0xc1, 1,    0, 0,  0, 0, 0, 0, /* well-known */
        0,    7,    0, 0,  0, 0, 0, 0, /* 7 */
    };
    _cleanup_free_ uint64_t *found = NULL, *cut = NULL, *none = NULL;
    size_t n;

    assert_int_equal(report_luns_parse(answer, sizeof(answer), &found, &n), 0);
    assert_int_equal(n, 4);
    assert_int_equal(found[0], 0);
    assert_int_equal(found[1], 1);
    assert_int_equal(found[2], 16512);
    assert_int_equal(found[3], 7);
    /* It promises more than it brings. */
    assert_int_equal(report_luns_parse(answer, 24, &cut, &n), 0);
    assert_int_equal(n, 2);
    assert_int_equal(report_luns_parse(answer, 8, &none, &n), 0);
    assert_int_equal(n, 0);
    assert_int_equal(report_luns_parse(answer, 7, &none, &n), -EBADMSG);
}

/* ---- partition tables and content, on images made with the real tools ---- */

static bool run(const char *const *argv, const char *input)
{
    ChildOptions options = {.timeout_usec = 60 * USEC_PER_SEC, .input = input};
    _cleanup_child_ ChildResult result = {};

    return child_run((char *const *)argv, &options, &result) >= 0 && result.status == 0;
}

static int image(const char *name, uint64_t size)
{
    char path[PATH_MAX];
    int fd;

    snprintf(path, sizeof(path), "%s/%s", directory, name);
    fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    assert_int_equal(ftruncate(fd, (off_t)size), 0);
    return fd;
}

static bool sfdisk(const char *name, const char *script)
{
    char path[PATH_MAX];
    const char *argv[] = {"sfdisk", "-q", path, NULL};

    snprintf(path, sizeof(path), "%s/%s", directory, name);
    return run(argv, script);
}

static void table_gpt(void **state)
{
    _cleanup_close_ int fd = image("gpt", 16 * MIB);
    _cleanup_(partition_table_done) PartitionTable t = {}, again = {};
    _cleanup_json_ json_object *o = NULL;
    bool part;

    if (!sfdisk("gpt", "label: gpt\nstart=2048,size=2048,name=\"one\"\nstart=8192,size=4096,"
                       "type=21686148-6449-6E6F-744E-656564454649\n"))
        skip();
    assert_int_equal(partition_table_read(fd, &t), 0);
    assert_string_equal(t.type, "gpt");
    assert_int_equal(t.n_partitions, 2);
    assert_int_equal(t.partitions[0].number, 1);
    assert_int_equal(t.partitions[0].start_bytes, 1 * MIB);
    assert_int_equal(t.partitions[0].size_bytes, 1 * MIB);
    assert_string_equal(t.partitions[0].label, "one");
    assert_null(t.partitions[1].label);
    assert_non_null(partition_type_reason(t.partitions[1].type, &part));
    assert_false(part);
    assert_null(partition_type_reason(t.partitions[0].type, &part));
    assert_int_equal(strlen(t.partitions[0].uuid), 36);
    assert_non_null(partition_type_reason("AF9B60A0-1431-4F62-BC68-3311714A69AD", &part));
    assert_true(part);
    assert_non_null(partition_type_reason("0x42", &part));
    assert_true(part);
    /* Between child and parent nothing is lost. */
    assert_int_equal(partition_table_to_json(&t, &o), 0);
    assert_int_equal(partition_table_from_json(o, &again), 0);
    assert_int_equal(again.n_partitions, 2);
    assert_int_equal(again.partitions[1].start_bytes, 4 * MIB);
    assert_string_equal(again.partitions[0].label, "one");
    assert_string_equal(again.partitions[1].type, t.partitions[1].type);
}

/* The image is seen with sectors of 512, the table was written for 4096. */
static void table_of_other_sectors(void **state)
{
    _cleanup_close_ int fd = image("4k", 64 * MIB);
    _cleanup_(partition_table_done) PartitionTable t = {};

    char path[PATH_MAX];
    const char *argv[] = {"fdisk", "-b", "4096", path, NULL};

    snprintf(path, sizeof(path), "%s/4k", directory);
    if (!run(argv, "g\nn\n1\n256\n1279\nw\n"))
        skip();
    assert_int_equal(partition_table_read(fd, &t), 0);
    assert_int_equal(t.n_partitions, 1);
    assert_int_equal(t.sector_bytes, 4096);
    assert_int_equal(t.partitions[0].start_bytes, 1 * MIB);
    assert_int_equal(t.partitions[0].size_bytes, 4 * MIB);
}

static void table_mbr(void **state)
{
    _cleanup_close_ int fd = image("mbr", 16 * MIB);
    _cleanup_(partition_table_done) PartitionTable t = {};

    if (!sfdisk("mbr", "label: dos\nstart=2048,size=2048,type=83\nstart=4096,type=5\n"
                       "start=6144,size=2048,type=83\nstart=10240,size=2048,type=82\n"))
        skip();
    assert_int_equal(partition_table_read(fd, &t), 0);
    assert_string_equal(t.type, "dos");
    assert_int_equal(t.n_partitions, 3); /* the extended one is no volume */
    assert_int_equal(t.partitions[0].number, 1);
    assert_int_equal(t.partitions[1].number, 5);
    assert_int_equal(t.partitions[1].start_bytes, 3 * MIB);
    assert_int_equal(t.partitions[2].number, 6);
    assert_string_equal(t.partitions[2].type, "0x82");
}

/* A table that promises more than the disk has: what reaches beyond is no volume. */
static void table_beyond_the_end(void **state)
{
    _cleanup_close_ int fd = image("short", 16 * MIB);
    _cleanup_(partition_table_done) PartitionTable t = {};

    if (!sfdisk("short", "label: dos\nstart=2048,size=2048,type=83\nstart=8192,size=16384,type=83\n"))
        skip();
    assert_int_equal(ftruncate(fd, 8 * MIB), 0);
    assert_int_equal(partition_table_read(fd, &t), 0);
    assert_int_equal(t.n_partitions, 1);
    assert_int_equal(t.partitions[0].number, 1);
}

static void table_none(void **state)
{
    _cleanup_close_ int fd = image("none", 1 * MIB);
    _cleanup_(partition_table_done) PartitionTable t = {};

    assert_int_equal(partition_table_read(fd, &t), 0);
    assert_null(t.type);
    assert_int_equal(t.n_partitions, 0);
}

static void probe_contents(void **state)
{
    _cleanup_close_ int fd = image("ext4", 8 * MIB), empty = image("empty", 2 * MIB),
                        junk = image("junk", 2 * MIB);
    char path[PATH_MAX];
    const char *argv[] = {"mkfs.ext4", "-q", "-L", "two words", path, NULL};
    Volume v = {.size_bytes = 8 * MIB}, e = {.size_bytes = 2 * MIB}, s = {.size_bytes = 2 * MIB},
           j = {.start_bytes = 1 * MIB, .size_bytes = 1 * MIB};

    snprintf(path, sizeof(path), "%s/ext4", directory);
    if (!run(argv, NULL))
        skip();
    assert_int_equal(volume_probe(fd, &v, 10 * USEC_PER_SEC), 0);
    assert_string_equal(v.type, "ext4");
    assert_string_equal(v.label, "two words");
    assert_non_null(v.uuid);
    assert_null(v.reason);
    /* Rotten, but for sure an ext4: libblkid before 2.39 leaves the checksum to the kernel. */
    assert_int_equal(pwrite(fd, "rotten", 6, 1024 + 0x1a8), 6);
    free(v.type), free(v.label), free(v.uuid);
    v = (Volume){.size_bytes = 8 * MIB};
    assert_int_equal(volume_probe(fd, &v, 10 * USEC_PER_SEC), 0);
    assert_string_equal(v.type, "ext4");
    assert_true(!v.reason || strstr(v.reason, "damaged superblock"));
    /* The first piece of a volume of a dynamic disk looks like the whole. */
    v.partition_type = (char *)"0x42";
    free(v.type), free(v.label), free(v.uuid);
    v.type = v.label = v.uuid = NULL;
    assert_int_equal(volume_probe(fd, &v, 10 * USEC_PER_SEC), 0);
    assert_non_null(v.reason);
    assert_non_null(strstr(v.reason, "dynamic disk"));
    free(v.reason);
    assert_int_equal(volume_probe(empty, &e, 10 * USEC_PER_SEC), 0);
    assert_string_equal(e.reason, "empty");
    assert_int_equal(pwrite(junk, "junk", 4, 1 * MIB), 4);
    assert_int_equal(volume_probe(junk, &j, 10 * USEC_PER_SEC), 0);
    assert_non_null(strstr(j.reason, "unknown content"));
    assert_int_equal(pwrite(junk, "SWAPSPACE2", 10, 4086), 10);
    assert_int_equal(pwrite(junk, "\1\0\0\0\xff\0\0\0", 8, 1024), 8);
    assert_int_equal(volume_probe(junk, &s, 10 * USEC_PER_SEC), 0);
    assert_string_equal(s.type, "swap");
    assert_non_null(strstr(s.reason, "swap space"));
    free(v.type), free(v.label), free(v.uuid);
    free(e.reason);
    free(j.reason);
    free(s.type), free(s.label), free(s.uuid), free(s.reason);
}

static void types(void **state)
{
    assert_true(type_mountable("ext4"));
    assert_true(type_mountable("btrfs"));
    assert_true(type_mountable("ntfs"));
    assert_false(type_mountable("nfs"));
    assert_false(type_mountable(""));
    static const struct {
        const char *type;
        bool replay, degraded;
        const char *options;
    } mounts[] = {
        {"ext4", true, false, "ro,nosuid,nodev,noexec"},
        {"ext4", false, false, "ro,nosuid,nodev,noexec,noload"},
        {"ext4", true, true, "ro,nosuid,nodev,noexec"},
        {"ext2", false, false, "ro,nosuid,nodev,noexec"},
        {"xfs", true, false, "ro,nosuid,nodev,noexec,nouuid"},
        {"xfs", false, false, "ro,nosuid,nodev,noexec,nouuid,norecovery"},
        {"btrfs", false, true, "ro,nosuid,nodev,noexec,subvolid=5,rescue=nologreplay,degraded"},
        {"vfat", true, false, "ro,nosuid,nodev,noexec,uid=0,gid=0,umask=0022,utf8"},
    };
    char *partners[] = {(char *)"ilr_abcd1234_d2", NULL};
    size_t i;

    for (i = 0; i < ELEMENTSOF(mounts); i++) {
        Volume v = {.type = (char *)mounts[i].type, .degraded = mounts[i].degraded};
        _cleanup_free_ char *options = mount_options(&v, mounts[i].replay);

        assert_string_equal(options, mounts[i].options);
        v.partners = partners;
        free(options);
        options = mount_options(&v, true);
        assert_true(endswith(options, ",device=/dev/mapper/ilr_abcd1234_d2"));
    }
}

static void words_of_the_kernel(void **state)
{
    assert_true(kernel_line_replayed("EXT4-fs (dm-3): recovery complete", "dm-3"));
    assert_true(kernel_line_replayed("XFS (dm-3): Starting recovery (logdev: internal)", "dm-3"));
    assert_true(kernel_line_replayed("BTRFS info (device dm-3): start tree-log replay", "dm-3"));
    assert_false(kernel_line_replayed("EXT4-fs (dm-31): recovery complete", "dm-3"));
    assert_false(kernel_line_replayed("EXT4-fs (dm-3): mounted filesystem", "dm-3"));
}

/* ---- btrfs ---- */

static void checksum(void **state)
{
    assert_int_equal(crc32c("123456789", 9), 0xe3069283);
}

static const uint8_t fsid[16] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16};

/* A superblock as the kernel would take it, as far as we look. */
static void put_super(int fd, uint64_t at, uint64_t devices, uint16_t csum_type)
{
    uint8_t s[4096] = {};
    uint64_t place = htole64(at), n = htole64(devices);
    uint32_t csum;

    memset(s + 0x20, 0xaa, 16);
    memcpy(s + 0x30, &place, 8);
    memcpy(s + 0x40, "_BHRfS_M", 8);
    memcpy(s + 0x88, &n, 8);
    s[0xc4] = (uint8_t)csum_type;
    csum = htole32(crc32c(s + 0x20, sizeof(s) - 0x20));
    memcpy(s, &csum, 4);
    assert_int_equal(pwrite(fd, s, sizeof(s), (off_t)at), sizeof(s));
}

static void btrfs_identity(void **state)
{
    _cleanup_close_ int fd = image("btrfs", 65 * MIB);
    uint8_t s[4096], other[16];
    const uint64_t places[] = {64 * KIB, 64 * MIB};
    uint32_t csum;
    size_t i, round;

    put_super(fd, places[0], 1, 0);
    put_super(fd, places[1], 1, 0);
    memset(other, 0x55, sizeof(other));
    for (round = 0; round < 2; round++) {
        assert_int_equal(btrfs_set_fsid(fd, 65 * MIB, round ? other : fsid), 0);
        for (i = 0; i < ELEMENTSOF(places); i++) {
            assert_int_equal(pread(fd, s, sizeof(s), (off_t)places[i]), sizeof(s));
            assert_memory_equal(s + 0x20, round ? other : fsid, 16);
            assert_int_equal(s[0x23b],
                             0xaa); /* the tree's blocks carry the first one, also the second time */
            assert_int_equal(s[0x23b + 15], 0xaa);
            assert_int_equal(s[0xbd] & 4, 4);
            memcpy(&csum, s, 4);
            assert_int_equal(le32toh(csum), crc32c(s + 0x20, sizeof(s) - 0x20));
        }
    }
}

static void btrfs_refused(void **state)
{
    _cleanup_close_ int fd = image("btrfs-bad", 1 * MIB);
    BtrfsSuper super;

    assert_int_equal(btrfs_set_fsid(fd, 1 * MIB, fsid), -EMEDIUMTYPE);
    assert_int_equal(btrfs_read(fd, &super), -EMEDIUMTYPE);
    put_super(fd, 64 * KIB, 2, 0);
    assert_int_equal(btrfs_read(fd, &super), 0);
    assert_int_equal(super.n_devices, 2);
    put_super(fd, 64 * KIB, 1, 77);
    assert_int_equal(btrfs_set_fsid(fd, 1 * MIB, fsid), -EOPNOTSUPP);
    put_super(fd, 64 * KIB, 1, 0);
    assert_int_equal(pwrite(fd, "x", 1, 64 * KIB + 0x300), 1); /* damaged */
    assert_int_equal(btrfs_set_fsid(fd, 1 * MIB, fsid), -EMEDIUMTYPE);
    /* The first copy would lie beyond the end. */
    assert_int_equal(btrfs_set_fsid(fd, 64 * KIB, fsid), 0);
}

/* ---- who is in the way ---- */

static void put_process(const char *pid, const char *comm, const char *cwd)
{
    char name[128], path[PATH_MAX];

    make_dir(pid);
    snprintf(name, sizeof(name), "%s/comm", pid);
    put_file(name, comm);
    snprintf(name, sizeof(name), "%s/status", pid);
    put_file(name, "Name:\tx\nUid:\t1000\t1000\t1000\t1000\n");
    snprintf(name, sizeof(name), "%s/fd", pid);
    make_dir(name);
    snprintf(path, sizeof(path), "%s/%s/cwd", directory, pid);
    assert_int_equal(symlink(cwd, path), 0);
}

static void holders(void **state)
{
    const char *proc = paths.proc;
    MountPoint mounts[] = {
        {.id = 987654, .device = makedev(253, 77), .path = (char *)"/run/ilr/abcd1234/volumes/root"}};
    HolderQuery q = {.directory = "/run/ilr/abcd1234", .mounts = mounts, .n_mounts = 1};
    _cleanup_json_ json_object *found = NULL;
    _cleanup_free_ char *text = NULL;
    char path[PATH_MAX];
    const char *s;
    bool seen[4] = {};
    int64_t pid;
    size_t i;

    put_process("4711", "bash\n", "/run/ilr/abcd1234/volumes/root/etc");
    put_process("4712", "other\n", "/run/ilr/abcd12345/volumes/root"); /* another session's */
    put_process("4713", "tail\n", "/");
    snprintf(path, sizeof(path), "%s/4713/fd/3", directory);
    assert_int_equal(symlink("/run/ilr/abcd1234/volumes/root/log (deleted)", path), 0);
    put_process("4714", "\x1b[2Jevil\n", "/");
    put_file("4714/maps", "55d0c0000000-55d0c0001000 r-xp 00000000 fd:4d 131                /usr/lib/x.so\n");
    put_process("4715", "ns\n", "/");
    make_dir("4715/ns");
    put_file("4715/ns/mnt", "");
    put_file("4715/mountinfo", "36 35 253:77 / /tmp/kept ro,nosuid - ext4 /dev/dm-77 ro\n");
    put_process("4716", "follower\n", "/");
    make_dir("4716/ns");
    put_file("4716/ns/mnt", "");
    put_file("4716/mountinfo", "37 35 253:77 / /run/ilr/x ro master:5 - ext4 /dev/dm-77 ro\n");
    make_dir("self");
    put_file("not-a-process", "");

    paths.proc = directory;
    assert_int_equal(holders_scan(&q, &found), 0);
    paths.proc = proc;
    assert_int_equal(json_object_array_length(found), 4);
    for (i = 0; i < 4; i++) {
        json_object *o = json_object_array_get_idx(found, i);

        assert_int_equal(json_get_int64(o, "pid", &pid), 1);
        assert_int_equal(json_get_string(o, "command", &s), 1);
        if (pid == 4711) {
            assert_string_equal(s, "bash");
            assert_int_equal(json_get_string(o, "path", &s), 1);
            assert_string_equal(s, "/run/ilr/abcd1234/volumes/root/etc");
            assert_int_equal(json_get_int64(o, "uid", &pid), 1);
            assert_int_equal(pid, 1000);
            seen[0] = true;
        } else if (pid == 4713)
            seen[1] = true;
        else if (pid == 4714) {
            assert_string_equal(s, "?[2Jevil");
            seen[2] = true;
        } else if (pid == 4715)
            seen[3] = true;
    }
    assert_true(seen[0] && seen[1] && seen[2] && seen[3]);
    text = holders_text(found);
    assert_non_null(strstr(text, "pid 4711 (bash)"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(usable_names),
        cmocka_unit_test(names_of_volumes),
        cmocka_unit_test(names_of_logical_volumes),
        cmocka_unit_test(layers_of_volumes),
        cmocka_unit_test(lvm_reports),
        cmocka_unit_test(lvm_segments),
        cmocka_unit_test(kept_assembly),
        cmocka_unit_test(arrays),
        cmocka_unit_test(stale_members),
        cmocka_unit_test(array_zones),
        cmocka_unit_test(overlay_words),
        cmocka_unit_test(labels_for_people),
        cmocka_unit_test(dm_words),
        cmocka_unit_test(luns),
        cmocka_unit_test_setup_teardown(table_gpt, setup, teardown),
        cmocka_unit_test_setup_teardown(table_of_other_sectors, setup, teardown),
        cmocka_unit_test_setup_teardown(table_mbr, setup, teardown),
        cmocka_unit_test_setup_teardown(table_beyond_the_end, setup, teardown),
        cmocka_unit_test_setup_teardown(table_none, setup, teardown),
        cmocka_unit_test_setup_teardown(probe_contents, setup, teardown),
        cmocka_unit_test(types),
        cmocka_unit_test(words_of_the_kernel),
        cmocka_unit_test(checksum),
        cmocka_unit_test_setup_teardown(btrfs_identity, setup, teardown),
        cmocka_unit_test_setup_teardown(btrfs_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(holders, setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
