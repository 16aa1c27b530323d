/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* From logged in targets to mounted volumes, and back. All are called with the session's lock held. */

#include "config.h"
#include "dismantle.h"
#include "record.h"

/* Scan, read-only, overlays, partitions, mounts. Leaves disks and volumes in the record. A volume that cannot
 * be mounted is no failure of the whole; no disk at all is. On failure it may leave things standing: down
 * follows. */
int storage_up(const char *id, const Config *config, Failure **ret_failure);

/* Unmount, overlays, log out by session id (iscsi_targets_logout), records. forced: lazily and with
 * escalation, logging out first where a target is dead; otherwise FAILURE_BUSY with holders (-EBUSY), and a
 * retry finds what it needs. A missing record is success after looking whether mounts or devices of the id
 * still stand. The record stays, without targets and disks, and with its failure. left (may be NULL): what
 * goes later, by itself; its holders are the caller's, also on failure. */
int storage_down(const char *id, bool forced, StorageLeft *left, Failure **ret_failure);

/* Opens the locked volume that the request waiting in the session's pipe names (unlock.h), and mounts what
 * comes of it. The answer goes into the session's directory for whoever asked. */
int storage_unlock(const char *id, const Config *config, Failure **ret_failure);
int unlock_answer_put(const char *id, const Failure *failure);
