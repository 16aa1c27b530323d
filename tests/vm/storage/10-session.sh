#!/usr/bin/env bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# ilr-helper up and down alone, without daemon and connection, on a target that this file makes itself: journals, sectors
# of 4096 bytes, a living original beside the clone, a holder, a target that stops answering, udev rules that are not there, and
# those that come late.
set -eEuo pipefail
cd "$(dirname "$0")"
# shellcheck source=tests/vm/storage/lib.sh
. ./lib.sh

host_clean_up() {
    vgchange -an vgother >/dev/null 2>&1 || true
    losetup -D
}
make_images() {
    local loop
    mkdir -p files/etc files/dir
    for ((i = 0; i < 200; i++)); do echo "file $i" >files/dir/$i; done
    echo debian >files/etc/hostname
    truncate -s 48M ext4.fs; mkfs.ext4 -q -L root -d files ext4.fs; dirty ext4.fs
    truncate -s 60M gpt.img
    echo 'start=2048, size=98304' | sfdisk -q -X gpt gpt.img
    put gpt.img 2048 ext4.fs
    truncate -s 32M xfs.img; mkfs.xfs -q --unsupported -L data xfs.img; dirty xfs.img
    truncate -s 120M btrfs.img; mkfs.btrfs -q -L pool btrfs.img; dirty btrfs.img
    truncate -s 64M 4k.img
    loop=$(losetup -f --show -b 4096 4k.img)
    # It wants to tell the kernel, which would need partitions of loop devices.
    echo 'start=256, size=12288, name="fourk"' | sfdisk -q --no-tell-kernel --no-reread -X gpt "$loop"
    losetup -d "$loop"
    truncate -s 48M 4k.fs; mkfs.ext4 -q -b 4096 -d files 4k.fs; put 4k.img 2048 4k.fs
    truncate -s 32M wrong.img
    echo 'start=2048, size=49152, name="cut512"' | sfdisk -q -X gpt wrong.img
    truncate -s 24M wrong.fs; mkfs.ext4 -q -b 4096 -d files wrong.fs; put wrong.img 2048 wrong.fs
    rm -- *.fs
    truncate -s 16M other.img
    losetup /dev/loop9 other.img
    vgcreate -q -s 1M vgother /dev/loop9
    lvcreate -q -y -n other -L 8M vgother
    mkfs.ext4 -q -d files /dev/vgother/other
    vgchange -q -an vgother
    losetup -d /dev/loop9
    images_done
}

must "the images can be made" make_images
host_view host.before

# ---- one target, several LUNs: file systems that were in use when the copy was made ----

target_new a gpt.img xfs.img btrfs.img
session_new aaaaaaaa a
must "up" up aaaaaaaa
v=/run/ilr/aaaaaaaa/volumes
check "ext4 has its files" is $v/root/etc/hostname debian
check "all of them" test "$(find $v/root/dir -type f | wc -l)" = 200
for volume in root data pool; do
    check "$volume: the newest file is there" is $v/$volume/newest new
    check "$volume: the newest content, too" is $v/$volume/synced new
    check "$volume: said to be replayed" record aaaaaaaa ".volumes[] | select(.name == \"$volume\") | .replayed"
done
on_overlays() { not grep -v '^/dev/mapper/ilr_aaaaaaaa_d' <(grep " $v/" /proc/self/mounts); }
check "every mount is on an overlay of the session" on_overlays
check "nobody else reads the overlays" test "$(stat -Lc %a:%G /dev/mapper/ilr_aaaaaaaa_d1)" = 600:root
check "no links to the clones" not grep . <(find /dev/disk -lname '*sd[a-z]*' -o -lname '*dm-*')

(cd $v/data && exec sleep 1000) & holder=$!
eventually 5 test "$(readlink -f /proc/$holder/cwd)" = $v/data
check "an orderly down of a held session does not go" not down aaaaaaaa
says_who() { not down aaaaaaaa >"$WORK/busy" 2>&1; grep "pid $holder (sleep)" "$WORK/busy"; }
check "it says who" says_who
check "and nothing was torn" test -e $v/root/etc/hostname -a -e $v/data/newest
kill $holder
wait $holder || true
check "down" down aaaaaaaa
check "nothing is left" gone aaaaaaaa
check "down twice" down aaaaaaaa
check "the backing stores are what they were" same_bytes

# ---- several targets, 4Kn, a table of the other sector size, forced down while held ----

target_new b1 4096:4k.img
target_new b2 4096:wrong.img
target_new b3 btrfs.img
cp --sparse=always btrfs.img live
mkdir -p mnt
mount -o loop live mnt
session_new bbbbbbbb b1 b2 b3
must "up with three targets" up bbbbbbbb
v=/run/ilr/bbbbbbbb/volumes
check "4Kn disk" is $v/fourk/etc/hostname debian
check "table in 512 on a disk of 4096" is $v/cut512/etc/hostname debian
check "btrfs beside its living original" is $v/pool/newest new
check "which goes on" touch mnt/alive
(cd $v/pool && exec sleep 1000) & holder=$!
eventually 5 test "$(readlink -f /proc/$holder/cwd)" = $v/pool
check "down --forced" down bbbbbbbb --forced
check "no mounts" not grep /run/ilr/bbbbbbbb /proc/self/mountinfo
check "no iSCSI sessions" not iscsiadm -m session
check "the holder lives" kill -0 $holder
kill $holder
wait $holder || true
check "the rest went with its holder" eventually 10 gone bbbbbbbb
umount mnt

# ---- a disk that does not call itself what Azure's do ----

target_new d other.img
tgtadm --lld iscsi --op update --mode logicalunit --tid $((next_tid - 1)) --lun 1 --params vendor_id=OTHER
session_new dddddddd d
must "up with a disk that names another vendor" up dddddddd
check "it has its files" is /run/ilr/dddddddd/volumes/other/etc/hostname debian
check "the host's LVM does not see its volume group" not grep vgother <(vgs 2>&1)
check "there is no link to it" not grep . <(find /dev/disk -lname '*sd[a-z]*')
check "down" down dddddddd
check "nothing is left" gone dddddddd

# ---- no rules, no protection ----

mkdir -p /run/udev/rules.d
: >$mask
udevadm control -R
target_new e xfs.img
session_new eeeeeeee e
check "without udev's rules up is refused" not up eeeeeeee
check "as DiskNotProtected" record eeeeeeee '.failure.name == "DiskNotProtected"'
rm $mask
udevadm control -R
check "down" down eeeeeeee
check "nothing is left" gone eeeeeeee

# ---- udev is behind, and what it says is of the disk that had the number before ----

target_new g gpt.img
session_new gggggggg g
udevadm settle
udevadm control --stop-exec-queue
printf 'I:1\nE:ILR=1\n' >/run/udev/data/b8:0
up gggggggg >up.log 2>&1 & upper=$!
check "the disk is there" eventually 20 test -e /sys/block/sda
sleep 5 # longer than up takes udev's word for it alone
check "up waits while udev has something to do" not grep failure /run/ilr-private/gggggggg/session.json
udevadm control --start-exec-queue
result=0
wait $upper || result=$?
check "then it goes on" test $result = 0
check "it was that disk" record gggggggg '.disks[0].device == "8:0"'
check "it has its files" is /run/ilr/gggggggg/volumes/root/etc/hostname debian
check "down" down gggggggg
check "nothing is left" gone gggggggg

# ---- a target that stops answering ----

target_new f xfs.img
session_new ffffffff f
must "up" up ffffffff
kill -STOP $tgtd_pid
# Whether the kernel knows already or not
check "the target stops answering: down --forced ends" timeout 100 $helper down ffffffff --forced
kill -CONT $tgtd_pid
check "nothing is left" gone ffffffff
check "the host saw nothing" host_same
check "the kernel has no complaint" kernel_quiet
check "the backing stores are what they were" same_bytes
finish
