/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* connection.json, written, and request.json, read; both are described in docs/architecture.md. */

#include "connection.h"

#include "files.h"
#include "log.h"
#include "validate.h"

#include <fcntl.h>

#define REQUEST_MAX (64 * KIB)
#define ADDRESSES_MAX 16

const char *connection_state_to_string(ConnectionState s)
{
    static const char *const names[CONNECTION_STATE_MAX] = {
        [CONNECTION_STARTING] = "starting",
        [CONNECTION_RUNNING] = "running",
        [CONNECTION_CONNECTED] = "connected",
        [CONNECTION_FAILED] = "failed",
    };

    return s >= 0 && s < CONNECTION_STATE_MAX ? names[s] : NULL;
}

static int add_targets(const Connection *c, json_object *record)
{
    json_object *list = json_object_new_array();
    size_t i;

    if (!list || json_add(record, "targets", list) < 0)
        return -ENOMEM;
    for (i = 0; i < c->gate.n_targets; i++) {
        const GateTarget *t = c->gate.targets + i;
        _cleanup_json_ json_object *o = NULL;

        if (!t->usable)
            continue;
        o = json_object_new_object();
        if (!o || json_add_string(o, "name", t->name) < 0 ||
            (t->sid >= 0 && json_add_int64(o, "iscsiSession", t->sid) < 0) ||
            json_append(list, TAKE_PTR(o)) < 0)
            return -ENOMEM;
    }
    return 0;
}

static int make_record(const Connection *c, json_object *o)
{
    _cleanup_strv_free_ char **lines = NULL;
    json_object *failure;

    if (json_add_int64(o, "version", 1) < 0 || json_add_string(o, "session", c->options->session) < 0 ||
        json_add_string(o, "state", connection_state_to_string(c->state)) < 0 || add_targets(c, o) < 0 ||
        json_add_string(o, "portal", c->gate.portal) < 0)
        return -ENOMEM;
    if (c->gate.tunnel_pid > 0 && json_add_int64(o, "tunnelPid", c->gate.tunnel_pid) < 0)
        return -ENOMEM;
    if (transcript_last(&c->transcript, CONNECTION_LINES, &lines) < 0 ||
        json_add_strv(o, "lastLines", lines) < 0 || json_add_int64(o, "startedUsec", c->started_usec) < 0)
        return -ENOMEM;
    if (c->connected_usec > 0 && json_add_int64(o, "connectedUsec", c->connected_usec) < 0)
        return -ENOMEM;
    if (c->failure)
        return failure_to_json(c->failure, &failure) < 0 ? -ENOMEM : json_add(o, "failure", failure);
    return 0;
}

void connection_save(Connection *c)
{
    _cleanup_json_ json_object *o = json_object_new_object();
    _cleanup_free_ char *path = NULL;
    const char *text;
    int r;

    if (!o || make_record(c, o) < 0 || asprintf(&path, "%s/connection.json", c->session_dir) < 0) {
        log_oom();
        return;
    }
    text = json_text(o);
    r = file_write_atomic(AT_FDCWD, path, text, strlen(text), 0640, -1, -1);
    if (r < 0)
        log_errno_full(LOG_ERR, c->options->session, r, "Cannot write %s", path);
}

static int read_portal(Connection *c, json_object *request)
{
    static const char *const known[] = {"host", "port", "addresses", NULL};
    json_object *portal, *list = NULL;
    int64_t port = 0;
    const char *host;
    size_t i, n;

    if (json_get_object(request, "portal", &portal) <= 0 || json_unknown_key(portal, known) ||
        json_get_string(portal, "host", &host) <= 0 || json_get_int64(portal, "port", &port) < 0 ||
        json_get_array(portal, "addresses", &list) < 0)
        return -EBADMSG;
    /* A portal named by its address needs no line in /etc/hosts. */
    if (address_valid(host))
        return 0;
    if (!host_name_valid(host))
        return -EBADMSG;
    c->portal_host = strdup(host);
    if (!c->portal_host)
        return -ENOMEM;
    n = list ? json_object_array_length(list) : 0;
    if (n > ADDRESSES_MAX)
        return -EBADMSG;
    for (i = 0; i < n; i++) {
        json_object *e = json_object_array_get_idx(list, i);

        if (!json_object_is_type(e, json_type_string) || !address_valid(json_object_get_string(e)))
            return -EBADMSG;
        if (strv_extend(&c->portal_addresses, json_object_get_string(e)) < 0)
            return -ENOMEM;
    }
    return 0;
}

int connection_read_request(Connection *c)
{
    static const char *const known[] = {"portal", NULL};
    _cleanup_free_ char *path = NULL, *text = NULL;
    _cleanup_json_ json_object *o = NULL;
    size_t size;
    int r;

    if (asprintf(&path, "%s/request.json", c->session_dir) < 0)
        return -ENOMEM;
    r = file_read(AT_FDCWD, path, REQUEST_MAX, &text, &size);
    if (r < 0)
        return r;
    r = json_parse(text, size, &o);
    if (r < 0)
        return r;
    if (!json_object_is_type(o, json_type_object) || json_unknown_key(o, known))
        return -EBADMSG;
    return read_portal(c, o);
}
