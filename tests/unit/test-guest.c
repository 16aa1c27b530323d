/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* What a backed-up machine's fstab and crypttab say, and which volumes are meant. */

#include "files.h"
#include "guest.h"
#include "subvolume.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <fcntl.h>
#include <sys/stat.h>

static void fields_of_fstab(void **state)
{
    static const char text[] = "# comment\n"
                               "\n"
                               "UUID=1 / ext4 defaults 0 1\n"
                               "LABEL=two\\040words\t/my\\040data xfs noatime\n"
                               "/dev/sda2 /home ext4\n"
                               "nonsense\n"
                               "/dev/vg/x /x btrfs subvol=/@x,subvolid=257,ro 0 0\n"
                               "/swap none swap sw\n"
                               "UUID=2 none swap sw 0 0\n"
                               "proc /proc proc\n"
                               "tmpfs /tmp tmpfs\n"
                               "/home /srv none bind\n"
                               "/home /srv2 auto defaults,rbind\n"
                               "nas:/a /nas nfs4 _netdev\n"
                               "//nas/a /cifs cifs guest\n"
                               "me@host: /ssh fuse.sshfs\n"
                               "UUID=3 relative ext4\n";
    static const char *const where[] = {"/", "/my data", "/home", "/x"};
    _cleanup_(fstab_done) Fstab f = {}, again = {};
    _cleanup_json_ json_object *o = NULL;
    _cleanup_free_ char *value = NULL;
    size_t i;

    assert_int_equal(fstab_parse(text, strlen(text), &f), 0);
    assert_int_equal(f.n_entries, ELEMENTSOF(where));
    for (i = 0; i < ELEMENTSOF(where); i++)
        assert_string_equal(f.entries[i].where, where[i]);
    assert_string_equal(f.entries[1].what, "LABEL=two words");
    value = fstab_option(f.entries[3].options, "subvol");
    assert_string_equal(value, "/@x");
    assert_true(fstab_has_option(f.entries[3].options, "ro"));
    assert_false(fstab_has_option(f.entries[3].options, "noauto"));
    assert_int_equal(crypttab_parse("# x y\nhome UUID=1-2 none luks\n  data\t/dev/sda3\nshort\n", &f), 0);
    assert_int_equal(f.n_crypts, 2);
    assert_string_equal(f.crypts[1].name, "data");
    assert_string_equal(f.crypts[1].what, "/dev/sda3");
    assert_int_equal(fstab_to_json(&f, &o), 0);
    assert_int_equal(fstab_from_json(o, &again), 0);
    assert_int_equal(again.n_entries, f.n_entries);
    assert_string_equal(again.entries[1].where, "/my data");
    assert_string_equal(again.crypts[0].what, "UUID=1-2");
}

static void hostile_fstab(void **state)
{
    _cleanup_(fstab_done) Fstab f = {};
    _cleanup_free_ char *many = calloc(1, FSTAB_SIZE_MAX);
    char *p = many;
    size_t i;

    for (i = 0; i < 1000; i++)
        p += sprintf(p, "UUID=%zu /m%zu ext4\n", i, i);
    p += sprintf(p, "UUID=x /%0300d ext4\n", 0);
    assert_int_equal(fstab_parse(many, (size_t)(p - many), &f), 0);
    assert_int_equal(f.n_entries, FSTAB_ENTRIES_MAX);
    fstab_done(&f);
    strcpy(many, "UUID=\33[2J /\1x\377y ext4\n");
    assert_int_equal(fstab_parse(many, strlen(many), &f), 0);
    assert_string_equal(f.entries[0].what, "UUID=?[2J");
    assert_string_equal(f.entries[0].where, "/?x?y");
    fstab_done(&f);
    p = many + sprintf(many, "UUID=x /%0300d ext4\n", 0);
    assert_int_equal(fstab_parse(many, (size_t)(p - many), &f), 0);
    assert_int_equal(f.n_entries, 0);
    /* Cut off it would be subvol=@. */
    p = many + sprintf(many, "UUID=x /home btrfs x%0246d,subvol=@home\n", 0);
    assert_int_equal(fstab_parse(many, (size_t)(p - many), &f), 0);
    assert_int_equal(f.n_entries, 0);
}

#define LV_UUID "abcdefghijklmnopqrstuvwxyz012345"
static Volume volumes[] = {
    {.name = (char *)"efi",
     .mounted = true,
     .uuid = (char *)"1234-ABCD",
     .label = (char *)"EFI",
     .partition = 1,
     .partition_uuid = (char *)"aaaa-01",
     .partition_label = (char *)"EFI System"},
    {.name = (char *)"pv", .used = true, .uuid = (char *)"pv-uuid", .label = (char *)"data"},
    {.name = (char *)"lv",
     .mounted = true,
     .group = (char *)"my-vg",
     .base = (char *)"ro-ot",
     .by_id = (char *)LV_UUID},
    {.name = (char *)"data", .disk = 1, .mounted = true, .label = (char *)"data", .uuid = (char *)"U-1"},
    {.name = (char *)"data-2", .disk = 2, .mounted = true, .label = (char *)"data", .uuid = (char *)"U-1"},
    {.name = (char *)"crypt",
     .type = (char *)"crypto_LUKS",
     .used = true,
     .uuid = (char *)"L-1",
     .reason = (char *)"unlocked"},
    {.name = (char *)"inner", .mounted = true, .opened_from = 6, .uuid = (char *)"I-1"},
    {.name = (char *)"shut",
     .type = (char *)"crypto_LUKS",
     .used = true,
     .locked = true,
     .uuid = (char *)"L-2",
     .reason = (char *)"locked"},
    {.name = (char *)"md0", .mounted = true, .base = (char *)"md0", .by_id = (char *)"00112233:1:2:3"},
    {.name = (char *)"old", .uuid = (char *)"bad-1", .reason = (char *)"damaged"},
    {.name = (char *)"pool", .type = (char *)"btrfs", .mounted = true, .used = true, .uuid = (char *)"B-1"},
};

static void which_volume(void **state)
{
    static const struct {
        const char *what, *volume; /* or part of the reason */
    } table[] = {
        {"UUID=1234-abcd", "efi"},
        {"UUID=\"1234-ABCD\"", "efi"},
        {"/dev/disk/by-uuid/1234-ABCD", "efi"},
        {"LABEL=EFI", "efi"},
        {"LABEL=efi", "-no volume like this"},
        {"LABEL=", "-no volume like this"},
        {"PARTUUID=AAAA-01", "efi"},
        {"/dev/disk/by-partuuid/aaaa-01", "efi"},
        {"PARTLABEL=EFI System", "efi"},
        {"/dev/disk/by-partlabel/EFI\\x20System", "efi"},
        {"/dev/mapper/my--vg-ro--ot", "lv"},
        {"/dev/mapper/my-vg-ro-ot", "-no volume"},
        {"/dev/mapper/my--vg-ro--ot2", "-no volume"},
        {"/dev/my-vg/ro-ot", "lv"},
        {"/dev/disk/by-id/dm-name-my--vg-ro--ot", "lv"},
        {"/dev/disk/by-id/dm-uuid-LVM-00000000000000000000000000000000" LV_UUID, "lv"},
        {"/dev/disk/by-id/dm-uuid-LVM-" LV_UUID, "-no volume"},
        {"UUID=pv-uuid", "-no volume"},
        {"LABEL=data", "data"}, /* the disk of whoever asks */
        {"/dev/mapper/home", "inner"},
        {"/dev/mapper/luks-L-1", "inner"},
        {"UUID=I-1", "inner"},
        {"/dev/mapper/shut", "-volume shut is not mounted: locked"},
        {"/dev/mapper/loop", "-no volume"},
        {"/dev/md0", "md0"},
        {"/dev/md/0", "md0"},
        {"/dev/md/md0", "md0"},
        {"/dev/disk/by-id/md-uuid-00112233:1:2:3", "md0"},
        {"/dev/disk/by-id/md-name-host:0", "md0"},
        {"/dev/md127", "-given anew"},
        {"UUID=bad-1", "-volume old is not mounted: damaged"},
        {"UUID=B-1", "pool"},
        {"/dev/sda1", "-does not tell"},
        {"/dev/disk/by-path/x", "-does not tell"},
        {"/dev/disk/cloud/azure_resource-part1", "-temporary disk"},
        {"/dev/", "-does not tell"},
        {"/etc/passwd", "-no device"},
        {"", "-no device"},
    };
    _cleanup_(fstab_done) Fstab f = {};
    size_t i;

    assert_int_equal(
        crypttab_parse("home UUID=L-1 none\nshut /dev/disk/by-uuid/L-2\nloop /dev/mapper/loop\n", &f), 0);
    for (i = 0; i < ELEMENTSOF(table); i++) {
        _cleanup_free_ char *reason = NULL;
        ssize_t found = guest_match(volumes, ELEMENTSOF(volumes), &f, 1, table[i].what, &reason);

        if (*table[i].volume == '-') {
            assert_int_equal(found, -ENOENT);
            assert_non_null(strstr(reason, table[i].volume + 1));
        } else {
            assert_null(reason);
            assert_true(found >= 0);
            assert_string_equal(volumes[found].name, table[i].volume);
        }
    }
}

static void plan_of_mounts(void **state)
{
    static const char text[] = "/dev/my-vg/ro-ot / ext4 defaults 0 1\n"
                               "LABEL=data //srv/a/b/ ext4\n"
                               "LABEL=EFI /boot/efi vfat\n"
                               "UUID=I-1 /srv auto\n"
                               "UUID=nothing /lost ext4\n"
                               "/dev/cdrom /media iso9660 noauto\n"
                               "UUID=B-1 /b1 btrfs subvol=/@home,subvolid=999\n"
                               "UUID=B-1 /b2 btrfs subvolid=257\n"
                               "UUID=B-1 /b3 btrfs subvolid=999\n"
                               "UUID=B-1 /b4 btrfs subvolid=5\n"
                               "UUID=B-1 /b5 btrfs defaults\n";
    static const struct {
        const char *where, *part;
    } expected[] = {{"/srv", ""}, {"/b1", "@home"},  {"/b2", "@home"},  {"/b4", ""},
                    {"/b5", "@"}, {"/boot/efi", ""}, {"//srv/a/b/", ""}};
    _cleanup_(guest_plan_done) GuestPlan plan = {};
    _cleanup_(fstab_done) Fstab f = {};
    size_t i;

    volumes[10].subvolumes = json_tokener_parse("[{\"id\":256,\"path\":\"@\",\"default\":true},"
                                                "{\"id\":257,\"path\":\"@home\",\"default\":false}]");
    assert_string_equal(guest_root_place(&volumes[10], 0), "@");
    assert_string_equal(guest_root_place(&volumes[10], 3), "root");
    assert_null(guest_root_place(&volumes[10], 4));
    assert_string_equal(guest_root_place(&volumes[0], 0), "");
    assert_null(guest_root_place(&volumes[0], 1));
    assert_int_equal(fstab_parse(text, strlen(text), &f), 0);
    assert_int_equal(guest_plan(volumes, ELEMENTSOF(volumes), &f, 2, &plan), 0);
    assert_int_equal(plan.n_mounts, ELEMENTSOF(expected));
    for (i = 0; i < ELEMENTSOF(expected); i++) {
        assert_string_equal(plan.mounts[i].entry->where, expected[i].where);
        assert_string_equal(plan.mounts[i].subvolume, expected[i].part);
    }
    assert_int_equal(plan.n_missing, 2);
    assert_string_equal(plan.missing[0].entry->where, "/lost");
    assert_string_equal(plan.missing[1].entry->where, "/b3");
    assert_non_null(strstr(plan.missing[1].reason, "999"));
    json_object_put(volumes[10].subvolumes);
    volumes[10].subvolumes = NULL;
}

static void put(const char *directory, const char *name, const char *text)
{
    _cleanup_free_ char *path = NULL;
    FILE *f;

    assert_true(asprintf(&path, "%s/%s", directory, name) > 0);
    assert_non_null(f = fopen(path, "w"));
    fputs(text, f);
    assert_int_equal(fclose(f), 0);
}

/* Links of the backup stay in the backup. */
static void root_of_a_machine(void **state)
{
    char top[] = "/tmp/ilr-test-guest-XXXXXX", path[PATH_MAX];
    _cleanup_(fstab_done) Fstab f = {};
    _cleanup_close_ int root = -EBADF;
    int fd;

    assert_non_null(mkdtemp(top));
    put(top, "outside", "UUID=outside /outside ext4\n");
    snprintf(path, sizeof(path), "%s/root", top);
    assert_int_equal(mkdir(path, 0755), 0);
    assert_int_equal(fstab_read(path, "", 10 * USEC_PER_SEC, &f), -ENOENT);
    snprintf(path, sizeof(path), "%s/root/etc", top);
    assert_int_equal(mkdir(path, 0755), 0);
    snprintf(path, sizeof(path), "%s/root/etc/fstab", top);
    assert_int_equal(mkfifo(path, 0644), 0);
    snprintf(path, sizeof(path), "%s/root", top);
    assert_int_equal(fstab_read(path, "", 10 * USEC_PER_SEC, &f), -ENOENT);
    snprintf(path, sizeof(path), "%s/root/etc/fstab", top);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(symlink("../../outside", path), 0);
    snprintf(path, sizeof(path), "%s/root", top);
    assert_int_equal(fstab_read(path, "", 10 * USEC_PER_SEC, &f), -ENOENT);
    /* The same link leads to a file of the backup, if there is one. */
    put(path, "outside", "UUID=inside /inside ext4\n");
    put(path, "etc/crypttab", "home UUID=1\n");
    assert_int_equal(fstab_read(path, "", 10 * USEC_PER_SEC, &f), 0);
    assert_int_equal(f.n_entries, 1);
    assert_string_equal(f.entries[0].where, "/inside");
    assert_int_equal(f.n_crypts, 1);
    assert_int_equal(fstab_read(path, "../../../etc", 10 * USEC_PER_SEC, &f), -ENOENT);

    root = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
    fd = open_in_root(root, "/../outside", O_RDONLY);
    assert_true(fd >= 0);
    close(fd);
    assert_int_equal(open_in_root(root, "/proc/self", O_PATH), -ENOENT);
    assert_int_equal(file_remove_tree(AT_FDCWD, top), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(fields_of_fstab),   cmocka_unit_test(hostile_fstab),
        cmocka_unit_test(which_volume),      cmocka_unit_test(plan_of_mounts),
        cmocka_unit_test(root_of_a_machine),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
