#!/usr/bin/env bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# Disks that cannot be brought up, through the whole chain: what fails and how it is called.
# The target would let this host write; that every byte stays as it is, is ilrd's own doing.
set -eEuo pipefail
cd "$(dirname "$0")"
# shellcheck source=tests/vm/lib.sh
. ../lib.sh

images=/var/tmp/ilr-disks
EMPTY=700000000000002   # nothing was ever written
CORRUPT=700000000000003 # an ext4 whose superblock is damaged, alone
REFUSED=700000000000004 # file systems of a version or with a feature that no kernel knows
LATE=700000000000005    # two LUNs, of which the second does not come
NONE=700000000000006    # a target without LUNs

# ---- the images ----

ext() { # FILE LABEL
    truncate -s 16M "$1"
    mke2fs -q -F -t ext4 -L "$2" "$1"
}
make_images() {
    rm -rf $images
    mkdir -p $images/before
    cd $images
    truncate -s 16M empty.img
    ext good.img good
    ext corrupt.img corrupt
    # Its own checksum shows it; the magic number stands.
    printf 'rotten' | dd of=corrupt.img bs=1 seek=$((1024 + 0x1a8)) conv=notrunc status=none
    ext feature.img future
    # A feature of the incompatible kind that nobody has: the superblock's checksum is right, the kernel refuses.
    debugfs -w -R 'set_super_value feature_incompat 0x80000242' feature.img >/dev/null 2>&1
    # Small ones are good enough for a test, mkfs.xfs means.
    truncate -s 32M xfs-version.img
    mkfs.xfs -q --unsupported xfs-version.img
    # sb_versionnum: version 7, the features as they were
    xfs_db -x -c 'sb 0' -c 'write -c versionnum 0xb4a7' xfs-version.img
    cp --sparse=always ./*.img before/
}
same_bytes() {
    local f
    for f in "$images"/*.img; do cmp "$f" "$images/before/${f##*/}"; done
}

must "the images can be made" make_images
# shellcheck disable=SC2016 # jq's own
sim_start '.vaults[0].items += [{vm: "backup-vm-03", resourceGroup: "rg-vms", points: [
    {id: "'$EMPTY'", time: "2026-11-20T23:00:00Z", disks: ["empty.img"]},
    {id: "'$CORRUPT'", time: "2026-11-21T20:00:00Z", disks: ["corrupt.img"]},
    {id: "'$REFUSED'", time: "2026-11-21T21:00:00Z", disks: ["feature.img", "xfs-version.img"], multiTarget: true},
    {id: "'$LATE'", time: "2026-11-21T22:00:00Z", disks: ["good.img", "empty.img"],
        scenario: {portal: {writable: true, offlineLuns: [2]}}},
    {id: "'$NONE'", time: "2026-11-21T23:00:00Z", disks: ["empty.img"], scenario: {portal: {noLuns: true}}}] | map(.disks |= map("'$images'/" + .))}]'
trap 'rm -rf "$images"; ilrd_configure' EXIT

# ---- what fails ----

host_snapshot "$WORK/before"
daemon_noted
# at_once POINT...: provisions them all, each one's words and exit status into files of its own
at_once() {
    local p
    for p; do
        (
            status=0
            timeout 200 ilrctl provision --json "$(point_id backup-vm-03 "$p")" >"$WORK/out.$p" 2>&1 || status=$?
            echo $status >"$WORK/status.$p"
        ) &
    done
    wait
}
fails() { # POINT FAILURE TEXT...
    local out=$WORK/out.$1 status text
    status=$(cat "$WORK/status.$1")
    tail -n 3 "$out"
    [[ $status == 7 ]] || { echo "exit status $status"; return 1; }
    grep -q "\"$2\"" "$out" || { echo "not $2"; return 1; }
    shift 2
    for text; do grep -qi -e "$text" "$out" || { echo "no word of: $text"; return 1; }; done
}
at_once $EMPTY $CORRUPT $REFUSED
check "a disk that was never written: NothingToMount, empty" fails $EMPTY NothingToMount 'disk1: empty'
check "a damaged superblock alone: NothingToMount, named" fails $CORRUPT NothingToMount 'corrupt' 'superblock'
check "file systems that the kernel refuses: NothingToMount, with its words" \
    fails $REFUSED NothingToMount 'future' 'kernel refused to mount this ext4' 'kernel refused to mount this xfs'
check "and nothing is left" nothing_left azure
check "and ilrd lives, iscsid.conf is untouched" same_daemon
ilrd_configure '[Storage]' 'DiskTimeoutSec=5s'
at_once $LATE $NONE
check "a LUN that is reported and does not come: DisksMissing, with target and LUN" \
    fails $LATE DisksMissing 'within 5 s: target iqn.2016-01.microsoft.azure.backup:.*, LUN 2:'
check "a target without disks: DisksMissing, with the target" \
    fails $NONE DisksMissing 'within 5 s: target iqn.2016-01.microsoft.azure.backup:.*: no disk'
check "and nothing is left" nothing_left azure
check "and ilrd lives, iscsid.conf is untouched" same_daemon
check "every byte of the images is as it was" same_bytes
check "the host is as it was" host_unchanged "$WORK/before"
finish
