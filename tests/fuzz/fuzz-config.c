/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The configuration file. */

#include "config.h"

#include <fcntl.h>
#include <sys/mman.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    _cleanup_close_ int fd = memfd_create("config", MFD_CLOEXEC);
    _cleanup_(config_freep) Config *c = NULL;
    _cleanup_failure_ Failure *f = NULL;
    char path[64];

    if (fd < 0 || write(fd, data, size) != (ssize_t)size)
        return 0;
    snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    if (config_load(path, &c, &f) < 0 && !f)
        abort(); /* a refusal without a reason */
    return 0;
}
