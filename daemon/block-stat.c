/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "block-stat.h"

#include "files.h"

#include <fcntl.h>
#include <inttypes.h>

#define STAT_MAX (4 * KIB)
#define SECTOR_BYTES 512U /* of all of the kernel's counts, whatever the disk has */

int block_stat_parse(const char *text, uint64_t *ret_bytes)
{
    uint64_t reads, merges, sectors, bytes;

    if (sscanf(text, "%" SCNu64 " %" SCNu64 " %" SCNu64, &reads, &merges, &sectors) != 3 ||
        __builtin_mul_overflow(sectors, (uint64_t)SECTOR_BYTES, &bytes))
        return -EBADMSG;
    *ret_bytes = bytes;
    return 0;
}

uint64_t block_stat_bytes_read(const char *directory, json_object *disks)
{
    size_t i, n = disks ? json_object_array_length(disks) : 0, size;
    uint64_t sum = 0, bytes;

    for (i = 0; i < n; i++) {
        _cleanup_free_ char *path = NULL, *text = NULL;
        const char *device = NULL;
        unsigned major, minor;
        char end;

        if (json_get_string(json_object_array_get_idx(disks, i), "device", &device) <= 0 ||
            sscanf(device, "%u:%u%c", &major, &minor, &end) != 2)
            continue;
        if (asprintf(&path, "%s/%u:%u/stat", directory, major, minor) < 0)
            return (path = NULL), sum;
        if (file_read(AT_FDCWD, path, STAT_MAX, &text, &size) >= 0 && block_stat_parse(text, &bytes) >= 0)
            sum += bytes;
    }
    return sum;
}
