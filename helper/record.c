/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "record.h"

#include "files.h"
#include "log.h"
#include "paths.h"
#include "record-version.h"
#include "timeutil.h"
#include "validate.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/file.h>
#include <sys/stat.h>

#define RECORD_FILE "session.json"
#define LOCK_POLL_MSEC 50

const char *replay_to_string(Replay replay)
{
    return replay == REPLAY_OVERLAY ? "overlay" : replay == REPLAY_NONE ? "none" : NULL;
}

Replay replay_from_string(const char *s)
{
    return streq(s, "overlay") ? REPLAY_OVERLAY : streq(s, "none") ? REPLAY_NONE : REPLAY_INVALID;
}

int record_new(const char *id, Record **ret)
{
    _cleanup_(record_freep) Record *r = NULL;

    if (!session_id_valid(id))
        return -EINVAL;
    r = calloc(1, sizeof(*r));
    if (!r)
        return -ENOMEM;
    r->session = strdup(id);
    r->replay = REPLAY_INVALID;
    r->disks = json_object_new_array();
    r->volumes = json_object_new_array();
    r->roots = json_object_new_array();
    if (!r->session || !r->disks || !r->volumes || !r->roots)
        return -ENOMEM;
    *ret = TAKE_PTR(r);
    return 0;
}

static void target_done(RecordTarget *t)
{
    free(t->name);
    free(t->portal);
}

Record *record_free(Record *r)
{
    size_t i;

    if (!r)
        return NULL;
    for (i = 0; i < r->n_targets; i++)
        target_done(&r->targets[i]);
    free(r->targets);
    free(r->session);
    json_object_put(r->disks);
    json_object_put(r->volumes);
    json_object_put(r->roots);
    json_object_put(r->parts);
    failure_free(r->failure);
    free(r);
    return NULL;
}

RecordTarget *record_target(Record *r, const char *name)
{
    size_t i;

    for (i = 0; i < r->n_targets; i++)
        if (streq(r->targets[i].name, name))
            return &r->targets[i];
    return NULL;
}

int record_target_add(Record *r, const char *name, const char *portal)
{
    RecordTarget *t = record_target(r, name), *more;
    char *p = strdup(portal), *n;

    if (!p)
        return -ENOMEM;
    if (t) {
        free_and_replace(&t->portal, p);
        t->sid = -1;
        return 0;
    }
    n = strdup(name);
    more = r->n_targets < RECORD_TARGETS_MAX ? realloc(r->targets, (r->n_targets + 1) * sizeof(*more)) : NULL;
    if (more)
        r->targets = more;
    if (!more || !n) {
        free(n);
        free(p);
        return r->n_targets < RECORD_TARGETS_MAX ? -ENOMEM : -E2BIG;
    }
    r->targets[r->n_targets++] = (RecordTarget){.name = n, .portal = p, .sid = -1};
    return 0;
}

void record_target_remove(Record *r, const char *name)
{
    RecordTarget *t = record_target(r, name);

    if (!t)
        return;
    target_done(t);
    r->n_targets--;
    memmove(t, t + 1, (r->targets + r->n_targets - t) * sizeof(*t));
}

static int targets_from_json(Record *r, json_object *array)
{
    size_t i, n = json_object_array_length(array);

    if (n > RECORD_TARGETS_MAX)
        return -EBADMSG;
    for (i = 0; i < n; i++) {
        json_object *o = json_object_array_get_idx(array, i);
        const char *name, *portal;
        int64_t sid = -1;
        int k;

        if (json_get_string(o, "name", &name) <= 0 || !target_name_valid(name) ||
            json_get_string(o, "portal", &portal) <= 0 || portal_parse_local(portal) < 0 ||
            json_get_int64(o, "sid", &sid) < 0 || sid < -1)
            return -EBADMSG;
        k = record_target_add(r, name, portal);
        if (k < 0)
            return k;
        record_target(r, name)->sid = sid;
    }
    return 0;
}

/* Whoever reads one later asks its members for this and that. */
static int take_objects(json_object **field, json_object *array)
{
    size_t i;

    for (i = 0; i < json_object_array_length(array); i++)
        if (!json_object_is_type(json_object_array_get_idx(array, i), json_type_object))
            return -EBADMSG;
    json_object_put(*field);
    *field = json_object_get(array);
    return 0;
}

/* The directory is root's alone, but a full /run, a crash or a hand may have left anything in the file. */
int record_load(const char *id, Record **ret)
{
    _cleanup_(record_freep) Record *record = NULL;
    _cleanup_free_ char *path = NULL, *text = NULL;
    _cleanup_json_ json_object *o = NULL;
    json_object *array, *failure, *parts;
    const char *session, *replay = NULL;
    size_t size;
    int r;

    r = record_new(id, &record);
    if (r < 0)
        return r;
    path = private_path(id, RECORD_FILE);
    if (!path)
        return -ENOMEM;
    r = file_read(AT_FDCWD, path, RECORD_SIZE_MAX, &text, &size);
    if (r < 0)
        return r == -EFBIG ? -EBADMSG : r;
    r = json_parse(text, size, &o);
    if (r < 0)
        return r == -ENOMEM ? r : -EBADMSG;
    if (!record_version_usable(o, RECORD_VERSION) || json_get_string(o, "session", &session) <= 0 ||
        !streq(session, id) || json_get_array(o, "targets", &array) <= 0)
        return -EBADMSG;
    r = targets_from_json(record, array);
    if (r < 0)
        return r;
    if (json_get_array(o, "disks", &array) <= 0 || take_objects(&record->disks, array) < 0 ||
        json_get_array(o, "volumes", &array) <= 0 || take_objects(&record->volumes, array) < 0)
        return -EBADMSG;
    r = json_get_array(o, "roots", &array); /* older records have none */
    if (r < 0 || (r > 0 && take_objects(&record->roots, array) < 0))
        return -EBADMSG;
    r = json_get_object(o, "parts", &parts);
    if (r < 0 || json_get_string(o, "replay", &replay) < 0)
        return -EBADMSG;
    record->parts = r > 0 ? json_object_get(parts) : NULL;
    record->replay = replay ? replay_from_string(replay) : REPLAY_INVALID;
    r = json_get_object(o, "failure", &failure);
    if (r < 0)
        return -EBADMSG;
    if (r > 0 && (r = failure_from_json(failure, &record->failure)) < 0)
        return r;
    *ret = TAKE_PTR(record);
    return 0;
}

int record_save(const Record *record)
{
    _cleanup_json_ json_object *o = json_object_new_object(), *targets = json_object_new_array(),
                               *failure = NULL;
    _cleanup_free_ char *path = private_path(record->session, RECORD_FILE);
    const char *text;
    size_t i;
    int r;

    if (!o || !targets || !path)
        return -ENOMEM;
    for (i = 0; i < record->n_targets; i++) {
        _cleanup_json_ json_object *t = json_object_new_object();

        if (!t || (r = json_add_string(t, "name", record->targets[i].name)) < 0 ||
            (r = json_add_string(t, "portal", record->targets[i].portal)) < 0 ||
            (r = json_add_int64(t, "sid", record->targets[i].sid)) < 0 ||
            (r = json_append(targets, TAKE_PTR(t))) < 0)
            return -ENOMEM;
    }
    if ((r = record_version_add(o)) < 0 || (r = json_add_string(o, "session", record->session)) < 0 ||
        (r = json_add(o, "targets", TAKE_PTR(targets))) < 0 ||
        (r = json_add(o, "disks", json_object_get(record->disks))) < 0 ||
        (r = json_add(o, "volumes", json_object_get(record->volumes))) < 0 ||
        (r = json_add(o, "roots", json_object_get(record->roots))) < 0 ||
        (record->parts && (r = json_add(o, "parts", json_object_get(record->parts))) < 0) ||
        (r = json_add_string(o, "replay", replay_to_string(record->replay))) < 0)
        return r;
    if (record->failure) {
        r = failure_to_json(record->failure, &failure);
        if (r < 0)
            return r;
        r = json_add(o, "failure", TAKE_PTR(failure));
        if (r < 0)
            return r;
    }
    text = json_text(o);
    if (!text)
        return -ENOMEM;
    if (strlen(text) > RECORD_SIZE_MAX) /* nobody would read it */
        return -EFBIG;
    return file_write_atomic(AT_FDCWD, path, text, strlen(text), 0600, (uid_t)-1, (gid_t)-1);
}

void record_save_on_way_down(const Record *record)
{
    int r = record_save(record);

    if (r < 0)
        log_errno_full(LOG_WARNING, record->session, r,
                       "The session's record cannot be saved, going on: it still names what is gone already");
}

int record_answer(const Record *r, json_object **ret)
{
    _cleanup_json_ json_object *answer = json_object_new_object();
    int k = answer ? json_add(answer, "disks", json_object_get(r->disks)) : -ENOMEM;

    if (k >= 0)
        k = json_add(answer, "volumes", json_object_get(r->volumes));
    if (k >= 0)
        k = json_add(answer, "roots", json_object_get(r->roots));
    if (k >= 0)
        *ret = TAKE_PTR(answer);
    return k;
}

static int compare_string(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

int record_list(char ***ret)
{
    _cleanup_(closedirp) DIR *dir = opendir(paths.private_dir);
    _cleanup_strv_free_ char **ids = NULL;
    struct dirent *e;
    int r;

    if (!dir && errno != ENOENT)
        return -errno;
    while (dir && (e = readdir(dir)))
        if (session_id_valid(e->d_name)) {
            r = strv_extend(&ids, e->d_name);
            if (r < 0)
                return r;
        }
    if (ids)
        qsort(ids, strv_length(ids), sizeof(*ids), compare_string);
    *ret = TAKE_PTR(ids);
    return 0;
}

int session_lock(const char *id, uint64_t timeout_usec, int *ret)
{
    _cleanup_free_ char *path = private_path(id, NULL);
    uint64_t start = now_usec(CLOCK_MONOTONIC);
    _cleanup_close_ int fd = -EBADF;
    struct stat st;

    if (!path)
        return session_id_valid(id) ? -ENOMEM : -EINVAL;
    fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    /* flock(2) has no deadline. Whoever holds the lock for long waits for iscsiadm or the kernel, so it is
     * tried now and then. */
    while (flock(fd, LOCK_EX | LOCK_NB) < 0) {
        if (errno != EWOULDBLOCK)
            return -errno;
        if (now_usec(CLOCK_MONOTONIC) - start >= timeout_usec)
            return -ETIMEDOUT;
        (void)poll(NULL, 0, LOCK_POLL_MSEC);
    }
    if (fstat(fd, &st) < 0)
        return -errno;
    if (st.st_nlink == 0) /* removed while we waited */
        return -ENOENT;
    *ret = TAKE_FD(fd);
    return 0;
}

int session_unlock(int lock)
{
    if (lock >= 0)
        (void)flock(lock, LOCK_UN);
    return safe_close(lock);
}
