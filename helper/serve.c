/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "serve.h"

int serve(int fd)
{
    return -ENOSYS;
}
