/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The versions of the records that outlive a program: the daemon's and the helper's. A record says which
 * version wrote it, and which is the oldest that may use it ("compatible"), so that sessions which stand can
 * be released after an upgrade, and, where the new version did not change what the old one relies on, after
 * going back. Whoever changes the format so that an older program would do harm with it raises both; new
 * fields that may be passed over raise nothing, or the version only. A package can be built with others
 * (CPPFLAGS=-DRECORD_VERSION=2): that is how an upgrade is tested. */

#include "json.h"

#ifndef RECORD_VERSION
#define RECORD_VERSION 1
#endif
/* The oldest version that may use what this one writes. */
#ifndef RECORD_COMPATIBLE
#define RECORD_COMPATIBLE 1
#endif

/* Adds "version" and "compatible". */
int record_version_add(json_object *record);
/* May a program of this version use it? For all versions but tests: RECORD_VERSION. */
bool record_version_usable(json_object *record, int64_t own);
