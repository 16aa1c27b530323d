/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The recovery portal of a region: its name has a short code for it. Only for saying beforehand whether it
 * can be reached; what a session connects to is what its script names. */

#include "config.h"

/* region as Azure writes it ("westeurope") or as people do ("West Europe"). The caller's, or NULL: no code of
 * this region is known, or no memory. */
char *azure_geo_portal(const char *region, CloudName cloud);
