/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* What volumes are put together of: LVM's reports, the superblocks of arrays, and what of it all a later
 * helper has to know. */

#include "assembly.h"
#include "lvm-report.h"
#include "md-super.h"
#include "strv.h"
#include "timeutil.h"

#include <setjmp.h>
#include <stdarg.h>
#include <sys/sysmacros.h>

#include <cmocka.h>

/* ---- LVM ---- */

static void lvm_reports(void **state)
{
    static const char pv[] =
        "{\"report\":[{\"pv\":[{\"pv_name\":\"/dev/mapper/ilr_abcd1234_d1\",\"vg_name\":\"vg0\","
        "\"vg_uuid\":\"Ab-1\",\"vg_systemid\":\"\",\"pv_fmt\":\"lvm2\",\"pv_missing\":\"\","
        "\"pe_start\":\"2048\",\"vg_extent_size\":\"8192\"},{\"pv_name\":\"[unknown]\",\"vg_name\":\"vg0\","
        "\"vg_uuid\":\"Ab-1\",\"vg_systemid\":\"\",\"pv_fmt\":\"lvm2\",\"pv_missing\":\"missing\","
        "\"pe_start\":\"2048\",\"vg_extent_size\":\"8192\"}]}]}";
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
        "\"\",\"cache_mode\":\"\",\"lv_merging\":\"\"},{\"lv_name\":\"root\","
        "\"segtype\":\"striped\",\"seg_start\":\"0\",\"seg_size\":\"8192\",\"stripe_size\":\"128\","
        "\"devices\":\"/dev/mapper/ilr_a_d1(0),/dev/mapper/"
        "ilr_a_d2(7)\",\"origin\":\"\",\"pool_lv\":\"\",\"cache_mode\":\"\",\"lv_merging\":\"unknown\"},{"
        "\"lv_name\":\"[m_rimage_0]\","
        "\"segtype\":\"linear\",\"seg_start\":\"0\",\"seg_size\":\"8\",\"stripe_size\":\"0\","
        "\"devices\":\"/dev/mapper/"
        "ilr_a_d1(9)\",\"origin\":\"[root]\",\"pool_lv\":\"\",\"cache_mode\":\"\",\"lv_merging\":\"merging\"}"
        "]}]}";
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
    assert_true(segments[0].merging && !segments[1].merging && !segments[2].merging);
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

static void ways_of_logical_volumes(void **state)
{
    static char *raid[] = {(char *)"unsynced_rimage_0(0)", NULL},
                *image[] = {(char *)"/dev/mapper/x(1)", NULL},
                *mirror[] = {(char *)"old_mimage_0(0)", (char *)"old_mimage_1(0)", NULL},
                *through[] = {(char *)"through_corig(0)", NULL}, *moved[] = {(char *)"pvmove0(3)", NULL},
                *pool[] = {(char *)"pool_tdata(0)", NULL}, *none[] = {NULL};
    LvmSegment s[] = {
        {.lv = "back", .type = "cache", .cache_mode = "writeback", .pieces = none},
        {.lv = "merged", .type = "linear", .merging = true, .pieces = image},
        {.lv = "moving", .type = "linear", .pieces = moved},
        {.lv = "old", .type = "mirror", .pieces = mirror},
        {.lv = "old_mimage_0", .type = "linear", .hidden = true, .pieces = image},
        {.lv = "plain", .type = "linear", .pieces = image},
        {.lv = "pool", .type = "thin-pool", .pieces = pool},
        {.lv = "pool_tdata", .type = "cache", .hidden = true, .cache_mode = "writethrough", .pieces = none},
        {.lv = "pvmove0", .type = "mirror", .hidden = true, .pieces = image},
        {.lv = "snap", .type = "linear", .origin = "old", .pieces = image},
        {.lv = "snap-of-merged", .type = "linear", .origin = "merged", .pieces = image},
        {.lv = "snap-of-plain", .type = "linear", .origin = "plain", .pieces = image},
        {.lv = "thin", .type = "thin", .pool = "pool", .pieces = none},
        {.lv = "through", .type = "cache", .cache_mode = "writethrough", .pieces = through},
        {.lv = "unsynced", .type = "raid1", .pieces = raid},
        {.lv = "writer", .type = "writecache", .pieces = none},
    };
    static const struct {
        const char *lv;
        LvmWay way;
    } wanted[] = {{"plain", LVM_WAY_ACTIVATE}, {"unsynced", LVM_WAY_ACTIVATE},
                  {"old", LVM_WAY_MAP},        {"moving", LVM_WAY_MAP},
                  {"through", LVM_WAY_MAP},    {"back", LVM_WAY_REFUSE},
                  {"writer", LVM_WAY_REFUSE},  {"thin", LVM_WAY_REFUSE},
                  {"snap", LVM_WAY_REFUSE},    {"snap-of-plain", LVM_WAY_ACTIVATE},
                  {"merged", LVM_WAY_REFUSE},  {"snap-of-merged", LVM_WAY_REFUSE}};
    const char *why;

    for (size_t i = 0; i < ELEMENTSOF(wanted); i++) {
        assert_int_equal(lvm_way(s, ELEMENTSOF(s), wanted[i].lv, &why), wanted[i].way);
        assert_non_null(why);
    }
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

/* ---- all together ---- */

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

static void time_for_volumes(void **state)
{
    Config config = {.mount_timeout_usec = 10 * USEC_PER_SEC};
    Assembly a = {.config = &config};
    Volume v = {};

    assembly_begin(&a);
    assert_int_equal(assembly_timeout(&a), 10 * USEC_PER_SEC);
    assert_int_equal(assembly_late(&a, &v), 0);
    assert_null(v.reason);
    a.deadline_usec = now_usec(CLOCK_MONOTONIC) + 2 * USEC_PER_SEC;
    assert_true(assembly_timeout(&a) <= 2 * USEC_PER_SEC);
    a.deadline_usec = now_usec(CLOCK_MONOTONIC);
    assert_true(assembly_timeout(&a) > 0);
    assert_int_equal(assembly_late(&a, &v), 1);
    assert_non_null(strstr(v.reason, "no time left"));
    free(v.reason);
    assert_false(assembly_full(&a));
    a.n_volumes = VOLUMES_MAX;
    assert_true(assembly_full(&a));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lvm_reports),
        cmocka_unit_test(lvm_segments),
        cmocka_unit_test(ways_of_logical_volumes),
        cmocka_unit_test(arrays),
        cmocka_unit_test(stale_members),
        cmocka_unit_test(array_zones),
        cmocka_unit_test(kept_assembly),
        cmocka_unit_test(time_for_volumes),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
