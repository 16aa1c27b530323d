/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* One connection from the start of the script to its end: the terminal and its questions, the deadlines, what
 * counts as connected, what is told to systemd and written to connection.json. Ends the event loop with 0
 * (told to stop) or 1 (failed, the failure is in connection.json). */

#include "config.h"
#include "gate.h"
#include "port-lock.h"
#include "secret.h"
#include "transcript.h"
#include "worklog.h"

#define CONNECTION_LINES 20 /* of the script's output that are shown */

typedef enum ConnectionState {
    CONNECTION_STARTING,  /* waits for its turn */
    CONNECTION_RUNNING,   /* the script runs */
    CONNECTION_CONNECTED, /* every target has a session */
    CONNECTION_FAILED,
    CONNECTION_STATE_MAX,
    CONNECTION_STATE_INVALID = -EINVAL,
} ConnectionState;

typedef struct ConnectionOptions {
    const char *session;
    const char *runtime_dir; /* /run/ilr-connect */
    const char *helper_socket;
    const char *stand_in_dir;
} ConnectionOptions;

typedef struct Connection {
    const ConnectionOptions *options;
    const Config *config;
    sd_event *event;
    ConnectionState state;
    Failure *failure;

    char *session_dir;
    Secret *script;
    char *portal_host, **portal_addresses;

    PortLock *lock;
    Transcript transcript;
    Gate gate;
    Control *control;
    Worklog *worklog;

    pid_t script_pid; /* bubblewrap; 0: not started or reaped */
    int terminal;
    int tunnel_fd;     /* pidfd */
    pid_t watched_pid; /* whose it is; 0: nobody's */
    bool tunnel_ended; /* before everything was connected */
    unsigned n_answers;
    bool at_end;                           /* the script stands at its last question */
    uint64_t started_usec, connected_usec; /* CLOCK_REALTIME */

    sd_event_source *terminal_io, *child, *tunnel_io, *tunnel_grace;
    sd_event_source *settle, *prompt, *silence, *deadline, *lock_hold;
} Connection;

/* Starts everything. A negative errno: could not even be told; otherwise failures end the loop. */
int connection_start(Connection *c, const ConnectionOptions *options, const Config *config, sd_event *event);
/* Ends the script with all that it started. */
void connection_done(Connection *c);
/* The first failure counts; takes f over (NULL: out of memory) and ends the loop with 1. */
void connection_fail(Connection *c, Failure *f);

/* questions.c: what the terminal says. */
void connection_terminal_start(Connection *c);
/* Reads what is there to the end. */
void connection_terminal_drain(Connection *c);
/* Without a connection the script came to its end; status: its exit status, or -1 if it asks to be let go. */
Failure *connection_end_failure(Connection *c, int status);
/* Its tunnel ended before it was connected, and the script does not say why. */
Failure *connection_tunnel_failure(Connection *c);

/* record.c: connection.json. */
const char *connection_state_to_string(ConnectionState s);
void connection_save(Connection *c);
/* request.json. -ENOENT, -EBADMSG, ... */
int connection_read_request(Connection *c);
