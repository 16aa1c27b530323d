/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* daemon/user-names: names of users, and a directory service that does not answer. */

#include "timeutil.h"
#include "user-names.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#define FAST_USEC (20 * USEC_PER_MSEC)
#define FOR_EVER_USEC (60 * USEC_PER_SEC)

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t change = PTHREAD_COND_INITIALIZER;
static bool silent;
static unsigned asked, answered;

/* Answers only while it is not told to be silent. */
static char *directory(uid_t uid)
{
    pthread_mutex_lock(&lock);
    asked++;
    pthread_cond_broadcast(&change);
    while (silent)
        pthread_cond_wait(&change, &lock);
    answered++;
    pthread_cond_broadcast(&change);
    pthread_mutex_unlock(&lock);
    return uid == 4711 ? strdup("alice") : NULL;
}

static void set_silent(bool value)
{
    pthread_mutex_lock(&lock);
    silent = value;
    pthread_cond_broadcast(&change);
    pthread_mutex_unlock(&lock);
}

static void assert_name(UserNames *n, uid_t uid, const char *name)
{
    _cleanup_free_ char *s = user_names_get(n, uid);

    assert_string_equal(s, name);
}

static void test_names(void **state)
{
    _cleanup_(user_names_freep) UserNames *n = NULL, *real = NULL;

    assert_int_equal(user_names_new(&n, directory, FOR_EVER_USEC), 0);
    assert_name(n, 4711, "alice");
    assert_name(n, 4712, "4712");
    assert_int_equal(user_names_new(&real, NULL, FOR_EVER_USEC), 0);
    assert_name(real, 0, "root");
    assert_name(real, 4294967000, "4294967000");
}

static void test_silence(void **state)
{
    _cleanup_(user_names_freep) UserNames *n = NULL;
    uint64_t start = now_usec(CLOCK_MONOTONIC);
    unsigned before = asked, i;

    assert_int_equal(user_names_new(&n, directory, FAST_USEC), 0);
    set_silent(true);
    for (i = 0; i < 1000; i++)
        assert_name(n, 4711, "4711");
    /* One was waited for, and only one asked, or 1000 would have taken 20 s. */
    assert_true(now_usec(CLOCK_MONOTONIC) - start < 10 * USEC_PER_SEC);
    pthread_mutex_lock(&lock);
    while (asked == before)
        pthread_cond_wait(&change, &lock);
    assert_int_equal(asked, before + 1);
    pthread_mutex_unlock(&lock);
    set_silent(false);
    pthread_mutex_lock(&lock);
    while (answered < asked)
        pthread_cond_wait(&change, &lock);
    pthread_mutex_unlock(&lock);
    /* It speaks again: so do we, once the thread has said so. */
    for (;;) {
        _cleanup_free_ char *s = user_names_get(n, 4711);

        if (streq(s, "alice"))
            break;
        assert_true(now_usec(CLOCK_MONOTONIC) - start < FOR_EVER_USEC);
    }
}

static void test_free_while_it_hangs(void **state)
{
    unsigned before = answered;
    UserNames *n;

    assert_int_equal(user_names_new(&n, directory, FAST_USEC), 0);
    set_silent(true);
    assert_name(n, 4711, "4711");
    user_names_free(n);
    set_silent(false);
    pthread_mutex_lock(&lock);
    while (answered == before)
        pthread_cond_wait(&change, &lock);
    pthread_mutex_unlock(&lock);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_names),
        cmocka_unit_test(test_silence),
        cmocka_unit_test(test_free_while_it_hangs),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
