/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The verb unlock: a key for one locked volume of a session that is up, and on with whatever is inside.
 * The work is done in the session's own unit (its ExecReload=), where up worked: what is started for a mount
 * stays there, and a key derivation has the memory that it wants. The helper that was asked hands the request
 * on through a pipe in the session's directory. */

#include "storage.h"

#include "base64.h"
#include "dismantle.h"
#include "files.h"
#include "log.h"
#include "luks.h"
#include "paths.h"
#include "systemd.h"
#include "timeutil.h"
#include "up-state.h"
#include "verb.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>

/* More than one helper gives to what it makes. */
#define NUMBERS_OF_A_TRY 65536
#define STRIP_USEC (60 * USEC_PER_SEC)
#define KEY_SIZE_MAX (32 * KIB)
/* What a pipe holds without a reader (pipe(7)); a key of that size as base64 fits. */
#define PIPE_BUFFER (64 * KIB)
#define UNLOCK_PIPE "unlock"
#define UNLOCK_LOCK "unlock.lock"
#define UNLOCK_ANSWER "unlock.json"
#define UNLOCK_ANSWER_MAX (64 * KIB)
#define UNLOCK_TIMEOUT_USEC (20 * USEC_PER_MINUTE)

static int find_locked(const Assembly *a, const char *name, size_t *ret, Failure **ret_failure)
{
    size_t i;

    for (i = 0; i < a->n_volumes; i++)
        if (streq(a->volumes[i].name, name))
            break;
    if (i == a->n_volumes)
        return verb_fail(ret_failure, -ENOENT, FAILURE_NO_SUCH_VOLUME, "session %s has no volume %.64s",
                         a->id, name);
    if (!streq_ptr(a->volumes[i].type, "crypto_LUKS"))
        return verb_fail(ret_failure, -EINVAL, FAILURE_INVALID_REQUEST,
                         "volume: %s is not encrypted with LUKS", name);
    *ret = i;
    return a->volumes[i].locked;
}

/* A helper that was killed may have made devices without a note of them: the opened volume, which cryptsetup
 * would find in use, and in other places what waited for it, whose names are given once more. Nothing is
 * mounted on these: the record has all before that. */
static int strip(Up *u, Failure **ret_failure)
{
    _cleanup_strv_free_ char **names = NULL;
    char name[DM_NAME_SIZE];
    size_t i;
    int r = 0, part;

    for (i = 0; i < u->a.n_disks; i++)
        for (part = -1; r >= 0 && part <= 0; part++) {
            dm_name(u->id, (unsigned)i + 1, part, name);
            r = strv_extend(&names, name);
        }
    for (i = 0; r >= 0 && i < u->a.n_volumes; i++)
        if (u->a.volumes[i].node)
            r = strv_extend(&names, u->a.volumes[i].node);
    if (r >= 0)
        r = storage_strip(u->id, names, now_usec(CLOCK_MONOTONIC) + STRIP_USEC, ret_failure);
    if (r <= 0)
        return r;
    /* A volume group may have its number in its name by now, in the overlay. */
    u->a.n_made += NUMBERS_OF_A_TRY;
    return up_save(u);
}

static int unlock(Up *u, const char *name, const Secret *key, Failure **ret_failure)
{
    size_t volume = 0, before;
    int r, locked;

    if (!u->record->parts)
        return verb_fail(ret_failure, -ENOENT, FAILURE_NO_SUCH_VOLUME, "session %s is not up", u->id);
    r = assembly_load(&u->a, u->record->disks, u->record->volumes, u->record->parts);
    if (r >= 0)
        r = find_locked(&u->a, name, &volume, ret_failure);
    if (r < 0)
        return r;
    locked = r;
    r = strip(u, ret_failure);
    if (r < 0)
        return r;
    if (locked) {
        before = u->a.n_volumes;
        r = luks_open(&u->a, volume, key, ret_failure);
        if (r < 0)
            return r;
        assembly_begin(&u->a); /* the key's derivation has a time of its own */
        r = assembly_probe(&u->a, before);
        if (r >= 0)
            r = up_assemble(u);
        if (r >= 0)
            log_full(LOG_INFO, u->id, "Volume %s was unlocked", name);
    }
    /* It is open already: whoever asks again missed the answer, or the one before did not get to the mounts.
     */
    if (r >= 0)
        r = up_note_mounts(u);
    return r < 0 ? r : up_mount(u);
}

/* The request as verb_unlock() put it into the pipe, which holds it: no file ever has the key. */
static int request_take(const char *id, json_object **ret)
{
    _cleanup_free_ char *path = private_path(id, UNLOCK_PIPE);
    _cleanup_free_ char *text = malloc(PIPE_BUFFER + 1);
    _cleanup_close_ int fd = -EBADF;
    size_t used = 0;
    ssize_t n;
    int r;

    if (!path || !text)
        return -ENOMEM;
    fd = open(path, O_RDONLY | O_NONBLOCK | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    while (used < PIPE_BUFFER && (n = read(fd, text + used, PIPE_BUFFER - used)) > 0)
        used += (size_t)n;
    r = json_parse(text, used, ret);
    explicit_bzero(text, PIPE_BUFFER);
    return r;
}

int storage_unlock(const char *id, const Config *config, Failure **ret_failure)
{
    _cleanup_(up_done) Up u = {};
    _cleanup_secret_ Secret *key = NULL;
    _cleanup_json_ json_object *o = NULL;
    const char *volume, *text;
    int r;

    r = request_take(id, &o);
    if (r < 0)
        return verb_fail(ret_failure, r, FAILURE_HELPER_FAILED, "no key waits for session %s: %s", id,
                         strerror(-r));
    if (json_get_string(o, "volume", &volume) <= 0 || json_get_string(o, "key", &text) <= 0)
        return -EBADMSG;
    r = base64_decode(text, KEY_SIZE_MAX, &key);
    if (r >= 0)
        r = up_init(&u, id, config);
    if (r < 0)
        return r;
    r = unlock(&u, volume, key, ret_failure);
    (void)dm_settle(&u.a.cookie, DEVICE_TIMEOUT_USEC);
    return r;
}

/* Puts the request into a new pipe. The pipe stays open until whoever reads it has done so. */
static int request_put(const char *id, json_object *parameters, int *ret)
{
    _cleanup_free_ char *path = private_path(id, UNLOCK_PIPE);
    const char *text = json_text(parameters);
    _cleanup_close_ int fd = -EBADF;
    size_t size = text ? strlen(text) : 0;

    if (!path || !text)
        return -ENOMEM;
    if (size > PIPE_BUFFER)
        return -EMSGSIZE;
    if (unlink(path) < 0 && errno != ENOENT)
        return -errno;
    if (mkfifo(path, 0600) < 0)
        return -errno;
    fd = open(path, O_RDWR | O_NONBLOCK | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    if (write(fd, text, size) != (ssize_t)size)
        return -EIO;
    *ret = TAKE_FD(fd);
    return 0;
}

/* One at a time. Not the session's lock: the unit's helper takes that. */
static int unlock_lock(const char *id, int *ret)
{
    _cleanup_free_ char *path = private_path(id, UNLOCK_LOCK);
    _cleanup_close_ int fd = -EBADF;

    if (!path)
        return -ENOMEM;
    fd = open(path, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0)
        return -errno;
    if (flock(fd, LOCK_EX | LOCK_NB) < 0)
        return errno == EWOULDBLOCK ? -EBUSY : -errno;
    *ret = TAKE_FD(fd);
    return 0;
}

/* What the unit's helper left: {} or {"failure"}. */
static int answer_take(const char *id, Failure **ret_failure)
{
    _cleanup_free_ char *path = private_path(id, UNLOCK_ANSWER), *text = NULL;
    _cleanup_json_ json_object *o = NULL;
    json_object *failure;
    size_t size;
    int r;

    if (!path)
        return -ENOMEM;
    r = file_read(AT_FDCWD, path, UNLOCK_ANSWER_MAX, &text, &size);
    (void)unlink(path);
    if (r >= 0)
        r = json_parse(text, size, &o);
    if (r >= 0 && json_get_object(o, "failure", &failure) > 0)
        (void)failure_from_json(failure, ret_failure);
    return r;
}

int unlock_answer_put(const char *id, const Failure *failure)
{
    _cleanup_free_ char *path = private_path(id, UNLOCK_ANSWER);
    _cleanup_json_ json_object *o = json_object_new_object(), *f = NULL;
    const char *text;
    int r;

    if (!path || !o)
        return -ENOMEM;
    r = failure ? failure_to_json(failure, &f) : 0;
    if (r >= 0 && f)
        r = json_add(o, "failure", TAKE_PTR(f));
    if (r < 0)
        return r;
    text = json_text(o);
    return text ? file_write_atomic(AT_FDCWD, path, text, strlen(text), 0600, (uid_t)-1, (gid_t)-1) : -ENOMEM;
}

static int ask_unit(Request *request, Failure **ret_failure)
{
    _cleanup_free_ char *answer = private_path(request->session, UNLOCK_ANSWER),
                        *path = private_path(request->session, UNLOCK_PIPE);
    _cleanup_close_ int lock = -EBADF, pipe = -EBADF;
    _cleanup_bus_ sd_bus *bus = NULL;
    char unit[64];
    int r;

    if (!answer || !path)
        return -ENOMEM;
    r = unlock_lock(request->session, &lock);
    if (r == -EBUSY)
        return verb_fail_hint(ret_failure, r, FAILURE_BUSY, "try again in a moment",
                              "another volume of session %s is being unlocked", request->session);
    if (r == -ENOENT)
        return verb_fail(ret_failure, r, FAILURE_NO_SUCH_SESSION, "session %s is not connected",
                         request->session);
    if (r >= 0)
        r = systemd_connect(&bus);
    if (r < 0)
        return r;
    (void)unlink(answer);
    r = request_put(request->session, request->parameters, &pipe);
    if (r < 0)
        return r;
    snprintf(unit, sizeof(unit), "ilr-session@%s.service", request->session);
    r = systemd_reload(bus, unit, UNLOCK_TIMEOUT_USEC);
    (void)unlink(path);
    if (r != -ETIMEDOUT && answer_take(request->session, ret_failure) < 0 && r >= 0)
        r = -EBADMSG;
    if (*ret_failure)
        return r < 0 ? r : -EIO;
    if (r < 0)
        return verb_fail(ret_failure, r, FAILURE_UNLOCK_FAILED, "%s %s", unit,
                         r == -ETIMEDOUT ? "did not finish in time"
                                         : "did not carry it out; the session must be up");
    return 0;
}

int verb_unlock(Request *request, json_object **ret_answer, Failure **ret_failure)
{
    _cleanup_(record_freep) Record *record = NULL;
    _cleanup_secret_ Secret *key = NULL;
    const char *volume, *text;
    int r;

    if (json_get_string(request->parameters, "volume", &volume) <= 0)
        return verb_fail(ret_failure, -EINVAL, FAILURE_INVALID_REQUEST,
                         "volume: a volume's name is expected");
    r = json_get_string(request->parameters, "key", &text) <= 0 ? -EBADMSG
                                                                : base64_decode(text, KEY_SIZE_MAX, &key);
    if (r == -ENOMEM)
        return r;
    if (r < 0)
        return verb_fail(ret_failure, -EINVAL, FAILURE_INVALID_REQUEST,
                         "key: base64 of 1 to %llu bytes is expected", (unsigned long long)KEY_SIZE_MAX);
    r = ask_unit(request, ret_failure);
    if (r >= 0)
        r = record_load(request->session, &record);
    return r < 0 ? r : record_answer(record, ret_answer);
}
