/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "connection-file.h"

#include "paths.h"
#include "validate.h"

#include <fcntl.h>
#include <sys/stat.h>

#define TARGETS_MAX 64
#define LINES_MAX 50
#define TEXT_MAX 1024 /* bytes of a line, a message, a hint */

static const char *const states[] = {"starting", "running", "connected", "failed"};

void connection_file_done(ConnectionFile *c)
{
    json_object_put(c->connection);
    failure_free(c->failure);
    *c = (ConnectionFile){};
}

/* Cuts at max bytes (between characters) and puts a space for what a terminal would obey. */
static void text_clean(char *s)
{
    unsigned char *p = (unsigned char *)s;

    for (; *p && p - (unsigned char *)s < TEXT_MAX; p++) {
        if (*p < ' ' || *p == 0x7f)
            *p = ' ';
        if (*p == 0xc2 && p[1] >= 0x80 && p[1] < 0xa0) /* the control characters above ASCII */
            p[0] = p[1] = ' ';
    }
    while (p > (unsigned char *)s && (*p & 0xc0) == 0x80)
        p--;
    *p = '\0';
}

static void strv_clean(char **v)
{
    size_t n = strv_length(v), i;

    /* The last ones tell most. */
    for (i = 0; n > LINES_MAX && i < n - LINES_MAX; i++)
        free(v[i]);
    if (n > LINES_MAX)
        memmove(v, v + n - LINES_MAX, (LINES_MAX + 1) * sizeof(*v));
    for (i = 0; v && v[i]; i++)
        text_clean(v[i]);
}

static int failure_clean(json_object *o, Failure **ret)
{
    Failure *f;
    int r = failure_from_json(o, &f);

    if (r < 0)
        return r == -ENOMEM ? r : -EBADMSG;
    if (f->message)
        text_clean(f->message);
    if (f->code)
        text_clean(f->code);
    if (f->hint)
        text_clean(f->hint);
    if (f->request_id)
        text_clean(f->request_id);
    if (f->correlation_id)
        text_clean(f->correlation_id);
    strv_clean(f->recommendations);
    strv_clean(f->lines);
    json_object_put(f->holders); /* nothing that a connection could know */
    f->holders = NULL;
    *ret = f;
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
        if (!clean || json_object_array_add(out, clean) < 0) {
            json_object_put(clean);
            return -ENOMEM;
        }
        if (json_add_string(clean, "name", name) < 0 ||
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
    strv_clean(lines);
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
    if (r > 0 && (r = failure_clean(failure, &c.failure)) < 0)
        return r;
    *ret = c;
    c = (ConnectionFile){};
    return 0;
}

int connection_file_read(const char *id, uid_t uid, ConnectionFile *ret)
{
    _cleanup_free_ char *directory = connect_path(id, NULL), *text = NULL;
    _cleanup_close_ int dir_fd = -EBADF, fd = -EBADF;
    size_t size = 0;
    struct stat st;

    if (!directory)
        return -ENOMEM;
    dir_fd = open(directory, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (dir_fd < 0)
        return -errno;
    /* Whoever owns the directory can put anything there: a link to a secret, a pipe that never ends. */
    fd = openat(dir_fd, "connection.json", O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    if (fd < 0)
        return errno == ELOOP ? -EBADMSG : -errno;
    if (fstat(fd, &st) < 0)
        return -errno;
    if (!S_ISREG(st.st_mode) || st.st_uid != uid || st.st_nlink != 1 ||
        st.st_size > (off_t)CONNECTION_SIZE_MAX)
        return -EBADMSG;
    text = malloc(CONNECTION_SIZE_MAX + 1);
    if (!text)
        return -ENOMEM;
    for (;;) {
        ssize_t n = read(fd, text + size, CONNECTION_SIZE_MAX + 1 - size);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -errno;
        if (n == 0)
            break;
        size += n;
        if (size > CONNECTION_SIZE_MAX)
            return -EBADMSG;
    }
    return connection_file_parse(text, size, id, ret);
}
