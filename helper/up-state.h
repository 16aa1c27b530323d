/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What up and unlock share: a session's volumes, its record and its mounts. */

#include "assembly.h"
#include "record.h"

typedef struct Up {
    const char *id;
    const Config *config;
    Record *record;
    char *mounts; /* directory of the volumes */
    gid_t group;  /* of the users */
    bool replay;
    Assembly a;
} Up;

/* Loads the record: -ENOENT: the session is not connected. id and config are borrowed. */
int up_init(Up *u, const char *id, const Config *config);
void up_done(Up *u);
/* Puts what is known now into the record. */
int up_save(Up *u);
/* How much of the overlays is in use now. Volumes on one that is full are unmounted, which is their reason.
 */
int up_measure_overlays(Up *u);
/* Is the device the one that device-mapper has under this name, or made of it? By sysfs. */
bool device_lies_on(dev_t device, const char *name);
/* Goes on with what is there: puts volumes together and names them, then saves. */
int up_assemble(Up *u);
/* A helper that was killed may have mounted volumes without a note of it, and without what comes behind it:
 * both is made up for. */
int up_note_mounts(Up *u);
/* Mounts every volume that has no reason not to be, and is not yet; measures the overlays after that, builds
 * the guests' trees, and saves. */
int up_mount(Up *u);
