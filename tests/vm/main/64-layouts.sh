#!/usr/bin/env bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# Disks of all kinds through the whole chain: what is mounted, what is listed and why.
# The target would let this host write; that every byte stays as it is, is ilrd's own doing.
set -eEuo pipefail
cd "$(dirname "$0")"
# shellcheck source=tests/vm/lib.sh
. ../lib.sh

images=/var/tmp/ilr-disks
ALL=700000000000001 # one target with the LUNs all.img, mbr.img, xfs.img, btrfs.img

# ---- the images ----

put() { dd if="$3" of="$1" bs=512 seek="$2" conv=notrunc,sparse status=none; } # DISK SECTOR PARTITION
file() { # NAME SIZE [DIRECTORY]
    rm -f "$1"
    truncate -s "$2" "$1"
}
ext() { # FILE SIZE MKFS-ARGUMENT...
    local f=$1
    file "$f" "$2"
    shift 2
    mke2fs -q -F -d tree "$@" "$f"
}
# A feature of the incompatible kind that nobody has: the superblock's checksum is right, the kernel refuses.
unknown_feature() { debugfs -w -R 'set_super_value feature_incompat 0x80000242' "$1" >/dev/null 2>&1; }
# in_loop FILE COMMAND...: with the file as the block device that stands for @
in_loop() {
    local f=$1 loop
    shift
    loop=$(losetup -f --show "$f")
    "${@//@/$loop}"
    losetup -d "$loop"
}
# The host's own LVM and md shall not be quicker.
no_activation() {
    mkdir -p /run/udev/rules.d
    : >/run/udev/rules.d/69-lvm.rules
    : >/run/udev/rules.d/64-md-raid-assembly.rules
    udevadm control -R
}
activation() {
    udevadm settle
    rm -f /run/udev/rules.d/69-lvm.rules /run/udev/rules.d/64-md-raid-assembly.rules
    udevadm control -R
}
make_raid() {
    modprobe raid1
    mdadm --quiet --create /dev/md/ilr-test --run --assume-clean --metadata=1.2 --level=1 --raid-devices=2 "$1" missing
    mdadm --quiet --stop /dev/md/ilr-test
}
make_lvm() {
    pvcreate -qq "$1"
    vgcreate -qq vg-of-the-backup "$1"
    lvcreate -qq -an -Zn -Wn -n root -l 1 vg-of-the-backup
}
make_images() {
    rm -rf $images
    mkdir -p $images
    cd $images
    mkdir -p tree/etc
    echo one-of-many >tree/etc/hostname

    file vfat 40M; mkfs.vfat -F 32 -n EFI vfat
    ext ext4 24M -t ext4 -L root
    ext ext2 16M -t ext2 -L old
    ext ext3 16M -t ext3 -L root
    ext corrupt 16M -t ext4 -L corrupt
    # Its own checksum shows it; the magic number stands.
    printf 'rotten' | dd of=corrupt bs=1 seek=$((1024 + 0x1a8)) conv=notrunc status=none
    ext feature 16M -t ext4 -L future
    unknown_feature feature
    file swap 8M; mkswap swap
    no_activation
    file lvm 8M; in_loop lvm make_lvm @
    file raid 8M; in_loop raid make_raid @
    activation
    file luks 8M
    echo secret | cryptsetup -q luksFormat --type luks1 --iter-time 1 luks -
    file garbage 4M; dd if=/dev/urandom of=garbage bs=1M count=4 conv=notrunc status=none

    file all.img 220M
    sfdisk -q all.img <<'TABLE'
label: gpt
start=2048, size=81920, type=C12A7328-F81F-11D2-BA4B-00A0C93EC93B, name="EFI system"
start=83968, size=49152
start=133120, size=16384, type=0657FD6D-A4AB-43C4-84E5-0933C84B4F4F
start=149504, size=2048, type=21686148-6449-6E6F-744E-656564454649
start=151552, size=16384
start=167936, size=16384
start=184320, size=16384
start=200704, size=8192, name="../../etc"
start=208896, size=8192, name="spare"
start=217088, size=32768
start=249856, size=32768
TABLE
    put all.img 2048 vfat
    put all.img 83968 ext4
    put all.img 133120 swap
    put all.img 151552 lvm
    put all.img 167936 raid
    put all.img 184320 luks
    put all.img 200704 garbage
    put all.img 217088 corrupt
    put all.img 249856 feature

    file mbr.img 56M
    sfdisk -q mbr.img <<'TABLE'
label: dos
start=2048, size=32768, type=83
start=34816, type=5
start=36864, size=32768, type=83
start=71680, size=32768, type=83
TABLE
    put mbr.img 2048 ext2
    put mbr.img 36864 ext3
    put mbr.img 71680 ext3

    # Small ones are good enough for a test, mkfs.xfs means.
    file xfs.img 32M; mkfs.xfs -q --unsupported -L data xfs.img
    file btrfs.img 120M; mkfs.btrfs -q -L pool --rootdir tree btrfs.img
    rm vfat ext4 ext2 ext3 swap lvm raid luks garbage corrupt feature
    rm -r tree
    mkdir before
    cp --sparse=always ./*.img before/
}
same_bytes() {
    local f
    for f in "$images"/*.img; do cmp "$f" "$images/before/${f##*/}"; done
}

must "the images can be made" make_images
# shellcheck disable=SC2016 # jq's own
sim_start '.vaults[0].items += [{vm: "backup-vm-03", resourceGroup: "rg-vms", points: [
    {id: "'$ALL'", time: "2026-11-20T22:00:00Z", disks: (["all.img", "mbr.img", "xfs.img", "btrfs.img"] | map("'$images'/" + .))}]}]'
trap 'rm -rf "$images"; ilrd_configure' EXIT

# ---- what is mounted, what is listed ----

link_targets() { find /dev/disk -type l ! -path '*/by-diskseq/*' ! -lname '*/loop*' -printf '%p %l\n' | sort; }
host_snapshot "$WORK/before"
daemon_noted
link_targets >"$WORK/links"
must "one target with four LUNs comes up" provision backup-vm-03 $ALL
id=$(sessions)
session_json "$id" >"$WORK/session.json"
jq -r '.volumes[] | "#   \(.name) \(.disk) \(.partition) \(.type) \(.path) \(.reason)"' "$WORK/session.json"
top=/run/ilr/$id/volumes

check "disks in the order of their LUNs, with their tables" \
    jq -e '[.disks[] | [.name, .table]] == [["disk1", "gpt"], ["disk2", "dos"], ["disk3", null], ["disk4", null]]' "$WORK/session.json"
check "all that can be is mounted, by stable names" jq -e '[.volumes[] | select(.mounted) | [.name, .type]] ==
    [["EFI", "vfat"], ["root-disk1p2", "ext4"], ["old", "ext2"], ["root-disk2p5", "ext3"], ["root-disk2p6", "ext3"],
     ["data", "xfs"], ["pool", "btrfs"]]' "$WORK/session.json"
mounted_files() {
    for volume in root-disk1p2 old root-disk2p5 root-disk2p6 pool; do
        [[ $(cat "$top/$volume/etc/hostname") == one-of-many ]] || { echo "$volume"; return 1; }
    done
    [[ -d $top/data && -d $top/EFI ]]
}
check "their files can be read" mounted_files
listed() { # NAME TEXT: not mounted, because
    jq -e --arg n "$1" --arg r "$2" '[.volumes[] | select(.name == $n)] | length == 1 and
        (.[0] | (.mounted | not) and .path == null and (.reason | ascii_downcase | contains($r | ascii_downcase)))' \
        "$WORK/session.json"
}
check "swap: listed with its reason" listed disk1-part3 "swap space"
check "BIOS boot: listed with its reason" listed disk1-part4 "boot loader"
check "LVM: listed with its reason" listed disk1-part5 "physical volume of LVM"
check "RAID: listed with its reason" listed disk1-part6 "member of a Linux RAID"
check "LUKS: listed with its reason" listed disk1-part7 "encrypted with LUKS"
check "unknown content: listed, a name that leads out of the directory is made harmless" listed _._.._etc "unknown content"
check "empty: listed by its partition's name" listed spare "empty"
check "a damaged superblock: listed with its reason" listed corrupt "superblock"
check "a feature that the kernel refuses: listed with its reason" listed future "feature"
status_tells() {
    ilrctl status "$id" >"$WORK/status"
    for words in 'swap space' 'boot loader' 'LVM' 'RAID' 'LUKS' 'unknown content' 'empty' 'superblock' 'feature'; do
        grep -q "$words" "$WORK/status" || { echo "no word of: $words"; cat "$WORK/status"; return 1; }
    done
}
check "ilrctl status tells people the same" status_tells

flags_of_all() {
    local n=0 target options o
    while read -r target options; do
        for o in ro nosuid nodev noexec; do [[ ,$options, == *,$o,* ]] || { echo "$target: $options"; return 1; }; done
        n=$((n + 1))
    done < <(findmnt -rno TARGET,OPTIONS | grep "^/run/ilr/")
    ((n == 7)) || { echo "$n mounts"; return 1; }
}
check "each of the seven mounts is ro,nosuid,nodev,noexec" flags_of_all
check "/run/ilr and the session's directory are for root and group ilr only" \
    test "$(stat -c '%U:%G %a' /run/ilr "/run/ilr/$id" "$top" | sort -u)" = "root:ilr 750"
useradd --system --no-create-home ilr-outside
useradd --system --no-create-home -G ilr ilr-inside
check "a user outside of group ilr cannot read" not runuser -u ilr-outside -- cat "$top/old/etc/hostname"
check "nor list" not runuser -u ilr-outside -- ls "$top"
check "a user inside can" runuser -u ilr-inside -- cat "$top/old/etc/hostname" "$top/pool/etc/hostname"
check "and lists FAT as well" runuser -u ilr-inside -- ls -l "$top/EFI"
check "but cannot write" not runuser -u ilr-inside -- touch "$top/EFI/new"
userdel ilr-outside
userdel ilr-inside

# ---- the host beside it ----

check "no node of the disks is in /dev while the session is up" test -z "$(find /dev -name 'sd*')"
check "the kernel has them nevertheless" test "$(find /sys/block -name 'sd*' | wc -l)" = 4
part_of() { sed -n "/^$1:/,/^[a-z]*:\$/p" "$2"; }
same_part() { # of the host's state as it was
    host_snapshot "$WORK/now"
    diff <(part_of "$1" "$WORK/before") <(part_of "$1" "$WORK/now")
}
check "no link in /dev/disk came, went or was stolen" same_part links
same_targets() { diff "$WORK/links" <(link_targets); }
check "each of them leads where it led" same_targets
check "the host's pvs says what it said" same_part pvs
no_group() { not vgs --noheadings vg-of-the-backup; }
check "nor does the host know the backup's volume group" no_group
check "LVM has taken no note of it" test -z "$(find /run/lvm/pvs_online -type f 2>/dev/null || true)"
check "no array was assembled" not grep ^md /proc/mdstat
disks_read_only() {
    local d n=0
    for d in /sys/block/sd* /sys/block/sd*/sd*; do
        [[ $(cat "$d/ro") == 1 ]] || { echo "${d##*/}"; return 1; }
        n=$((n + 1))
    done
    ((n > 12)) || { echo "$n disks and partitions"; return 1; }
}
check "the disks and their partitions are read-only although the target is not" disks_read_only
target_writable() { # that this test can fail
    local d
    for d in /sys/block/sd*; do
        mknod "$WORK/node" b "$(cut -d: -f1 "$d/dev")" "$(cut -d: -f2 "$d/dev")"
        sg_modes --page=0x3f "$WORK/node" >"$WORK/modes" 2>&1 || true
        rm "$WORK/node"
        not grep -q 'WP=1' "$WORK/modes" || { cat "$WORK/modes"; return 1; }
    done
}
check "the target itself would let us write" target_writable
check "release" release "$id"
check "nothing is left" nothing_left azure
check "the host is as it was" host_unchanged "$WORK/before"
check "every byte of the images is as it was" same_bytes
finish
