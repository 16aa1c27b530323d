/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* What disks and the tools that read them say: superblocks of arrays (first byte below 128: that many members
 * follow), LVM's reports (128, 129, 132), device-mapper's status (130), a kept assembly (131). */

#include "assembly.h"
#include "lvm-report.h"
#include "md-super.h"
#include "overlay.h"

#define DEVICE_SECTORS 16384
#define MEMBERS_MAX 8

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void put32(uint8_t *p, uint32_t v)
{
    p[0] = (uint8_t)v;
    p[1] = (uint8_t)(v >> 8);
    p[2] = (uint8_t)(v >> 16);
    p[3] = (uint8_t)(v >> 24);
}

/* What a fuzzer would need long to find: the sum of a superblock of 1.x, its place and its magic number. */
static void complete(uint8_t *s, uint64_t at)
{
    size_t words, i, max_dev;
    uint64_t sum = 0;

    put32(s, 0xa92b4efc);
    put32(s + 4, 1);
    put32(s + 144, (uint32_t)at);
    put32(s + 148, 0);
    s[221] &= 1;
    s[222] = s[223] = 0;
    max_dev = (size_t)(s[220] | s[221] << 8);
    put32(s + 216, 0);
    words = (256 + 2 * max_dev) / 4;
    for (i = 0; i < words; i++)
        sum += (uint32_t)s[4 * i] | (uint32_t)s[4 * i + 1] << 8 | (uint32_t)s[4 * i + 2] << 16 |
               (uint32_t)s[4 * i + 3] << 24;
    if (max_dev & 1)
        sum += (uint64_t)(s[4 * words] | s[4 * words + 1] << 8);
    put32(s + 216, (uint32_t)(sum + (sum >> 32)));
}

static void arrays(const uint8_t *data, size_t size, unsigned n)
{
    static MdSuper members[MEMBERS_MAX];
    _cleanup_free_ MdZone *zones = NULL;
    uint64_t places[MD_PLACES];
    char reason[160];
    size_t used = 0, n_zones, i;
    MdPlan plan;

    md_places(DEVICE_SECTORS, places);
    for (i = 0; i < n % (MEMBERS_MAX + 1); i++) {
        uint8_t s[MD_SUPER_SIZE] = {};
        size_t piece = MIN(size, (size_t)512);

        memcpy(s, data, piece);
        data += piece;
        size -= piece;
        if (i % 4 != 3)
            complete(s, places[i % 3]);
        if (md_super_parse(s, places[i % MD_PLACES], DEVICE_SECTORS, &members[used]) >= 0)
            used++;
    }
    if (used == 0 || md_plan(members, used, &plan, reason) < 0)
        return;
    for (i = 0; i < plan.n_legs; i++)
        if (plan.legs[i] >= (int)used)
            abort();
    if (plan.leg_sectors == 0 && md_zones(members, &plan, &zones, &n_zones) >= 0)
        for (i = 0; i < n_zones; i++)
            if (zones[i].n_legs == 0 || zones[i].sectors == 0)
                abort();
}

static void kept(const char *text, size_t size)
{
    _cleanup_json_ json_object *o = NULL;
    json_object *disks, *volumes, *parts;
    Assembly a = {.id = "abcd1234"};

    if (json_parse(text, size, &o) < 0 || json_get_array(o, "disks", &disks) <= 0 ||
        json_get_array(o, "volumes", &volumes) <= 0 || json_get_object(o, "parts", &parts) <= 0)
        return;
    (void)assembly_load(&a, disks, volumes, parts);
    assembly_done(&a);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    _cleanup_free_ char *text = NULL;
    _cleanup_free_ LvmPv *pvs = NULL;
    _cleanup_free_ LvmLv *lvs = NULL;
    uint64_t used;
    size_t n;

    if (size < 1)
        return 0;
    if (data[0] < 128) {
        arrays(data + 1, size - 1, data[0]);
        return 0;
    }
    text = strndup((const char *)data + 1, size - 1);
    if (!text)
        return 0;
    if (data[0] == 132) {
        LvmSegment *segments;

        if (lvm_report_segments(text, &segments, &n) >= 0)
            lvm_segments_free(segments, n);
    } else if (data[0] == 128)
        (void)lvm_report_pvs(text, &pvs, &n);
    else if (data[0] == 129)
        (void)lvm_report_lvs(text, &lvs, &n);
    else if (data[0] == 130)
        (void)overlay_status_parse(text, &used);
    else
        kept(text, strlen(text));
    return 0;
}
