/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What libmount gives out, for _cleanup_. */

#include "util.h"
#include <libmount.h>

DEFINE_CLEANUP(struct libmnt_context *, mnt_free_context)
DEFINE_CLEANUP(struct libmnt_iter *, mnt_free_iter)
DEFINE_CLEANUP(struct libmnt_table *, mnt_unref_table)
