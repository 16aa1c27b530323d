/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Keeps the tunnel's log small: it writes four lines per block and never stops, and once its file system is
 * full its complaints fill a pipe that nobody reads, and it hangs. WORK/X/Scripts/Y.log is emptied as soon as
 * it takes more than a quarter of WORK's space. The writer appends, so it goes on at the start. Idle costs
 * nothing, a busy log ten looks per second. Everything in WORK is the script's: links are not followed. */

#include "util.h"
#include <systemd/sd-event.h>

typedef struct Worklog Worklog;

int worklog_new(Worklog **ret, sd_event *event, const char *work_dir);
Worklog *worklog_free(Worklog *w);
DEFINE_CLEANUP(Worklog *, worklog_free)
