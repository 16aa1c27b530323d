/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* An HTTPS server for tests that plays recorded exchanges: each request must be the next one expected, and
 * gets the answer written beside it. Tokens are given out besides. */

#include "util.h"

typedef enum ServerTrick {
    TRICK_NONE,
    TRICK_TRUNCATE, /* half of the body, then the connection is closed */
    TRICK_RESET,    /* the connection is closed instead of an answer */
    TRICK_HUGE,     /* 500 MB of body, of a length that is not announced */
    TRICK_STALL,    /* no answer until server_stop() */
} ServerTrick;

typedef struct Exchange {
    const char *method;   /* NULL: the end of the table */
    const char *url;      /* must be contained in the path with query */
    const char *contains; /* must be contained in the request's body, or NULL */
    int status;
    const char *headers; /* "Name: value" lines, each ended by \n; @ stands for https://localhost:PORT */
    const char *body;    /* @ as above only in headers */
    ServerTrick trick;
    bool repeat; /* for ever: the table ends here */
} Exchange;

typedef struct Server Server;

/* Starts to play exchanges (borrowed). */
Server *server_start(const Exchange *exchanges);
Server *server_stop(Server *s);
uint16_t server_port(const Server *s);
/* https://localhost:PORT */
const char *server_url(const Server *s);
/* A file with the certificate that it uses, for localhost only. */
const char *server_ca_file(void);
/* What was not as expected, or NULL. */
const char *server_complaint(Server *s);
/* Exchanges played, tokens given out. */
unsigned server_played(Server *s);
unsigned server_tokens(Server *s);
/* What the next token requests get instead of a token; status 0: a token again. */
void server_set_token_answer(Server *s, int status, const char *body);
/* The latest request's headers as one text. */
const char *server_last_headers(Server *s);
