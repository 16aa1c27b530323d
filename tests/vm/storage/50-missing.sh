#!/usr/bin/env bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# What is not all there, and what is there twice: a volume group without one of its disks, the same disks twice in a
# point, beside their living originals.
set -eEuo pipefail
cd "$(dirname "$0")"
# shellcheck source=tests/vm/storage/lib.sh
. ./lib.sh

host_clean_up() {
    umount $work/live/* 2>/dev/null || true
    vgchange -an vgm vgd >/dev/null 2>&1 || true
    losetup -D
    rm -f /etc/lvm/lvmlocal.conf
}
lv_new() { # VG LV OPTION...
    local vg=$1 lv=$2
    shift 2
    lvcreate -q -y -n "$lv" "$@"
    mkfs.ext4 -q -b 1024 -d files "/dev/$vg/$lv"
}
make_images() {
    local i
    printf 'activation { monitoring=0 }\nglobal { thin_check_executable="" }\n' >/etc/lvm/lvmlocal.conf
    make_files
    truncate -s 48M live1 live2 live3
    truncate -s 24M live4
    for ((i = 1; i <= 4; i++)); do losetup /dev/loop$i live$i; done
    vgcreate -q -s 1M vgm /dev/loop1 /dev/loop2 /dev/loop3
    vgcreate -q -s 1M vgd /dev/loop4
    lv_new vgm here -L 8M vgm /dev/loop1
    lv_new vgm gone -L 8M vgm /dev/loop3
    lv_new vgm mirror --type raid1 -m 1 -L 8M vgm /dev/loop1 /dev/loop3
    lv_new vgm five --type raid5 -i 2 -I 64 -L 8M vgm /dev/loop1 /dev/loop2 /dev/loop3
    lv_new vgm wide -l 8 -i 2 -I 64 vgm /dev/loop1 /dev/loop3
    lv_new vgd twice -L 8M vgd
    truncate -s 32M xfs.img
    mkfs.xfs -q --unsupported -L same xfs.img
    mkdir -p live/xfs live/here
    mount -o loop xfs.img live/xfs
    cp -a files/. live/xfs/
    umount live/xfs
    cp --sparse=always xfs.img xfs
    mount -o loop xfs live/xfs
    for i in mirror five; do eventually 30 test "$(lvs --noheadings -o sync_percent vgm/$i | tr -d ' ')" = 100.00; done
    mount /dev/vgm/here live/here
    for ((i = 1; i <= 4; i++)); do
        dd if=/dev/loop$i of=lvm$i.img bs=1M conv=sparse iflag=direct status=none
    done
    images_done
}
must "the images can be made" make_images
host_view host.before

target_new a lvm1.img lvm2.img
target_new b lvm4.img
target_new c lvm4.img
target_new d xfs.img
target_new e xfs.img
session_new aaaaaaaa a b c d e
must "up" up aaaaaaaa
v=/run/ilr/aaaaaaaa/volumes
jq -c '.volumes[] | [.name, .layers, .reason]' /run/ilr-private/aaaaaaaa/session.json | sed 's/^/# /'
check "a volume on what is there" has_files $v/here
check "half a mirror" has_files $v/mirror
check "raid5 without one" has_files $v/five
check "degraded" record aaaaaaaa '.volumes[] | select(.name == "mirror") | .degraded and (.layers[-1] == "LV vgm/mirror (degraded: 1 of 3 physical volumes are missing)")'
check "a volume on what is missing says why not" record aaaaaaaa '.volumes[] | select(.name == "gone") | (.mounted | not) and (.layers[-1] | contains("with holes")) and (.reason | endswith("(a part of it is missing)"))'
check "every other stripe is there" record aaaaaaaa '.volumes[] | select(.name == "wide") | .degraded'
check "members say what is missing" record aaaaaaaa '.volumes[] | select(.name == "disk1") | .reason | contains("1 of 3 are missing")'
check "the same group twice" has_files $v/vgd-twice
check "the other one, too" has_files $v/vgd-twice-2
check "the same XFS twice" has_files $v/same-disk5
check "the other one, too" has_files $v/same-disk6
check "the host sees nothing new" host_same
check "down" down aaaaaaaa
check "nothing is left" gone aaaaaaaa
check "the host saw nothing" host_same
check "the originals go on" touch live/here/alive live/xfs/alive
check "the kernel has no complaint" kernel_quiet
check "the backing stores are what they were" same_bytes
finish
