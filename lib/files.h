/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Whole files, atomically written, with limits. */

#include "util.h"
#include <dirent.h>
#include <sys/types.h>

DEFINE_CLEANUP(DIR *, closedir)

/* Reads a whole file of at most max bytes; a NUL byte is put behind it. ret is the caller's.
 * -EFBIG: longer than max. Otherwise the errno of open or read. */
int file_read(int dirfd, const char *path, size_t max, char **ret, size_t *ret_size);

/* The same for a file in a directory that others may write to: it must be a regular file of that user with
 * one name, and is neither followed as a link nor waited for as a pipe. -EBADMSG: it is something else;
 * -EFBIG. */
int file_read_foreign(int dirfd, const char *path, uid_t owner, size_t max, char **ret, size_t *ret_size);

/* The first line of a small file (sysfs, /proc), without its newline. */
int file_read_line(const char *path, char **ret);

/* Writes data to path.tmp (mode, O_EXCL, O_NOFOLLOW), fsyncs, renames over path. The reader sees the old or
 * the new file, never half of one. With uid/gid other than -1 the file is given to them before the rename. */
int file_write_atomic(int dirfd, const char *path, const char *data, size_t size, mode_t mode, uid_t uid,
                      gid_t gid);

/* Writes to an existing file in one write(2) (sysfs attributes). */
int file_write_attribute(const char *path, const char *value);

/* Removes a directory and all below it without following links or crossing into another file system.
 * Absent: 0. */
int file_remove_tree(int dirfd, const char *path);
/* The same, but the directory itself stays. */
int file_empty_tree(int at, const char *path);

/* Opens a path as somebody would whose root directory is dirfd: links and ".." stay inside of it. Not for
 * making files. A descriptor, or a negative errno. */
int open_in_root(int dirfd, const char *path, int flags);

/* Makes a directory (0 too if it is there already and a directory, its mode and owner then set anew). */
int dir_make(const char *path, mode_t mode, uid_t uid, gid_t gid);
