/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* One request to Azure Resource Manager, brought to an answer or to a failure: token, ids, what to try again
 * and when, what an answer means. It asks the management host only. done is called exactly once, never from
 * inside azure_request_start(); freeing a request cancels it at once. */

#include "azure-clock.h"
#include "azure-limit.h"
#include "azure-login.h"

typedef struct AzureClient {
    sd_event *event;
    Http *http;
    AzureToken *token;   /* the host's */
    AzureLogins *logins; /* people's; NULL: none (tests) */
    AzureLimit *limit;   /* for all requests */
    AzureClock clock;    /* by all answers */
    const Config *config;
} AzureClient;

/* The token that speaks for this caller: his own if he has signed in, else the host's. */
AzureToken *azure_client_token(AzureClient *c, uid_t uid);

typedef struct AzureRequest AzureRequest;

typedef struct AzureAnswer {
    const HttpAnswer *http; /* for its status and headers; NULL: there was none */
    json_object *json;      /* NULL: no body, or none that is JSON; wiped when the request is freed */
    bool ok;                /* the status is 2xx and the body is what was wanted */
    bool maybe_done;        /* on failure: Azure may have acted on the request */
} AzureAnswer;

typedef struct AzureRequestOptions {
    const char *method;
    const char *url;        /* absolute, of the management host */
    json_object *body;      /* of a POST, or NULL */
    uid_t uid;              /* for whom, (uid_t) -1: the host itself */
    const char *session;    /* for the journal's field, copied; or NULL */
    AzureSubject subject;   /* its strings are copied */
    size_t body_max;        /* bytes of the answer; 0: 1 MiB */
    bool once;              /* try again only what surely did not arrive, or was put off with Retry-After */
    bool want_json;         /* 200 without a JSON object is a failure */
    bool secret;            /* none of the answer's words in a message */
    bool host_too;          /* if the person is refused, by the host's own right */
    unsigned attempts_max;  /* 0: until the deadline */
    uint64_t deadline_usec; /* CLOCK_BOOTTIME; whatever is under way then ends within a second */
    void (*waiting)(const char *detail,
                    void *userdata); /* may be NULL: what is being waited for, for people */
} AzureRequestOptions;

/* answer->ok tells; without it failure (the callee's; NULL: out of memory) says why, and answer may still
 * have a status. answer is borrowed until the request is freed. */
typedef void (*AzureRequestDone)(const AzureAnswer *answer, Failure *failure, void *userdata);

int azure_request_start(AzureClient *c, const AzureRequestOptions *options, AzureRequestDone done,
                        void *userdata, AzureRequest **ret);
AzureRequest *azure_request_free(AzureRequest *q);
DEFINE_CLEANUP(AzureRequest *, azure_request_free)

/* A delay with jitter: between half of usec and usec. */
uint64_t azure_jitter(uint64_t usec);
