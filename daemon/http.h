/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* HTTPS requests on the event loop: only it and http-url.c see libcurl. It verifies peer and host, follows no
 * redirect, uses no proxy but the one it was given, no cookie and no .netrc, takes at most as many bytes as
 * it was told, and tells what became of a request. It knows no Azure and retries nothing.
 *
 * done is called exactly once, never from inside http_start(); freeing a request cancels it at once. */

#include "secret.h"
#include "strv.h"
#include <systemd/sd-event.h>

typedef enum HttpOutcome {
    HTTP_ANSWERED,    /* there is a whole answer, whatever its status */
    HTTP_UNREACHABLE, /* no address or no connection */
    HTTP_UNTRUSTED,   /* TLS: certificate, name */
    HTTP_HANDSHAKE,   /* TLS: the handshake broke off or was refused; nothing was sent */
    HTTP_BROKEN,      /* the connection broke off, or half of a body came */
    HTTP_TIMED_OUT,   /* too long, or too slow */
    HTTP_TOO_BIG,     /* more than body_max */
    HTTP_BAD_URL,     /* not a URL that may be asked */
    HTTP_FAILED,      /* anything else, see detail */
    HTTP_OUTCOME_MAX,
    HTTP_OUTCOME_INVALID = -EINVAL,
} HttpOutcome;

typedef struct HttpAnswer {
    HttpOutcome outcome;
    bool sent;        /* some of the request left this host: the other side may have acted on it */
    char detail[256]; /* for people: the library's words about a failure */
    char address[64]; /* of the peer, or "" */
    int status;
    char **headers; /* "Name: value", of the last answer; bounded */
    char *body;     /* NUL-terminated, wiped when freed; never NULL */
    size_t body_size;
    uint64_t duration_usec;
} HttpAnswer;

/* Borrowed, or NULL. */
const char *http_answer_header(const HttpAnswer *a, const char *name);

typedef struct HttpOptions {
    const char *method;       /* "GET" or "POST" */
    const char *url;          /* https only */
    char *const *headers;     /* "Name: value" */
    const Secret *bearer;     /* goes into an Authorization header; NULL: none */
    const Secret *body;       /* of a POST; NULL: empty */
    const char *content_type; /* of the body, or NULL */
    bool local;               /* a service of this machine or its link: plain http, never by the proxy */
    uint64_t timeout_usec;    /* 0: that of http_new() */
    size_t body_max;          /* bytes of the answer */
    bool once; /* on a new connection, since libcurl sends again when an old one turns out to be dead */
} HttpOptions;

typedef struct Http Http;
typedef struct HttpRequest HttpRequest;

/* ca_file NULL: the system's. */
int http_new(Http **ret, sd_event *event, const char *ca_file, uint64_t timeout_usec);
/* Requests that are not local go through it from now on: "http://HOST:PORT"; NULL: none. 0 or -ENOMEM. */
int http_set_proxy(Http *h, const char *proxy);
/* How long nothing may come while something is waited for, instead of 30 s; whole seconds. */
void http_set_silence(Http *h, uint64_t usec);
Http *http_free(Http *h);
DEFINE_CLEANUP(Http *, http_free)

/* answer is borrowed until the request is freed, which may happen in done. 0 or a negative errno. */
typedef void (*HttpDone)(const HttpAnswer *answer, void *userdata);
int http_start(Http *h, const HttpOptions *options, HttpDone done, void *userdata, HttpRequest **ret);

/* Only connects to TCP host:port, sends nothing. */
int http_probe(Http *h, const char *host, uint16_t port, uint64_t timeout_usec, HttpDone done, void *userdata,
               HttpRequest **ret);
HttpRequest *http_request_free(HttpRequest *q);
DEFINE_CLEANUP(HttpRequest *, http_request_free)

/* Do both URLs name the same https host and port, without user or password? */
bool http_url_same_origin(const char *a, const char *b);
/* The host in a URL, the caller's; NULL: no URL. */
char *http_url_host(const char *url);
/* s percent-encoded for a form or a query, the caller's. */
char *http_escape(const char *s);
