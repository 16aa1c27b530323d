/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* One request of the HTTP side and the answer that is being made for it. Each connection has a thread of its
 * own, so an answer may take its time. */

#include "state.h"
#include <microhttpd.h>

#define REQUEST_BODY_MAX (1 * MIB)
#define REPLY_HEADERS_MAX 16

typedef enum Listener {
    LISTENER_AZURE,
    LISTENER_CONTROL,
    LISTENER_IMDS,
    LISTENER_ARC,
    LISTENER_MAX,
    LISTENER_INVALID = -EINVAL,
} Listener;

typedef struct Request {
    State *state;
    Listener listener; /* that it came over */
    struct MHD_Connection *connection;
    const char *method, *path, *host, *client_request_id, *api_version;
    char request_id[GUID_SIZE], correlation_id[GUID_SIZE];
    Route route;
    Point *point;                   /* that it is about, or NULL */
    char principal[PRINCIPAL_SIZE]; /* whose token it had or got, or "" */
    const char *credential;         /* what a token was given for, or NULL */
    char *body;
    size_t body_size;
    bool body_too_large;
    /* the answer */
    unsigned status;
    char *text; /* NULL: empty */
    size_t size;
    const char *content_type;
    struct {
        const char *name;
        char *value;
    } headers[REPLY_HEADERS_MAX];
    size_t header_count;
    Fault *fault; /* the one that hit, or NULL */
} Request;

/* The answer's parts. Setting one anew replaces it. */
void reply_header(Request *q, const char *name, const char *format, ...) _printf_(3, 4);
void reply_empty(Request *q, unsigned status);
/* o is taken; written with CRLF line ends, as the service does. */
void reply_json(Request *q, unsigned status, json_object *o);
/* The listener's shape: ARM's or IMDS's. */
void reply_error(Request *q, unsigned status, const char *code, const char *format, ...) _printf_(4, 5);
/* Entra's shape. */
void reply_login_error(Request *q, unsigned status, const char *error, unsigned aadsts, const char *format,
                       ...) _printf_(5, 6);
/* Puts the fault's answer in the place of the right one, where the fault has one. */
void reply_fault(Request *q);
/* Hands the answer to libmicrohttpd, or does what the fault wants instead. */
enum MHD_Result reply_send(Request *q);
/* Frees the answer, not the request. */
void reply_done(Request *q);

/* An argument of the query, decoded; NULL: not there. */
const char *request_query(Request *q, const char *key);
/* "https://host" for URLs in answers, into buf. */
const char *request_base(Request *q, char *buf, size_t size);

/* One field of the body's form, decoded, the caller's; NULL: not there or out of memory. A NUL byte ends the
 * value. */
char *request_form(const Request *q, const char *key);
/* Is it one that tokens are given for? Of a person also together with what all may ask. */
bool login_scope_known(Request *q, const char *scope);
/* Answers with a token, and with refresh and identity tokens where a scope (may be NULL) asks for them. */
void reply_token(Request *q, const char *principal, const char *credential, const char *scope);

void login_handle(Request *q);
/* Sign in on another device, and renewing. */
void login_device_code(Request *q);
void login_device_token(Request *q, const char *client_id);
void login_refresh(Request *q);
/* Managed identities of a VM, and of a machine with Arc. */
void imds_handle(Request *q);
/* Removes what imds_handle() wrote. */
void imds_done(State *s);
void arm_handle(Request *q);
void control_handle(Request *q);
