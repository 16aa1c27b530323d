/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "connection-file.h"

#include "files.h"
#include "paths.h"
#include "validate.h"

#include <fcntl.h>

#define TARGETS_MAX 64
#define LINES_MAX 50

static const char *const states[] = {"starting", "running", "connected", "failed"};

void connection_file_done(ConnectionFile *c)
{
    json_object_put(c->connection);
    failure_free(c->failure);
    *c = (ConnectionFile){};
}

static int failure_read(json_object *o, Failure **ret)
{
    int r = failure_from_json(o, ret);

    if (r < 0)
        return r == -ENOMEM ? r : -EBADMSG;
    failure_clean(*ret);
    return 0;
}

static int targets_clean(json_object *o, json_object *ret)
{
    json_object *in, *out;
    size_t i;
    int r = json_get_array(o, "targets", &in);

    if (r < 0 || (r > 0 && json_object_array_length(in) > TARGETS_MAX))
        return -EBADMSG;
    out = json_object_new_array();
    r = json_add(ret, "targets", out);
    if (r < 0 || !json_object_object_get_ex(o, "targets", &in) || !in)
        return r;
    for (i = 0; i < json_object_array_length(in); i++) {
        json_object *t = json_object_array_get_idx(in, i), *clean;
        int64_t sid = -1;
        const char *name;

        if (json_get_string(t, "name", &name) <= 0 || !target_name_valid(name) ||
            json_get_int64(t, "iscsiSession", &sid) < 0)
            return -EBADMSG;
        clean = json_object_new_object();
        if (json_append(out, clean) < 0 || json_add_string(clean, "name", name) < 0 ||
            (sid >= 0 && json_add_int64(clean, "iscsiSession", sid) < 0))
            return -ENOMEM;
    }
    return 0;
}

static int lines_clean(json_object *o, json_object *ret)
{
    _cleanup_strv_free_ char **lines = NULL;
    json_object *in;
    size_t i, n;
    int r = json_get_array(o, "lastLines", &in);

    if (r <= 0)
        return r < 0 ? -EBADMSG : 0;
    n = json_object_array_length(in);
    for (i = n > LINES_MAX ? n - LINES_MAX : 0; i < n; i++) {
        json_object *s = json_object_array_get_idx(in, i);

        if (!json_object_is_type(s, json_type_string))
            return -EBADMSG;
        r = strv_extend(&lines, json_object_get_string(s));
        if (r < 0)
            return r;
    }
    failure_clean_lines(lines);
    return json_add_strv(ret, "lastLines", lines);
}

static int numbers_clean(json_object *o, json_object *ret)
{
    static const char *const keys[] = {"tunnelPid", "startedUsec", "connectedUsec"};
    size_t i;
    int r;

    for (i = 0; i < ELEMENTSOF(keys); i++) {
        int64_t n;

        r = json_get_int64(o, keys[i], &n);
        if (r < 0 || (r > 0 && n < 0))
            return -EBADMSG;
        if (r > 0 && (r = json_add_int64(ret, keys[i], n)) < 0)
            return r;
    }
    return 0;
}

int connection_file_parse(const char *text, size_t size, const char *id, ConnectionFile *ret)
{
    _cleanup_(connection_file_done) ConnectionFile c = {.connection = json_object_new_object()};
    const char *session, *state, *portal = NULL;
    _cleanup_json_ json_object *o = NULL;
    json_object *failure;
    int64_t version;
    size_t i;
    int r;

    if (!c.connection)
        return -ENOMEM;
    r = json_parse(text, size, &o);
    if (r < 0)
        return r == -ENOMEM ? r : -EBADMSG;
    if (json_get_int64(o, "version", &version) <= 0 || version != 1 ||
        json_get_string(o, "session", &session) <= 0 || !streq(session, id) ||
        json_get_string(o, "state", &state) <= 0)
        return -EBADMSG;
    for (i = 0; i < ELEMENTSOF(states) && !streq(states[i], state); i++)
        ;
    if (i == ELEMENTSOF(states))
        return -EBADMSG;
    c.connected = streq(state, "connected");
    r = json_get_string(o, "portal", &portal);
    if (r < 0 || (r > 0 && portal_parse_local(portal) < 0))
        return -EBADMSG;
    if ((r = json_add_int64(c.connection, "version", version)) < 0 ||
        (r = json_add_string(c.connection, "session", session)) < 0 ||
        (r = json_add_string(c.connection, "state", state)) < 0 ||
        (r = json_add_string(c.connection, "portal", portal)) < 0 ||
        (r = targets_clean(o, c.connection)) < 0 || (r = lines_clean(o, c.connection)) < 0 ||
        (r = numbers_clean(o, c.connection)) < 0)
        return r;
    r = json_get_object(o, "failure", &failure);
    if (r < 0)
        return -EBADMSG;
    if (r > 0 && (r = failure_read(failure, &c.failure)) < 0)
        return r;
    *ret = c;
    c = (ConnectionFile){};
    return 0;
}

int connection_file_read(const char *id, uid_t uid, ConnectionFile *ret)
{
    _cleanup_free_ char *directory = connect_path(id, NULL), *text = NULL;
    _cleanup_close_ int dir_fd = -EBADF;
    size_t size;
    int r;

    if (!directory)
        return -ENOMEM;
    dir_fd = open(directory, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (dir_fd < 0)
        return -errno;
    r = file_read_foreign(dir_fd, "connection.json", uid, CONNECTION_SIZE_MAX, &text, &size);
    if (r < 0)
        return r == -EFBIG ? -EBADMSG : r;
    return connection_file_parse(text, size, id, ret);
}
