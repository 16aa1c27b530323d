/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What the file system of a machine that was backed up says about its mounts: etc/fstab (read with libmount)
 * and the names in etc/crypttab. Foreign bytes: they are read in a child with a deadline, at most so many,
 * and what comes out of it is text without control characters and not believed any further. */

#include "json.h"

#define FSTAB_SIZE_MAX (64 * KIB)
#define FSTAB_ENTRIES_MAX 64

typedef struct FstabEntry {
    char *what, *where, *type, *options; /* where is absolute */
} FstabEntry;

typedef struct CrypttabEntry {
    char *name, *what;
} CrypttabEntry;

typedef struct Fstab {
    FstabEntry *entries; /* without those that are nobody's loss: swap, network, /proc, bind mounts */
    size_t n_entries;
    CrypttabEntry *crypts;
    size_t n_crypts;
} Fstab;

/* From the directory, or a directory below it. -ENOENT: it is no root of a system, there is no regular
 * etc/fstab.
 */
int fstab_read(const char *directory, const char *below, uint64_t timeout_usec, Fstab *ret);
void fstab_done(Fstab *f);

/* The value of an option; the caller's. NULL: it is not there, or has no value. */
char *fstab_option(const char *options, const char *name);
bool fstab_has_option(const char *options, const char *name);

/* The pieces, for tests: the texts are changed by neither; both add to *f. Lines that make no sense are left
 * out.
 */
int fstab_parse(const char *text, size_t size, Fstab *f);
int crypttab_parse(const char *text, Fstab *f);
int fstab_to_json(const Fstab *f, json_object **ret);
int fstab_from_json(json_object *o, Fstab *ret);
