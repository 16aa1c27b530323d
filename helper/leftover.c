/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "leftover.h"

#include "iscsi.h"
#include "record.h"
#include "timeutil.h"
#include "verb.h"
#include "volume.h"

#include <stdarg.h>

#define NAME_MAX_BYTES 1024
#define PROCESSES_TIMEOUT_USEC (20 * USEC_PER_SEC)

static const char *const kinds[LEFTOVER_KIND_MAX] = {
    [LEFTOVER_MOUNT] = "mount",
    [LEFTOVER_NAMESPACE] = "mount-namespace",
    [LEFTOVER_DM] = "device-mapper",
    [LEFTOVER_MD] = "md-array",
    [LEFTOVER_LOOP] = "loop-device",
    [LEFTOVER_DISK] = "disk",
    [LEFTOVER_ISCSI] = "iscsi-session",
    [LEFTOVER_NODE_RECORD] = "node-record",
    [LEFTOVER_DISCOVERY_RECORD] = "discovery-record",
    [LEFTOVER_UNIT] = "unit",
    [LEFTOVER_DROP_IN] = "drop-in",
    [LEFTOVER_PROCESS] = "process",
    [LEFTOVER_DIRECTORY] = "directory",
    [LEFTOVER_FILE] = "file",
    [LEFTOVER_UDEV_COOKIE] = "udev-cookie",
};

const char *leftover_kind_to_string(LeftoverKind kind)
{
    return kind >= 0 && kind < LEFTOVER_KIND_MAX ? kinds[kind] : NULL;
}

static void leftover_done(Leftover *item)
{
    free(item->name);
    free(item->detail);
    free(item->unit);
}

void leftovers_done(Leftovers *l)
{
    size_t i;

    for (i = 0; i < l->n; i++)
        leftover_done(&l->items[i]);
    free(l->items);
    *l = (Leftovers){};
}

bool leftover_wanted(const LeftoverFilter *filter, const char *session)
{
    if (filter->only && !streq(session, filter->only))
        return false;
    return !*session || !strv_contains(filter->without, session);
}

int leftovers_add(Leftovers *l, Leftover item)
{
    Leftover *more;

    if (item.name && !leftover_wanted(&l->filter, item.session)) {
        leftover_done(&item);
        return 0;
    }
    if (l->n >= LEFTOVERS_MAX) {
        leftover_done(&item);
        l->cut = true;
        return 0;
    }
    more = item.name ? realloc(l->items, (l->n + 1) * sizeof(*more)) : NULL;
    if (more)
        l->items = more;
    else {
        leftover_done(&item);
        return -ENOMEM;
    }
    l->items[l->n++] = item;
    return 0;
}

int leftovers_addf(Leftovers *l, Leftover item, const char *name, const char *format, ...)
{
    va_list ap;
    int r;

    va_start(ap, format);
    r = vasprintf(&item.detail, format, ap);
    va_end(ap);
    if (r < 0) {
        free(item.unit);
        return -ENOMEM;
    }
    item.name = strdup(name);
    return leftovers_add(l, item);
}

/* ---- whose ---- */

static bool session_copy(const char *s, char buf[static SESSION_ID_LENGTH + 1])
{
    *buf = '\0';
    if (strnlen(s, SESSION_ID_LENGTH) < SESSION_ID_LENGTH)
        return false;
    memcpy(buf, s, SESSION_ID_LENGTH);
    buf[SESSION_ID_LENGTH] = '\0';
    if (session_id_valid(buf))
        return true;
    *buf = '\0';
    return false;
}

bool leftover_session_of_mapper(const char *name, char buf[static SESSION_ID_LENGTH + 1])
{
    const char *id = startswith(name, "ilr_");

    *buf = '\0';
    if (!id || !session_copy(id, buf))
        return false;
    if (id[SESSION_ID_LENGTH] == '_')
        return true;
    *buf = '\0';
    return false;
}

bool leftover_session_of_unit(const char *name, const char *suffix, char buf[static SESSION_ID_LENGTH + 1])
{
    const char *id = startswith(name, "ilr-connection@");

    *buf = '\0';
    if (!id)
        id = startswith(name, "ilr-session@");
    if (!id || !session_copy(id, buf))
        return false;
    if (streq(id + SESSION_ID_LENGTH, suffix))
        return true;
    *buf = '\0';
    return false;
}

bool leftover_session_of_hook(const char *name, const char *prefix, const char *suffix,
                              char buf[static SESSION_ID_LENGTH + 1])
{
    const char *event = startswith(name, prefix), *id = event ? strchr(event, '-') : NULL;

    *buf = '\0';
    if (!id || id == event || !session_copy(id + 1, buf))
        return false;
    if (streq(id + 1 + SESSION_ID_LENGTH, suffix))
        return true;
    *buf = '\0';
    return false;
}

bool leftover_session_of_path(const char *path, const char *directory, char buf[static SESSION_ID_LENGTH + 1])
{
    const char *rest = startswith(path, directory);

    *buf = '\0';
    if (!rest || *rest != '/' || !session_copy(rest + 1, buf))
        return false;
    if (rest[1 + SESSION_ID_LENGTH] == '\0' || rest[1 + SESSION_ID_LENGTH] == '/')
        return true;
    *buf = '\0';
    return false;
}

void leftover_owners_done(LeftoverOwners *owners)
{
    size_t i;

    for (i = 0; i < owners->n; i++) {
        free(owners->items[i].target);
        free(owners->items[i].portal);
    }
    free(owners->items);
    *owners = (LeftoverOwners){};
}

static int owner_add(LeftoverOwners *owners, const char *session, const RecordTarget *t)
{
    LeftoverOwner *more = realloc(owners->items, (owners->n + 1) * sizeof(*more)), *o;

    if (!more)
        return -ENOMEM;
    owners->items = more;
    o = &more[owners->n++];
    *o = (LeftoverOwner){.target = strdup(t->name), .portal = strdup(t->portal), .sid = t->sid};
    strcpy(o->session, session);
    return o->target && o->portal ? 0 : -ENOMEM;
}

int leftover_owners_read(LeftoverOwners *owners)
{
    _cleanup_strv_free_ char **ids = NULL;
    char **id;
    size_t i;
    int r;

    r = record_list(&ids);
    if (r < 0)
        return r;
    STRV_FOREACH (id, ids) {
        _cleanup_(record_freep) Record *record = NULL;

        r = record_load(*id, &record);
        if (r == -ENOMEM)
            return r;
        if (r < 0 && r != -ENOENT) /* without a record nothing was begun, or all is given back */
            owners->unreadable = true;
        for (i = 0; record && i < record->n_targets; i++) {
            r = owner_add(owners, *id, &record->targets[i]);
            if (r < 0)
                return r;
        }
    }
    return 0;
}

static const LeftoverOwner *owner_of(const LeftoverOwners *owners, const IscsiSession *s)
{
    size_t i;

    for (i = 0; i < owners->n; i++) {
        const LeftoverOwner *o = &owners->items[i];

        if (iscsi_session_is(s, o->target, o->portal, o->sid))
            return o;
    }
    return NULL;
}

/* A disk of the session that carries one of our overlays is ours, too, if its record is lost. */
static void session_by_blocks(const LeftoverBlocks *blocks, int64_t sid,
                              char buf[static SESSION_ID_LENGTH + 1])
{
    size_t i;

    for (i = 0; i < blocks->n && !*buf; i++)
        if (blocks->items[i].sid == sid && *blocks->items[i].mapper)
            (void)leftover_session_of_mapper(blocks->items[i].mapper, buf);
}

/* What is on the session's disks and has no name of ours is whose the session is. */
static void blocks_assign(LeftoverBlocks *blocks, int64_t sid, const char *session)
{
    size_t i;

    for (i = 0; i < blocks->n; i++)
        if (blocks->items[i].sid == sid) {
            blocks->items[i].stands = true;
            if (!*blocks->items[i].session)
                strcpy(blocks->items[i].session, session);
        }
}

static int add_iscsi(Leftovers *l, const IscsiSession *s, const LeftoverOwners *owners,
                     LeftoverBlocks *blocks)
{
    const LeftoverOwner *owner = owner_of(owners, s);
    Leftover item = {.kind = LEFTOVER_ISCSI, .number = s->sid};

    if (owner)
        strcpy(item.session, owner->session);
    else
        session_by_blocks(blocks, s->sid, item.session);
    item.ours = *item.session || iscsi_session_ours(s->sid);
    /* Of somebody else's only what the kernel has given up: before that it may be a moment's disturbance. */
    item.dead = item.ours ? !iscsi_session_logged_in(s) : streq(s->state, "FREE");
    item.port = MAX(portal_parse_local(s->portal), 0);
    blocks_assign(blocks, s->sid, item.session);
    return leftovers_addf(l, item, s->target, "session %lld at %s, %s", (long long)s->sid,
                          *s->portal ? s->portal : "an unknown portal", *s->state ? s->state : "no state");
}

/* The order matters. A disk that is seen first and whose session is not there afterwards is going away under
 * our eyes. The records are read before and after: one that was written meanwhile was written before what it
 * is about, and one that was removed had been there. */
static int look_at_disks(Leftovers *l, LeftoverBlocks *blocks)
{
    _cleanup_(leftover_owners_done) LeftoverOwners owners = {};
    IscsiSession *sessions = NULL;
    size_t n = 0, i;
    int r;

    r = leftover_owners_read(&owners);
    if (r >= 0)
        r = leftover_blocks_look(blocks);
    if (r >= 0)
        r = iscsi_sessions_all(&sessions, &n);
    if (r >= 0)
        r = leftover_owners_read(&owners);
    l->unreadable = owners.unreadable;
    for (i = 0; r >= 0 && i < n; i++)
        r = add_iscsi(l, &sessions[i], &owners, blocks);
    iscsi_sessions_free(sessions, n);
    return r;
}

int leftovers_look(const LeftoverFilter *filter, Leftovers *ret)
{
    _cleanup_(leftover_blocks_done) LeftoverBlocks blocks = {};
    _cleanup_(leftovers_done) Leftovers l = {.filter = *filter}, processes = {.filter = *filter};
    int r;

    r = look_at_disks(&l, &blocks);
    if (r >= 0)
        r = leftover_add_mounts(&l, &blocks);
    if (r >= 0)
        r = leftover_add_blocks(&l, &blocks);
    /* In this order: a process whose unit is not there afterwards has outlived it. */
    if (r >= 0)
        r = leftover_add_processes(&processes, PROCESSES_TIMEOUT_USEC);
    if (r >= 0)
        r = leftover_add_units(&l, &processes);
    if (r >= 0)
        r = leftover_add_files(&l);
    if (r >= 0)
        r = leftover_add_cookies(&l, (int64_t)(now_usec(CLOCK_REALTIME) / USEC_PER_SEC));
    if (r < 0)
        return r;
    *ret = l;
    l = (Leftovers){};
    return 0;
}

/* ---- for others ---- */

char *leftover_text(const char *s)
{
    return text_clean(s, NAME_MAX_BYTES);
}

static int item_to_json(const Leftover *item, json_object **ret)
{
    _cleanup_json_ json_object *o = json_object_new_object();
    _cleanup_free_ char *name = leftover_text(item->name), *detail = leftover_text(item->detail);

    if (!o || !name || !detail || json_add_string(o, "kind", leftover_kind_to_string(item->kind)) < 0 ||
        json_add_string(o, "name", name) < 0 || json_add_string(o, "detail", detail) < 0 ||
        (*item->session && json_add_string(o, "session", item->session) < 0) ||
        json_add_bool(o, "ours", item->ours) < 0)
        return -ENOMEM;
    *ret = TAKE_PTR(o);
    return 0;
}

int leftovers_to_json(const Leftovers *l, json_object **ret)
{
    _cleanup_json_ json_object *array = json_object_new_array();
    size_t i;

    if (!array)
        return -ENOMEM;
    for (i = 0; i < l->n; i++) {
        json_object *o;

        if (item_to_json(&l->items[i], &o) < 0 || json_append(array, o) < 0)
            return -ENOMEM;
    }
    *ret = TAKE_PTR(array);
    return 0;
}

#define KNOWN_MAX 4096

int leftovers_known_get(json_object *parameters, char ***ret, Failure **ret_failure)
{
    _cleanup_strv_free_ char **known = NULL;
    json_object *array = NULL;
    size_t i, n;
    int r = json_get_array(parameters, "known", &array);

    n = r > 0 ? json_object_array_length(array) : 0;
    if (r < 0 || n > KNOWN_MAX)
        return verb_fail(ret_failure, -EINVAL, FAILURE_INVALID_REQUEST,
                         "known: an array of at most %d session ids is expected", KNOWN_MAX);
    for (i = 0; i < n; i++) {
        json_object *o = json_object_array_get_idx(array, i);
        const char *id = json_object_is_type(o, json_type_string) ? json_object_get_string(o) : NULL;

        if (!id || !session_id_valid(id))
            return verb_fail(ret_failure, -EINVAL, FAILURE_INVALID_REQUEST,
                             "known: number %zu is no session id", i + 1);
        r = strv_extend(&known, id);
        if (r < 0)
            return r;
    }
    *ret = TAKE_PTR(known);
    return 0;
}

int verb_leftovers(Request *request, json_object **ret_answer, Failure **ret_failure)
{
    _cleanup_json_ json_object *answer = json_object_new_object();
    _cleanup_(leftovers_done) Leftovers l = {};
    _cleanup_strv_free_ char **known = NULL;
    json_object *array;
    int r;

    if (!answer)
        return -ENOMEM;
    r = leftovers_known_get(request->parameters, &known, ret_failure);
    if (r >= 0)
        r = leftovers_look(&(LeftoverFilter){.without = known}, &l);
    if (r >= 0)
        r = leftovers_to_json(&l, &array);
    if (r >= 0)
        r = json_add(answer, "leftovers", array);
    if (r >= 0 && l.cut)
        r = json_add_bool(answer, "cut", true);
    if (r < 0)
        return r;
    *ret_answer = TAKE_PTR(answer);
    return 0;
}
