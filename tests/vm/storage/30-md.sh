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
    mkfs.ext4 -q -b 1024 -L "$name" -d files "/dev/md/$name"
}
make_images() {
    local i p
    make_files
    modprobe -a raid1 raid10 raid456 raid0
    for ((i = 1; i <= 4; i++)); do
        truncate -s 72M md$i
        for ((p = 0; p < 8; p++)); do echo "start=$((2048 + p * 16384)), size=16384"; done | sfdisk -q -X gpt md$i
        losetup -P /dev/loop1$i md$i
    done
    truncate -s 16M md5 md6
    losetup /dev/loop15 md5
    losetup /dev/loop16 md6
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
    # A raid1 on whole disks whose partition table lies at the start of its members.
    udevadm settle
    for i in /dev/md/*; do mdadm --wait-clean "$i"; done
    for ((i = 1; i <= 6; i++)); do
        dd if=/dev/loop1$i of=md$i.img bs=1M conv=sparse iflag=direct status=none
    done
    mkdir -p live
    mount /dev/md/five live
    images_done
}
must "the images can be made" make_images
host_view host.before

target_new a md1.img md2.img md3.img md4.img
target_new b md5.img md6.img
session_new aaaaaaaa a b
must "up" up aaaaaaaa
v=/run/ilr/aaaaaaaa/volumes
check "the host's LVM and md see nothing new" host_same
for volume in five near far zero old end offset fiveold whole uneven; do
    check "$volume has its files" has_files "$v/$volume"
done
jq -c '.volumes[] | select(.name | startswith("disk") | not) | [.name, .layers, .reason]' /run/ilr-private/aaaaaaaa/session.json | sed 's/^/# /'
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
check "the host saw nothing" host_same
check "the original goes on" touch live/alive
check "the backing stores are what they were" same_bytes
finish
