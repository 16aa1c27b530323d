/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What the command line asked for, and the verbs. A verb prints and returns the exit code of ilrctl(1). */

#include "link.h"
#include "progress.h"

/* Exit codes besides those of failure_class_exit_code(). */
#define EXIT_USAGE 2
#define EXIT_REFUSED 3
#define EXIT_NOT_FOUND 4
#define EXIT_NOT_MOUNTED 7
#define EXIT_CANCELLED 10
#define EXIT_UNREACHABLE 11

typedef struct Client {
    const char *socket;
    const char *vault, *resource_group, *container, *item, *vm, *reason;
    const char *at, *before, *point, *since, *until;
    char **tags;        /* "NAME=VALUE" each */
    const char *idle;   /* a time span */
    const char *replay; /* overlay, none */
    char **key_files;   /* "[VOLUME=]FILE" each */
    const char *key_fd; /* a number */
    const char *why;    /* inhibit */
    const char *output; /* metrics */
    const char *portal; /* doctor */
    int timeout_msec;   /* how long ilrd may say nothing */
    bool leftovers, sweep, foreign;
    bool json, all, force, open, volumes, latest;
} Client;

int verb_provision(const Client *c, int argc, char **argv);
int verb_items(const Client *c, int argc, char **argv);
int verb_points(const Client *c, int argc, char **argv);
int verb_list(const Client *c, int argc, char **argv);
int verb_status(const Client *c, int argc, char **argv);
int verb_monitor(const Client *c, int argc, char **argv);
int verb_release(const Client *c, int argc, char **argv);
int verb_login(const Client *c, int argc, char **argv);
int verb_logout(const Client *c, int argc, char **argv);
int verb_metrics(const Client *c, int argc, char **argv);
int verb_inhibit(const Client *c, int argc, char **argv);
int verb_doctor(const Client *c, int argc, char **argv);
int verb_leftovers(const Client *c); /* doctor --leftovers */
int verb_unlock(const Client *c, int argc, char **argv);
int verb_browse(const Client *c, int argc, char **argv);

/* ---- find.c: the words that mean one recovery point ---- */

bool has_choice(const Client *c);
/* Puts them into the parameters. 0, or the exit code when it is told what is wrong. */
int add_choice(const Client *c, json_object *parameters);

/* The recovery points of a machine, quietly; ret is the caller's. 0, or the exit code when it is told. */
int points_of(const Client *c, const char *vm, json_object **ret);

/* ---- key.c: keys of volumes, as descriptors that ilrd takes ---- */

#define KEYS_MAX 8

/* The whole file; "-": standard input. 0, or the exit code when it is told what is wrong. */
int key_of_file(const Client *c, const char *path, int *ret);
/* A passphrase from a descriptor, a newline at its end is cut. Returns as above. */
int key_of_fd(const Client *c, const char *number, int *ret);
/* A passphrase from the terminal. Returns as above. */
int key_of_prompt(const Client *c, const char *question, int *ret);
/* Those of --key-file: "keys" in the parameters and as many descriptors, the caller's. Returns as above. */
int keys_of_files(const Client *c, json_object *parameters, int fds[static KEYS_MAX], size_t *ret_n);

/* ---- answer.c: what every verb does with answers ---- */

/* One JSON object as one line on standard output. */
void print_json(json_object *o);
/* Tells a failure that ilrd did not send; returns code. hint may be NULL: nothing is advised. */
int tell_failure(const Client *c, int code, const char *name, const char *hint, const char *format, ...)
    _printf_(5, 6);
/* Tells what ilrd answered as an error; returns the exit code that goes with it. */
int tell_error(const Client *c, const Reply *reply);
/* Tells why there is no answer (a negative errno of link.h). waiting: what the end of the connection or an
 * interrupt means for what was asked. */
int tell_link(const Client *c, int r, const char *waiting);

/* Opens a connection and calls. 0, or the exit code when it is told what went wrong. */
int begin_call(const Client *c, Link *l, const char *method, json_object *parameters, bool more);
/* The same with descriptors, which stay the caller's. */
int begin_call_fds(const Client *c, Link *l, const char *method, json_object *parameters, bool more,
                   const int *fds, size_t n);
/* The next answer of a call that may take its time. While there is none, ilrd is asked now and then by
 * another connection whether it answers at all. p: ticks meanwhile; or NULL. Returns 1, or what link_next()
 * returns; -ETIMEDOUT: it does not answer any more. */
int next_answer(const Client *c, Link *l, Progress *p, Reply *ret);
/* A call with one answer. 0, or the exit code when it is told what went wrong. */
int ask(const Client *c, const char *method, json_object *parameters, Reply *ret);
/* A call with many answers: on_answer gets each, in order. 0, or the exit code when it is told what went
 * wrong. waiting: see tell_link(). */
int ask_each(const Client *c, const char *method, json_object *parameters, const char *waiting,
             void (*on_answer)(const Client *c, const Reply *reply, void *userdata), void *userdata);
/* The session object of an answer. NULL when it is told that there is none. */
json_object *reply_session(const Client *c, const Reply *reply);
/* Follows a stream of sessions to its last answer. 0: that is *ret, the caller's; otherwise the exit code,
 * told. waiting: see tell_link(), behind the session's id. */
int follow_session(const Client *c, Link *l, Progress *p, const char *waiting, Reply *ret);
/* {"id": ID} */
json_object *id_parameters(const char *id);
/* The one session whose id begins with prefix. ret is the caller's. 0, or the exit code when it is told. */
int resolve_id(const Client *c, const char *prefix, char **ret);
/* The same, and the session as it is now: its object in the answer *ret, which is the caller's. */
int ask_session(const Client *c, const char *prefix, char **ret_id, json_object **ret_session, Reply *ret);
