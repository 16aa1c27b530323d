#!/usr/bin/env bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# Disks that answer with errors: at their start, in the middle, in one half of a mirror. And an ext4 that wants the kernel to
# panic over an error, and has one.
set -eEuo pipefail
cd "$(dirname "$0")"
# shellcheck source=tests/vm/storage/lib.sh
. ./lib.sh

no_incremental=/run/udev/rules.d/64-md-raid-assembly.rules
host_clean_up() {
    local name
    rm -f $no_incremental
    udevadm control -R
    mdadm --quiet --stop --scan || true
    for name in bad1 bad2 bad3; do dmsetup remove --deferred $name || true; done
    losetup -D
}
# bad NAME IMAGE FROM TO: serves the image's sectors, those from FROM to before TO give errors.
bad() {
    local size loop
    size=$(($(stat -c %s "$2") / 512))
    loop=$(losetup -f --show "$2")
    {
        (($3 == 0)) || echo "0 $3 linear $loop 0"
        echo "$3 $(($4 - $3)) error"
        echo "$4 $((size - $4)) linear $loop $4"
    } | dmsetup create "$1"
    ln -s "/dev/mapper/$1" "$1"
}
make_images() {
    make_files
    # Or the host's md takes the half of the mirror before it is made bad.
    mkdir -p /run/udev/rules.d
    : >$no_incremental
    udevadm control -R
    truncate -s 24M half.img start.img m1.img m2.img good.img
    mkfs.ext4 -q -b 4096 -L half half.img
    mkdir mnt
    mount -o loop half.img mnt
    cp -a files/. mnt
    head -c 4M /dev/urandom >mnt/large
    umount mnt
    # in the middle of the large file
    at=$(debugfs -R "bmap /large 500" half.img 2>/dev/null)
    mkfs.ext4 -q -L start -d files start.img
    mkfs.ext4 -q -L good -d files good.img
    truncate -s 24M panic.img
    mkfs.ext4 -q -L panic -d files panic.img
    tune2fs -e panic panic.img
    # The list of files to be removed begins with one that there cannot be, which is met while the kernel may write.
    debugfs -w -R 'set_super_value last_orphan 3' panic.img
    losetup /dev/loop11 m1.img
    losetup /dev/loop12 m2.img
    made_mirror mirror /dev/loop11 /dev/loop12
    losetup -d /dev/loop11 /dev/loop12
    bad bad1 half.img $((at * 8)) $((at * 8 + 8))
    bad bad2 start.img 0 2048
    # all that lies behind its superblock, but not the first sectors of the file system
    bad bad3 m1.img 6144 49000
    images_done
}
must "the images can be made" make_images
host_view host.before
target_new a bad1 bad2 good.img panic.img
target_new b bad3 m2.img
session_new aaaaaaaa a b
must "up" up aaaaaaaa
v=/run/ilr/aaaaaaaa/volumes
jq -c '.volumes[] | [.name, .layers, .reason]' /run/ilr-private/aaaaaaaa/session.json | sed 's/^/# /'
check "a good disk among bad ones" has_files $v/good
check "the error that there was to be a panic over was met" grep 'bad orphan inode 3' <(dmesg)
check "and the rest can be read" has_files $v/panic
check "what is whole of a disk with a bad spot" has_files $v/half
check "the bad spot is an error" not cat $v/half/large
check "a disk that cannot be read says so" record aaaaaaaa '.volumes[] | select(.name == "disk2") | .reason | contains("cannot be read")'
check "a mirror with one bad half has its files" has_files $v/mirror
check "down" down aaaaaaaa
check "nothing is left" gone aaaaaaaa
check "the host saw nothing" host_same
check "the kernel has no complaint" kernel_quiet
check "the backing stores are what they were" same_bytes
finish
