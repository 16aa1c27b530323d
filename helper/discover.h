/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* discover, login and logout: what the connection script's iscsiadm comes down to. */

#include "verb.h"

#define DISCOVERED_MAX 64

/* iscsiadm's lines "127.0.0.1:5365,-1 NAME" as an array of {"name","portal","tpgt"}. Names are taken as they
 * are, since a service may answer with words in their place (blocked, notready); only what login gets must be
 * a target's name. -EBADMSG: a line of another form; -E2BIG: more than DISCOVERED_MAX. */
int discovery_parse(const char *output, json_object **ret);
