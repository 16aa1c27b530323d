/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What the script may ask of iSCSI. Each request of the stand-in is judged here, passed to ilr-helper (which
 * judges again), and answered. Keeps the table of targets: what discovery returned and which of them have a
 * session. */

#include "control.h"
#include "helper-call.h"

#define GATE_TARGETS_MAX 64

typedef struct GateTarget {
    char *name, *portal;
    int64_t tpgt;
    int64_t sid; /* -1: no session */
    bool usable; /* a target, not a message in the form of a name (notready, blocked) */
} GateTarget;

typedef struct Gate {
    const char *session; /* borrowed */
    const char *helper_socket;
    sd_event *event;
    struct GateCall *calls;
    GateTarget targets[GATE_TARGETS_MAX];
    size_t n_targets;
    char *portal;                       /* the tunnel's, once discovery succeeded */
    pid_t tunnel_pid;                   /* 0: not known */
    bool blocked, not_ready;            /* the last discovery returned such names */
    bool closed;                        /* connected: nothing may change any more */
    Failure *failure;                   /* of the last request, if it failed */
    void (*on_asked)(void *userdata);   /* something was asked */
    void (*on_changed)(void *userdata); /* something was answered; may look at everything here */
    /* Name and secret of a login, so that they can be masked. */
    void (*on_secret)(void *userdata, const char *secret);
    void *userdata;
} Gate;

void gate_done(Gate *g);
/* A ControlRequest. */
void gate_request(void *gate, ControlClient *client, json_object *request);
/* Every target that discovery returned has a session, and there is at least one. */
bool gate_connected(const Gate *g);
