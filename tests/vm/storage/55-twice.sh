#!/usr/bin/env bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# The same disks in two sessions at once: LVM, md, btrfs and XFS with the same identities, each usable in both, and one
# session's end is nothing to the other.
set -eEuo pipefail
cd "$(dirname "$0")"
# shellcheck source=tests/vm/storage/lib.sh
. ./lib.sh

host_clean_up() {
    vgchange -an vgs >/dev/null 2>&1 || true
    mdadm --quiet --stop --scan || true
    losetup -D
    rm -f /etc/lvm/lvmlocal.conf
}
make_images() {
    printf 'activation { monitoring=0 }\nglobal { thin_check_executable="" }\n' >/etc/lvm/lvmlocal.conf
    make_files
    truncate -s 40M lvm.img
    truncate -s 16M m1.img m2.img
    truncate -s 128M b1.img b2.img
    losetup /dev/loop11 lvm.img
    losetup /dev/loop12 m1.img
    losetup /dev/loop13 m2.img
    losetup /dev/loop14 b1.img
    losetup /dev/loop15 b2.img
    vgcreate -q -s 1M vgs /dev/loop11
    lvcreate -q -y -n plain -L 10M vgs
    mkfs.ext4 -q -d files /dev/vgs/plain
    lvcreate -q -y -L 12M -T vgs/pool
    lvcreate -q -y -V 16M -T vgs/pool -n thin
    mkfs.ext4 -q -d files /dev/vgs/thin
    vgchange -q -an vgs
    made_mirror pair /dev/loop12 /dev/loop13
    made_btrfs pool /dev/loop14 /dev/loop15
    losetup -D
    truncate -s 32M xfs.img; mkfs.xfs -q --unsupported -L xfs xfs.img
    mount -o loop xfs.img mnt
    cp -a files/. mnt
    umount mnt
    images_done
}
must "the images can be made" make_images
host_view host.before
target_new a lvm.img m1.img m2.img b1.img b2.img xfs.img
target_new b lvm.img m1.img m2.img b1.img b2.img xfs.img
session_new aaaaaaaa a
session_new bbbbbbbb b
must "up" up aaaaaaaa
must "up once more" up bbbbbbbb
all() { # ID
    local volume
    for volume in plain thin pair pool xfs; do has_files /run/ilr/"$1"/volumes/$volume || { echo "$volume"; return 1; }; done
}
check "all files in the one" all aaaaaaaa
check "and in the other" all bbbbbbbb
check "the host sees nothing new" host_same
check "down of the one" down aaaaaaaa
echo 3 >/proc/sys/vm/drop_caches
check "the other goes on" all bbbbbbbb
session_new aaaaaaaa a
check "the one up again" up aaaaaaaa
check "down of the other" down bbbbbbbb
check "nothing is left of it" not grep ilr_bbbbbbbb <(dmsetup ls)
check "all files in the one" all aaaaaaaa
check "down" down aaaaaaaa
check "nothing is left" gone aaaaaaaa
check "the host saw nothing" host_same
check "the kernel has no complaint" kernel_quiet
check "the backing stores are what they were" same_bytes
finish
