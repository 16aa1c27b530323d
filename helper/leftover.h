/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What on this host belongs to recoveries: of our sessions, and of the connection script when somebody runs
 * it by hand. leftovers_look() only looks, at sysfs, /proc and directories, and waits for no disk. Whether a
 * session is still wanted is not known here: who asks leaves out those that are.
 *
 * A session's record is written before the world is changed, so what belongs to a session that is just coming
 * up is told as that session's, never as nobody's. */

#include "failure.h"
#include "validate.h"
#include <sys/types.h>

typedef enum LeftoverKind {
    LEFTOVER_MOUNT,
    LEFTOVER_NAMESPACE, /* a process's own, which keeps a copy of a mount */
    LEFTOVER_DM,
    LEFTOVER_MD,
    LEFTOVER_LOOP,
    LEFTOVER_DISK,
    LEFTOVER_ISCSI,
    LEFTOVER_NODE_RECORD,
    LEFTOVER_DISCOVERY_RECORD,
    LEFTOVER_UNIT,
    LEFTOVER_DROP_IN,
    LEFTOVER_PROCESS,
    LEFTOVER_DIRECTORY,
    LEFTOVER_FILE,
    LEFTOVER_UDEV_COOKIE,
    LEFTOVER_KIND_MAX,
    LEFTOVER_KIND_INVALID = -EINVAL,
} LeftoverKind;

/* "mount", "device-mapper", ... */
const char *leftover_kind_to_string(LeftoverKind kind);

typedef struct Leftover {
    LeftoverKind kind;
    char *name;   /* as the system has it: a path, a device's name, a unit; may hold any byte but NUL */
    char *detail; /* for people */
    char *unit;   /* of a process: a helper's or hooks', which may still run; or NULL */
    char session[SESSION_ID_LENGTH + 1]; /* whose it is; "": nobody's that we know */
    bool ours;                           /* made by ilrd; false: by the script, LVM, an administrator */
    bool dead;                           /* its target does not answer, or its disk is gone */
    int64_t number;  /* process, semaphore, or the iSCSI session that it is or stands on; -1 */
    uint64_t since;  /* of a process: when it started, in the kernel's ticks */
    int port;        /* of an iSCSI session or a tunnel: of 127.0.0.1; 0 */
    dev_t device;    /* of a block device, or of what is mounted */
    unsigned height; /* of a block device: how many are below it */
} Leftover;

#define LEFTOVERS_MAX 8000

/* Whose. What is asked about a few must not be crowded out by what the many others have. */
typedef struct LeftoverFilter {
    char *const *without; /* nothing of these sessions */
    const char *only;     /* only of this session, or "": only of none; NULL: of any */
} LeftoverFilter;

typedef struct Leftovers {
    Leftover *items;
    size_t n;
    LeftoverFilter filter;
    bool cut;        /* not all was seen or kept: there may be more */
    bool unreadable; /* a session's record cannot be read: what seems to be nobody's may be its */
} Leftovers;

void leftovers_done(Leftovers *l);
/* Takes name, detail and unit (NULL name: no memory). What the filter leaves out is dropped. Returns 0 or
 * -ENOMEM.
 */
int leftovers_add(Leftovers *l, Leftover item);
/* The same with a formatted detail and a copy of the name. */
int leftovers_addf(Leftovers *l, Leftover item, const char *name, const char *format, ...) _printf_(4, 5);

/* All of it; what the filter points to stays the caller's and must outlive the list. Returns 0, or a negative
 * errno if one of the tables could not be read. */
int leftovers_look(const LeftoverFilter *filter, Leftovers *ret);
/* An array of {"kind","name","detail","session"?,"ours"}. */
int leftovers_to_json(const Leftovers *l, json_object **ret);
/* Is what belongs to this session ("": to none) asked for? */
bool leftover_wanted(const LeftoverFilter *filter, const char *session);

/* A name or detail as others get it: without what a terminal could take for more, and not too long. NULL: no
 * memory. */
char *leftover_text(const char *s);

/* "known" of a request: absent, or an array of session ids. -EINVAL with a failure. */
int leftovers_known_get(json_object *parameters, char ***ret, Failure **ret_failure);

/* ---- the pieces of leftovers_look(), each with its table ---- */

/* A session of ours as its record has it. */
typedef struct LeftoverOwner {
    char session[SESSION_ID_LENGTH + 1];
    char *target, *portal;
    int64_t sid;
} LeftoverOwner;

typedef struct LeftoverOwners {
    LeftoverOwner *items;
    size_t n;
    bool unreadable;
} LeftoverOwners;

/* The block devices that stand on recovery disks, partitions among them, and those with names of ours. */
typedef struct LeftoverBlock {
    char name[64];    /* the kernel's */
    char mapper[132]; /* device-mapper's; "" */
    dev_t device;
    unsigned height;
    int64_t sid; /* of the iSCSI session below it; -1 */
    dev_t disk;  /* below it; 0: it was found by its name only */
    bool listed; /* is a thing of its own; a partition is not */
    bool stands; /* the iSCSI session below it was seen afterwards; or there is none below it */
    LeftoverKind kind;
    bool ours;
    char session[SESSION_ID_LENGTH + 1];
} LeftoverBlock;

typedef struct LeftoverBlocks {
    LeftoverBlock *items;
    size_t n;
    bool cut; /* there were more */
} LeftoverBlocks;

int leftover_owners_read(LeftoverOwners *owners); /* adds those that are not in it */
void leftover_owners_done(LeftoverOwners *owners);
int leftover_blocks_look(LeftoverBlocks *ret);
void leftover_blocks_done(LeftoverBlocks *b);
/* Who uses a disk of this iSCSI session (-1: this disk, which is of none) or what stands on it: devices over
 * it, file systems, swap, processes. 1: *ret_who is a text for a message, the caller's; 0: nobody. */
int leftover_disk_users(int64_t sid, dev_t disk, uint64_t timeout_usec, char **ret_who);
/* By the kernel's name, "sdb1"; NULL: it is not among them. */
LeftoverBlock *leftover_block_named(const LeftoverBlocks *b, const char *name);
const LeftoverBlock *leftover_block_find(const LeftoverBlocks *b, dev_t device, const char *source);

int leftover_add_blocks(Leftovers *l, const LeftoverBlocks *blocks);
int leftover_add_mounts(Leftovers *l, const LeftoverBlocks *blocks);
int leftover_add_files(Leftovers *l);
/* Units; and of the processes those that are in none that still runs, which become l's. */
int leftover_add_units(Leftovers *l, Leftovers *processes);
/* What takes longer than timeout_usec because a process cannot be looked at makes the list a cut one, that is
 * all. */
int leftover_add_processes(Leftovers *l, uint64_t timeout_usec);
/* now_sec: since 1970. */
int leftover_add_cookies(Leftovers *l, int64_t now_sec);

/* What leftover_add_units() makes of what the service manager says. */
typedef struct LeftoverUnits {
    Leftovers *found, *processes;
    Leftovers
        ending; /* units of helpers and hooks that are being stopped: left only if a process does not end */
} LeftoverUnits;

int leftover_unit_listed(LeftoverUnits *u, const char *unit, const char *active, const char *sub);
/* Waits a moment for processes that are just ending. Ends u. */
int leftover_units_finish(LeftoverUnits *u);

/* "ilr_abcd1234_d1" -> "abcd1234": false, and "" in buf, if it is not of that form. */
bool leftover_session_of_mapper(const char *name, char buf[static SESSION_ID_LENGTH + 1]);
/* The same for "ilr-connection@abcd1234.service" and "ilr-session@abcd1234.service", with the suffix. */
bool leftover_session_of_unit(const char *name, const char *suffix, char buf[static SESSION_ID_LENGTH + 1]);
/* "hook-ready-abcd1234.env" -> "abcd1234", with prefix "hook-" and suffix ".env"; so the units of hooks. */
bool leftover_session_of_hook(const char *name, const char *prefix, const char *suffix,
                              char buf[static SESSION_ID_LENGTH + 1]);
/* Of a path below directory: its first component if that is a session id. */
bool leftover_session_of_path(const char *path, const char *directory,
                              char buf[static SESSION_ID_LENGTH + 1]);
