/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Encrypted volumes (LUKS1, LUKS2), opened by the program cryptsetup on the overlay. The key goes to it by a
 * pipe and is nowhere else. */

#include "assembly.h"
#include "failure.h"
#include "secret.h"

/* Marks those without a key as locked. */
int luks_assemble(Assembly *a, bool last);

/* Opens a locked volume and adds what it holds as one more volume. On failure the volume stays as it was:
 * -EKEYREJECTED with WrongKey, or UnlockFailed. */
int luks_open(Assembly *a, size_t volume, const Secret *key, Failure **ret_failure);
