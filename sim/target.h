/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The recovery targets: tgtd, driven by tgtadm. One target per disk or one for all, CHAP for login, only the
 * posted initiator admitted, vendor "MABILR I". Discovery is asked for one account: tgtd keeps few of them,
 * and aborts at about the seventeenth that it is given. All calls block, for seconds at worst. */

#include "backend.h"

#define TARGET_DISKS_MAX 64

typedef struct Targets Targets;

typedef struct TargetOptions {
    bool writable;        /* writes reach the image: only for throw-away ones */
    int64_t block_bytes;  /* 512 or 4096; 0: 512 */
    json_object *offline; /* array: LUN numbers (from 1) that are listed and do not answer; or NULL */
    bool no_luns;         /* targets without a disk */
} TargetOptions;

/* Starts a tgtd of its own, or takes the one that runs and removes what an earlier simulator left in it. */
int targets_start(const BackendConfig *config, const char *discovery_user, const char *discovery_password,
                  Targets **ret, char **ret_error);
/* Ends the tgtd if it is our own. Returns NULL. */
Targets *targets_stop(Targets *t);
/* On failure nothing is left. */
int targets_create(Targets *t, const Registration *r, const TargetOptions *options, char **ret_error);
/* Sessions end, the targets and the account go. What is gone already is success. */
int targets_remove(Targets *t, const Registration *r, char **ret_error);

/* The name of the target of disk n (from 0): with multi_target the template with n in place of the digits
 * before its last dot. -EINVAL: a template without them. */
int target_name_make(const Registration *r, size_t n, char **ret);
/* How many targets a registration has. */
size_t target_count(const Registration *r);

/* "Target 3: NAME" lines of tgtadm's answer: the number of the target of that name (0: none), and the highest
 * one used (name may be NULL). */
unsigned target_parse_show(const char *output, const char *name, unsigned *ret_highest);
