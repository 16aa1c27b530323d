/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* When a session counts as not used, with a clock made of a number; and the kernel's count of what was read.
 */

#include "block-stat.h"
#include "idle.h"

#include <setjmp.h>
#include <stdarg.h>
#include <sys/stat.h>

#include <cmocka.h>

#define MINUTE USEC_PER_MINUTE

/* Looks as often as it wants until a time; the time at which it says idle, or 0. */
static uint64_t run(Idle *i, uint64_t *now, uint64_t until, uint64_t bytes, bool kept)
{
    unsigned looks = 0;

    while (*now <= until) {
        uint64_t next;

        if (idle_look(i, bytes, kept, *now, &next))
            return *now;
        assert_true(next > 0 && next <= MINUTE);
        assert_true(++looks < 100000);
        *now += next;
    }
    return 0;
}

static void test_not_used(void **state)
{
    Idle i = {.span_usec = 30 * MINUTE};
    uint64_t now = 1000 * MINUTE;

    idle_touch(&i, now);
    assert_int_equal(run(&i, &now, 2000 * MINUTE, 0, false), 1030 * MINUTE);
}

static void test_reads_begin_it_anew(void **state)
{
    Idle i = {.span_usec = 30 * MINUTE};
    uint64_t now = 1000 * MINUTE, end;

    idle_touch(&i, now);
    assert_int_equal(run(&i, &now, 1029 * MINUTE, 0, false), 0);
    end = run(&i, &now, 2000 * MINUTE, 512, false);
    /* From when the read was seen, a minute late at most. */
    assert_true(end >= 1059 * MINUTE && end <= 1061 * MINUTE);
}

static void test_kept(void **state)
{
    Idle i = {.span_usec = 30 * MINUTE};
    uint64_t now = 1000 * MINUTE, end;

    idle_touch(&i, now);
    assert_int_equal(run(&i, &now, 5000 * MINUTE, 0, true), 0);
    end = run(&i, &now, 9000 * MINUTE, 0, false);
    assert_true(end >= 5029 * MINUTE && end <= 5032 * MINUTE);
}

static void test_never(void **state)
{
    Idle i = {};
    uint64_t now = 0;

    assert_int_equal(run(&i, &now, 24 * 60 * MINUTE, 0, false), 0);
}

/* A device that comes anew begins to count from 0: that is a sign of use, too. */
static void test_count_goes_back(void **state)
{
    Idle i = {.span_usec = 30 * MINUTE, .bytes = 4096};
    uint64_t next;

    idle_touch(&i, 0);
    assert_false(idle_look(&i, 0, false, 31 * MINUTE, &next));
    /* Nor does a clock that goes back do harm. */
    assert_false(idle_look(&i, 0, false, 20 * MINUTE, &next));
}

static void test_stat(void **state)
{
    uint64_t bytes = 0;

    assert_int_equal(block_stat_parse("   54 0 20480 33 7 7 7 7 0 1 1 0 0 0 0 0 0\n", &bytes), 0);
    assert_int_equal(bytes, 20480 * 512);
    assert_int_equal(block_stat_parse("", &bytes), -EBADMSG);
    assert_int_equal(block_stat_parse("1 2", &bytes), -EBADMSG);
    assert_int_equal(block_stat_parse("1 2 x", &bytes), -EBADMSG);
    assert_int_equal(block_stat_parse("1 2 18446744073709551615 4", &bytes), -EBADMSG);
}

static void test_disks(void **state)
{
    static const char *const files[] = {"8:0", "8:16"};
    char dir[] = "/tmp/ilr-test-XXXXXX", path[128], command[64];
    _cleanup_json_ json_object *disks = NULL;
    size_t i;

    assert_non_null(mkdtemp(dir));
    for (i = 0; i < ELEMENTSOF(files); i++) {
        FILE *f;

        snprintf(path, sizeof(path), "%s/%s", dir, files[i]);
        assert_int_equal(mkdir(path, 0700), 0);
        strcat(path, "/stat");
        f = fopen(path, "we");
        assert_non_null(f);
        fprintf(f, "1 0 %zu 0\n", 100 * (i + 1));
        fclose(f);
    }
    disks = json_tokener_parse("[{\"device\":\"8:0\"},{\"device\":\"8:16\"},{\"device\":\"8:32\"},{},"
                               "{\"device\":\"../8:0\"},{\"device\":\"8:0/../8:0\"}]");
    assert_int_equal(block_stat_bytes_read(dir, disks), 300 * 512);
    assert_int_equal(block_stat_bytes_read("/nonexistent", disks), 0);
    assert_int_equal(block_stat_bytes_read(dir, NULL), 0);
    snprintf(command, sizeof(command), "rm -rf %s", dir);
    assert_int_equal(system(command), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_not_used), cmocka_unit_test(test_reads_begin_it_anew),
        cmocka_unit_test(test_kept),     cmocka_unit_test(test_never),
        cmocka_unit_test(test_stat),     cmocka_unit_test(test_count_goes_back),
        cmocka_unit_test(test_disks),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
