/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "store.h"

#include "files.h"
#include "log.h"
#include "record-version.h"
#include "validate.h"

#include <fcntl.h>

#define RECORD_MAX (32 * MIB) /* more than what the helper may answer of one session */

struct Store {
    int fd;
};

int store_new(Store **ret, const char *dir)
{
    Store *s = malloc(sizeof(*s));

    if (!s)
        return -ENOMEM;
    s->fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (s->fd < 0) {
        int r = -errno;

        free(s);
        return r;
    }
    *ret = s;
    return 0;
}

Store *store_free(Store *s)
{
    if (s) {
        safe_close(s->fd);
        free(s);
    }
    return NULL;
}

static void file_name(const char *id, char buf[static SESSION_ID_LENGTH + sizeof(".json")])
{
    memcpy(buf, id, SESSION_ID_LENGTH);
    strcpy(buf + SESSION_ID_LENGTH, ".json");
}

int store_save(Store *s, const char *id, json_object *record)
{
    char name[SESSION_ID_LENGTH + sizeof(".json")];
    const char *text;
    int r;

    if (!session_id_valid(id))
        return -EINVAL;
    file_name(id, name);
    r = record_version_add(record);
    if (r < 0)
        return r;
    text = json_text(record);
    if (!text)
        return -ENOMEM;
    if (strlen(text) > RECORD_MAX) /* nobody would read it */
        return -EFBIG;
    r = file_write_atomic(s->fd, name, text, strlen(text), 0600, -1, -1);
    if (r < 0)
        return r;
    return fsync(s->fd) < 0 ? -errno : 0; /* the name, too, must outlive a power cut */
}

int store_remove(Store *s, const char *id)
{
    char name[SESSION_ID_LENGTH + sizeof(".json")];

    if (!session_id_valid(id))
        return -EINVAL;
    file_name(id, name);
    if (unlinkat(s->fd, name, 0) < 0)
        return errno == ENOENT ? 0 : -errno;
    return fsync(s->fd) < 0 ? -errno : 0;
}

/* NULL if the record is one of ours, otherwise why it is not. */
static const char *load_one(Store *s, const char *name, char id[static SESSION_ID_LENGTH + 1],
                            json_object **ret)
{
    _cleanup_json_ json_object *o = NULL;
    _cleanup_free_ char *text = NULL;
    size_t size;

    memcpy(id, name, SESSION_ID_LENGTH);
    id[SESSION_ID_LENGTH] = '\0';
    if (file_read(s->fd, name, RECORD_MAX, &text, &size) < 0)
        return "cannot be read";
    if (json_parse(text, size, &o) < 0 || !json_object_is_type(o, json_type_object))
        return "is damaged";
    if (!record_version_usable(o, RECORD_VERSION))
        return "has a version that this program does not know";
    *ret = TAKE_PTR(o);
    return NULL;
}

int store_load(Store *s, void (*found)(const char *id, json_object *record, void *userdata),
               void (*kept)(const char *file, const char *why, void *userdata), void *userdata)
{
    _cleanup_(closedirp) DIR *dir = NULL;
    struct dirent *e;
    int fd;

    fd = openat(s->fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    dir = fdopendir(fd);
    if (!dir) {
        safe_close(fd);
        return -ENOMEM;
    }
    while ((e = readdir(dir))) {
        char id[SESSION_ID_LENGTH + 1];
        _cleanup_json_ json_object *record = NULL;
        const char *why;

        /* What a power cut left of a save that never counted. */
        if (strlen(e->d_name) == SESSION_ID_LENGTH + strlen(".json.tmp") && endswith(e->d_name, ".json.tmp"))
            if (unlinkat(s->fd, e->d_name, 0) >= 0)
                log_notice("Removed %s: a save that was broken off, which never counted", e->d_name);
        if (strlen(e->d_name) != SESSION_ID_LENGTH + strlen(".json") || !endswith(e->d_name, ".json"))
            continue;
        why = load_one(s, e->d_name, id, &record);
        if (!why && !session_id_valid(id))
            why = "has a name that is no session id";
        if (why)
            kept(e->d_name, why, userdata);
        else
            found(id, record, userdata);
    }
    return 0;
}
