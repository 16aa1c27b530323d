#!/usr/bin/env bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# Linux RAID: levels and superblocks, whole and with a disk missing, beside the living originals.
set -eEuo pipefail
cd "$(dirname "$0")"
# shellcheck source=tests/vm/storage/lib.sh
. ./lib.sh

host_clean_up() {
    umount $work/live 2>/dev/null || true
    mdadm --quiet --stop --scan || true
    losetup -D
}

array() { # NAME METADATA LEVEL OPTIONS... DEVICES
    local name=$1 metadata=$2
    shift 2
    mdadm --quiet --create /dev/md/"$name" --run --assume-clean --metadata="$metadata" "$@"
    eventually 60 test -b /dev/md/"$name" # mdadm does not wait for long
    mkfs.ext4 -q -b 1024 -L "$name" -d files "/dev/md/$name"
}
make_images() {
    local i p
    make_files
    modprobe -a raid1 raid10 raid456 raid0
    for ((i = 1; i <= 4; i++)); do
        truncate -s 88M md$i
        for ((p = 0; p < 10; p++)); do echo "start=$((2048 + p * 16384)), size=16384"; done | sfdisk -q -X gpt md$i
        losetup -P /dev/loop1$i md$i
    done
    truncate -s 16M md5 md6 md7 md8
    for ((i = 5; i <= 8; i++)); do losetup /dev/loop1$i md$i; done
    udevadm settle
    array five 1.2 -l 5 -c 64 -n 4 /dev/loop1[1-4]p1
    array near 1.2 -l 10 -c 64 -n 4 /dev/loop1[1-4]p2
    array far 1.2 -l 10 -p f2 -c 64 -n 4 /dev/loop1[1-4]p3
    array zero 1.2 -l 0 -c 64 -n 4 /dev/loop1[1-4]p4
    array six 1.2 -l 6 -c 64 -n 4 /dev/loop1[1-4]p5
    array old 0.90 -l 1 -n 2 /dev/loop1[12]p6
    array end 1.0 -l 1 -n 2 /dev/loop1[34]p6
    array offset 1.1 -l 10 -p o2 -c 64 -n 4 /dev/loop1[1-4]p7
    array fiveold 0.90 -l 5 -p ra -c 64 -n 3 /dev/loop1[123]p8
    array whole 1.0 -l 1 -n 2 /dev/loop15 missing
    array uneven 1.2 -l 0 -c 64 -n 2 /dev/loop16 /dev/loop14p8
    array four 1.2 -l 4 -c 64 -n 3 /dev/loop1[123]p9
    array line 1.2 -l linear -n 4 /dev/loop1[1-4]p10
    # A raid1 on whole disks whose partition table lies at the start of its members.
    mdadm --quiet --create /dev/md/tabled --run --assume-clean --metadata=1.0 -l 1 -n 2 /dev/loop17 /dev/loop18
    eventually 60 test -b /dev/md/tabled
    echo 'start=2048, size=16384' | sfdisk -q -X gpt /dev/md/tabled
    truncate -s 8M fs
    mkfs.ext4 -q -L inside -d files fs
    dd if=fs of=/dev/md/tabled bs=512 seek=2048 conv=fsync status=none
    rm fs
    udevadm settle
    for i in /dev/md/*; do mdadm --wait-clean "$i"; done
    # One that was being written to.
    mkdir -p live
    echo 0 >"/sys/block/$(basename "$(readlink -f /dev/md/near)")/md/safe_mode_delay"
    mount /dev/md/near live
    touch live/active
    sync -f live
    for ((i = 1; i <= 8; i++)); do
        dd if=/dev/loop1$i of=md$i.img bs=1M conv=sparse iflag=direct status=none
    done
    umount live
    mount /dev/md/five live
    mkdir mnt
    losetup -o $(((2048 + 16384) * 512)) /dev/loop20 md1.img
    mdadm --examine /dev/loop20 | grep 'State : active'
    losetup -d /dev/loop20
    images_done
}
must "the images can be made" make_images
host_view host.before

target_new a md1.img md2.img md3.img md4.img
target_new b md5.img md6.img md7.img md8.img
session_new aaaaaaaa a b
must "up" up aaaaaaaa
v=/run/ilr/aaaaaaaa/volumes
check "the host's LVM and md see nothing new" host_same
for volume in five near far zero old end offset fiveold whole uneven four line inside; do
    check "$volume has its files" has_files "$v/$volume"
done
jq -c '.volumes[] | select(.name | startswith("disk") | not) | [.name, .layers, .reason]' /run/ilr-private/aaaaaaaa/session.json | sed 's/^/# /'
check "what an array is partitioned into says so" record aaaaaaaa '.volumes[] | select(.name == "inside") | .layers | index("partition 1")'
check "an array that was not stopped says so" record aaaaaaaa '.volumes[] | select(.name == "near") | .layers | index("md raid10 (not clean)")'
check "raid6 says why not" record aaaaaaaa '.volumes[] | select(.name == "disk1-part5") | .reason | contains("raid6 is not put together")'
check "what is missing a member says so" record aaaaaaaa '.volumes[] | select(.name == "whole") | .degraded and (.layers | index("md raid1 (degraded, 1 of 2)"))'
check "the others are whole" record aaaaaaaa '[.volumes[] | select(.degraded) | .name] == ["whole"]'
check "down" down aaaaaaaa
check "nothing is left" gone aaaaaaaa

target_new c md1.img md2.img md3.img
session_new bbbbbbbb c
must "up with a disk missing" up bbbbbbbb
v=/run/ilr/bbbbbbbb/volumes
jq -c '.volumes[] | select(.name | startswith("disk") | not) | [.name, .layers, .reason]' /run/ilr-private/bbbbbbbb/session.json | sed 's/^/# /'
for volume in five near far old end offset fiveold; do
    check "$volume has its files without it" has_files "$v/$volume"
done
check "degraded, by how much" record bbbbbbbb '.volumes[] | select(.name == "five") | .layers | index("md raid5 (degraded, 3 of 4)")'
check "what cannot be says why" record bbbbbbbb '.volumes[] | select(.name == "disk1-part4") | .reason | contains("3 of its 4 members are there, it needs 4")'
check "down" down bbbbbbbb
check "nothing is left" gone bbbbbbbb

# The same two disks once more in the same point, in another order: two arrays of one identity.
target_new d md7.img md8.img
target_new e md8.img md7.img
session_new cccccccc d e
must "up with an array that is there twice" up cccccccc
v=/run/ilr/cccccccc/volumes
jq -c '.volumes[] | [.name, .layers, .reason]' /run/ilr-private/cccccccc/session.json | sed 's/^/# /'
both() {
    local -a names
    mapfile -t names < <(jq -r '.volumes[] | select(.label == "inside" and .mounted) | .name' /run/ilr-private/cccccccc/session.json)
    ((${#names[@]} == 2))
    has_files "$v/${names[0]}"
    has_files "$v/${names[1]}"
}
check "both have their files" both
check "both are whole" record cccccccc '[.volumes[] | select(.label == "inside") | .degraded] == [false, false]'
check "down" down cccccccc
check "nothing is left" gone cccccccc
check "the host saw nothing" host_same
# In the place of all legs that are missing or left out stands one device that gives errors.
check "the kernel has no complaint" kernel_quiet 'mdX: WARNING: (dm-[0-9]+) appears to be on the same physical disk as \1\.'
check "the original goes on" touch live/alive
check "the backing stores are what they were" same_bytes
finish
