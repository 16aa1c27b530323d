#!/usr/bin/env bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# ilr-helper up killed at many moments, the disks staying logged in: the next one, or down, finds its way out of
# whatever is half built (overlays, an array, a volume group, btrfs over two disks). More moments with scripts/check --full.
set -eEuo pipefail
cd "$(dirname "$0")"
# shellcheck source=tests/vm/storage/lib.sh
. ./lib.sh

host_clean_up() {
    vgchange -an vgk >/dev/null 2>&1 || true
    mdadm --quiet --stop --scan || true
    losetup -D
}
make_images() {
    make_files
    truncate -s 40M k1.img k2.img
    truncate -s 128M b1.img b2.img
    losetup /dev/loop11 k1.img
    losetup /dev/loop12 k2.img
    mdadm --quiet --create /dev/md/kill --run --assume-clean -l 1 -n 2 /dev/loop11 /dev/loop12
    vgcreate -q -s 1M vgk /dev/md/kill
    lvcreate -q -y -n one -L 8M vgk
    lvcreate -q -y -n mirror --type raid1 -m 1 --alloc anywhere -L 4M vgk 2>/dev/null || lvcreate -q -y -n mirror -L 4M vgk
    lvcreate -q -y -n snap -s vgk/one -L 2M
    mkfs.ext4 -q -d files /dev/vgk/one
    mkfs.ext4 -q -d files /dev/vgk/mirror
    vgchange -q -an vgk
    mdadm --wait-clean /dev/md/kill || true
    mdadm --quiet --stop /dev/md/kill
    losetup /dev/loop13 b1.img
    losetup /dev/loop14 b2.img
    mkfs.btrfs -q -L pool -d raid1 -m raid1 /dev/loop13 /dev/loop14
    mkdir mnt
    mount /dev/loop13 mnt
    cp -a files/. mnt
    umount mnt
    losetup -D
    images_done
}
must "the images can be made" make_images
target_new a k1.img k2.img b1.img b2.img
session_new aaaaaaaa a
start=$EPOCHREALTIME
must "up" up aaaaaaaa
whole=$(awk "BEGIN {print $EPOCHREALTIME - $start}")
check "down" down aaaaaaaa
check "nothing is left" gone aaaaaaaa
session_new aaaaaaaa a

killed_at() { # PER-CENT of an undisturbed up
    local result=0
    timeout --signal=KILL "$(awk "BEGIN {print $whole * $1 / 100}")" $helper up aaaaaaaa || result=$?
    say "killed at $1 per cent of $whole s: exit status $result, $(dmsetup ls | grep -c ^ilr_ || true) devices, \
$(grep -c /run/ilr/ /proc/self/mounts || true) mounts"
}
points=(20 50 80 110 140)
[[ -z ${ILR_FULL-} ]] || mapfile -t points < <(seq 2 2 150)
for point in "${points[@]}"; do killed_at "$point"; done
v=/run/ilr/aaaaaaaa/volumes
must "up after all that" up aaaaaaaa
for volume in one mirror pool; do check "$volume has its files" has_files "$v/$volume"; done
check "down" down aaaaaaaa
check "nothing is left" gone aaaaaaaa
session_new aaaaaaaa a
killed_at 70
check "down --forced after a kill" down aaaaaaaa --forced
check "nothing is left" gone aaaaaaaa
check "the backing stores are what they were" same_bytes
finish
