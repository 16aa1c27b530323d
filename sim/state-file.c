/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* stateFile: which recovery points have a recovery, for whom and how long, kept over the end of the
 * simulator, since Azure does not forget what it granted when the host that asked for it has lost its power.
 * The targets are made anew at the start, with other names and passwords: who would use them is gone. */

#include "files.h"
#include "log.h"
#include "state.h"
#include "timeutil.h"
#include <fcntl.h>

#define STATE_FILE_MAX (1024 * 1024)

static json_object *point_keep(const Point *p)
{
    const Registration *r = &p->session->registration;
    json_object *o = json_object_new_object();

    json_add_string(o, "recoveryPoint", p->id);
    json_add_string(o, "initiatorName", r->initiator_name);
    json_object_object_add(o, "expiresUsec", json_object_new_int64((int64_t)r->expires_usec));
    return o;
}

/* All points one after the other; NULL: that was the last. */
static Point *point_next(const SimConfig *c, size_t *v, size_t *i, size_t *n)
{
    for (; *v < c->vault_count; (*v)++, *i = 0)
        for (; *i < c->vaults[*v].item_count; (*i)++, *n = 0)
            if (*n < c->vaults[*v].items[*i].point_count)
                return &c->vaults[*v].items[*i].points[(*n)++];
    return NULL;
}

void state_file_save(const State *s)
{
    json_object *all;
    size_t v = 0, i = 0, n = 0;
    const char *text;
    Point *p;
    int r;

    if (!s->config->state_file || s->drain || s->stopping)
        return;
    all = json_object_new_array();
    while ((p = point_next(s->config, &v, &i, &n)))
        if (p->session && p->session->state != SESSION_FAILED)
            json_object_array_add(all, point_keep(p));
    text = json_object_to_json_string_ext(all, JSON_C_TO_STRING_PLAIN);
    r = text ? file_write_atomic(AT_FDCWD, s->config->state_file, text, strlen(text), 0600, (uid_t)-1,
                                 (gid_t)-1)
             : -ENOMEM;
    if (r < 0)
        log_error("Cannot keep the recoveries in %s: %s", s->config->state_file, strerror(-r));
    json_object_put(all);
}

int state_file_load(State *s, char **ret_error)
{
    _cleanup_free_ char *text = NULL;
    _cleanup_json_ json_object *all = NULL;
    size_t size;
    int r;

    if (!s->config->state_file)
        return 0;
    r = file_read(AT_FDCWD, s->config->state_file, STATE_FILE_MAX, &text, &size);
    if (r == -ENOENT)
        return 0;
    if (r >= 0)
        r = json_parse(text, size, &all);
    if (r >= 0 && !json_object_is_type(all, json_type_array))
        r = -EBADMSG;
    for (size_t n = 0; r >= 0 && n < json_object_array_length(all); n++) {
        json_object *o = json_object_array_get_idx(all, n);
        const char *point, *initiator = NULL;
        int64_t expires;
        Point *p;

        if (json_get_string(o, "recoveryPoint", &point) <= 0 ||
            json_get_int64(o, "expiresUsec", &expires) <= 0 ||
            json_get_string(o, "initiatorName", &initiator) < 0) {
            r = -EBADMSG;
            break;
        }
        /* A point that the configuration does not have any more has no recovery either. */
        p = sim_config_point(s->config, point);
        if (p && expires > (int64_t)now_usec(CLOCK_REALTIME))
            r = state_restore(s, p, initiator, (uint64_t)expires);
    }
    if (r < 0 && asprintf(ret_error, "stateFile %s: %s", s->config->state_file, strerror(-r)) < 0)
        *ret_error = NULL;
    return r;
}
