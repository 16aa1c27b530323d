/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The parts of Resource Manager's side that arm.c and arm-list.c share. */

#include "request.h"

/* What the path names. Sets the error answer where it returns NULL. */
Vault *arm_find_vault(Request *q);
Item *arm_find_item(Request *q);
Point *arm_find_point(Request *q);

void arm_subscriptions(Request *q);
void arm_vault(Request *q);
void arm_items(Request *q);
void arm_containers(Request *q);
void arm_item(Request *q);
void arm_points(Request *q);
void arm_point(Request *q);
