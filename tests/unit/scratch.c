/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "scratch.h"

#include "files.h"

#include <fcntl.h>
#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <sys/stat.h>

#include <cmocka.h>

char scratch[32];

int scratch_make(void **state)
{
    strcpy(scratch, "/tmp/ilr-test-XXXXXX");
    return mkdtemp(scratch) ? 0 : -1;
}

int scratch_remove(void **state)
{
    int r = file_remove_tree(AT_FDCWD, scratch);

    *scratch = '\0';
    return r;
}

/* Makes the directories above path, which is below scratch. */
static void make_parents(char *path)
{
    char *p = path + strlen(scratch) + 1;

    for (; (p = strchr(p, '/')); *p++ = '/') {
        *p = '\0';
        (void)mkdir(path, 0700);
    }
}

void scratch_dir(const char *name)
{
    char path[PATH_MAX];

    snprintf(path, sizeof(path), "%s/%s/", scratch, name);
    make_parents(path);
    assert_int_equal(access(path, F_OK), 0);
}

void scratch_put(const char *name, const char *text)
{
    char path[PATH_MAX];
    int fd;

    snprintf(path, sizeof(path), "%s/%s", scratch, name);
    make_parents(path);
    fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), (ssize_t)strlen(text));
    close(fd);
}
