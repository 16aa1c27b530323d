/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Which of the seven families that connection scripts know this host belongs to, from os-release(5). */

#include "util.h"

typedef struct SystemName {
    char name[16];
    char version[32]; /* digits with at most one dot */
} SystemName;

/* text: the content of os-release. Always fills ret: what cannot be told becomes Debian 12, a system that
 * every script accepts. Pure. */
void system_name_parse(const char *text, SystemName *ret);
/* From this host's files. */
void system_name_read(SystemName *ret);
