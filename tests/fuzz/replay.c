/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The main() of a fuzz target outside of libFuzzer: gives each file named, and each file in each directory
 * named, to the target once. So the corpus is a test of every build; with --enable-fuzzers the same targets
 * look for more. */

#include "files.h"

#include <fcntl.h>
#include <sys/stat.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int replay_file(const char *path)
{
    _cleanup_free_ char *data = NULL;
    size_t size;
    int r;

    r = file_read(AT_FDCWD, path, 64 * MIB, &data, &size);
    if (r < 0) {
        fprintf(stderr, "%s: %s\n", path, strerror(-r));
        return r;
    }
    /* A copy of exactly this size, so that the address sanitizer sees a read behind its end. */
    {
        _cleanup_free_ uint8_t *exact = malloc(size > 0 ? size : 1);

        if (!exact)
            return -ENOMEM;
        memcpy(exact, data, size);
        (void)LLVMFuzzerTestOneInput(exact, size);
    }
    return 1;
}

static int replay(const char *path)
{
    _cleanup_(closedirp) DIR *dir = NULL;
    struct dirent *e;
    struct stat st;
    int n = 0;

    if (stat(path, &st) < 0) {
        perror(path);
        return -errno;
    }
    if (!S_ISDIR(st.st_mode))
        return replay_file(path);
    dir = opendir(path);
    if (!dir) {
        perror(path);
        return -errno;
    }
    while ((e = readdir(dir))) {
        _cleanup_free_ char *file = NULL;
        int r;

        if (e->d_name[0] == '.')
            continue;
        if (asprintf(&file, "%s/%s", path, e->d_name) < 0)
            return -ENOMEM;
        r = replay_file(file);
        if (r < 0)
            return r;
        n += r;
    }
    return n;
}

int main(int argc, char **argv)
{
    int i, r, n = 0;

    for (i = 1; i < argc; i++) {
        r = replay(argv[i]);
        if (r < 0)
            return 1;
        n += r;
    }
    printf("%d inputs\n", n);
    return n > 0 ? 0 : 1;
}
