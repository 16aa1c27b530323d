#!/usr/bin/env bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# What a journal changes does not fit into the overlay: the volumes of that disk are listed with the reason, the others
# are mounted, and without replay all of them are. The bound of one disk, and that of all together.
set -eEuo pipefail
cd "$(dirname "$0")"
# shellcheck source=tests/vm/storage/lib.sh
. ./lib.sh

host_clean_up() { rm -f /etc/ilrd/ilrd.conf.d/90-storage.conf; }
configure() { # LINE...
    mkdir -p /etc/ilrd/ilrd.conf.d
    printf '%s\n' '[Storage]' "$@" >/etc/ilrd/ilrd.conf.d/90-storage.conf
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
    rm journal.fs journal.copy beside.fs
    images_done
}
must "the images can be made" make_images
target_new a two.img good.img

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
check "the backing stores are what they were" same_bytes
finish
