/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* fstab and, behind a NUL byte, crypttab of a machine that was backed up, and which volumes they mean. */

#include "guest.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const Volume volumes[] = {
    {.name = (char *)"efi", .mounted = true, .uuid = (char *)"1234-ABCD", .label = (char *)"EFI"},
    {.name = (char *)"lv",
     .mounted = true,
     .group = (char *)"vg-0",
     .base = (char *)"root",
     .by_id = (char *)"abcdefghijklmnopqrstuvwxyz012345"},
    {.name = (char *)"crypt", .type = (char *)"crypto_LUKS", .used = true, .uuid = (char *)"L-1"},
    {.name = (char *)"inner",
     .type = (char *)"btrfs",
     .mounted = true,
     .opened_from = 3,
     .label = (char *)"pool"},
    {.name = (char *)"md0", .mounted = true, .base = (char *)"md0", .by_id = (char *)"0:1:2:3"},
};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    _cleanup_(fstab_done) Fstab f = {}, again = {};
    _cleanup_(guest_plan_done) GuestPlan plan = {};
    _cleanup_json_ json_object *o = NULL;
    size_t first = strnlen((const char *)data, size), i;

    if (size > FSTAB_SIZE_MAX || fstab_parse((const char *)data, first, &f) < 0)
        return 0;
    if (first < size) {
        _cleanup_free_ char *crypttab = strndup((const char *)data + first + 1, size - first - 1);

        if (!crypttab || crypttab_parse(crypttab, &f) < 0)
            return 0;
    }
    /* What a child understood is understood once more. */
    if (fstab_to_json(&f, &o) < 0 || fstab_from_json(o, &again) < 0 || again.n_entries != f.n_entries)
        abort();
    if (guest_plan(volumes, ELEMENTSOF(volumes), &f, 0, &plan) < 0)
        return 0;
    for (i = 0; i < plan.n_mounts; i++)
        if (!volumes[plan.mounts[i].volume].mounted || *plan.mounts[i].entry->where != '/')
            abort();
    return 0;
}
