/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What the tests of the Varlink server share: a server with a few methods, and the callers' ends of its
 * connections. */

#include "timeutil.h"
#include "varlink.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#define DOMAIN "io.test.Things"

typedef struct Fixture {
    sd_event *event;
    VarlinkServer *server;
    VarlinkCall *parked;
    int handled, gone;
    bool free_in_gone;
    uint64_t deadline; /* of the whole test */
} Fixture;

/* A server with these limits in the place of the one there is; without limits: the default ones. */
void fixture_serve(Fixture *f, const VarlinkLimits *limits);
int fixture_setup(void **state);
int fixture_teardown(void **state);
#define FIXTURE_TEST(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)

/* Lets the server do all that it can do now. It must come to rest: a loop that spins fails here. */
void pump(Fixture *f);

/* The caller's end of a new connection. */
int connect_pair(Fixture *f);
void say_bytes(Fixture *f, int fd, const char *bytes, size_t size);
void say(Fixture *f, int fd, const char *text);
/* The next answer as text, without its NUL; "" at the end of the connection; NULL: nothing comes. */
char *hear(Fixture *f, int fd);

#define assert_hears(f, fd, text)                                                                            \
    do {                                                                                                     \
        char *_heard = hear(f, fd);                                                                          \
        assert_non_null(_heard);                                                                             \
        assert_string_equal(_heard, text);                                                                   \
        free(_heard);                                                                                        \
    } while (0)
#define assert_hears_part(f, fd, text)                                                                       \
    do {                                                                                                     \
        char *_heard = hear(f, fd);                                                                          \
        assert_non_null(_heard);                                                                             \
        if (!strstr(_heard, text))                                                                           \
            fail_msg("\"%s\" is not in: %s", text, _heard);                                                  \
        free(_heard);                                                                                        \
    } while (0)
#define assert_silence(f, fd) assert_null(hear(f, fd))
#define assert_end(f, fd) assert_hears(f, fd, "")

#define ECHO(text) "{\"method\":\"" DOMAIN ".Echo\",\"parameters\":{\"text\":\"" text "\"}}"
#define ECHOED(text) "{\"parameters\":{\"text\":\"" text "\"}}"
#define CALL(name) "{\"method\":\"" DOMAIN "." name "\"}"
