/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "connection-failure.h"

#include "files.h"

#include <fcntl.h>
#include <sys/stat.h>

#define CONNECTION_FILE_MAX (256 * KIB)

static json_object *read_connection(const char *connect_dir, const char *session)
{
    _cleanup_free_ char *path = NULL, *text = NULL;
    _cleanup_close_ int dir = -EBADF;
    json_object *o = NULL;
    struct stat st;
    size_t size;

    if (asprintf(&path, "%s/%s", connect_dir, session) < 0)
        return NULL;
    dir = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (dir < 0 || fstat(dir, &st) < 0 ||
        file_read_foreign(dir, "connection.json", st.st_uid, CONNECTION_FILE_MAX, &text, &size) < 0 ||
        json_parse(text, size, &o) < 0)
        return NULL;
    return o;
}

Failure *connection_failure(const char *connect_dir, const char *session)
{
    _cleanup_json_ json_object *o = read_connection(connect_dir, session);
    json_object *failure;
    Failure *f = NULL;

    if (!o || json_get_object(o, "failure", &failure) <= 0 || failure_from_json(failure, &f) < 0)
        return NULL;
    failure_clean(f);
    return f;
}

int connection_waits(const char *connect_dir, const char *session)
{
    _cleanup_json_ json_object *o = read_connection(connect_dir, session);
    const char *state;

    if (!o || json_get_string(o, "state", &state) <= 0)
        return -ENOENT;
    return streq(state, "starting");
}
