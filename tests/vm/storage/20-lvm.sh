#!/usr/bin/env bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# LVM: every kind of logical volume, groups over several disks, beside the living originals on the host, which have the
# same names and UUIDs.
set -eEuo pipefail
cd "$(dirname "$0")"
# shellcheck source=tests/vm/storage/lib.sh
. ./lib.sh

host_clean_up() {
    umount $work/live/* 2>/dev/null || true
    vgchange -an vg0 vg-one >/dev/null 2>&1 || true
    losetup -D
    rm -f /etc/lvm/lvmlocal.conf
    pvs >/dev/null 2>&1 || true
}

# On the host, as an administrator would: the originals stay there and in use.
lv_new() { # VG LV FILE-SYSTEM-LABEL OPTION...
    local vg=$1 lv=$2 label=$3
    shift 3
    lvcreate -q -y -n "$lv" "$@" "$vg"
    mkfs.ext4 -q ${label:+-L "$label"} -d files "/dev/$vg/$lv"
}
make_images() {
    printf 'activation { monitoring=0 }\nglobal { thin_check_executable="" }\n' >/etc/lvm/lvmlocal.conf
    make_files
    truncate -s 72M live1 live2
    truncate -s 24M live3
    echo 'start=2048, size=143360, type=lvm' | sfdisk -q -X gpt live1
    losetup -P /dev/loop1 live1
    losetup /dev/loop2 live2
    losetup /dev/loop3 live3
    udevadm settle
    vgcreate -q -s 1M vg0 /dev/loop1p1 /dev/loop2
    vgcreate -q -s 1M vg-one /dev/loop3
    lv_new vg0 root '' -L 12M
    lv_new vg0 wide wide -l 16 -i 2 -I 64
    lv_new vg0 mirror mirror --type raid1 -m 1 -L 8M
    lv_new vg-one root '' -L 12M
    lv_new vg-one old-style '' -L 6M
    lvcreate -q -y -L 20M -T vg0/pool
    lvcreate -q -y -V 32M -T vg0/pool -n thin
    mkfs.ext4 -q -d files /dev/vg0/thin
    lvcreate -q -y -s vg0/thin -n thinsnap
    lvcreate -q -y -s vg0/root -n before -L 2M
    mkdir -p live/root
    mount -o noinit_itable /dev/vg0/root live/root
    echo new >live/root/newest
    sync -f live/root
    echo new >live/root/unsynced
    python3 -c 'import os; f = open("live/root/fsynced", "w"); f.write("new\n"); f.flush(); os.fsync(f.fileno())'
    eventually 20 test "$(lvs --noheadings -o sync_percent vg0/mirror | tr -d ' ')" = 100.00
    for ((i = 1; i <= 3; i++)); do
        dd if=/dev/loop$i of=lvm$i.img bs=1M conv=sparse iflag=direct status=none
    done
    sync -f live/root # what is written back later would fill the snapshot, and lvs shows how full it is
    images_done
}
must "the images can be made" make_images
host_view host.before

target_new a lvm1.img lvm2.img
target_new b lvm3.img
session_new aaaaaaaa a b
must "up" up aaaaaaaa
v=/run/ilr/aaaaaaaa/volumes
check "the host's LVM sees nothing new" host_same
for volume in vg0-root wide mirror thin thinsnap before vg-one-root old-style; do
    check "$volume has its files" has_files "$v/$volume"
done
check "the newest file, too" grep -x new $v/vg0-root/fsynced
check "the snapshot is of before" test ! -e $v/before/newest
check "what it lies on" record aaaaaaaa '.volumes[] | select(.name == "vg0-root") | .layers | length == 2 and (.[0] | startswith("disk1-part1 + disk2")) and .[1] == "LV vg0/root"'
check "a snapshot has its origin's size" record aaaaaaaa '.volumes[] | select(.name == "before") | .sizeBytes == 12582912'
check "members are named" record aaaaaaaa '.volumes[] | select(.name == "disk1-part1") | .reason == "physical volume of LVM, volume group vg0"'
all_ours() { not grep -v '^ilr_aaaaaaaa_' <(dmsetup ls | grep -v -e ^vg0- -e ^vg--one-); }
check "every device is the session's" all_ours
check "down" down aaaaaaaa
check "nothing is left" gone aaaaaaaa
check "the host's LVM saw nothing" host_same
check "the original goes on" touch live/root/alive
check "the kernel has no complaint" kernel_quiet
check "the backing stores are what they were" same_bytes
finish
