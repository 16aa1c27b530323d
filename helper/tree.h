/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The guest's own view: one tree for each system that was found, put together below /run/ilr/ID of the
 * volumes that are mounted already, as its etc/fstab says. */

#include "up-state.h"

/* Builds what does not stand yet and puts it into the record ("roots"). What cannot be part of a tree is
 * named in it with its reason and fails nothing. */
int roots_build(Up *u);
