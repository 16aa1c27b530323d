/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Answers, and what a fault makes of them. */

#include "request.h"
#include "timeutil.h"
#include <stdarg.h>
#include <sys/socket.h>

const char *request_query(Request *q, const char *key)
{
    return MHD_lookup_connection_value(q->connection, MHD_GET_ARGUMENT_KIND, key);
}

const char *request_base(Request *q, char *buf, size_t size)
{
    if (q->state->config->public_url)
        snprintf(buf, size, "%s", q->state->config->public_url);
    else
        snprintf(buf, size, "https://%.250s", q->host ? q->host : "localhost");
    return buf;
}

void reply_header(Request *q, const char *name, const char *format, ...)
{
    char *value;
    va_list ap;

    va_start(ap, format);
    if (vasprintf(&value, format, ap) < 0)
        value = NULL;
    va_end(ap);
    for (size_t i = 0; i < q->header_count; i++)
        if (streq(q->headers[i].name, name)) {
            free_and_replace(&q->headers[i].value, value);
            return;
        }
    if (!value || q->header_count >= REPLY_HEADERS_MAX) {
        free(value);
        return;
    }
    q->headers[q->header_count].name = name;
    q->headers[q->header_count++].value = value;
}

/* The text is taken. */
static void reply_text(Request *q, unsigned status, const char *content_type, char *text, size_t size)
{
    free_and_replace(&q->text, text);
    q->size = text ? size : 0;
    q->status = status;
    q->content_type = content_type;
}

void reply_empty(Request *q, unsigned status)
{
    reply_text(q, status, NULL, NULL, 0);
}

/* Line ends of the indentation only: inside strings a line break is written as \n anyway. */
static char *with_crlf(const char *text, size_t *ret_size)
{
    size_t size = strlen(text), n = 0;
    char *copy;

    for (const char *p = text; *p; p++)
        size += *p == '\n';
    copy = malloc(size + 1);
    if (!copy)
        return NULL;
    for (const char *p = text; *p; p++) {
        if (*p == '\n')
            copy[n++] = '\r';
        copy[n++] = *p;
    }
    copy[n] = '\0';
    *ret_size = n;
    return copy;
}

void reply_json(Request *q, unsigned status, json_object *o)
{
    size_t size = 0;
    char *text = NULL;

    if (o)
        text = with_crlf(json_object_to_json_string_ext(o, JSON_C_TO_STRING_PRETTY | JSON_C_TO_STRING_SPACED |
                                                               JSON_C_TO_STRING_NOSLASHESCAPE),
                         &size);
    json_object_put(o);
    reply_text(q, text ? status : 500, "application/json; charset=utf-8", text, size);
}

void reply_error(Request *q, unsigned status, const char *code, const char *format, ...)
{
    json_object *o = json_object_new_object(), *error = json_object_new_object();
    _cleanup_free_ char *message = NULL;
    va_list ap;

    va_start(ap, format);
    if (vasprintf(&message, format, ap) < 0)
        message = NULL;
    va_end(ap);
    if (q->listener == LISTENER_IMDS || q->listener == LISTENER_ARC) {
        json_object_put(error);
        json_add_string(o, "error", code);
        json_add_string(o, "error_description", message);
        reply_json(q, status, o);
        return;
    }
    json_add_string(error, "code", code);
    json_add_string(error, "message", message);
    json_add(o, "error", error);
    reply_json(q, status, o);
    if (status == 401)
        reply_header(
            q, "WWW-Authenticate",
            "Bearer authorization_uri=\"https://login.microsoftonline.com/%s\", error=\"invalid_token\"",
            q->state->config->tenant);
}

void reply_login_error(Request *q, unsigned status, const char *error, unsigned aadsts, const char *format,
                       ...)
{
    json_object *o = json_object_new_object(), *codes = json_object_new_array();
    _cleanup_free_ char *message = NULL, *description = NULL;
    char time[TIMESTAMP_MAX];
    va_list ap;

    va_start(ap, format);
    if (vasprintf(&message, format, ap) < 0)
        message = NULL;
    va_end(ap);
    timestamp_format(now_usec(CLOCK_REALTIME), time);
    if (asprintf(&description, "AADSTS%u: %s Trace ID: %s Correlation ID: %s Timestamp: %s", aadsts,
                 message ? message : "", q->request_id, q->correlation_id, time) < 0)
        description = NULL;
    json_add_string(o, "error", error);
    json_add_string(o, "error_description", description);
    json_object_array_add(codes, json_object_new_int64(aadsts));
    json_add(o, "error_codes", codes);
    json_add_string(o, "timestamp", time);
    json_add_string(o, "trace_id", q->request_id);
    json_add_string(o, "correlation_id", q->correlation_id);
    json_add_string(o, "error_uri", "https://login.microsoftonline.com/error");
    reply_json(q, status, o);
}

void reply_done(Request *q)
{
    for (size_t i = 0; i < q->header_count; i++)
        free(q->headers[i].value);
    q->header_count = 0;
    reply_empty(q, 0);
    q->fault = fault_unref(q->fault);
}

/* ---- bodies that misbehave ---- */

typedef struct Body {
    State *state;
    FaultKind kind;
    double seconds;
    uint64_t total;
    size_t size;
    char text[];
} Body;

static ssize_t body_read(void *userdata, uint64_t position, char *buf, size_t max)
{
    Body *b = userdata;
    size_t n;

    switch (b->kind) {
    case FAULT_TRUNCATED:
        if (position >= b->size)
            return MHD_CONTENT_READER_END_WITH_ERROR;
        n = MIN(max, b->size - (size_t)position);
        memcpy(buf, b->text + position, n);
        return (ssize_t)n;
    case FAULT_SLOW:
        if (position >= b->size)
            return MHD_CONTENT_READER_END_OF_STREAM;
        if (position > 0 && !state_wait(b->state, b->seconds))
            return MHD_CONTENT_READER_END_WITH_ERROR;
        *buf = b->text[position];
        return 1;
    case FAULT_HUGE:
        if (position >= b->total)
            return MHD_CONTENT_READER_END_OF_STREAM;
        n = (size_t)MIN((uint64_t)max, b->total - position);
        memset(buf, 'A', n);
        /* A string that begins as JSON does, so that a reader has no other reason to stop than its size. */
        for (size_t i = 0; i < n && position + i < b->size; i++)
            buf[i] = b->text[position + i];
        return (ssize_t)n;
    default:
        return MHD_CONTENT_READER_END_WITH_ERROR;
    }
}

static struct MHD_Response *body_response(Request *q, const char *text, size_t size, uint64_t declared)
{
    Body *b = malloc(sizeof(*b) + size + 1);
    struct MHD_Response *r;

    if (!b)
        return NULL;
    b->state = q->state;
    b->kind = q->fault->kind;
    b->seconds = q->fault->seconds;
    b->total = q->fault->bytes;
    b->size = size;
    memcpy(b->text, text, size);
    b->text[size] = '\0';
    r = MHD_create_response_from_callback(declared, b->kind == FAULT_SLOW ? 1 : 64 * KIB, body_read, b, free);
    if (!r)
        free(b);
    return r;
}

static void fault_error(Request *q, unsigned status, const char *code, const char *message)
{
    const Fault *f = q->fault;

    reply_error(q, f->status ? f->status : status, f->code ? f->code : code, "%s",
                f->message ? f->message : message);
    if (f->retry_after)
        reply_header(q, "Retry-After", "%s", f->retry_after);
}

void reply_fault(Request *q)
{
    static const char page[] = "<!DOCTYPE html>\r\n<html><head><title>Service unavailable</title></head>\r\n"
                               "<body><h1>Our services aren't available right now</h1></body></html>\r\n";
    const Fault *f = q->fault;

    if (!f)
        return;
    switch (f->kind) {
    case FAULT_HTML:
        reply_text(q, f->status ? f->status : 200, "text/html; charset=utf-8", strdup(page),
                   sizeof(page) - 1);
        break;
    case FAULT_EMPTY:
        reply_empty(q, f->status ? f->status : 200);
        break;
    case FAULT_REDIRECT:
        reply_empty(q, f->status ? f->status : 307);
        reply_header(q, "Location", "%s%s", f->url ? f->url : "https://elsewhere.invalid",
                     f->url ? "" : q->path);
        break;
    case FAULT_ANSWER:
        reply_text(q, f->status ? f->status : 200, "application/json; charset=utf-8",
                   f->body ? strdup(f->body) : NULL, f->body ? strlen(f->body) : 0);
        if (f->retry_after)
            reply_header(q, "Retry-After", "%s", f->retry_after);
        break;
    case FAULT_TOKEN_REFUSED:
        reply_login_error(q, f->status ? f->status : 401, f->code ? f->code : "invalid_client", 7000222, "%s",
                          f->message ? f->message : "The provided client secret keys are expired.");
        break;
    case FAULT_UNAUTHORIZED:
        fault_error(q, 401, "ExpiredAuthenticationToken", "The access token expiry is in the past.");
        break;
    case FAULT_FORBIDDEN:
        fault_error(
            q, 403, "AuthorizationFailed",
            "The client does not have authorization to perform this action over this scope, or the scope is "
            "invalid.");
        break;
    case FAULT_NOT_FOUND:
        fault_error(q, 404, "ResourceNotFound", "The resource was not found.");
        break;
    case FAULT_GONE:
        fault_error(q, 410, "Gone", "The service is being updated.");
        break;
    case FAULT_CHALLENGE:
        reply_error(q, 401, "unauthorized", "A key is needed.");
        reply_header(q, "WWW-Authenticate", "%s", f->message ? f->message : "Basic");
        break;
    case FAULT_CONFLICT:
        fault_error(q, 409, "BMSUserErrorObjectLocked",
                    "Another operation is in progress on the selected item.");
        break;
    case FAULT_THROTTLED:
        fault_error(q, 429, "TooManyRequests", "The request was throttled.");
        break;
    case FAULT_HUGE:
        q->status = f->status ? f->status : 200;
        q->content_type = "application/json; charset=utf-8";
        break;
    case FAULT_SERVER_ERROR:
        fault_error(q, 500, "CloudInternalError", "The service encountered an internal error.");
        break;
    case FAULT_UNAVAILABLE:
        fault_error(q, 503, "ServiceUnavailable", "The service is temporarily unavailable.");
        break;
    case FAULT_BAD_API_VERSION:
        fault_error(q, 400, "NoRegisteredProviderFound",
                    "The api-version is not supported for this resource type.");
        break;
    default: /* The others leave the answer as it is. */
        break;
    }
}

/* The peer gets a RST now, whatever TLS would still like to say. */
static void connection_reset(struct MHD_Connection *connection)
{
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CONNECTION_FD);
    struct sockaddr nobody = {.sa_family = AF_UNSPEC};

    if (info)
        (void)connect(info->connect_fd, &nobody, sizeof(nobody));
}

static struct MHD_Response *make_response(Request *q)
{
    static const char huge[] = "{\"value\":\"";

    if (q->fault && q->fault->kind == FAULT_HUGE)
        return body_response(q, huge, sizeof(huge) - 1, MHD_SIZE_UNKNOWN);
    if (q->fault && q->fault->kind == FAULT_TRUNCATED)
        /* Half of it, where there is something to cut. */
        return body_response(q, q->text ? q->text : "", q->size / 2, q->size + 100);
    if (q->fault && q->fault->kind == FAULT_SLOW)
        return body_response(q, q->text ? q->text : "", q->size, q->size);
    return MHD_create_response_from_buffer(q->size, q->text ? q->text : "", MHD_RESPMEM_MUST_COPY);
}

enum MHD_Result reply_send(Request *q)
{
    struct MHD_Response *response;
    enum MHD_Result result;

    if (q->fault) {
        if (q->fault->kind == FAULT_RESET || q->fault->kind == FAULT_LOST) {
            connection_reset(q->connection);
            return MHD_NO;
        }
        if (q->fault->kind == FAULT_DELAY && !state_wait(q->state, q->fault->seconds))
            return MHD_NO;
    }
    response = make_response(q);
    if (!response)
        return MHD_NO;
    if (q->content_type)
        MHD_add_response_header(response, "Content-Type", q->content_type);
    MHD_add_response_header(response, "Cache-Control", "no-cache");
    MHD_add_response_header(response, "x-ms-request-id", q->request_id);
    MHD_add_response_header(response, "x-ms-correlation-request-id", q->correlation_id);
    if (q->client_request_id)
        MHD_add_response_header(response, "x-ms-client-request-id", q->client_request_id);
    for (size_t i = 0; i < q->header_count; i++)
        MHD_add_response_header(response, q->headers[i].name, q->headers[i].value);
    result = MHD_queue_response(q->connection, q->status, response);
    MHD_destroy_response(response);
    return result;
}
