#!/usr/bin/env bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# Types of file systems, journals that are left as they are, and one that is on another disk.
set -eEuo pipefail
cd "$(dirname "$0")"
# shellcheck source=tests/vm/storage/lib.sh
. ./lib.sh

host_clean_up() {
    umount $work/live || true
    losetup -D
    rm -f /etc/ilrd/ilrd.conf.d/90-storage.conf
}
fill() { # FILE [MOUNT-OPTION...]: copies the files into a new file system
    local file=$1
    shift
    mkdir -p mnt
    mount "$@" "$file" mnt
    cp -r files/. mnt/
    umount mnt
}
make_images() {
    make_files
    truncate -s 24M exfat.img ntfs.img udf.img
    mkfs.exfat -L exfat exfat.img >/dev/null
    fill exfat.img -o loop -t exfat
    mkntfs -q -F -f -L ntfs ntfs.img
    mkdir -p mnt
    ntfs-3g ntfs.img mnt
    cp -r files/. mnt/
    umount mnt
    eventually 10 not pgrep ntfs-3g
    cp ntfs.img hibernated.img
    # What Windows leaves when it hibernates: a file that begins so.
    ntfslabel hibernated.img hibernated
    ntfs-3g hibernated.img mnt
    { printf 'hibr'; head -c 4092 /dev/zero; } >mnt/hiberfil.sys
    umount mnt
    eventually 10 not pgrep ntfs-3g
    # ntfsfix leaves the mark that Windows shall look at it.
    cp ntfs.img dirty.img
    ntfslabel dirty.img dirty
    ntfsfix dirty.img
    [[ $(status=0; ntfs-3g.probe --readwrite hibernated.img >/dev/null 2>&1 || status=$?; echo $status) == 14 ]]
    ntfsinfo -fm dirty.img | grep -i 'Volume Flags.*DIRTY'
    mkudffs -q --label=udf udf.img >/dev/null 2>&1 || mkudffs --label=udf udf.img
    fill udf.img -o loop -t udf
    genisoimage -quiet -R -V iso -o iso.img files
    truncate -s 64M f2fs.img
    mkfs.f2fs -q -l f2fs f2fs.img
    fill f2fs.img -o loop -t f2fs
    truncate -s 48M ext4.img; mkfs.ext4 -q -L ext4 -d files ext4.img; dirty ext4.img
    truncate -s 32M xfs.img; mkfs.xfs -q --unsupported -L xfs xfs.img; dirty xfs.img
    truncate -s 128M btrfs.img; mkfs.btrfs -q -L btrfs btrfs.img; dirty btrfs.img
    # The kernel would find the journal by the number of its device, as which a disk of the host stands there.
    truncate -s 8M journal
    losetup /dev/loop21 journal
    mke2fs -q -b 1024 -O journal_dev /dev/loop21
    truncate -s 24M elsewhere.img
    mkfs.ext4 -q -b 1024 -L elsewhere -d files -J device=/dev/loop21 elsewhere.img
    cp journal empty
    mount -o loop elsewhere.img mnt
    echo new >mnt/newest
    sync -f mnt
    cp --sparse=always elsewhere.img elsewhere.copy
    cp journal full
    umount mnt
    mv elsewhere.copy elsewhere.img
    losetup -d /dev/loop21
    cp full journal
    losetup /dev/loop21 journal
    dumpe2fs -h elsewhere.img | grep needs_recovery
    not cmp empty full
    local sum
    for sum in xxhash sha256 blake2; do
        truncate -s 128M $sum.img
        mkfs.btrfs -q -L $sum --csum $sum $sum.img
        fill $sum.img -o loop
    done
    mkdir -p live
    cp --sparse=always sha256.img live.btrfs
    mount -o loop live.btrfs live
    images_done
}
must "the images can be made" make_images
mkdir -p /etc/ilrd/ilrd.conf.d
host_view host.before
target_new a exfat.img ntfs.img udf.img iso.img f2fs.img hibernated.img dirty.img xxhash.img sha256.img blake2.img
session_new aaaaaaaa a
must "up" up aaaaaaaa
v=/run/ilr/aaaaaaaa/volumes
jq -c '.volumes[] | [.name, .type, .reason]' /run/ilr-private/aaaaaaaa/session.json | sed 's/^/# /'
for volume in exfat ntfs udf iso f2fs hibernated dirty xxhash sha256 blake2; do check "$volume has its files" has_files "$v/$volume"; done
read_only() {
    local option
    not touch "$1/x"
    for option in ro nosuid nodev noexec; do findmnt -no OPTIONS "$1" | grep -w $option; done
}
for volume in exfat ntfs udf iso f2fs hibernated dirty; do check "$volume is read-only" read_only "$v/$volume"; done
check "down" down aaaaaaaa
check "nothing is left" gone aaaaaaaa
check "no program is left" not pgrep ntfs-3g

printf '[Storage]\nReplay=none\n' >/etc/ilrd/ilrd.conf.d/90-storage.conf
target_new b ext4.img xfs.img btrfs.img elsewhere.img
session_new bbbbbbbb b
must "up, journals left as they are" up bbbbbbbb
v=/run/ilr/bbbbbbbb/volumes
check "ext4 is as it lies on the disk" is $v/ext4/synced old
check "so is btrfs" is $v/btrfs/synced old
check "XFS is mounted" findmnt $v/xfs
check "without what was in the journal only" test ! -e $v/ext4/newest -a ! -e $v/btrfs/newest -a ! -e $v/xfs/newest
check "nothing was replayed" record bbbbbbbb '[.volumes[] | select(.replayed)] == []'
check "down" down bbbbbbbb
rm /etc/ilrd/ilrd.conf.d/90-storage.conf
session_new cccccccc b
jq '.replay = "overlay"' /run/ilr-private/cccccccc/session.json >session.json
cp session.json /run/ilr-private/cccccccc/session.json
printf '[Storage]\nReplay=none\n' >/etc/ilrd/ilrd.conf.d/90-storage.conf
must "up, as the session wants it" up cccccccc
check "the newest file is there" is /run/ilr/cccccccc/volumes/ext4/newest new
check "an ext4 whose journal is on another disk has its files" has_files /run/ilr/cccccccc/volumes/elsewhere
check "and tells what it lacks" record cccccccc '.volumes[] | select(.name == "elsewhere") |
    .degraded and .replayed == false and .reason == null and .layers == ["disk4", "ext4 without its journal, which is on another disk"]'
check "the disk of the host that has its number is what it was" cmp journal full
check "down" down cccccccc
check "nothing is left" gone cccccccc
check "the btrfs of the same identity on the host goes on" touch live/alive
rm /etc/ilrd/ilrd.conf.d/90-storage.conf
check "the host saw nothing" host_same
check "the kernel has no complaint" kernel_quiet
check "the backing stores are what they were" same_bytes
finish
