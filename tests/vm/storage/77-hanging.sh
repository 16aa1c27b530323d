#!/usr/bin/env bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# Disks that answer no more, without an error: a piece of one, where a volume is looked into and where one is mounted, and all of a
# target in the middle of up; one that comes late. Up ends in the time that it promises, the rest is mounted, what hangs is named, and down by force
# does not wait for it.
set -eEuo pipefail
cd "$(dirname "$0")"
# shellcheck source=tests/vm/kill-point.sh
. ../kill-point.sh
# shellcheck source=tests/vm/storage/lib.sh
. ./lib.sh

MOUNT_SEC=5
# Four times MountTimeoutSec=, what it takes until disks are there, and a slow machine.
UP_SEC=$((4 * MOUNT_SEC + 15))

answer() { ! dmsetup info hang-slow >/dev/null 2>&1 || dmsetup resume hang-slow; }
host_clean_up() {
    dmsetup remove hang || true
    dmsetup remove hang-slow || true
    losetup -D
    rm -f /etc/ilrd/ilrd.conf.d/90-storage.conf
}
# Before the target is waited for.
trap 'answer; clean_up' EXIT

piece() { # START END DEVICE
    echo "$1 $(($2 - $1)) linear $3 $1"
}
make_images() {
    local loop size at
    make_files
    truncate -s 16M first.fs
    mkfs.ext4 -q -L first -d files first.fs
    truncate -s 24M third.fs
    # The journal lies far from what is looked at.
    mkfs.ext4 -q -b 4096 -J size=4,location=12M -L third -d files third.fs
    truncate -s 16M good.img
    mkfs.ext4 -q -L good -d files good.img
    # Not too near to each other: what is read ahead hangs, and what is read with it.
    truncate -s 64M hang.image
    printf 'start=2048, size=32768\nstart=40960, size=32768\nstart=73728, size=49152\n' | sfdisk -q -X gpt hang.image
    put hang.image 2048 first.fs
    put hang.image 40960 first.fs
    put hang.image 73728 third.fs
    # Where only a mount looks: the journal's first block.
    at=$((73728 + 8 * $(debugfs -R 'bmap <8> 0' third.fs 2>/dev/null)))
    loop=$(losetup -f --show hang.image)
    size=$(blockdev --getsz "$loop")
    echo "0 $size linear $loop 0" | dmsetup create hang-slow
    {
        piece 0 40960 "$loop"
        piece 40960 73728 /dev/mapper/hang-slow
        piece 73728 $at "$loop"
        piece $at $((at + 8)) /dev/mapper/hang-slow
        piece $((at + 8)) "$size" "$loop"
    } | dmsetup create hang
    ln -s /dev/mapper/hang hang
    cp --sparse=always hang.image hang.before
    images_done
}
must "the images can be made" make_images
mkdir -p /etc/ilrd/ilrd.conf.d
host_view host.before
printf '[Storage]\nMountTimeoutSec=%ss\n' $MOUNT_SEC >/etc/ilrd/ilrd.conf.d/90-storage.conf
target_new a good.img
target_new b hang
session_new aaaaaaaa a b

timed() { # SECONDS COMMAND...: it succeeds in no more than these
    local most=$1 start=$SECONDS
    shift
    "$@"
    echo "$((SECONDS - start)) s" >&2
    ((SECONDS - start <= most))
}
dmsetup suspend --noflush --nolockfs hang-slow
start=$SECONDS
must "up, with pieces of a disk that do not answer" timed $UP_SEC up aaaaaaaa
say "up in $((SECONDS - start)) s with two volumes that hang"
v=/run/ilr/aaaaaaaa/volumes
jq -c '.volumes[] | [.name, .label, .reason]' /run/ilr-private/aaaaaaaa/session.json | sed 's/^/# /'
check "another disk's volume has its files" has_files $v/good
check "one beside those that hang has its files" has_files $v/first
check "what cannot be looked into says so" record aaaaaaaa '.volumes[] | select(.name == "disk2-part2") | (.mounted | not) and .reason == "reading it took longer than MountTimeoutSec"'
check "what cannot be mounted says so" record aaaaaaaa '.volumes[] | select(.name == "third") | (.mounted | not) and (.reason | contains("mounting took longer than MountTimeoutSec"))'
check "neither has a mount or a directory" test "$(ls $v)" = $'first\ngood'
start=$SECONDS
tried down aaaaaaaa --forced >down.log 2>&1
say "down --forced in $((SECONDS - start)) s: exit status $tried_status"
check "down --forced ends, while it hangs" test $((SECONDS - start)) -le 100
check "no mount is left" not grep /run/ilr/aaaaaaaa /proc/self/mountinfo
# A target that does not answer may not let anybody log out either.
answer
check "what is left goes when it answers" eventually 100 down aaaaaaaa
check "nothing is left" gone aaaaaaaa
session_new aaaaaaaa a b
check "up again" timed $UP_SEC up aaaaaaaa
everything() { has_files $v/third; has_files $v/good; }
check "everything is there" everything
check "down" down aaaaaaaa
check "nothing is left" gone aaaaaaaa

# ---- the whole target, in the middle of up ----

session_new bbbbbbbb a
up_counted() {
    kill_point_reset
    kill_point_run count 0 $helper up bbbbbbbb
    kill_point_list >steps
    down bbbbbbbb
}
must "the steps of up are known" up_counted
session_new bbbbbbbb a
# Its overlay stands, nothing was read yet.
at=$(awk '/dm suspend ilr_bbbbbbbb_d1$/ {print $1}' steps)
kill_point_reset
kill_point_run barrier "$at" $helper up bbbbbbbb >up.log 2>&1 &
upper=$!
check "up is in its middle" eventually 60 kill_point_reached
kill -STOP $tgtd_pid
start=$SECONDS
kill_point_go
result=0
wait $upper || result=$?
took=$((SECONDS - start))
check "up ends with a failure" test $result = 1
check "and does not hang" test $took -le 100
say "up ended $took s after the target had stopped"
check "the failure tells why" record bbbbbbbb '.failure.name'
kill -CONT $tgtd_pid
check "down" down bbbbbbbb --forced
check "nothing is left" eventually 30 gone bbbbbbbb

# ---- a disk that comes when more than the time of all volumes is over ----

printf '[Storage]\nMountTimeoutSec=3s\n' >/etc/ilrd/ilrd.conf.d/90-storage.conf
target_new c
session_new cccccccc c
up cccccccc >late.log 2>&1 &
upper=$!
sleep 13
tgtadm --lld iscsi --op new --mode logicalunit --tid $((next_tid - 1)) --lun 1 -b $work/good.img
result=0
wait $upper || result=$?
check "up, with a disk that comes late" test $result = 0
check "it has its files" has_files /run/ilr/cccccccc/volumes/good
check "down" down cccccccc
check "nothing is left" gone cccccccc
rm /etc/ilrd/ilrd.conf.d/90-storage.conf
check "the host saw nothing" host_same
# A child of the helper that hangs longer than that; and what the kernel says of its own queues when it drops an iSCSI session.
check "the kernel has no other complaint" kernel_quiet 'INFO: task ilr-helper:.* blocked for more|hung_task_timeout_secs|check_flush_dependency'
check "the backing stores are what they were" same_bytes
check "that of the disk that hung, too" cmp hang.image hang.before
finish
