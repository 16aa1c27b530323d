/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "http.h"

#include "list.h"
#include "timeutil.h"

#include <ctype.h>
#include <curl/curl.h>
#include <strings.h>

#define CONNECT_TIMEOUT_USEC (15 * USEC_PER_SEC)
#define LOW_SPEED_BYTES 1L /* per second: less is silence */
#define SILENCE_USEC (30 * USEC_PER_SEC)
#define HEADERS_MAX (64 * KIB)
#define USER_AGENT "ilrd/" PACKAGE_VERSION

/* One descriptor that libcurl wants watched. */
typedef struct Watch {
    LIST_FIELDS(struct Watch);
    sd_event_source *source;
} Watch;

struct Http {
    sd_event *event; /* referenced */
    CURLM *multi;
    sd_event_source *timer; /* CLOCK_MONOTONIC, libcurl's one timer */
    sd_event_source *check; /* defer: finished transfers are handed out one per turn of the loop */
    Watch *watches;
    char *ca_file, *proxy;
    uint64_t timeout_usec, silence_usec;
};

struct HttpRequest {
    Http *http;
    CURL *easy;
    bool added;
    struct curl_slist *headers;
    Secret *body; /* referenced while libcurl reads it */
    HttpDone done;
    void *userdata;
    HttpAnswer answer;
    size_t body_allocated, body_max, headers_size;
    bool too_big;
    char error[CURL_ERROR_SIZE];
};

/* ---- libcurl's sockets and timer on the event loop ---- */

static int on_socket_event(sd_event_source *source, int fd, uint32_t revents, void *userdata)
{
    Http *h = userdata;
    int action = 0, running;

    if (revents & (EPOLLIN | EPOLLHUP))
        action |= CURL_CSELECT_IN;
    if (revents & EPOLLOUT)
        action |= CURL_CSELECT_OUT;
    if (revents & EPOLLERR)
        action |= CURL_CSELECT_ERR;
    curl_multi_socket_action(h->multi, fd, action, &running);
    sd_event_source_set_enabled(h->check, SD_EVENT_ONESHOT);
    return 0;
}

static int on_timer(sd_event_source *source, uint64_t usec, void *userdata)
{
    Http *h = userdata;
    int running;

    curl_multi_socket_action(h->multi, CURL_SOCKET_TIMEOUT, 0, &running);
    sd_event_source_set_enabled(h->check, SD_EVENT_ONESHOT);
    return 0;
}

static void watch_free(Http *h, Watch *w)
{
    LIST_REMOVE(h->watches, w);
    sd_event_source_disable_unref(w->source);
    free(w);
}

static int socket_callback(CURL *easy, curl_socket_t fd, int what, void *userdata, void *socketp)
{
    Http *h = userdata;
    Watch *w = socketp;
    uint32_t events = 0;

    if (what == CURL_POLL_REMOVE) {
        if (w)
            watch_free(h, w);
        return 0;
    }
    if (what == CURL_POLL_IN || what == CURL_POLL_INOUT)
        events |= EPOLLIN;
    if (what == CURL_POLL_OUT || what == CURL_POLL_INOUT)
        events |= EPOLLOUT;
    if (w)
        return sd_event_source_set_io_events(w->source, events) < 0 ? -1 : 0;
    w = calloc(1, sizeof(*w));
    if (!w)
        return -1;
    if (sd_event_add_io(h->event, &w->source, fd, events, on_socket_event, h) < 0) {
        free(w);
        return -1;
    }
    (void)sd_event_source_set_description(w->source, "http-socket");
    LIST_PREPEND(h->watches, w);
    curl_multi_assign(h->multi, fd, w);
    return 0;
}

static int timer_callback(CURLM *multi, long timeout_ms, void *userdata)
{
    Http *h = userdata;
    uint64_t now;

    if (timeout_ms < 0)
        return sd_event_source_set_enabled(h->timer, SD_EVENT_OFF) < 0 ? -1 : 0;
    now = now_usec(CLOCK_MONOTONIC);
    if (sd_event_source_set_time(h->timer, now + (uint64_t)timeout_ms * USEC_PER_MSEC) < 0 ||
        sd_event_source_set_enabled(h->timer, SD_EVENT_ONESHOT) < 0)
        return -1;
    return 0;
}

/* ---- the end of a transfer ---- */

static HttpOutcome outcome_of(CURLcode c, const HttpRequest *q)
{
    if (q->too_big)
        return HTTP_TOO_BIG;
    if (c == CURLE_OK)
        return HTTP_ANSWERED;
    if (c == CURLE_COULDNT_RESOLVE_HOST || c == CURLE_COULDNT_RESOLVE_PROXY || c == CURLE_COULDNT_CONNECT ||
        c == CURLE_PROXY)
        return HTTP_UNREACHABLE;
    if (c == CURLE_SSL_CONNECT_ERROR)
        return HTTP_HANDSHAKE;
    if (c == CURLE_PEER_FAILED_VERIFICATION || c == CURLE_SSL_CACERT_BADFILE || c == CURLE_SSL_ISSUER_ERROR ||
        c == CURLE_SSL_CERTPROBLEM || c == CURLE_SSL_CIPHER)
        return HTTP_UNTRUSTED;
    if (c == CURLE_RECV_ERROR || c == CURLE_SEND_ERROR || c == CURLE_GOT_NOTHING || c == CURLE_PARTIAL_FILE ||
        c == CURLE_HTTP2 || c == CURLE_HTTP2_STREAM || c == CURLE_WEIRD_SERVER_REPLY)
        return HTTP_BROKEN;
    if (c == CURLE_OPERATION_TIMEDOUT)
        return HTTP_TIMED_OUT;
    if (c == CURLE_FILESIZE_EXCEEDED)
        return HTTP_TOO_BIG;
    /* What does not begin as an answer is taken for one of HTTP/0.9, and refused as that. */
    if (c == CURLE_UNSUPPORTED_PROTOCOL && q->answer.sent)
        return HTTP_BROKEN;
    if (c == CURLE_UNSUPPORTED_PROTOCOL || c == CURLE_URL_MALFORMAT)
        return HTTP_BAD_URL;
    return HTTP_FAILED;
}

static void request_finish(HttpRequest *q, CURLcode c)
{
    HttpAnswer *a = &q->answer;
    curl_off_t duration = 0, ready = 0;
    char *address = NULL, *p;
    long status = 0, sent = 0;

    curl_easy_getinfo(q->easy, CURLINFO_RESPONSE_CODE, &status);
    curl_easy_getinfo(q->easy, CURLINFO_REQUEST_SIZE, &sent);
    curl_easy_getinfo(q->easy, CURLINFO_TOTAL_TIME_T, &duration);
    curl_easy_getinfo(q->easy, CURLINFO_PRETRANSFER_TIME_T, &ready);
    if (curl_easy_getinfo(q->easy, CURLINFO_PRIMARY_IP, &address) == CURLE_OK && address)
        snprintf(a->address, sizeof(a->address), "%s", address);
    /* A proxy's CONNECT counts as sent bytes, too; only behind it there is a way to the other side. */
    a->sent = sent > 0 && ready > 0;
    a->outcome = outcome_of(c, q);
    a->status = (int)status;
    a->duration_usec = (uint64_t)duration;
    if (a->outcome != HTTP_ANSWERED) {
        snprintf(a->detail, sizeof(a->detail), "%s", q->error[0] ? q->error : curl_easy_strerror(c));
        /* It may quote the other side's certificate. */
        for (p = a->detail; *p; p++)
            if (!isprint((unsigned char)*p))
                *p = '?';
    }
    curl_multi_remove_handle(q->http->multi, q->easy);
    q->added = false;
    q->done(a, q->userdata); /* last: it may free the request */
}

static int on_check(sd_event_source *source, void *userdata)
{
    Http *h = userdata;
    HttpRequest *q = NULL;
    CURLMsg *m;
    int left;

    m = curl_multi_info_read(h->multi, &left);
    if (!m)
        return 0;
    if (left > 0)
        sd_event_source_set_enabled(h->check, SD_EVENT_ONESHOT);
    if (m->msg == CURLMSG_DONE &&
        curl_easy_getinfo(m->easy_handle, CURLINFO_PRIVATE, (char **)&q) == CURLE_OK && q)
        request_finish(q, m->data.result);
    return 0;
}

/* ---- what comes in ---- */

static int grow(HttpRequest *q, size_t need)
{
    size_t n = MAX(q->body_allocated * 2, MAX(need, (size_t)4096));
    char *p = malloc(n);

    if (!p)
        return -ENOMEM;
    /* No realloc(): the old place would keep what may be a secret. */
    memcpy(p, q->answer.body, q->answer.body_size + 1);
    explicit_bzero(q->answer.body, q->answer.body_size);
    free(q->answer.body);
    q->answer.body = p;
    q->body_allocated = n;
    return 0;
}

static size_t write_callback(char *data, size_t size, size_t n, void *userdata)
{
    HttpRequest *q = userdata;
    HttpAnswer *a = &q->answer;

    n *= size;
    if (n > q->body_max - a->body_size) {
        q->too_big = true;
        snprintf(q->error, sizeof(q->error), "more than %zu bytes", q->body_max);
        return 0;
    }
    if (a->body_size + n + 1 > q->body_allocated && grow(q, a->body_size + n + 1) < 0)
        return 0;
    memcpy(a->body + a->body_size, data, n);
    a->body_size += n;
    a->body[a->body_size] = '\0';
    return n;
}

static size_t header_callback(char *data, size_t size, size_t n, void *userdata)
{
    HttpRequest *q = userdata;
    size_t length = size * n;
    _cleanup_free_ char *line = NULL;

    /* A further answer (100 Continue before 202): only the last one's headers count. */
    if (length > 5 && strncmp(data, "HTTP/", 5) == 0) {
        q->answer.headers = strv_free(q->answer.headers);
        q->headers_size = 0;
        return length;
    }
    q->headers_size += length;
    if (q->headers_size > HEADERS_MAX) {
        q->too_big = true;
        return 0;
    }
    while (length > 0 && strchr("\r\n \t", data[length - 1]))
        length--;
    if (length == 0 || memchr(data, 0, length))
        return size * n;
    line = strndup(data, length);
    if (!line || strv_extend(&q->answer.headers, line) < 0)
        return 0;
    return size * n;
}

const char *http_answer_header(const HttpAnswer *a, const char *name)
{
    size_t n = strlen(name);
    char **h;

    STRV_FOREACH (h, a->headers)
        if (strncasecmp(*h, name, n) == 0 && (*h)[n] == ':')
            return *h + n + 1 + strspn(*h + n + 1, " \t");
    return NULL;
}

/* ---- requests ---- */

static int add_header(HttpRequest *q, const char *line)
{
    struct curl_slist *l = curl_slist_append(q->headers, line);

    if (!l)
        return -ENOMEM;
    q->headers = l;
    return 0;
}

static int add_headers(HttpRequest *q, const HttpOptions *o)
{
    char *const *h;
    int r;

    STRV_FOREACH (h, o->headers)
        if ((r = add_header(q, *h)) < 0)
            return r;
    if (o->content_type) {
        _cleanup_free_ char *line = NULL;

        if (asprintf(&line, "Content-Type: %s", o->content_type) < 0)
            return -ENOMEM;
        if ((r = add_header(q, line)) < 0)
            return r;
    } else if (streq(o->method, "POST") && (r = add_header(q, "Content-Type:")) < 0)
        return r;
    /* No waiting for "100 Continue". */
    if ((r = add_header(q, "Expect:")) < 0)
        return r;
    if (o->bearer) {
        _cleanup_erase_ char *line = NULL;

        if (asprintf(&line, "Authorization: Bearer %s", secret_text(o->bearer)) < 0)
            return -ENOMEM;
        return add_header(q, line);
    }
    return 0;
}

static HttpRequest *request_new(Http *h, HttpDone done, void *userdata)
{
    HttpRequest *q = calloc(1, sizeof(*q));

    if (!q)
        return NULL;
    q->http = h;
    q->done = done;
    q->userdata = userdata;
    q->answer.body = calloc(1, 1);
    q->body_allocated = 1;
    q->easy = curl_easy_init();
    if (!q->easy || !q->answer.body)
        return http_request_free(q);
    return q;
}

/* Stops at the first option that libcurl refuses. */
#define SET(option, value)                                                                                   \
    do {                                                                                                     \
        CURLcode c_ = curl_easy_setopt(q->easy, option, value);                                              \
        if (c_ != CURLE_OK)                                                                                  \
            return c_ == CURLE_OUT_OF_MEMORY ? -ENOMEM : -EOPNOTSUPP;                                        \
    } while (0)

static int set_common(HttpRequest *q, const char *protocol, const char *url, uint64_t timeout_usec)
{
    timeout_usec = MAX(timeout_usec, USEC_PER_MSEC); /* 0 would be never */
    SET(CURLOPT_PRIVATE, q);
    SET(CURLOPT_ERRORBUFFER, q->error);
    SET(CURLOPT_NOSIGNAL, 1L);
    SET(CURLOPT_PROTOCOLS_STR, protocol);
    SET(CURLOPT_FOLLOWLOCATION, 0L);
    SET(CURLOPT_PROXY, ""); /* not what the environment says */
    SET(CURLOPT_NOPROXY, "");
    SET(CURLOPT_NETRC, (long)CURL_NETRC_IGNORED);
    SET(CURLOPT_CONNECTTIMEOUT_MS, (long)(MIN(CONNECT_TIMEOUT_USEC, timeout_usec) / USEC_PER_MSEC));
    SET(CURLOPT_TIMEOUT_MS, (long)(timeout_usec / USEC_PER_MSEC));
#if LIBCURL_VERSION_NUM >= 0x075700
    /* A cancelled request must not wait for a resolver thread that is stuck. */
    SET(CURLOPT_QUICK_EXIT, 1L);
#endif
    SET(CURLOPT_URL, url);
    return 0;
}

static int set_request(HttpRequest *q, const HttpOptions *o)
{
    Http *h = q->http;
    int r;

    r = set_common(q, o->local ? "http" : "https", o->url,
                   o->timeout_usec ? o->timeout_usec : h->timeout_usec);
    if (r < 0)
        return r;
    if (h->proxy && !o->local) {
        SET(CURLOPT_PROXY, h->proxy);
        SET(CURLOPT_PROXYTYPE, (long)CURLPROXY_HTTP);
        SET(CURLOPT_HTTPPROXYTUNNEL, 1L);
        SET(CURLOPT_SUPPRESS_CONNECT_HEADERS, 1L);
    }
    SET(CURLOPT_SSL_VERIFYPEER, 1L);
    SET(CURLOPT_SSL_VERIFYHOST, 2L);
    SET(CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
    if (h->ca_file) {
        SET(CURLOPT_CAINFO, h->ca_file);
        SET(CURLOPT_CAPATH, NULL);
    }
    SET(CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
    SET(CURLOPT_USERAGENT, USER_AGENT);
    SET(CURLOPT_LOW_SPEED_LIMIT, LOW_SPEED_BYTES);
    SET(CURLOPT_LOW_SPEED_TIME, (long)(h->silence_usec / USEC_PER_SEC));
    SET(CURLOPT_MAXFILESIZE_LARGE, (curl_off_t)o->body_max);
    SET(CURLOPT_WRITEFUNCTION, write_callback);
    SET(CURLOPT_WRITEDATA, q);
    SET(CURLOPT_HEADERFUNCTION, header_callback);
    SET(CURLOPT_HEADERDATA, q);
    if (o->once) {
        SET(CURLOPT_FRESH_CONNECT, 1L);
    }
    if (streq(o->method, "POST")) {
        SET(CURLOPT_POST, 1L);
        SET(CURLOPT_POSTFIELDS, o->body ? secret_text(o->body) : "");
        SET(CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)(o->body ? secret_size(o->body) : 0));
    }
    r = add_headers(q, o);
    if (r < 0)
        return r;
    SET(CURLOPT_HTTPHEADER, q->headers);
    return 0;
}

static int request_add(HttpRequest *q)
{
    if (curl_multi_add_handle(q->http->multi, q->easy) != CURLM_OK)
        return -ENOMEM;
    q->added = true;
    return 0;
}

int http_start(Http *h, const HttpOptions *o, HttpDone done, void *userdata, HttpRequest **ret)
{
    _cleanup_(http_request_freep) HttpRequest *q = request_new(h, done, userdata);
    int r;

    if (!q)
        return -ENOMEM;
    q->body_max = o->body_max;
    q->body = o->body ? secret_ref((Secret *)o->body) : NULL;
    if ((r = set_request(q, o)) < 0 || (r = request_add(q)) < 0)
        return r;
    *ret = TAKE_PTR(q);
    return 0;
}

int http_probe(Http *h, const char *host, uint16_t port, uint64_t timeout_usec, HttpDone done, void *userdata,
               HttpRequest **ret)
{
    _cleanup_(http_request_freep) HttpRequest *q = request_new(h, done, userdata);
    _cleanup_free_ char *url = NULL;
    int r;

    if (!q || asprintf(&url, strchr(host, ':') ? "http://[%s]:%u/" : "http://%s:%u/", host, port) < 0)
        return -ENOMEM;
    if ((r = set_common(q, "http", url, timeout_usec)) < 0)
        return r;
    SET(CURLOPT_CONNECT_ONLY, 1L);
    SET(CURLOPT_FRESH_CONNECT, 1L);
    if ((r = request_add(q)) < 0)
        return r;
    *ret = TAKE_PTR(q);
    return 0;
}

HttpRequest *http_request_free(HttpRequest *q)
{
    struct curl_slist *l;

    if (!q)
        return NULL;
    if (q->added)
        curl_multi_remove_handle(q->http->multi, q->easy);
    curl_easy_cleanup(q->easy);
    for (l = q->headers; l; l = l->next)
        explicit_bzero(l->data, strlen(l->data));
    curl_slist_free_all(q->headers);
    secret_unref(q->body);
    if (q->answer.body)
        explicit_bzero(q->answer.body, q->answer.body_size);
    free(q->answer.body);
    strv_free(q->answer.headers);
    free(q);
    return NULL;
}

int http_new(Http **ret, sd_event *event, const char *ca_file, uint64_t timeout_usec)
{
    _cleanup_(http_freep) Http *h = NULL;
    static bool initialized;
    int r;

    if (!initialized) {
        if (curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK)
            return -EOPNOTSUPP;
        initialized = true;
    }
    h = calloc(1, sizeof(*h));
    if (!h)
        return -ENOMEM;
    h->event = sd_event_ref(event);
    h->timeout_usec = timeout_usec;
    h->silence_usec = SILENCE_USEC;
    h->multi = curl_multi_init();
    if (!h->multi || str_copy(ca_file, &h->ca_file) < 0)
        return -ENOMEM;
    r = sd_event_add_time(event, &h->timer, CLOCK_MONOTONIC, 0, 1, on_timer, h);
    if (r < 0)
        return r;
    (void)sd_event_source_set_enabled(h->timer, SD_EVENT_OFF);
    (void)sd_event_source_set_description(h->timer, "http-timer");
    r = sd_event_add_defer(event, &h->check, on_check, h);
    if (r < 0)
        return r;
    (void)sd_event_source_set_enabled(h->check, SD_EVENT_OFF);
    (void)sd_event_source_set_description(h->check, "http-check");
    if (curl_multi_setopt(h->multi, CURLMOPT_SOCKETFUNCTION, socket_callback) != CURLM_OK ||
        curl_multi_setopt(h->multi, CURLMOPT_SOCKETDATA, h) != CURLM_OK ||
        curl_multi_setopt(h->multi, CURLMOPT_TIMERFUNCTION, timer_callback) != CURLM_OK ||
        curl_multi_setopt(h->multi, CURLMOPT_TIMERDATA, h) != CURLM_OK ||
        curl_multi_setopt(h->multi, CURLMOPT_MAX_HOST_CONNECTIONS, 32L) != CURLM_OK ||
        curl_multi_setopt(h->multi, CURLMOPT_MAXCONNECTS, 32L) != CURLM_OK)
        return -EOPNOTSUPP;
    *ret = TAKE_PTR(h);
    return 0;
}

int http_set_proxy(Http *h, const char *proxy)
{
    char *copy;

    if (str_copy(proxy, &copy) < 0)
        return -ENOMEM;
    free_and_replace(&h->proxy, copy);
    return 0;
}

void http_set_silence(Http *h, uint64_t usec)
{
    h->silence_usec = usec;
}

Http *http_free(Http *h)
{
    if (!h)
        return NULL;
    /* Closing connections still calls socket_callback. */
    if (h->multi)
        curl_multi_cleanup(h->multi);
    while (h->watches)
        watch_free(h, h->watches);
    sd_event_source_disable_unref(h->timer);
    sd_event_source_disable_unref(h->check);
    sd_event_unref(h->event);
    free(h->ca_file);
    free(h->proxy);
    free(h);
    return NULL;
}
