/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What lvm's reports say, if they are asked for with these options. The names in them come from the backup,
 * the text from a program that read foreign bytes: nothing is believed that does not look like it. Pure. */

#include "json.h"
#include "strv.h"

#define LVM_REPORT_OPTIONS                                                                                   \
    (char *)"--reportformat", (char *)"json", (char *)"--units", (char *)"s", (char *)"--nosuffix"

#define LVM_NAME_SIZE 128

typedef struct LvmPv {
    char name[256]; /* "/dev/mapper/ilr_ID_d1"; "[unknown]": it is missing */
    char vg[LVM_NAME_SIZE], vg_uuid[64];
    char system_id[LVM_NAME_SIZE];
    char format[16];
    bool missing;
    uint64_t pe_start, extent_sectors;
} LvmPv;

typedef struct LvmLv {
    char name[LVM_NAME_SIZE], uuid[64], type[32];
    uint64_t sectors;
    bool active, degraded;
    unsigned major, minor;
} LvmLv;

#define LVM_PV_FIELDS "pv_name,vg_name,vg_uuid,vg_systemid,pv_fmt,pv_missing,pe_start,vg_extent_size"
#define LVM_LV_FIELDS                                                                                        \
    "lv_name,lv_uuid,segtype,lv_size,lv_active,lv_health_status,lv_kernel_major,lv_kernel_minor"

/* One segment of a logical volume, hidden ones without their brackets. */
typedef struct LvmSegment {
    char lv[LVM_NAME_SIZE], type[32];
    char origin[LVM_NAME_SIZE], pool[LVM_NAME_SIZE]; /* of a snapshot, of a thin volume; "": it is none */
    char cache_mode[32];
    bool hidden;
    bool merging; /* an origin whose snapshot is merged into it, or such a snapshot; also if that is yet to
                     begin */
    uint64_t start, sectors, stripe_sectors;
    char **pieces; /* "NAME(EXTENT)": devices, or hidden logical volumes; "[unknown](0)" */
} LvmSegment;

#define LVM_SEGMENT_FIELDS                                                                                   \
    "lv_name,segtype,seg_start,seg_size,stripe_size,devices,origin,pool_lv,cache_mode,lv_merging"

/* Where the volume's segments begin among those of a report (by volume and start); n: there are none. */
size_t lvm_segments_find(const LvmSegment *segments, size_t n, const char *lv);

/* How a logical volume of a complete group is brought up. */
typedef enum LvmWay {
    LVM_WAY_ACTIVATE, /* by LVM */
    LVM_WAY_MAP,      /* by maps of our own: active it would write, or copy itself */
    LVM_WAY_REFUSE,
    LVM_WAY_MAX,
    LVM_WAY_INVALID = -EINVAL,
} LvmWay;

/* By all that it is made of. ret_why: for LVM_WAY_REFUSE, static. */
LvmWay lvm_way(const LvmSegment *segments, size_t n, const char *lv, const char **ret_why);

/* By volume and start. -EBADMSG: that is no such report. */
int lvm_report_segments(const char *text, LvmSegment **ret, size_t *ret_n);
void lvm_segments_free(LvmSegment *segments, size_t n);
/* Cuts "NAME(EXTENT)". -EBADMSG. */
int lvm_piece_parse(const char *piece, char name[static 256], uint64_t *ret_extent);

/* The arrays are the caller's. -EBADMSG: that is no such report. */
int lvm_report_pvs(const char *text, LvmPv **ret, size_t *ret_n);
int lvm_report_lvs(const char *text, LvmLv **ret, size_t *ret_n);
