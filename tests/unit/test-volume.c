/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* What volumes are called: names that a path takes and that stay, labels that a terminal takes, and what a
 * volume is made of in words. */

#include "names.h"
#include "strv.h"
#include "volume.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static void usable_names(void **state)
{
    char longest[VOLUME_NAME_MAX + 2];

    assert_true(volume_name_usable("root"));
    assert_true(volume_name_usable("EFI_1.2-x"));
    assert_true(volume_name_usable("disk"));
    assert_true(volume_name_usable("disk1x"));
    assert_false(volume_name_usable(NULL));
    assert_false(volume_name_usable(""));
    assert_false(volume_name_usable(".."));
    assert_false(volume_name_usable(".hidden"));
    assert_false(volume_name_usable("-rf"));
    assert_false(volume_name_usable("a/b"));
    assert_false(volume_name_usable("two words"));
    assert_false(volume_name_usable("caf\xc3\xa9"));
    assert_false(volume_name_usable("disk1"));
    assert_false(volume_name_usable("disk12-part3"));
    memset(longest, 'a', sizeof(longest));
    longest[VOLUME_NAME_MAX] = '\0';
    assert_true(volume_name_usable(longest));
    longest[VOLUME_NAME_MAX] = 'a';
    longest[VOLUME_NAME_MAX + 1] = '\0';
    assert_false(volume_name_usable(longest));
}

static Volume *volumes_new(const Volume *from, size_t n)
{
    Volume *v = calloc(n, sizeof(*v));
    size_t i;

    assert_non_null(v);
    for (i = 0; i < n; i++) {
        v[i] = from[i];
        v[i].label = from[i].label ? strdup(from[i].label) : NULL;
        v[i].base = from[i].base ? strdup(from[i].base) : NULL;
        v[i].group = from[i].group ? strdup(from[i].group) : NULL;
        v[i].partition_label = from[i].partition_label ? strdup(from[i].partition_label) : NULL;
    }
    return v;
}

static void names_of_volumes(void **state)
{
    const Volume from[] = {
        {.disk = 0, .partition = 1, .label = (char *)"root"},
        {.disk = 0, .partition = 2, .label = (char *)"///", .partition_label = (char *)"boot"},
        {.disk = 0, .partition = 14},
        {.disk = 1, .partition = 0, .label = (char *)"data"},
        {.disk = 2, .partition = 0},
        {.disk = 3, .partition = 1, .label = (char *)"root"},
        {.disk = 4, .partition = 0, .label = (char *)"data"},
        /* looks like what the first one is called now */
        {.disk = 5, .partition = 1, .label = (char *)"root-disk1p1"},
        /* what a directory or a shell would not like */
        {.disk = 6, .partition = 1, .label = (char *)"System Reserved"},
        {.disk = 6, .partition = 2, .partition_label = (char *)"Basic data partition"},
        {.disk = 6, .partition = 3, .partition_label = (char *)"Basic data partition"},
        {.disk = 7, .partition = 1, .label = (char *)"../x"},
        {.disk = 7, .partition = 2, .label = (char *)"\xe4\xb8\xad\xe6\x96\x87"},
        {.disk = 7, .partition = 3, .label = (char *)"-caf\xc3\xa9/"},
        {.disk = 8, .base = (char *)"a+b", .group = (char *)"vg0"},
    };
    const char *expected[] = {"disk1-part1",
                              "boot",
                              "disk1-part14",
                              "data-disk2",
                              "disk3",
                              "root-disk4p1",
                              "data-disk5",
                              "disk6-part1",
                              "System_Reserved",
                              "Basic_data_partition-disk7p2",
                              "Basic_data_partition-disk7p3",
                              "_._x",
                              "disk8-part2",
                              "_caf__",
                              "a_b"};
    Volume *v = volumes_new(from, ELEMENTSOF(from));
    size_t i;

    assert_int_equal(volumes_name(v, ELEMENTSOF(from)), 0);
    for (i = 0; i < ELEMENTSOF(from); i++)
        assert_string_equal(v[i].name, expected[i]);
    /* Naming again changes nothing. */
    assert_int_equal(volumes_name(v, ELEMENTSOF(from)), 0);
    for (i = 0; i < ELEMENTSOF(from); i++)
        assert_string_equal(v[i].name, expected[i]);
    volumes_free(v, ELEMENTSOF(from));
}

static void names_of_logical_volumes(void **state)
{
    const Volume from[] = {
        {.disk = 0, .base = (char *)"root", .group = (char *)"vg0"},
        {.disk = 1, .base = (char *)"root", .group = (char *)"vg1"},
        {.disk = 1, .base = (char *)"var", .group = (char *)"vg1", .label = (char *)"logs"},
        {.disk = 1, .base = (char *)"srv", .group = (char *)"vg1"},
        {.disk = 2, .base = (char *)"home", .group = (char *)"vg2"},
        {.disk = 3, .base = (char *)"home", .group = (char *)"vg2"}, /* the disk is there twice */
        {.disk = 4, .base = (char *)"-", .group = (char *)"vg2"},
        {.disk = 5, .base = (char *)"md0"},
        {.disk = 6, .label = (char *)"pool"},
        {.disk = 7, .label = (char *)"pool", .used = true}, /* the second device of the same */
    };
    const char *expected[] = {"vg0-root",   "vg1-root", "logs", "srv",  "vg2-home",
                              "vg2-home-2", "vg2--",    "md0",  "pool", "disk8"};
    Volume *v = volumes_new(from, ELEMENTSOF(from));
    size_t i;

    v[9].reason = strdup("device of the btrfs on disk7");
    assert_int_equal(volumes_name(v, ELEMENTSOF(from)), 0);
    for (i = 0; i < ELEMENTSOF(from); i++)
        assert_string_equal(v[i].name, expected[i]);
    /* What comes later takes no name away. */
    v[3].name = (free(v[3].name), NULL);
    v[3].label = strdup("logs");
    assert_int_equal(volumes_name(v, ELEMENTSOF(from)), 0);
    assert_string_equal(v[2].name, "logs");
    assert_string_equal(v[3].name, "logs-vg1-srv");
    volumes_free(v, ELEMENTSOF(from));
}

static void layers_of_volumes(void **state)
{
    Volume a = {.disk = 0, .partition = 2}, b = {.disk = 1}, c = {.disk = 2};
    Volume *two[] = {&a, &b}, *one[] = {&c}, *three[] = {&a, &c};
    _cleanup_strv_free_ char **md = NULL, **lv = NULL, **mixed = NULL;

    md = volumes_join_layers(two, 2, "md raid1");
    assert_string_equal(md[0], "disk1-part2 + disk2");
    assert_string_equal(md[1], "md raid1");
    assert_null(md[2]);
    c.layers = md;
    lv = volumes_join_layers(one, 1, "LV vg0/root");
    assert_int_equal(strv_length(lv), 3);
    assert_string_equal(lv[2], "LV vg0/root");
    mixed = volumes_join_layers(three, 2, "LV vg0/root");
    assert_string_equal(mixed[0], "disk1-part2 + disk1-part2 + disk2 > md raid1");
}

static void labels_for_people(void **state)
{
    static const struct {
        const char *in, *out;
    } cases[] = {
        {"plain", "plain"},
        {"caf\xc3\xa9", "caf\xc3\xa9"},
        {"\x1b[31mred", "?[31mred"},
        {"bad\xff\xc3", "bad??"},
        {"c1\xc2\x9b", "c1?"},
        {"0123456789abcdef", "0123456789ab"},
        {"0123456789a\xc3\xa9", "0123456789a"}, /* never half a character */
    };
    size_t i;

    for (i = 0; i < ELEMENTSOF(cases); i++) {
        _cleanup_free_ char *s = text_clean(cases[i].in, 12);

        assert_string_equal(s, cases[i].out);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(usable_names),
        cmocka_unit_test(names_of_volumes),
        cmocka_unit_test(names_of_logical_volumes),
        cmocka_unit_test(layers_of_volumes),
        cmocka_unit_test(labels_for_people),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
