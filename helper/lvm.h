/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Volume groups. Each gets a new identity (vgimportclone, on the overlays) before anything of it is
 * activated, because LVM finds active volumes by the group's UUID, and the host may have the very same group.
 * All is done by the lvm program, which sees only the physical volumes that it is given (tool.h). */

#include "assembly.h"

/* Activates the complete groups among the volumes and adds their logical volumes. last: also does what can be
 * done for groups with missing physical volumes. */
int lvm_assemble(Assembly *a, bool last);
