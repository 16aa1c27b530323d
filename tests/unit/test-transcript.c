/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* connection/transcript: lines of a terminal, bounded and masked. */

#include "transcript.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static void feed(Transcript *t, const char *text)
{
    transcript_feed(t, text, strlen(text));
}

/* The last lines, joined with '|'. */
static void assert_lines(const Transcript *t, const char *expected)
{
    _cleanup_strv_free_ char **v = NULL;
    _cleanup_free_ char *s = NULL;

    assert_int_equal(transcript_last(t, 20, &v), 0);
    s = strv_join(v, "|");
    assert_string_equal(s ? s : "", expected);
}

static void test_lines(void **state)
{
    Transcript t;

    assert_int_equal(transcript_init(&t), 0);
    assert_lines(&t, "");
    feed(&t, "one\r\ntwo\n\n  \nthr");
    assert_lines(&t, "one|two|thr");
    assert_string_equal(transcript_unfinished(&t), "thr");
    feed(&t, "ee\n");
    assert_lines(&t, "one|two|three");
    assert_string_equal(transcript_unfinished(&t), "");
    feed(&t, "10%\r20%\r30%\r");
    assert_string_equal(transcript_unfinished(&t), "30%");
    feed(&t, "\ndone: \x1b[1;31mred\x1b[0m\x1b]0;title\a!\tx\b\b\a\x07\n");
    assert_lines(&t, "one|two|three|30%|done: red!");
    transcript_done(&t);
}

/* Byte by byte gives the same as at once. */
static void test_pieces(void **state)
{
    static const char text[] = "a\r\nb\x1b[0mc\rd\n\x1b]0;x\x1b\\e \xc3\xa4\n\x1b[\nf";
    Transcript whole, pieces;
    size_t i;

    assert_int_equal(transcript_init(&whole), 0);
    assert_int_equal(transcript_init(&pieces), 0);
    feed(&whole, text);
    for (i = 0; i < sizeof(text) - 1; i++)
        transcript_feed(&pieces, text + i, 1);
    assert_lines(&whole, "a|d|e \xc3\xa4|f");
    assert_lines(&pieces, "a|d|e \xc3\xa4|f");
    transcript_done(&whole);
    transcript_done(&pieces);
}

static void test_bounds(void **state)
{
    _cleanup_strv_free_ char **v = NULL, **none = NULL;
    char block[1000];
    Transcript t;
    int i;

    assert_int_equal(transcript_init(&t), 0);
    memset(block, 'z', sizeof(block));
    for (i = 0; i < 1000; i++)
        transcript_feed(&t, block, sizeof(block));
    assert_int_equal(strlen(transcript_unfinished(&t)), TRANSCRIPT_LINE_MAX);
    for (i = 0; i < 1000; i++) {
        char line[32];

        snprintf(line, sizeof(line), "\nline %d", i);
        feed(&t, line);
    }
    assert_int_equal(transcript_last(&t, 1000, &v), 0);
    assert_int_equal(strv_length(v), TRANSCRIPT_LINES + 1);
    assert_string_equal(v[0], "line 935");
    assert_string_equal(v[TRANSCRIPT_LINES], "line 999");
    assert_int_equal(transcript_last(&t, 0, &none), 0);
    assert_int_equal(strv_length(none), 0);
    assert_true(t.total_bytes > 1000000);
    transcript_done(&t);
}

static void test_mark(void **state)
{
    _cleanup_strv_free_ char **v = NULL, **w = NULL;
    Transcript t;

    assert_int_equal(transcript_init(&t), 0);
    feed(&t, "old\nQuestion? ");
    transcript_end_line(&t);
    transcript_mark(&t);
    assert_int_equal(transcript_since_mark(&t, &v), 0);
    assert_int_equal(strv_length(v), 0);
    feed(&t, "new\nnext? ");
    assert_int_equal(transcript_since_mark(&t, &w), 0);
    assert_int_equal(strv_length(w), 1);
    assert_string_equal(w[0], "new");
    assert_lines(&t, "old|Question? |new|next? ");
    transcript_done(&t);
}

static void test_script_secrets(void **state)
{
    static const char script[] = "def f():\r\n"
                                 "    TargetPassword=\"p\xc3\xa4ss, word'1\"\r\n"
                                 "\tTargetUserName = 'user-name-1'\n"
                                 "InitiatorChapPassword=feedc0ffee1234 # x\n"
                                 "MachineName=\"public\"\n"
                                 "if TargetPassword == \"compared\":\n"
                                 "TargetPassword2=\"other\"\n"
                                 "TargetPassword=\"abc\"\n"
                                 "TargetUserName=\"ubuntu;name-behind\"\n"
                                 "TargetPassword=\"open end";
    Transcript t;

    assert_int_equal(transcript_init(&t), 0);
    transcript_add_script_secrets(&t, script, sizeof(script) - 1);
    feed(&t, "p\xc3\xa4ss, word'1 and user-name-1 and xfeedc0ffee1234x\npublic compared other abc open "
             "end\nas name-behind, ubuntu;name-behind\n");
    assert_lines(&t, "************* and *********** and x**************x|public compared other abc ********|"
                     "as ***********, ******************");
    transcript_done(&t);
}

static void test_masks(void **state)
{
    _cleanup_free_ char *s = NULL;
    char long_line[TRANSCRIPT_LINE_MAX + 100];
    _cleanup_strv_free_ char **v = NULL;
    Transcript t;

    assert_int_equal(transcript_init(&t), 0);
    transcript_add_secret(&t, "sesame-open");
    transcript_add_secret(&t, "abc"); /* too short to be told from words */
    transcript_add_secret(&t, NULL);
    feed(&t, "say sesame-open sesame-opensesame-open abc\n");
    assert_lines(&t, "say *********** ********************** abc");
    s = transcript_mask(&t, "x_1234567890abcdef1234567890ABCDEF0123_y deadbeef sesame-open");
    assert_string_equal(s, "x_************************************_y deadbeef ***********");

    /* The line is cut in the middle of the secret. */
    memset(long_line, '.', sizeof(long_line));
    memcpy(long_line + TRANSCRIPT_LINE_MAX - 6, "sesame-open", 11);
    long_line[sizeof(long_line) - 1] = '\n';
    transcript_feed(&t, long_line, sizeof(long_line));
    assert_int_equal(transcript_last(&t, 1, &v), 0);
    assert_true(endswith(v[0], ".******"));
    assert_null(strstr(v[0], "sesa"));
    transcript_done(&t);
}

/* A secret without end must not overflow the table either. */
static void test_secrets_in_secrets(void **state)
{
    Transcript t;

    assert_int_equal(transcript_init(&t), 0);
    transcript_add_secret(&t, "name");
    transcript_add_secret(&t, "name-sesame");
    transcript_add_secret(&t, "same-open");
    transcript_add_secret(&t, "xyxyx");
    transcript_add_secret(&t, "00112233");
    feed(&t, "name-sesame\nname-sesame-open.\nxyxyxyx.\n");
    feed(&t, "ffeeddccbbaa00112233445566778899aabbcc.\n");
    assert_lines(&t, "***********|****************.|*******.|**************************************.");
    transcript_done(&t);
}

static void test_many_secrets(void **state)
{
    char secret[32];
    Transcript t;
    int i;

    assert_int_equal(transcript_init(&t), 0);
    for (i = 0; i < 1000; i++) {
        snprintf(secret, sizeof(secret), "secret-%d", i);
        transcript_add_secret(&t, secret);
        transcript_add_secret(&t, "secret-0");
    }
    assert_int_equal(t.n_secrets, TRANSCRIPT_SECRETS);
    transcript_done(&t);
}

static void test_utf8(void **state)
{
    Transcript t;

    assert_int_equal(transcript_init(&t), 0);
    feed(&t, "\xc3\xa4 \xff \xc3 \xe2\x82\xac \xed\xa0\x80 \xf0\x9f\x98\x80 \xc0\xaf\n");
    assert_lines(&t, "\xc3\xa4 ? ? \xe2\x82\xac ??? \xf0\x9f\x98\x80 ??");
    transcript_done(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_lines),
        cmocka_unit_test(test_pieces),
        cmocka_unit_test(test_bounds),
        cmocka_unit_test(test_mark),
        cmocka_unit_test(test_secrets_in_secrets),
        cmocka_unit_test(test_masks),
        cmocka_unit_test(test_script_secrets),
        cmocka_unit_test(test_many_secrets),
        cmocka_unit_test(test_utf8),
    };

    return cmocka_run_group_tests_name("transcript", tests, NULL, NULL);
}
