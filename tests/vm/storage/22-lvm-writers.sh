#!/usr/bin/env bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# Logical volumes that write by themselves as soon as LVM activates them: an array that is not in sync, an old mirror,
# caches, a snapshot that is to be merged. They are read without that, or refused by name; the overlays stay small. Complete arrays.
set -eEuo pipefail
cd "$(dirname "$0")"
# shellcheck source=tests/vm/storage/lib.sh
. ./lib.sh

host_clean_up() {
    vgchange -an vgw >/dev/null 2>&1 || true
    losetup -D
    rm -f /etc/lvm/lvmlocal.conf
}
made() { mkfs.ext4 -q -b 1024 -d files "/dev/vgw/$1"; }
make_images() {
    printf 'activation { monitoring=0 }\nglobal { cache_check_executable="" cache_dump_executable="" }\n' >/etc/lvm/lvmlocal.conf
    make_files
    truncate -s 128M w1.img w2.img w3.img
    losetup /dev/loop1 w1.img
    losetup /dev/loop2 w2.img
    losetup /dev/loop3 w3.img
    vgcreate -q -s 1M vgw /dev/loop1 /dev/loop2 /dev/loop3
    # Not in sync: stopped before it could begin.
    lvcreate -q -y -n unsynced --type raid1 -m 1 -L 48M vgw /dev/loop1 /dev/loop2
    dmsetup message vgw-unsynced 0 frozen
    made unsynced
    lvcreate -q -y -n whole --type raid1 -m 1 -L 8M vgw /dev/loop1 /dev/loop2
    made whole
    lvcreate -q -y -n five --type raid5 -i 2 -I 64 -L 8M vgw
    made five
    lvcreate -q -y -n old --type mirror -m 1 --mirrorlog core -L 16M vgw /dev/loop1 /dev/loop2
    made old
    lvcreate -q -y -n through -L 8M vgw /dev/loop1
    made through
    lvcreate -q -y -n fast1 -L 8M vgw /dev/loop3
    lvconvert -q -y --type cache --cachevol fast1 --cachemode writethrough vgw/through
    lvcreate -q -y -n back -L 8M vgw /dev/loop1
    lvcreate -q -y -n fast2 -L 8M vgw /dev/loop3
    lvconvert -q -y --type cache --cachevol fast2 --cachemode writeback vgw/back
    made back
    lvcreate -q -y -n merged -L 16M vgw /dev/loop1
    made merged
    lvcreate -q -y -s vgw/merged -n earlier -L 16M
    dd if=/dev/urandom of=/dev/vgw/merged bs=1M seek=8 count=6 conv=fsync status=none
    lvcreate -q -y -s vgw/merged -n other -L 4M
    # In use, so it is put off until the next activation.
    exec 7</dev/vgw/merged
    lvconvert -y --merge vgw/earlier
    exec 7<&-
    grep merging <(lvs --noheadings -o lv_merging vgw/merged)
    for lv in whole five; do eventually 60 test "$(lvs --noheadings -o sync_percent vgw/$lv | tr -d ' ')" = 100.00; done

    not grep 100.00 <(lvs --noheadings -o sync_percent vgw/unsynced)
    sync
    # As a crash leaves it: what is orderly deactivated may be noted as clean.
    for i in 1 2 3; do cp --sparse=always w$i.img w$i.copy; done
    vgchange -q -an vgw
    losetup -d /dev/loop1 /dev/loop2 /dev/loop3
    for i in 1 2 3; do mv w$i.copy w$i.img; done
    images_done
}
must "the images can be made" make_images
host_view host.before
target_new a w1.img w2.img w3.img
session_new aaaaaaaa a
must "up" up aaaaaaaa
v=/run/ilr/aaaaaaaa/volumes
jq -c '.volumes[] | [.name, .layers, .reason]' /run/ilr-private/aaaaaaaa/session.json | sed 's/^/# /'
for volume in unsynced whole five old through; do check "$volume has its files" has_files $v/$volume; done
stopped() {
    local lv
    for lv in unsynced whole five; do dmsetup status ilr_aaaaaaaa_v1-$lv | grep -w frozen; done
}
check "no array synchronizes itself" stopped
check "the mirror is a map of its first copy" grep -x '0 32768 linear .*' <(dmsetup table "$(findmnt -no SOURCE $v/old)")
check "so is the origin of a cache that is written through" grep linear <(dmsetup table "$(findmnt -no SOURCE $v/through)")
check "no cache is active" not grep -w -e cache -e mirror <(dmsetup table | grep ^ilr_)
check "nor is anything merged" not grep -w snapshot-merge <(dmsetup table | grep ^ilr_)
merges() { record aaaaaaaa ".volumes[] | select(.name == \"$1\") | (.mounted | not) and (.reason | contains(\"merged\"))"; }
check "what a snapshot was to be merged into says so" merges merged
check "so does another snapshot of it" merges other
check "a cache that holds more says why it is left alone" record aaaaaaaa '.volumes[] | select(.name == "vgw-back" or .name == "back") | (.mounted | not) and (.reason | contains("cache"))'
used() { for i in 1 2 3; do dmsetup status ilr_aaaaaaaa_d$i; done | awk '{split($4, a, "/"); s += a[1]} END {print s / 2}'; }
before=$(used)
find $v -type f -exec cat {} + >/dev/null
say "$before KiB of the overlays used, $(used) KiB after all was read"
check "reading changes nothing" test "$(used)" = "$before"
check "the overlays are small" test "$before" -lt 4096
check "down" down aaaaaaaa
check "nothing is left" gone aaaaaaaa

target_new b w2.img w3.img
session_new bbbbbbbb b
must "up without the first disk" up bbbbbbbb
v=/run/ilr/bbbbbbbb/volumes
check "the other copy is whole" has_files $v/whole
check "raid5 without one" has_files $v/five
check "the rest has reasons" record bbbbbbbb '[.volumes[] | select(.mounted | not) | .reason] | all(. != null and . != "")'
check "down" down bbbbbbbb
check "nothing is left" gone bbbbbbbb
check "the host saw nothing" host_same
check "the kernel has no complaint" kernel_quiet
check "the backing stores are what they were" same_bytes
finish
