/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "user-names.h"

#include <pthread.h>
#include <pwd.h>
#include <time.h>

/* One thread's; it and UserNames each hold it, the last one frees it. */
typedef struct Question {
    char *(*lookup)(uid_t uid);
    uid_t uid;
    pthread_mutex_t lock;
    pthread_cond_t change;
    unsigned held_by;
    bool answered;
    char *name;
} Question;

struct UserNames {
    char *(*lookup)(uid_t uid);
    uint64_t wait_usec;
    Question *hanging; /* that was given up waiting for */
};

static char *lookup_user(uid_t uid)
{
    _cleanup_free_ char *buf = NULL;
    size_t size = 1024;
    struct passwd pw, *found;
    char *more;
    int r;

    do {
        size *= 2;
        more = realloc(buf, size);
        if (!more)
            return NULL;
        buf = more;
        r = getpwuid_r(uid, &pw, buf, size, &found);
    } while (r == ERANGE && size < 1 * MIB);
    return r == 0 && found ? strdup(found->pw_name) : NULL;
}

static Question *question_unref(Question *q)
{
    unsigned held_by;

    if (!q)
        return NULL;
    pthread_mutex_lock(&q->lock);
    held_by = --q->held_by;
    pthread_mutex_unlock(&q->lock);
    if (held_by > 0)
        return NULL;
    pthread_cond_destroy(&q->change);
    pthread_mutex_destroy(&q->lock);
    free(q->name);
    free(q);
    return NULL;
}
DEFINE_CLEANUP(Question *, question_unref)

static void *ask(void *argument)
{
    Question *q = argument;
    char *name = q->lookup(q->uid);

    pthread_mutex_lock(&q->lock);
    q->name = name;
    q->answered = true;
    pthread_cond_signal(&q->change);
    pthread_mutex_unlock(&q->lock);
    question_unref(q);
    return NULL;
}

static Question *question_new(char *(*lookup)(uid_t uid), uid_t uid)
{
    Question *q = calloc(1, sizeof(*q));
    pthread_condattr_t clock;
    pthread_attr_t detached;
    pthread_t thread;
    int r;

    if (!q)
        return NULL;
    *q = (Question){.lookup = lookup, .uid = uid, .held_by = 2, .lock = PTHREAD_MUTEX_INITIALIZER};
    pthread_condattr_init(&clock);
    pthread_condattr_setclock(&clock, CLOCK_MONOTONIC);
    pthread_cond_init(&q->change, &clock);
    pthread_condattr_destroy(&clock);
    pthread_attr_init(&detached);
    pthread_attr_setdetachstate(&detached, PTHREAD_CREATE_DETACHED);
    r = pthread_create(&thread, &detached, ask, q);
    pthread_attr_destroy(&detached);
    if (r == 0)
        return q;
    q->held_by = 1;
    return question_unref(q);
}

/* The answer if it is there within the time: *ret_name may be NULL, nobody is called so. */
static bool question_wait(Question *q, uint64_t wait_usec, char **ret_name)
{
    struct timespec until;
    bool answered;
    int r = 0;

    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += (time_t)(wait_usec / USEC_PER_SEC);
    until.tv_nsec += (long)(wait_usec % USEC_PER_SEC * 1000);
    if (until.tv_nsec >= 1000000000) {
        until.tv_nsec -= 1000000000;
        until.tv_sec++;
    }
    pthread_mutex_lock(&q->lock);
    while (!q->answered && r == 0)
        r = pthread_cond_timedwait(&q->change, &q->lock, &until);
    answered = q->answered;
    *ret_name = TAKE_PTR(q->name);
    pthread_mutex_unlock(&q->lock);
    return answered;
}

int user_names_new(UserNames **ret, char *(*lookup)(uid_t uid), uint64_t wait_usec)
{
    UserNames *n = malloc(sizeof(*n));

    if (!n)
        return -ENOMEM;
    *n = (UserNames){.lookup = lookup ? lookup : lookup_user, .wait_usec = wait_usec};
    *ret = n;
    return 0;
}

UserNames *user_names_free(UserNames *n)
{
    if (n)
        question_unref(n->hanging);
    free(n);
    return NULL;
}

/* Is the directory service still owing an answer? What it says then is of no use any more. */
static bool hangs(UserNames *n)
{
    _cleanup_free_ char *late = NULL;

    if (n->hanging && question_wait(n->hanging, 0, &late))
        n->hanging = question_unref(n->hanging);
    return n->hanging;
}

char *user_names_get(UserNames *n, uid_t uid)
{
    _cleanup_(question_unrefp) Question *q = hangs(n) ? NULL : question_new(n->lookup, uid);
    char *name = NULL;

    if (q && !question_wait(q, n->wait_usec, &name))
        n->hanging = TAKE_PTR(q);
    if (name)
        return name;
    return asprintf(&name, "%u", (unsigned)uid) < 0 ? NULL : name;
}
