/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What stands behind a provisioned recovery point: the recovery target, the user of the portal, and the
 * connection script that leads there. The HTTP side knows registrations only; a backend brings them up and
 * takes them down.
 *
 * start, create, update, remove and stop are called by one thread at a time and may block for seconds; check
 * and describe are called by any thread at any time between. A backend has threads of its own where it needs
 * them. Errors: a negative errno, and *ret_error a sentence for the user (malloc'ed) where there is something
 * to tell. */

#include "json.h"
#include "secret.h"
#include "strv.h"

typedef struct BackendConfig {
    const char
        *portal_listen;      /* "127.0.0.1:3260", "[::1]:3260", "0.0.0.0:3260"; where the TLS end point is */
    const char *portal_host; /* name in the scripts and in the certificate */
    uint16_t portal_port;    /* port in the scripts; the listening one unless configured otherwise */
    const char *portal_certificate; /* PEM chain */
    const char *portal_key;         /* PEM */
    uint16_t tgt_control_port;      /* tgtd -C, tgtadm -C */
    const char *tgt_portal; /* "127.0.0.1:3261": where tgtd is to listen, reached by the TLS end point only */
    bool tgt_start;         /* start a tgtd of our own and end it; otherwise one runs already */
    const char
        *script_template; /* backend "none": file whose text is handed out; NULL: a minimal built-in one */
} BackendConfig;

/* One active instant recovery of one recovery point. The HTTP side fills it, makes the names and the secrets
 * (they are in the file name suffix of the answer as well) and owns it; the backend fills script and data. */
typedef struct Registration {
    char id[9];           /* [a-z0-9]{8}, unique while the simulator runs */
    char *recovery_point; /* decimal string */
    char *vm_name;
    char *resource_group; /* of the VM */
    char *initiator_name; /* the only one that may log in; NULL: any */
    char **disks;         /* absolute paths of images or block devices, in LUN order, never written to */
    bool multi_target;    /* one target per disk */
    /* Identity. With multi_target, target_name is the template that the script gets, and the target of disk N
     * (from 0) has N in place of the 0 before the last dot. */
    char *target_name; /* "iqn.2016-01.microsoft.azure.backup:OWNER-N-N-POINT-0.TICKS" */
    char *user_name;   /* "OWNER-GUID": CHAP and portal user; scripts present "OSNAME;OSVERSION;" + this */
    char *password;    /* 15 characters */
    char *initiator_password; /* 14 hex digits, handed around only */
    char *script_id;          /* GUID */
    char *portal_host;
    uint16_t portal_port;
    uint64_t expires_usec;      /* CLOCK_REALTIME, for people and for another start */
    uint64_t expires_boot_usec; /* the same moment on CLOCK_BOOTTIME: it counts, a clock that is set ends
                                   nothing */
    /* From the scenario, free-form, as checked by BackendOps.check; NULL: nothing special. */
    json_object *script_faults;
    json_object *portal_faults;
    /* Filled by create. */
    Secret *script; /* text of the connection script for Linux */
    void *data;     /* the backend's own, gone after remove */
} Registration;

typedef struct Backend Backend; /* opaque, one per process, each backend defines its own struct behind it */

typedef struct BackendOps {
    const char *name; /* "backend" in the configuration */
    /* Are the scenario's "script" and "portal" objects understood? Either may be NULL. -EINVAL with
     * *ret_error, which names the key, the value and what is expected. Called before start as well
     * (--check-config). */
    int (*check)(json_object *script_faults, json_object *portal_faults, char **ret_error);
    int (*start)(const BackendConfig *config, Backend **ret, char **ret_error);
    /* Target and portal user exist when it returns 0. After an error nothing is left behind. */
    int (*create)(Backend *b, Registration *r, char **ret_error);
    /* The scenario changed while r stands: script_faults and portal_faults are new. May be NULL. */
    int (*update)(Backend *b, Registration *r, char **ret_error);
    /* Sessions end, target and user go. What is gone already is success. */
    int (*remove)(Backend *b, Registration *r, char **ret_error);
    /* For GET /sim/state: {"connections":n,...} or NULL. Owned by the caller. May be NULL. */
    json_object *(*describe)(Backend *b);
    /* Every registration has been removed before. */
    void (*stop)(Backend *b);
} BackendOps;

extern const BackendOps backend_none; /* backend-none.c: no target, only a script */
extern const BackendOps backend_tgt;  /* backend-tgt.c: targets in tgtd behind a TLS end point */
