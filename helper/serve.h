/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* One request over a connected socket: who is it, may he, do it, answer. */

#include "util.h"

/* Returns 0 if an answer was given, whatever it says. */
int serve(int fd);
