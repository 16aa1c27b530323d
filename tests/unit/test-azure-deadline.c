/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What Azure does not answer, or puts off again and again, is waited for until the deadline and no longer. */
#include "azure-internal.h"
#include "azure-world.h"

typedef struct Asked {
    unsigned done;
    bool waits;
    Failure *failure;
} Asked;

static void on_asked(const AzureAnswer *answer, Failure *failure, void *userdata)
{
    Asked *a = userdata;

    assert_false(answer->ok);
    a->failure = failure;
    a->done++;
}

static void on_waiting(const char *detail, void *userdata)
{
    Asked *a = userdata;

    a->waits = true;
}

/* How long it took until it was over. */
static uint64_t ask(World *w, uint64_t timeout_usec, Asked *asked)
{
    uint64_t start = now_usec(CLOCK_BOOTTIME);
    _cleanup_free_ char *url = NULL;
    AzureRequest *request;

    assert_true(asprintf(&url, "%s/x", w->config.management_url) > 0);
    assert_int_equal(azure_request_start(&w->azure->client,
                                         &(AzureRequestOptions){.method = "GET",
                                                                .url = url,
                                                                .uid = AZURE_UID_HOST,
                                                                .subject = {.what = "ask"},
                                                                .attempts_max = 1,
                                                                .waiting = on_waiting,
                                                                .deadline_usec = start + timeout_usec},
                                         on_asked, asked, &request),
                     0);
    while (!asked->done && now_usec(CLOCK_BOOTTIME) < start + 60 * USEC_PER_SEC) {
        assert_true(sd_event_run(w->event, 100 * USEC_PER_MSEC) >= 0);
        /* Others are told meanwhile to come back in an hour. */
        if (asked->waits)
            azure_limit_hold(w->azure->client.limit, AZURE_LIMIT_READ, AZURE_UID_HOST,
                             now_usec(CLOCK_BOOTTIME) + USEC_PER_HOUR);
    }
    assert_int_equal(asked->done, 1);
    azure_request_free(request);
    return now_usec(CLOCK_BOOTTIME) - start;
}

static void no_turn_in_time(void **state)
{
    static const Exchange none[] = {{}};
    Asked asked = {};
    World w;

    world_init(&w, none);
    azure_limit_hold(w.azure->client.limit, AZURE_LIMIT_READ, AZURE_UID_HOST,
                     now_usec(CLOCK_BOOTTIME) + 3 * USEC_PER_SEC);
    assert_true(ask(&w, 4 * USEC_PER_SEC, &asked) < 10 * USEC_PER_SEC);
    assert_true(asked.waits);
    assert_int_equal(asked.failure->name, FAILURE_AZURE_THROTTLED);
    assert_played(&w, 0);
    failure_free(asked.failure);
    world_done(&w);
}

static void no_answer_in_time(void **state)
{
    static const Exchange stall[] = {{"GET", "/x", NULL, 200, NULL, "{}", TRICK_STALL}, {}};
    Asked asked = {};
    World w;

    world_init(&w, stall);
    w.config.request_timeout_usec = 40 * USEC_PER_SEC;
    assert_true(ask(&w, 1 * USEC_PER_SEC, &asked) < 10 * USEC_PER_SEC);
    assert_int_equal(asked.failure->name, FAILURE_AZURE_UNREACHABLE);
    failure_free(asked.failure);
    world_done(&w);
}

/* Each of the three is put off; the time for it is that of all together. */
static void one_deadline_for_all(void **state)
{
    static const Exchange slow[] = {
        {"GET", POINT_URL "?api-version=", NULL, 503, "Retry-After: 2\n", "{}"},
        {"GET", POINT_URL "?api-version=", NULL, 200, NULL,
         "{\"name\":\"182457315790203\",\"properties\":{\"objectType\":\"IaasVMRecoveryPoint\"}}"},
        {"GET", ITEM_URL "?api-version=", NULL, 503, "Retry-After: 2\n", "{}"},
        LOOKUP,
        POSTED,
        {"GET", ASYNC_PATH, NULL, 200, NULL, RUNNING, TRICK_NONE, true},
    };
    uint64_t start, took;
    World w;

    world_init(&w, slow);
    w.point->judged = false;
    w.config.operation_timeout_usec = 6 * USEC_PER_SEC;
    start = now_usec(CLOCK_BOOTTIME);
    provision(&w);
    took = now_usec(CLOCK_BOOTTIME) - start;
    assert_failure(&w, FAILURE_OPERATION_TIMEOUT, "OperationTimeoutSec=");
    assert_int_equal(w.posted, 1);
    assert_true(took >= 6 * USEC_PER_SEC && took < 9 * USEC_PER_SEC); /* not 4 s and then 6 */
    world_done(&w);
}

static int on_hold(sd_event_source *source, uint64_t usec, void *userdata)
{
    World *w = userdata;

    azure_limit_hold(w->azure->client.limit, AZURE_LIMIT_WRITE, AZURE_UID_HOST,
                     now_usec(CLOCK_BOOTTIME) + USEC_PER_HOUR);
    return 0;
}

/* What waited for its turn until the end is told so, and has done nothing that would have to be revoked. */
static void no_turn_to_begin(void **state)
{
    static const Exchange lookup[] = {LOOKUP, {}};
    World w;

    world_init(&w, lookup);
    w.config.operation_timeout_usec = 3 * USEC_PER_SEC;
    azure_limit_hold(w.azure->client.limit, AZURE_LIMIT_WRITE, AZURE_UID_HOST,
                     now_usec(CLOCK_BOOTTIME) + 2 * USEC_PER_SEC);
    assert_true(sd_event_add_time_relative(w.event, NULL, CLOCK_BOOTTIME, USEC_PER_SEC, 1, on_hold, &w) >= 0);
    provision(&w);
    assert_failure(&w, FAILURE_AZURE_THROTTLED, "its time was over before it could be sent");
    assert_non_null(strstr(failure_hint(w.failure), "OperationTimeoutSec="));
    assert_true(w.nothing_sent);
    assert_played(&w, 1);
    world_done(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(no_turn_in_time),
        cmocka_unit_test(no_answer_in_time),
        cmocka_unit_test(one_deadline_for_all),
        cmocka_unit_test(no_turn_to_begin),
    };

    log_open("test-azure-deadline", LOG_ERR);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
