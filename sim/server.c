/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "server.h"
#include "files.h"
#include "local-socket.h"
#include "log.h"
#include "request.h"
#include "timeutil.h"
#include <fcntl.h>
#include <netdb.h>
#include <sys/socket.h>
#include <sys/stat.h>

#define CONNECTIONS_MAX 1024
#define PEM_MAX (1 * MIB)
#define IDLE_TIMEOUT_SECONDS 120U
#define LOGGED_BODY_MAX (4 * KIB)

struct Server {
    State *state;
    struct MHD_Daemon **daemons;
    size_t daemon_count;
    char *control_path; /* of the Unix socket, to be removed */
};

/* ---- requests ---- */

/* What the log keeps of a body: JSON as it is, of a form only what is no secret. */
static json_object *body_for_log(const Request *q)
{
    json_object *o = NULL;

    if (q->body_size == 0 || q->body_size > LOGGED_BODY_MAX)
        return NULL;
    if (q->route.kind != REQUEST_TOKEN && q->route.kind != REQUEST_DEVICE_CODE) {
        if (json_parse(q->body, q->body_size, &o) < 0)
            return json_object_new_string("(not JSON)");
        return o;
    }
    o = json_object_new_object();
    for (const char *p = q->body; *p;) {
        size_t n = strcspn(p, "&"), k = strcspn(p, "=&");
        _cleanup_free_ char *key = strndup(p, k), *value = p[k] == '=' ? strndup(p + k + 1, n - k - 1) : NULL;
        bool open = key && (streq(key, "grant_type") || streq(key, "client_id") || streq(key, "scope") ||
                            streq(key, "client_assertion_type"));

        if (key && *key)
            json_add_string(o, key, open ? value : "***");
        p += n + (p[n] == '&');
    }
    return o;
}

static void request_log(Request *q, bool reset)
{
    json_object *o = json_object_new_object();
    char time[TIMESTAMP_MAX];

    json_add_string(o, "time", timestamp_format(now_usec(CLOCK_REALTIME), time));
    json_add_int64(o, "timeUsec", (int64_t)now_usec(CLOCK_REALTIME));
    json_add_string(o, "method", q->method);
    json_add_string(o, "path", q->path);
    json_add_string(o, "kind", request_kind_to_string(q->route.kind));
    json_add_string(o, "apiVersion", q->api_version);
    json_add_string(o, "filter", request_query(q, "$filter"));
    json_add_string(o, "clientRequestId", q->client_request_id);
    json_add_string(o, "userAgent",
                    MHD_lookup_connection_value(q->connection, MHD_HEADER_KIND, "User-Agent"));
    json_add_string(o, "principal", *q->principal ? q->principal : NULL);
    json_add_string(o, "credential", q->credential);
    json_add(o, "body", body_for_log(q));
    if (reset)
        json_add(o, "status", NULL);
    else
        json_add_int64(o, "status", q->status);
    json_add_string(o, "fault", q->fault ? fault_kind_to_string(q->fault->kind) : NULL);
    log_debug("%s %s: %u%s%s", q->method, q->path, q->status, q->fault ? ", fault " : "",
              q->fault ? fault_kind_to_string(q->fault->kind) : "");
    state_log(q->state, o);
}

static void request_resolve_point(Request *q)
{
    Operation *o;

    if (*q->route.field[FIELD_POINT])
        q->point = sim_config_point(q->state->config, q->route.field[FIELD_POINT]);
    else if (*q->route.field[FIELD_OPERATION]) {
        state_lock(q->state);
        o = state_operation(q->state, q->route.field[FIELD_OPERATION]);
        q->point = o ? o->point : NULL;
        state_unlock(q->state);
    }
}

static Listener listener_of(RequestKind kind)
{
    return kind >= REQUEST_KIND_FIRST_SIM ? LISTENER_CONTROL
           : kind == REQUEST_IMDS         ? LISTENER_IMDS
           : kind == REQUEST_ARC          ? LISTENER_ARC
                                          : LISTENER_AZURE;
}

static enum MHD_Result request_answer(Request *q)
{
    int r = route_parse(q->method, q->path, &q->route);

    if (q->route.kind == REQUEST_IMDS && q->listener == LISTENER_ARC)
        q->route.kind = REQUEST_ARC;
    if (r < 0 || listener_of(q->route.kind) != q->listener) {
        if (r != -EOPNOTSUPP)
            q->route.kind = REQUEST_KIND_INVALID;
        if (r == -EOPNOTSUPP)
            reply_error(q, 405, "MethodNotAllowed", "The method '%s' is not allowed here.", q->method);
        else
            reply_error(q, 404, "NotFound", "Nothing is served at this path.");
        request_log(q, false);
        return reply_send(q);
    }
    if (q->body_too_large) {
        reply_error(q, 413, "RequestEntityTooLarge", "The request is larger than this service accepts.");
        request_log(q, false);
        return reply_send(q);
    }
    if (q->listener != LISTENER_CONTROL) {
        request_resolve_point(q);
        q->fault = state_fault(q->state, q->point, q->route.kind, FAULT_CLASS_ANSWER);
    }
    if (q->listener == LISTENER_CONTROL)
        control_handle(q);
    else if (q->fault && !q->fault->acts)
        reply_empty(q, 200);
    else if (q->route.kind == REQUEST_OPENID || q->route.kind == REQUEST_TOKEN ||
             q->route.kind == REQUEST_INSTANCE || q->route.kind == REQUEST_DEVICE_CODE)
        login_handle(q);
    else if (q->route.kind == REQUEST_IMDS || q->route.kind == REQUEST_ARC)
        imds_handle(q);
    else
        arm_handle(q);
    /* Written before the answer leaves, so that whoever has the answer finds the request in the log. */
    if (q->listener != LISTENER_CONTROL) {
        reply_fault(q);
        request_log(q, q->fault && (q->fault->kind == FAULT_RESET || q->fault->kind == FAULT_LOST));
    }
    return reply_send(q);
}

static Request *request_new(State *state, Listener listener, struct MHD_Connection *connection,
                            const char *path, const char *method)
{
    Request *q = calloc(1, sizeof(*q));

    if (!q)
        return NULL;
    q->state = state;
    q->listener = listener;
    q->connection = connection;
    q->path = path;
    q->method = method;
    q->host = MHD_lookup_connection_value(connection, MHD_HEADER_KIND, "Host");
    q->client_request_id = MHD_lookup_connection_value(connection, MHD_HEADER_KIND, "x-ms-client-request-id");
    q->api_version = request_query(q, "api-version");
    q->route.kind = REQUEST_KIND_INVALID;
    guid_make(q->request_id);
    guid_make(q->correlation_id);
    return q;
}

static enum MHD_Result request_body(Request *q, const char *data, size_t size)
{
    char *body;

    if (q->body_too_large || q->body_size + size > REQUEST_BODY_MAX) {
        q->body_too_large = true;
        return MHD_YES;
    }
    body = realloc(q->body, q->body_size + size + 1);
    if (!body)
        return MHD_NO;
    q->body = body;
    memcpy(q->body + q->body_size, data, size);
    q->body_size += size;
    q->body[q->body_size] = '\0';
    return MHD_YES;
}

static enum MHD_Result on_request(State *state, Listener listener, struct MHD_Connection *connection,
                                  const char *path, const char *method, const char *data, size_t *size,
                                  void **memory)
{
    Request *q = *memory;

    if (!q) {
        *memory = request_new(state, listener, connection, path, method);
        return *memory ? MHD_YES : MHD_NO;
    }
    if (*size > 0) {
        enum MHD_Result r = request_body(q, data, *size);

        *size = 0;
        return r;
    }
    return request_answer(q);
}

static enum MHD_Result on_azure_request(void *userdata, struct MHD_Connection *connection, const char *path,
                                        const char *method, const char *version, const char *data,
                                        size_t *size, void **memory)
{
    return on_request(userdata, LISTENER_AZURE, connection, path, method, data, size, memory);
}

static enum MHD_Result on_control_request(void *userdata, struct MHD_Connection *connection, const char *path,
                                          const char *method, const char *version, const char *data,
                                          size_t *size, void **memory)
{
    return on_request(userdata, LISTENER_CONTROL, connection, path, method, data, size, memory);
}

static enum MHD_Result on_imds_request(void *userdata, struct MHD_Connection *connection, const char *path,
                                       const char *method, const char *version, const char *data,
                                       size_t *size, void **memory)
{
    return on_request(userdata, LISTENER_IMDS, connection, path, method, data, size, memory);
}

static enum MHD_Result on_arc_request(void *userdata, struct MHD_Connection *connection, const char *path,
                                      const char *method, const char *version, const char *data, size_t *size,
                                      void **memory)
{
    return on_request(userdata, LISTENER_ARC, connection, path, method, data, size, memory);
}

static void on_completed(void *userdata, struct MHD_Connection *connection, void **memory,
                         enum MHD_RequestTerminationCode code)
{
    Request *q = *memory;

    if (!q)
        return;
    reply_done(q);
    if (q->body)
        explicit_bzero(q->body, q->body_size);
    free(q->body);
    free(q);
    *memory = NULL;
}

static void on_library_message(void *userdata, const char *format, va_list ap)
{
    char line[512];

    /* Mostly clients that go away in the middle of something. */
    vsnprintf(line, sizeof(line), format, ap);
    line[strcspn(line, "\r\n")] = '\0';
    log_debug("libmicrohttpd: %s", line);
}

/* ---- listeners ---- */

static int listen_on(const struct sockaddr *address, socklen_t size)
{
    _cleanup_close_ int fd = socket(address->sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    int one = 1;

    if (fd < 0)
        return -errno;
    if (address->sa_family != AF_UNIX && setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)) < 0)
        return -errno;
    if (bind(fd, address, size) < 0 || listen(fd, 128) < 0)
        return -errno;
    return TAKE_FD(fd);
}

/* "ADDRESS:PORT", "[ADDRESS]:PORT"; the real address is added to the state's list. */
static int listen_text(State *state, const char *text)
{
    _cleanup_free_ char *host = NULL;
    _cleanup_close_ int fd = -EBADF;
    struct addrinfo hints = {.ai_flags = AI_NUMERICHOST | AI_NUMERICSERV | AI_PASSIVE,
                             .ai_socktype = SOCK_STREAM},
                    *found = NULL;
    const char *colon = strrchr(text, ':');
    struct sockaddr_storage address;
    socklen_t size = sizeof(address);
    char name[64], port[8];
    bool bracket = text[0] == '[' && colon > text && colon[-1] == ']';
    int r;

    host = colon ? strndup(text + bracket, (size_t)(colon - text) - 2 * bracket) : NULL;
    if (!host)
        return -EINVAL;
    if (getaddrinfo(host, colon + 1, &hints, &found) != 0)
        return -EADDRNOTAVAIL;
    fd = listen_on(found->ai_addr, found->ai_addrlen);
    freeaddrinfo(found);
    if (fd < 0)
        return fd;
    if (getsockname(fd, (struct sockaddr *)&address, &size) < 0)
        return -errno;
    if (getnameinfo((struct sockaddr *)&address, size, name, sizeof(name), port, sizeof(port),
                    NI_NUMERICHOST | NI_NUMERICSERV) != 0)
        return -EADDRNOTAVAIL;
    r = strv_extendf(&state->listening, bracket ? "[%s]:%s" : "%s:%s", name, port);
    return r < 0 ? r : TAKE_FD(fd);
}

static int listen_control(Server *s, const char *text)
{
    struct sockaddr_un address;
    int fd, r;

    if (text[0] != '/')
        return listen_text(s->state, text);
    r = local_socket_address(text, &address);
    if (r < 0)
        return r;
    /* Left over by an earlier one that was killed. Somebody else's file is not a socket and stays. */
    fd = listen_on((struct sockaddr *)&address, sizeof(address));
    if (fd == -EADDRINUSE) {
        int probe = local_socket_connect(text, 0);
        struct stat st;

        safe_close(probe);
        if (probe != -ECONNREFUSED || lstat(text, &st) < 0 || !S_ISSOCK(st.st_mode) || unlink(text) < 0)
            return -EADDRINUSE;
        fd = listen_on((struct sockaddr *)&address, sizeof(address));
    }
    if (fd >= 0)
        s->control_path = strdup(text);
    return fd;
}

/* fd is taken if it went well. */
static int daemon_add(Server *s, int fd, MHD_AccessHandlerCallback handler, const char *certificate,
                      const char *key)
{
    unsigned flags = MHD_USE_INTERNAL_POLLING_THREAD | MHD_USE_THREAD_PER_CONNECTION | MHD_USE_POLL |
                     MHD_USE_ITC | MHD_USE_ERROR_LOG;
    struct MHD_OptionItem tls[] = {
        {MHD_OPTION_HTTPS_MEM_CERT, 0, (void *)certificate},
        {MHD_OPTION_HTTPS_MEM_KEY, 0, (void *)key},
        {MHD_OPTION_END, 0, NULL},
    };
    struct MHD_OptionItem none[] = {{MHD_OPTION_END, 0, NULL}};
    struct MHD_Daemon *d;

    d = MHD_start_daemon(flags | (certificate ? MHD_USE_TLS : 0), 0, NULL, NULL, handler, s->state,
                         MHD_OPTION_EXTERNAL_LOGGER, on_library_message, NULL, MHD_OPTION_LISTEN_SOCKET, fd,
                         MHD_OPTION_CONNECTION_LIMIT, CONNECTIONS_MAX, MHD_OPTION_CONNECTION_TIMEOUT,
                         IDLE_TIMEOUT_SECONDS, MHD_OPTION_NOTIFY_COMPLETED, on_completed, NULL,
                         MHD_OPTION_ARRAY, certificate ? tls : none, MHD_OPTION_END);
    if (!d)
        return -EINVAL;
    s->daemons[s->daemon_count++] = d;
    return 0;
}

static int explain(char **ret_error, int r, const char *what, const char *which)
{
    if (!*ret_error && asprintf(ret_error, "%s %s: %s", what, which, strerror(-r)) < 0)
        *ret_error = NULL;
    return r;
}

/* One that speaks http; its real address in *ret_address, too. */
static int listen_plain(Server *s, const char *what, const char *text, MHD_AccessHandlerCallback handler,
                        char **ret_address, char **ret_error)
{
    int fd, r;

    if (!text)
        return 0;
    fd = listen_text(s->state, text);
    if (fd < 0)
        return explain(ret_error, fd, what, text);
    *ret_address = strdup(s->state->listening[strv_length(s->state->listening) - 1]);
    r = *ret_address ? daemon_add(s, fd, handler, NULL, NULL) : -ENOMEM;
    if (r < 0)
        safe_close(fd);
    return r;
}

static int server_listen(Server *s, char **ret_error)
{
    const SimConfig *c = s->state->config;
    _cleanup_erase_ char *key = NULL;
    _cleanup_free_ char *certificate = NULL;
    int r, fd;

    r = file_read(AT_FDCWD, c->certificate, PEM_MAX, &certificate, NULL);
    if (r < 0)
        return explain(ret_error, r, "certificate", c->certificate);
    r = file_read(AT_FDCWD, c->key, PEM_MAX, &key, NULL);
    if (r < 0)
        return explain(ret_error, r, "key", c->key);
    s->daemons = calloc(strv_length(c->listen) + 4, sizeof(*s->daemons));
    if (!s->daemons)
        return -ENOMEM;
    for (size_t i = 0; c->listen[i]; i++) {
        fd = listen_text(s->state, c->listen[i]);
        if (fd < 0)
            return explain(ret_error, fd, "listen", c->listen[i]);
        r = daemon_add(s, fd, on_azure_request, certificate, key);
        if (r < 0) {
            safe_close(fd);
            return explain(ret_error, r, "TLS with certificate and key", c->certificate);
        }
    }
    r = listen_plain(s, "imds", c->login.imds_listen, on_imds_request, &s->state->imds_address, ret_error);
    if (r >= 0)
        r = listen_plain(s, "arc", c->login.arc_listen, on_arc_request, &s->state->arc_address, ret_error);
    if (r < 0 || !c->control)
        return r;
    fd = listen_control(s, c->control);
    if (fd < 0)
        return explain(ret_error, fd, "control", c->control);
    r = daemon_add(s, fd, on_control_request, NULL, NULL);
    if (r < 0)
        safe_close(fd);
    return r;
}

int server_start(State *state, Server **ret, char **ret_error)
{
    Server *s = calloc(1, sizeof(*s));
    int r;

    if (!s)
        return -ENOMEM;
    s->state = state;
    r = assertions_new(state->config->login.client_certificates, &state->assertions, ret_error);
    if (r >= 0)
        r = server_listen(s, ret_error);
    if (r < 0) {
        server_stop(s);
        return r;
    }
    *ret = s;
    return 0;
}

Server *server_stop(Server *s)
{
    if (!s)
        return NULL;
    for (size_t i = 0; i < s->daemon_count; i++)
        MHD_stop_daemon(s->daemons[i]);
    imds_done(s->state);
    if (s->control_path)
        unlink(s->control_path);
    free(s->control_path);
    free(s->daemons);
    free(s);
    return NULL;
}
