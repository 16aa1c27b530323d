/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "expiry.h"

static const char *const stage_table[EXPIRY_STAGE_MAX] = {
    [EXPIRY_NONE] = "none",       [EXPIRY_NOTICE] = "notice", [EXPIRY_WARNING] = "warning",
    [EXPIRY_RELEASE] = "release", [EXPIRY_FORCE] = "force",
};

const char *expiry_stage_to_string(ExpiryStage stage)
{
    return stage >= 0 && stage < EXPIRY_STAGE_MAX ? stage_table[stage] : NULL;
}

ExpiryStage expiry_stage(const Config *config, uint64_t end_usec, uint64_t now_usec, uint64_t *ret_next_usec)
{
    const uint64_t before[EXPIRY_STAGE_MAX] = {
        [EXPIRY_NOTICE] = config->expiry_notice_usec,
        [EXPIRY_WARNING] = config->expiry_warning_usec,
        [EXPIRY_RELEASE] = config->expiry_release_usec,
        [EXPIRY_FORCE] = config->expiry_force_usec,
    };
    ExpiryStage stage = EXPIRY_NONE, i;
    uint64_t next = USEC_INFINITY;

    for (i = EXPIRY_NOTICE; i < EXPIRY_STAGE_MAX; i++) {
        uint64_t at = end_usec > before[i] ? end_usec - before[i] : 0;

        if (before[i] == 0 && i < EXPIRY_RELEASE)
            continue; /* not wanted */
        if (at <= now_usec)
            stage = i;
        else
            next = MIN(next, at);
    }
    *ret_next_usec = next;
    return stage;
}
