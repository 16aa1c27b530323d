#!/usr/bin/env bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# Partition tables of all kinds, also damaged ones, and what on a partition is no file system that is mounted.
set -eEuo pipefail
cd "$(dirname "$0")"
# shellcheck source=tests/vm/storage/lib.sh
. ./lib.sh

bytes() { printf '%b' "$3" | dd of="$1" bs=1 seek="$2" conv=notrunc status=none; } # FILE OFFSET BYTES
# A GPT of one partition, which is a file system with the name as its label.
one() { # NAME
    truncate -s 12M "$1.img"
    echo "start=2048, size=20480, name=\"$1\"" | sfdisk -q -X gpt "$1.img"
    truncate -s 10M "$1.fs"
    mkfs.ext4 -q -O ^has_journal -L "$1" -d files "$1.fs"
    put "$1.img" 2048 "$1.fs"
}
make_images() {
    local loop i at
    make_files
    # As the installers of hybrid disks do it: the first partition is also in the MBR, behind the protective entry.
    one hybrid
    bytes hybrid.img 462 '\x00\xfe\xff\xff\x83\xfe\xff\xff\x00\x08\x00\x00\x00\x50\x00\x00'
    # As the images of clouds have it: 1, 14, 15 in another order on the disk.
    truncate -s 24M holes.img
    sfdisk -q -X gpt holes.img <<'TABLE'
14 : start=2048, size=2048, type=21686148-6449-6E6F-744E-656564454649
15 : start=4096, size=8192, type=C12A7328-F81F-11D2-BA4B-00C04FC93EC9
1 : start=12288, size=20480
TABLE
    truncate -s 4M esp.fs; mkfs.vfat -n ESP esp.fs >/dev/null; put holes.img 4096 esp.fs
    truncate -s 10M holes.fs; mkfs.ext4 -q -O ^has_journal -L holes -d files holes.fs; put holes.img 12288 holes.fs
    one nobackup
    dd if=/dev/zero of=nobackup.img bs=512 seek=$((12 * 2048 - 1)) count=1 conv=notrunc status=none
    one noprimary
    dd if=/dev/urandom of=noprimary.img bs=512 seek=1 count=1 conv=notrunc status=none
    # A table that counts in 4096 on a disk of 512.
    truncate -s 12M fourk.img
    loop=$(losetup -f --show -b 4096 fourk.img)
    echo 'start=256, size=2560, name="fourk"' | sfdisk -q --no-tell-kernel --no-reread -X gpt "$loop"
    losetup -d "$loop"
    truncate -s 10M fourk.fs; mkfs.ext4 -q -O ^has_journal -b 4096 -L fourk -d files fourk.fs; put fourk.img 2048 fourk.fs

    # What is listed with its reason only.
    truncate -s 40M others.img
    sfdisk -q -X gpt others.img <<'TABLE'
start=2048, size=8192, type=E3C9E316-0B5C-4DB8-817D-F92DF00215AE, name="msr"
start=10240, size=8192, type=EBD0A0A2-B9E5-4433-87C0-68B6B72699C7, name="bitlocker"
start=18432, size=8192, type=EBD0A0A2-B9E5-4433-87C0-68B6B72699C7, name="refs"
start=43008, size=8192, name="minix"
start=51200, size=8192, name="nothing"
start=59392, size=20480, name="liar"
TABLE
    # A BitLocker volume header: jump, signature, sector size, its GUID, where its metadata begins.
    truncate -s 4M p; bytes p 0 '\xeb\x58\x90-FVE-FS-\x00\x02\x08'
    bytes p 160 '\x3b\xd6\x67\x49\x29\x2e\xd8\x4a\x83\x99\xf6\xa3\x39\xe3\xd0\x01\x00\x00\x01\x00\x00\x00\x00\x00'
    bytes p 65536 '-FVE-FS-\x40\x00\x02\x00'; put others.img 10240 p
    rm p; truncate -s 4M p; bytes p 0 '\x00\x00\x00ReFS\x00\x00\x00\x00\x00\x00\x00\x00\x00FSRS'; put others.img 18432 p
    # The uberblocks of two ZFS labels.
    truncate -s 66M zfs.img
    for at in 131072 393216; do
        for ((i = 0; i < 4; i++)); do bytes zfs.img $((at + i * 1024)) '\x0c\xb1\xba\x00'; done
    done
    rm p; truncate -s 4M p; mkfs.minix p >/dev/null; put others.img 43008 p
    # A superblock that says ten times the size there is.
    truncate -s 100M p; mkfs.ext4 -q -O ^has_journal -L liar p; truncate -s 10M p; put others.img 59392 p
    # XFS with what newer systems make by default.
    truncate -s 32M xfs.img
    mkfs.xfs -q --unsupported -m reflink=1,bigtime=1,inobtcount=1 -L xfs xfs.img
    mkdir -p mnt
    mount -o loop xfs.img mnt
    xfs_info mnt | grep 'reflink=1.*bigtime=1'
    cp -a files/. mnt/
    cp --reflink=always mnt/blob mnt/reflinked
    touch -d '2100-01-01 00:00:00 UTC' mnt/late
    umount mnt
    rm -f p ./*.fs
    images_done
}
must "the images can be made" make_images
host_view host.before
target_new a hybrid.img holes.img nobackup.img noprimary.img fourk.img others.img xfs.img zfs.img
session_new aaaaaaaa a
must "up" up aaaaaaaa
v=/run/ilr/aaaaaaaa/volumes
jq -c '.volumes[] | [.name, .disk, .partition, .type, .reason]' /run/ilr-private/aaaaaaaa/session.json | sed 's/^/# /'
check "hybrid: GPT counts" record aaaaaaaa '[.disks[0].table, (.volumes[] | select(.disk == "disk1") | .partition)] == ["gpt", 1]'
for volume in hybrid holes nobackup noprimary fourk xfs; do check "$volume has its files" has_files "$v/$volume"; done
check "numbers with holes" record aaaaaaaa '[.volumes[] | select(.disk == "disk2") | .partition] == [1, 14, 15]'
check "the ESP is mounted" findmnt $v/ESP
listed() { # PARTITION-NAME TEXT
    record aaaaaaaa ".volumes[] | select(.partitionLabel == \"$1\") | (.mounted | not) and (.reason | contains(\"$2\"))"
}
check "MSR" listed msr "Microsoft reserved"
check "BitLocker" listed bitlocker "encrypted with BitLocker"
check "ReFS" listed refs "ReFS"
check "ZFS" record aaaaaaaa '.volumes[] | select(.disk == "disk8") | (.mounted | not) and (.reason | contains("zfs_member"))'
check "a type that is not mounted by any host" listed minix "file system minix is not mounted"
check "empty" listed nothing "empty"
check "a superblock that says more than there is" listed liar "refused to mount"
check "XFS: reflinked files" cmp $v/xfs/blob $v/xfs/reflinked
check "XFS: times behind 2038" test "$(stat -c %Y $v/xfs/late)" = 4102444800
check "the host sees nothing new" host_same
check "down" down aaaaaaaa
check "nothing is left" gone aaaaaaaa
check "the host saw nothing" host_same
check "the kernel has no complaint" kernel_quiet
check "the backing stores are what they were" same_bytes
finish
