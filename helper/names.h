/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Names of volumes: what a person calls them (with "_" for what a directory's name should not have: label,
 * else the name of the logical volume or array, else the partition label, else disk1-part2 or disk1), fit for
 * a directory, unique in the session, and the same again for the same disks. */

#include "volume.h"

/* [A-Za-z0-9._-], 1..VOLUME_NAME_MAX bytes, no "." or "-" at the start, and not of the form disk1 or
 * disk1-part2, which belongs to volumes without a label. */
bool volume_name_usable(const char *s);

/* Sets the name of all volumes that have none yet. Where several want the same one, each gets -disk1p2 or
 * -GROUP-NAME behind it, and logical volumes of the same name are GROUP-NAME. */
int volumes_name(Volume *volumes, size_t n);
