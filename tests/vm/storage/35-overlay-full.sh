#!/usr/bin/env bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# What a journal changes does not fit into the overlay: the volumes of that disk are listed with the reason, the others
# are mounted, and without replay all of them are. The bound of one disk, and that of all together. A journal that fills the
# overlay when its volume is unlocked takes what is mounted in the guests' trees with it.
set -eEuo pipefail
cd "$(dirname "$0")"
# shellcheck source=tests/vm/storage/lib.sh
. ./lib.sh

host_clean_up() {
    cryptsetup close made 2>/dev/null || true
    rm -f /etc/ilrd/ilrd.conf.d/90-storage.conf
}
configure() { # LINE...
    printf '%s\n' '[Storage]' "$@" >/etc/ilrd/ilrd.conf.d/90-storage.conf
}
# The same beside the root of a system, encrypted; a second system has that root at /other.
make_keyed() {
    mkdir -p top/{etc,srv} second/{etc,other}
    echo top >top/etc/hostname
    echo 'LABEL=second /srv ext4 defaults' >top/etc/fstab
    echo second >second/etc/hostname
    echo 'LABEL=top /other ext4 defaults' >second/etc/fstab
    truncate -s 16M top.fs second.img
    mkfs.ext4 -q -L top -d top top.fs
    mkfs.ext4 -q -L second -d second second.img
    printf key >key
    truncate -s 68M locked.fs
    cryptsetup luksFormat -q --type luks1 --pbkdf-force-iterations 1000 --key-file key locked.fs
    cryptsetup open --key-file key locked.fs made
    dd if=journal.copy of=/dev/mapper/made bs=1M conv=fsync status=none
    cryptsetup close made
    truncate -s 88M keyed.img
    printf 'start=2048, size=32768\nstart=34816, size=139264\n' | sfdisk -q -X gpt keyed.img
    put keyed.img 2048 top.fs
    put keyed.img 34816 locked.fs
    rm top.fs locked.fs
}
make_images() {
    make_files
    # 6 MiB of content that are in the journal only, on a disk with a second volume.
    truncate -s 64M journal.fs
    mkfs.ext4 -q -L journal -J size=16 -d files journal.fs
    mkdir -p mnt
    mount -o loop,data=journal,commit=300 journal.fs mnt
    head -c 6M /dev/urandom >mnt/large
    sync -d mnt/large
    cp --sparse=always journal.fs journal.copy
    umount mnt
    truncate -s 16M beside.fs
    mkfs.ext4 -q -L beside -d files beside.fs
    truncate -s 84M two.img
    printf 'start=2048, size=131072\nstart=133120, size=32768\n' | sfdisk -q -X gpt two.img
    put two.img 2048 journal.copy
    put two.img 133120 beside.fs
    truncate -s 16M good.img
    mkfs.ext4 -q -L good -d files good.img
    make_keyed
    rm journal.fs journal.copy beside.fs
    images_done
}
must "the images can be made" make_images
mkdir -p /etc/ilrd/ilrd.conf.d
host_view host.before
target_new a two.img good.img
target_new b keyed.img second.img

configure OverlaySizeBytes=2M
session_new aaaaaaaa a
must "up, with an overlay that is too small" up aaaaaaaa
v=/run/ilr/aaaaaaaa/volumes
volume_is() { record aaaaaaaa ".volumes[] | select(.label == \"$1\") | $2"; } # LABEL JQ
check "the volume is not said to be mounted" volume_is journal '(.mounted | not) and .path == null and (.replayed | not)'
check "the reason is its overlay, and what to change" volume_is journal '.reason | contains("overlay of disk1 is full") and contains("OverlaySizeBytes=")'
check "nor is the one beside it, which cannot be read either" volume_is beside '(.mounted | not) and (.reason | contains("overlay of disk1 is full"))'
not_there() { not findmnt $v/journal; not findmnt $v/beside; [[ ! -e $v/journal && ! -e $v/beside ]]; }
check "they have no mounts" not_there
check "the other disk's volume has its files" has_files $v/good
check "the overlay is told to be full" record aaaaaaaa '.disks[0] | .overlayUsedBytes == .overlaySizeBytes and .overlaySizeBytes == 2097152'
printf '{"verb":"status","session":"aaaaaaaa"}\0' | socat -t 60 - UNIX-CONNECT:/run/ilrd/helper | tr -d '\0' >status
check "status tells so, too" jq -e '.sessions[0].disks[0] | .overlayUsedBytes == .overlaySizeBytes' status
check "down" down aaaaaaaa
check "nothing is left" gone aaaaaaaa

configure OverlaySizeBytes=64M OverlayTotalBytes=2M
session_new bbbbbbbb a
must "up, with too little for all disks together" up bbbbbbbb
check "the same reason" record bbbbbbbb '.volumes[] | select(.label == "journal") | .reason | contains("OverlayTotalBytes=")'
check "down" down bbbbbbbb
check "nothing is left" gone bbbbbbbb

configure OverlaySizeBytes=7M
session_new cccccccc a
up cccccccc >up.log 2>&1 || cat up.log
check "nearly full: everything has its files" has_files /run/ilr/cccccccc/volumes/journal
check "and the log says so" grep 'overlay of disk1 is full to [89][0-9] %' up.log
check "down" down cccccccc
check "nothing is left" gone cccccccc

configure OverlaySizeBytes=2M Replay=none
session_new dddddddd a
must "up without replay" up dddddddd
check "everything has the files that were on the disk" has_files /run/ilr/dddddddd/volumes/journal
check "the one beside it, too" has_files /run/ilr/dddddddd/volumes/beside
check "down" down dddddddd
check "nothing is left" gone dddddddd

configure OverlaySizeBytes=2M
session_new eeeeeeee b
must "up with a volume that is locked" up eeeeeeee
top=/run/ilr/eeeeeeee
trees() { is $top/root/etc/hostname top; is $top/root/srv/etc/hostname second; is $top/root-2/other/etc/hostname top; }
check "two systems, each with a part of the other" trees
check "it is unlocked" unlock_asked eeeeeeee disk1-part2 key $helper unlock eeeeeeee
check "its journal filled the overlay" record eeeeeeee '.volumes[] | select(.label == "journal") | (.mounted | not) and (.reason | contains("overlay of disk1 is full"))'
no_tree() { not grep " $top/root[ /]" /proc/self/mounts; [[ ! -e $top/root ]]; }
check "the tree on that disk is gone, nothing of it is mounted" no_tree
check "it is not told any more" record eeeeeeee '[.roots[].name] == ["root-2"]'
check "the other tree stands" is $top/root-2/etc/hostname second
check "without what it had of that disk" not grep " $top/root-2/other " /proc/self/mounts
check "which is missing, with the reason" record eeeeeeee '.roots[0].missing | length == 1 and (.[0].reason | contains("overlay of disk1 is full"))'
check "down" down eeeeeeee
check "nothing is left" gone eeeeeeee
rm /etc/ilrd/ilrd.conf.d/90-storage.conf
check "the host saw nothing" host_same
check "the kernel has no complaint" kernel_quiet
check "the backing stores are what they were" same_bytes
finish
