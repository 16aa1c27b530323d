/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The server: who may come in, what interfaces there are, and which method a message means. */

#include "varlink-internal.h"

#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#define ACCEPT_PAUSE_USEC (1 * USEC_PER_SEC)
#define SERVICE "org.varlink.service"

static const char service_description[] =
    "# What every Varlink service answers: who it is and what it offers.\n"
    "interface org.varlink.service\n"
    "\n"
    "method GetInfo() -> (\n"
    "  vendor: string,\n"
    "  product: string,\n"
    "  version: string,\n"
    "  url: string,\n"
    "  interfaces: []string\n"
    ")\n"
    "\n"
    "method GetInterfaceDescription(interface: string) -> (description: string)\n"
    "\n"
    "error InterfaceNotFound(interface: string)\n"
    "error MethodNotFound(method: string)\n"
    "error MethodNotImplemented(method: string)\n"
    "error InvalidParameter(parameter: string)\n"
    "error ExpectedMore()\n";

/* ---- the standard interface ---- */

static VarlinkInterface *find_interface(VarlinkServer *s, const char *name, size_t length)
{
    VarlinkInterface *i;

    LIST_FOREACH (i, s->interfaces)
        if (strlen(i->name) == length && memcmp(i->name, name, length) == 0)
            return i;
    return NULL;
}

static int method_get_info(VarlinkCall *call, json_object *parameters, void *userdata)
{
    _cleanup_json_ json_object *o = json_object_new_object();
    _cleanup_strv_free_ char **names = NULL;
    VarlinkServer *s = userdata;
    VarlinkInterface *i;
    int r;

    if (!o)
        return -ENOMEM;
    LIST_FOREACH (i, s->interfaces)
        if ((r = strv_extend(&names, i->name)) < 0)
            return r;
    if ((r = json_add_string(o, "vendor", s->vendor)) < 0 ||
        (r = json_add_string(o, "product", s->product)) < 0 ||
        (r = json_add_string(o, "version", s->version)) < 0 || (r = json_add_string(o, "url", s->url)) < 0 ||
        (r = json_add_strv(o, "interfaces", names)) < 0)
        return r;
    return varlink_call_reply(call, o);
}

static int method_get_interface_description(VarlinkCall *call, json_object *parameters, void *userdata)
{
    _cleanup_json_ json_object *o = NULL;
    VarlinkInterface *i;
    const char *name;
    int r;

    if (json_get_string(parameters, "interface", &name) <= 0)
        return varlink_call_invalid_parameter(call, "interface");
    i = find_interface(userdata, name, strlen(name));
    if (!i)
        return varlink_call_error_string(call, SERVICE ".InterfaceNotFound", "interface", name);
    o = json_object_new_object();
    if (!o)
        return -ENOMEM;
    r = json_add_string(o, "description", i->description);
    return r < 0 ? r : varlink_call_reply(call, o);
}

static const VarlinkMethod service_methods[] = {
    {SERVICE ".GetInfo", method_get_info},
    {SERVICE ".GetInterfaceDescription", method_get_interface_description,
     .parameters = (const char *const[]){"interface", NULL}},
    {},
};

/* ---- messages ---- */

static void refuse_fds(VarlinkCall *call)
{
    _cleanup_failure_ Failure *f =
        failure_new(FAILURE_INVALID_REQUEST, "%s takes at most %u descriptors, and %zu came with it",
                    call->method->name, call->method->fds_max, call->fds.n);

    (void)varlink_call_fail(call, f, NULL);
}

/* *freed becomes true if the handler ends the server, and with it the connection and the call. */
static void call_method(VarlinkCall *call, const char *name, json_object *parameters, const bool *freed)
{
    VarlinkConnection *c = call->connection;
    const char *dot = strrchr(name, '.'), *unknown;
    const VarlinkMethod *m;
    VarlinkInterface *i;
    int r;

    if (!dot || dot == name || !dot[1]) {
        (void)varlink_call_invalid_parameter(call, "method");
        return;
    }
    i = find_interface(c->server, name, dot - name);
    if (!i) {
        _cleanup_free_ char *interface = strndup(name, dot - name);

        (void)varlink_call_error_string(call, SERVICE ".InterfaceNotFound", "interface", interface);
        return;
    }
    for (m = i->methods; m->name && !streq(m->name, name); m++)
        ;
    if (!m->name || !m->handler) {
        (void)varlink_call_error_string(
            call, m->name ? SERVICE ".MethodNotImplemented" : SERVICE ".MethodNotFound", "method", name);
        return;
    }
    call->method = m;
    unknown = json_unknown_key(parameters, m->parameters ? m->parameters : (const char *const[]){NULL});
    if (unknown)
        (void)varlink_call_invalid_parameter(call, unknown);
    else if (call->fds.n > m->fds_max)
        refuse_fds(call);
    else if (m->needs_more && !call->more)
        (void)varlink_call_error(call, SERVICE ".ExpectedMore", NULL);
    else {
        r = m->handler(call, parameters, i->userdata);
        if (r < 0 && !*freed && c->call == call) {
            char buf[128];
            _cleanup_failure_ Failure *f =
                failure_new(FAILURE_INTERNAL, "%s: %s", m->name, strerror_r(-r, buf, sizeof(buf)));

            (void)varlink_call_fail(call, f, NULL);
        }
        /* Whoever waits holds none of ours. */
        if (!*freed && c->call == call)
            varlink_fds_close(&call->fds);
    }
}

bool varlink_connection_dispatch(VarlinkConnection *c, const char *text, size_t size)
{
    static const char *const keys[] = {"method", "parameters", "more", "oneway", "upgrade", NULL};
    _cleanup_json_ json_object *o = NULL, *empty = NULL;
    bool more = false, oneway = false, upgrade = false, freed = false;
    json_object *parameters;
    const char *name, *unknown;
    VarlinkCall *call;
    int r;

    r = json_parse(text, size, &o);
    if (r < 0) {
        varlink_connection_refuse(c, "%s",
                                  r == -E2BIG    ? "is nested too deep or has too many parts"
                                  : r == -ENOMEM ? "needs too much memory"
                                                 : "is not valid JSON");
        return true;
    }
    if (!json_object_is_type(o, json_type_object)) {
        varlink_connection_refuse(c, "is not a JSON object");
        return true;
    }
    unknown = json_unknown_key(o, keys);
    if (unknown) {
        varlink_connection_refuse(c, "has the unknown field \"%s\"", unknown);
        return true;
    }
    empty = parameters = json_object_new_object();
    call = calloc(1, sizeof(*call));
    if (!empty || !call) {
        free(call);
        c->broken = true;
        return true;
    }
    if ((r = json_get_string(o, "method", &name)) <= 0)
        varlink_connection_refuse(c, r == 0 ? "has no method" : "wants a string as method");
    else if ((r = json_get_object(o, "parameters", &parameters)) < 0)
        varlink_connection_refuse(c, "wants an object as parameters");
    else if ((r = json_get_bool(o, "more", &more)) < 0)
        varlink_connection_refuse(c, "wants true or false as more");
    else if ((r = json_get_bool(o, "oneway", &oneway)) < 0)
        varlink_connection_refuse(c, "wants true or false as oneway");
    else if ((r = json_get_bool(o, "upgrade", &upgrade)) < 0)
        varlink_connection_refuse(c, "wants true or false as upgrade");
    else if (upgrade || (more && oneway))
        varlink_connection_refuse(c, upgrade ? "asks for an upgrade, there is none"
                                             : "has both more and oneway");
    if (c->closing) {
        free(call);
        return true;
    }
    *call = (VarlinkCall){.connection = c, .fds = c->fds, .more = more, .oneway = oneway};
    c->fds.n = 0;
    c->call = call;
    if (c->denied) {
        _cleanup_free_ char *error = NULL;

        if (asprintf(&error, "%s.PermissionDenied", c->server->domain) < 0)
            error = NULL;
        (void)varlink_call_error_string(call, error ? error : SERVICE ".PermissionDenied", "reason",
                                        c->server->denied_reason);
        return true;
    }
    c->freed = &freed;
    call_method(call, name, parameters, &freed);
    if (!freed)
        c->freed = NULL;
    return !freed;
}

/* ---- connections ---- */

static int peer_read(int fd, VarlinkPeer *ret)
{
    struct ucred cred;
    socklen_t size = sizeof(cred);
    gid_t *groups = NULL;

    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &size) < 0)
        return -errno;
    if (size != sizeof(cred) || cred.pid == 0)
        return -ENOTCONN; /* no Unix socket: nobody vouches for the other end */
    size = 64 * sizeof(gid_t);
    for (;;) {
        gid_t *g = realloc(groups, size);

        if (!g) {
            free(groups);
            return -ENOMEM;
        }
        groups = g;
        if (getsockopt(fd, SOL_SOCKET, SO_PEERGROUPS, groups, &size) >= 0)
            break;
        if (errno == ENODATA || errno == ENOPROTOOPT) {
            size = 0;
            break;
        }
        /* ERANGE: size is now what is needed. */
        if (errno != ERANGE || size > 1 * MIB) {
            int r = -errno;

            free(groups);
            return r;
        }
    }
    *ret = (VarlinkPeer){.uid = cred.uid, .gid = cred.gid, .pid = cred.pid};
    ret->groups = groups;
    ret->n_groups = size / sizeof(gid_t);
    return 0;
}

/* One message and nothing more: who is over the limit may not hold a descriptor of ours. */
static void refuse_over_limit(VarlinkServer *s, int fd, const Failure *f)
{
    _cleanup_json_ json_object *message = NULL;
    const char *text;

    if (varlink_failure_message_new(s, &message, f, NULL) < 0)
        return;
    text = json_object_to_json_string_ext(message, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE);
    if (text)
        (void)!send(fd, text, strlen(text) + 1, MSG_NOSIGNAL | MSG_DONTWAIT);
}

static int connection_accept(VarlinkServer *s, int fd)
{
    _cleanup_failure_ Failure *f = NULL;
    VarlinkConnection *c;
    VarlinkPeer peer;
    unsigned n = 0;
    bool denied;
    int r;

    r = peer_read(fd, &peer);
    if (r < 0)
        return r;
    LIST_FOREACH (c, s->connections)
        n += c->peer.uid == peer.uid;
    if (peer.uid != 0 && n >= s->limits.connections_per_uid_max)
        f = failure_new(FAILURE_LIMIT_REACHED,
                        "user %u has %u connections open, which is the most one may have", (unsigned)peer.uid,
                        n);
    else if (s->n_connections >=
             s->limits.connections_max + (peer.uid == 0 ? s->limits.connections_per_uid_max : 0))
        f = failure_new(FAILURE_LIMIT_REACHED, "%u connections are open, which is the most there may be",
                        s->n_connections);
    if (f) {
        failure_advise(f, "close connections that are not used, or try again later");
        refuse_over_limit(s, fd, f);
        free(peer.groups);
        return -EUSERS;
    }
    denied = s->authorize && s->authorize(&peer, s->authorize_userdata) <= 0;
    r = varlink_connection_new(s, fd, &peer, denied);
    free(peer.groups);
    return r;
}

static int on_accept_again(sd_event_source *source, uint64_t usec, void *userdata)
{
    varlink_server_resume(userdata);
    return 0;
}

void varlink_server_resume(VarlinkServer *s)
{
    VarlinkListener *l;

    if (!s->paused)
        return;
    s->paused = false;
    (void)sd_event_source_set_enabled(s->accept_again, SD_EVENT_OFF);
    LIST_FOREACH (l, s->listeners)
        (void)sd_event_source_set_enabled(l->io, SD_EVENT_ON);
}

/* A listening socket whose connection cannot be taken stays readable: without a pause the loop would spin. */
static void server_pause(VarlinkServer *s)
{
    VarlinkListener *l;

    if (s->paused || sd_event_source_set_time_relative(s->accept_again, ACCEPT_PAUSE_USEC) < 0 ||
        sd_event_source_set_enabled(s->accept_again, SD_EVENT_ONESHOT) < 0)
        return;
    s->paused = true;
    LIST_FOREACH (l, s->listeners)
        (void)sd_event_source_set_enabled(l->io, SD_EVENT_OFF);
}

static int on_listen(sd_event_source *source, int fd, uint32_t revents, void *userdata)
{
    VarlinkListener *l = userdata;
    int r = accept4(fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

    if (r < 0) {
        if (errno == EMFILE || errno == ENFILE || errno == ENOMEM || errno == ENOBUFS)
            server_pause(l->server);
        return 0;
    }
    if (connection_accept(l->server, r) < 0)
        close(r);
    return 0;
}

static int fd_prepare(int fd)
{
    int flags = fcntl(fd, F_GETFL);

    if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0 || fcntl(fd, F_SETFD, FD_CLOEXEC) < 0)
        return -errno;
    return 0;
}

int varlink_server_add_connection_fd(VarlinkServer *s, int fd)
{
    int r = fd_prepare(fd);

    return r < 0 ? r : connection_accept(s, fd);
}

int varlink_server_listen_fd(VarlinkServer *s, int fd)
{
    VarlinkListener *l;
    int r = fd_prepare(fd);

    if (r < 0)
        return r;
    l = calloc(1, sizeof(*l));
    if (!l)
        return -ENOMEM;
    *l = (VarlinkListener){.server = s, .fd = fd};
    r = sd_event_add_io(s->event, &l->io, fd, EPOLLIN, on_listen, l);
    if (r < 0) {
        free(l);
        return r;
    }
    LIST_PREPEND(s->listeners, l);
    return 0;
}

unsigned varlink_server_n_connections(const VarlinkServer *s)
{
    return s->n_connections;
}

/* ---- server ---- */

int varlink_server_new(VarlinkServer **ret, sd_event *event, const char *domain,
                       const VarlinkIdentity *identity, const VarlinkLimits *limits)
{
    _cleanup_(varlink_server_freep) VarlinkServer *s = calloc(1, sizeof(*s));
    int r;

    if (!s)
        return -ENOMEM;
    s->event = sd_event_ref(event);
    s->limits = limits ? *limits : VARLINK_LIMITS_DEFAULT;
    s->domain = strdup(domain);
    s->vendor = strdup(identity->vendor);
    s->product = strdup(identity->product);
    s->version = strdup(identity->version);
    s->url = strdup(identity->url);
    if (!s->domain || !s->vendor || !s->product || !s->version || !s->url)
        return -ENOMEM;
    r = sd_event_add_time_relative(event, &s->accept_again, CLOCK_MONOTONIC, ACCEPT_PAUSE_USEC, 0,
                                   on_accept_again, s);
    if (r >= 0)
        r = sd_event_source_set_enabled(s->accept_again, SD_EVENT_OFF);
    if (r < 0)
        return r;
    r = varlink_server_add_interface(s, SERVICE, service_description, service_methods, s);
    if (r < 0)
        return r;
    *ret = TAKE_PTR(s);
    return 0;
}

VarlinkServer *varlink_server_free(VarlinkServer *s)
{
    VarlinkConnection *c, *next_connection;
    VarlinkListener *l, *next_listener;
    VarlinkInterface *i, *next_interface;

    if (!s)
        return NULL;
    LIST_FOREACH_SAFE (l, next_listener, s->listeners) {
        LIST_REMOVE(s->listeners, l);
        sd_event_source_disable_unref(l->io);
        close(l->fd);
        free(l);
    }
    s->paused = false;
    LIST_FOREACH_SAFE (c, next_connection, s->connections)
        varlink_connection_free(c);
    LIST_FOREACH_SAFE (i, next_interface, s->interfaces) {
        LIST_REMOVE(s->interfaces, i);
        free(i->name);
        free(i);
    }
    sd_event_source_disable_unref(s->accept_again);
    sd_event_unref(s->event);
    free(s->domain);
    free(s->vendor);
    free(s->product);
    free(s->version);
    free(s->url);
    free(s->denied_reason);
    free(s);
    return NULL;
}

int varlink_server_add_interface(VarlinkServer *s, const char *name, const char *description,
                                 const VarlinkMethod *methods, void *userdata)
{
    VarlinkInterface *i;

    if (find_interface(s, name, strlen(name)))
        return -EEXIST;
    i = calloc(1, sizeof(*i));
    if (!i)
        return -ENOMEM;
    *i = (VarlinkInterface){
        .name = strdup(name), .description = description, .methods = methods, .userdata = userdata};
    if (!i->name) {
        free(i);
        return -ENOMEM;
    }
    LIST_PREPEND(s->interfaces, i);
    return 0;
}

int varlink_server_set_authorize(VarlinkServer *s, VarlinkAuthorize authorize, const char *reason,
                                 void *userdata)
{
    char *copy = strdup(reason);

    if (!copy)
        return -ENOMEM;
    free_and_replace(&s->denied_reason, copy);
    s->authorize = authorize;
    s->authorize_userdata = userdata;
    return 0;
}
