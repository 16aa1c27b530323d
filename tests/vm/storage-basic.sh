#!/usr/bin/env bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# shellcheck disable=SC2016
#
# Inside the machine: disks of many kinds behind a real target, brought up and taken down by ilr-helper itself, without
# daemon and connection. What is asked at the end of each: are the files there, is the backing store what it was, is
# nothing left.
set -eEuo pipefail

helper=/usr/libexec/ilrd/ilr-helper
prefix=iqn.2016-01.microsoft.azure.backup:
work=/tmp/storage
passed=0
failed=0
next_tid=1

say() { printf '%s\n' "$*"; }
ok() { say "ok: $*"; passed=$((passed + 1)); }
bad() {
    say "FAILED: $*"
    failed=$((failed + 1))
}
check() { # WHAT COMMAND...
    local what=$1
    shift
    if "$@" >/tmp/check.out 2>&1; then ok "$what"; else
        bad "$what: $*"
        head -n 20 /tmp/check.out
    fi
}
refuse() { # WHAT COMMAND...: must not succeed
    local what=$1
    shift
    if "$@" >/tmp/refused.out 2>&1; then bad "$what: $*"; else ok "$what"; fi
}
trap 'say "FAILED: line $LINENO: $BASH_COMMAND"; exit 1' ERR

mkdir -p $work
mount -t tmpfs -o size=1200m tmpfs $work
cd $work
for module in loop dm_snapshot ext4 xfs btrfs vfat; do modprobe $module; done

tgtd_start() {
    pgrep tgtd >/dev/null && return
    tgtd
    for ((i = 0; i < 100; i++)); do tgtadm --lld iscsi --op show --mode target >/dev/null 2>&1 && return; sleep 0.1; done
}
target_new() { # NAME [BLOCKSIZE:]IMAGE...
    local name=$prefix$1 lun=1 image size
    shift
    tgtadm --lld iscsi --op new --mode target --tid $next_tid -T "$name"
    for image in "$@"; do
        size=512
        [[ $image != 4096:* ]] || size=4096
        image=${image#4096:}
        tgtadm --lld iscsi --op new --mode logicalunit --tid $next_tid --lun $lun -b "$work/$image" --blocksize $size
        tgtadm --lld iscsi --op update --mode logicalunit --tid $next_tid --lun $lun --params vendor_id="MABILR I"
        lun=$((lun + 1))
    done
    tgtadm --lld iscsi --op bind --mode target --tid $next_tid -I ALL
    next_tid=$((next_tid + 1))
}
# A session as connect and login would leave it: logged in, nothing scanned, the record written.
session_new() { # ID NAME...
    local id=$1 name targets='' sid
    shift
    install -d -m 0700 /run/ilr-private "/run/ilr-private/$id"
    install -d -m 0750 -g ilr /run/ilr
    cp -a /etc/iscsi "/run/ilr-private/$id/iscsi"
    for name; do
        iscsiadm -m node -o new -T "$prefix$name" -p 127.0.0.1:3260 >/dev/null
        iscsiadm -m node -T "$prefix$name" -p 127.0.0.1:3260 -o update -n node.session.scan -v manual
        iscsiadm -m node -T "$prefix$name" -p 127.0.0.1:3260 --login >/dev/null
        sid=$(iscsiadm -m session | sed -n "s/^tcp: \[\([0-9]*\)\].* $prefix$name .*/\1/p")
        targets+="${targets:+,}{\"name\":\"$prefix$name\",\"portal\":\"127.0.0.1:3260\",\"sid\":$sid}"
    done
    echo "{\"version\":1,\"session\":\"$id\",\"targets\":[$targets],\"disks\":[],\"volumes\":[]}" \
        >"/run/ilr-private/$id/session.json"
    chmod 0600 "/run/ilr-private/$id/session.json"
}
field() { # ID VOLUME KEY
    python3 - "$@" <<'PY'
import json, sys
record = json.load(open(f"/run/ilr-private/{sys.argv[1]}/session.json"))
if sys.argv[2] == "-":
    print((record.get("failure") or {}).get(sys.argv[3]))
for v in record["volumes"]:
    if v["name"] == sys.argv[2]:
        print(v.get(sys.argv[3]))
PY
}
show() {
    python3 - "$1" <<'PY'
import json, sys
record = json.load(open(f"/run/ilr-private/{sys.argv[1]}/session.json"))
for d in record["disks"]:
    print("   ", d["name"], d["lun"], d["sizeBytes"], d["sectorBytes"], d["table"])
for v in record["volumes"]:
    print("   ", v["name"], v["disk"], v["partition"], v["type"], v["path"], v["reason"], "replayed" if v["replayed"] else "")
PY
}
field_is() { [[ $(field "$1" "$2" "$3") == "$4" ]]; }
field_has() { [[ $(field "$1" "$2" "$3") == *"$4"* ]]; }
nothing_left() { # ID
    local left=0
    ! dmsetup ls | grep "ilr_$1" || left=1
    ! losetup -a | grep "ilr-private/$1" || left=1
    ! grep "/run/ilr/$1\|/run/ilr-private/$1" /proc/self/mountinfo || left=1
    ! iscsiadm -m session 2>/dev/null | grep "$prefix" || left=1
    [[ ! -e /run/ilr/$1 ]] || left=1
    [[ ! -e /run/ilr-private/$1/cow ]] || left=1
    return $left
}
sums() { (cd $work && sha256sum -- *.img); }
up() { "$helper" up "$1"; }
down() { "$helper" down "$@"; }

# Partition by partition: an image of a file system is copied to where the table has it.
put() { # DISK START_SECTOR IMAGE
    dd if="$3" of="$1" bs=512 seek="$2" conv=notrunc,sparse status=none
}
# A file system that was in use: mounted, written, synced, and copied as it lies on the disk.
dirty() { # FILE
    mkdir -p $work/mnt
    mount -o loop "$1" $work/mnt
    echo old >$work/mnt/synced
    sync
    python3 - $work/mnt <<'PY'
import os, sys
for name in ("synced", "newest"):
    with open(f"{sys.argv[1]}/{name}", "w") as f:
        f.write("new\n")
        f.flush()
        os.fsync(f.fileno())
PY
    cp --sparse=always "$1" "$1.copy"
    umount $work/mnt
    mv "$1.copy" "$1"
}

say "== making the disks =="
mkdir -p files/etc files/dir
for ((i = 0; i < 200; i++)); do echo "file $i" >files/dir/$i; done
echo debian >files/etc/hostname
truncate -s 40M vfat.fs && mkfs.vfat -F 32 -n EFI vfat.fs >/dev/null
truncate -s 48M ext4.fs && mkfs.ext4 -q -L root -d files ext4.fs && dirty ext4.fs
truncate -s 300M xfs.fs && mkfs.xfs -q -L data xfs.fs && dirty xfs.fs
truncate -s 24M ext2.fs && mkfs.ext2 -q -d files ext2.fs
truncate -s 24M ext3.fs && mkfs.ext3 -q -L root -d files ext3.fs
truncate -s 120M btrfs.fs && mkfs.btrfs -q -L pool btrfs.fs && dirty btrfs.fs
truncate -s 16M swap.fs && mkswap swap.fs >/dev/null 2>&1

# GPT: vfat, ext4 (dirty), swap, BIOS boot, empty, garbage
truncate -s 200M gpt.img
sfdisk -q gpt.img <<'TABLE'
label: gpt
start=2048, size=81920, type=C12A7328-F81F-11D2-BA4B-00A0C93EC93B, name="EFI system"
start=83968, size=98304, type=0FC63DAF-8483-4772-8E79-3D69D8477DE4
start=182272, size=32768, type=0657FD6D-A4AB-43C4-84E5-0933C84B4F4F
start=215040, size=2048, type=21686148-6449-6E6F-744E-656564454649
start=217088, size=20480, type=0FC63DAF-8483-4772-8E79-3D69D8477DE4, name="spare"
start=237568, size=20480, type=0FC63DAF-8483-4772-8E79-3D69D8477DE4, name="../../etc"
start=258048, size=98304, type=0FC63DAF-8483-4772-8E79-3D69D8477DE4, name="broken"
TABLE
put gpt.img 2048 vfat.fs
put gpt.img 83968 ext4.fs
put gpt.img 182272 swap.fs
dd if=/dev/urandom of=gpt.img bs=512 seek=237568 count=2048 conv=notrunc status=none
# A superblock whose group descriptors lead nowhere
truncate -s 48M broken.fs && mkfs.ext4 -q -O ^metadata_csum broken.fs
dd if=/dev/urandom of=broken.fs bs=1024 seek=2 count=8 conv=notrunc status=none
put gpt.img 258048 broken.fs
# MBR with logical partitions
truncate -s 120M mbr.img
sfdisk -q mbr.img <<'TABLE'
label: dos
start=2048, size=49152, type=83
start=51200, type=5
start=53248, size=49152, type=83
start=104448, size=49152, type=83
TABLE
put mbr.img 2048 ext2.fs
put mbr.img 53248 ext3.fs
put mbr.img 104448 ext3.fs
cp --sparse=always xfs.fs xfs.img
cp --sparse=always btrfs.fs btrfs.img
truncate -s 64M 4k.img
loop=$(losetup -f --show -b 4096 4k.img)
sfdisk -q "$loop" <<'TABLE'
label: gpt
start=256, size=12288, name="fourk"
TABLE
losetup -d "$loop"
truncate -s 48M 4k.fs && mkfs.ext4 -q -b 4096 -d files 4k.fs && put 4k.img 2048 4k.fs
truncate -s 32M wrong.img
sfdisk -q wrong.img <<'TABLE'
label: gpt
start=2048, size=49152, name="cut512"
TABLE
truncate -s 24M wrong.fs && mkfs.ext4 -q -b 4096 -d files wrong.fs && put wrong.img 2048 wrong.fs
truncate -s 16M empty.img
truncate -s 16M swap.img && mkswap swap.img >/dev/null 2>&1
rm -- *.fs
sums >before

tgtd_start

say "== one target, several LUNs =="
target_new a gpt.img mbr.img xfs.img btrfs.img
session_new aaaaaaaa a
start=$(date +%s%N)
check "up" up aaaaaaaa
say "    up took $((($(date +%s%N) - start) / 1000000)) ms"
show aaaaaaaa
v=/run/ilr/aaaaaaaa/volumes
check "vfat is mounted" mountpoint -q $v/EFI
check "ext4 has its files" test "$(cat $v/root-disk1p2/etc/hostname)" = debian
check "all of them" test "$(find $v/root-disk1p2/dir -type f | wc -l)" = 200
for volume in root-disk1p2 data pool; do
    check "$volume: the newest file is there" test "$(cat $v/$volume/newest)" = new
    check "$volume: the newest content, too" test "$(cat $v/$volume/synced)" = new
    check "$volume: said to be replayed" field_is aaaaaaaa $volume replayed True
done
check "swap: listed" field_has aaaaaaaa disk1-part3 reason "swap"
check "BIOS boot: listed" field_has aaaaaaaa disk1-part4 reason "boot loader"
check "empty: listed under its partition's label" field_is aaaaaaaa spare reason empty
check "unknown content: listed, unusable label left out" field_has aaaaaaaa disk1-part6 reason unknown
check "corrupt superblock: the kernel's refusal" field_has aaaaaaaa broken reason "the kernel refused"
check "MBR primary" test -e $v/disk2-part1/etc/hostname
check "MBR logical 5" test -e $v/root-disk2p5/etc/hostname
check "MBR logical 6" test -e $v/root-disk2p6/etc/hostname
grep " $v/" /proc/self/mounts >mounts
check "all are read-only, nosuid, nodev, noexec" awk '{ if ($4 !~ /^ro,nosuid,nodev,noexec/) exit 1 }' mounts
check "every mount is on an overlay of the session" awk '{ if ($1 !~ /^\/dev\/mapper\/ilr_aaaaaaaa_d/) exit 1 }' mounts
refuse "no write" touch $v/root-disk1p2/x
check "root and group ilr only" test "$(stat -c %a:%G /run/ilr/aaaaaaaa)" = 750:ilr
check "no node of the disks in /dev" test -z "$(find /dev -name 'sd*')"
check "nobody else reads the overlays" test "$(stat -Lc %a:%G /dev/mapper/ilr_aaaaaaaa_d1)" = 600:root
check "no links to the clones" test -z "$(find /dev/disk -lname '*sd[a-z]*' -o -lname '*dm-*')"

say "== busy =="
(cd $v/data && exec sleep 1000) &
holder=$!
sleep 0.3
# The unit's way is forced; the orderly one is what the verb runs.
refuse "an orderly down does not go" down aaaaaaaa
check "it says who" grep -q "pid $holder (sleep)" /tmp/refused.out
check "and nothing was torn" test -e $v/root-disk1p2/etc/hostname -a -e $v/data/newest
kill $holder
wait $holder || true
start=$(date +%s%N)
check "down" down aaaaaaaa
say "    down took $((($(date +%s%N) - start) / 1000000)) ms"
check "nothing is left" nothing_left aaaaaaaa
check "down twice" down aaaaaaaa
sums >after
check "the backing stores are what they were" cmp before after

say "== several targets, 4Kn, a table of the other sector size =="
target_new b1 4096:4k.img
target_new b2 4096:wrong.img
target_new b3 btrfs.img
mkdir -p $work/host
cp --sparse=always btrfs.img $work/host/live
mount -o loop $work/host/live $work/host.mnt 2>/dev/null || { mkdir -p $work/host.mnt; mount -o loop $work/host/live $work/host.mnt; }
session_new bbbbbbbb b1 b2 b3
check "up" up bbbbbbbb
show bbbbbbbb
v=/run/ilr/bbbbbbbb/volumes
check "4Kn disk" test -e $v/fourk/etc/hostname
check "table in 512 on a disk of 4096" test -e $v/cut512/etc/hostname
check "btrfs beside its living original" test "$(cat $v/pool/newest)" = new
check "which goes on" touch $work/host.mnt/alive
say "== forced while held =="
(cd $v/pool && exec sleep 1000) &
holder=$!
sleep 0.3
check "down --forced" down bbbbbbbb --forced
refuse "no mounts" grep /run/ilr/bbbbbbbb /proc/self/mountinfo
refuse "no iSCSI sessions" iscsiadm -m session
check "the holder lives" kill -0 $holder
kill $holder
wait $holder || true
for ((i = 0; i < 50; i++)); do dmsetup ls | grep -q ilr_bbbbbbbb || break; sleep 0.1; done
check "the rest went with its holder" nothing_left bbbbbbbb
umount $work/host.mnt

say "== nothing to mount =="
target_new c empty.img swap.img
session_new cccccccc c
refuse "up" up cccccccc
check "is NothingToMount" field_is cccccccc - name NothingToMount
check "and says why" field_has cccccccc - message "empty"
check "down" down cccccccc
check "nothing is left" nothing_left cccccccc

say "== no disk in time =="
mkdir -p /etc/ilrd/ilrd.conf.d
printf '[Storage]\nDiskTimeoutSec=3s\n' >/etc/ilrd/ilrd.conf.d/50-test.conf
target_new d
session_new dddddddd d
refuse "up" up dddddddd
check "is DisksMissing" field_is dddddddd - name DisksMissing
check "and names the target" field_has dddddddd - message "${prefix}d"
check "down" down dddddddd
check "nothing is left" nothing_left dddddddd

say "== no rules, no protection =="
mv /usr/lib/udev/rules.d/57-ilr.rules /root/
udevadm control -R
target_new e xfs.img
session_new eeeeeeee e
refuse "up" up eeeeeeee
check "is DiskNotProtected" field_is eeeeeeee - name DiskNotProtected
check "down" down eeeeeeee
check "nothing is left" nothing_left eeeeeeee
mv /root/57-ilr.rules /usr/lib/udev/rules.d/
udevadm control -R

say "== a target that stops answering =="
rm /etc/ilrd/ilrd.conf.d/50-test.conf
target_new f xfs.img
session_new ffffffff f
check "up" up ffffffff
pkill -STOP -x tgtd
start=$(date +%s)
# Whether the kernel knows already or not
check "down --forced ends" down ffffffff --forced
say "    took $(($(date +%s) - start)) s"
pkill -CONT -x tgtd
check "nothing is left" nothing_left ffffffff

sums >after
check "the backing stores are what they were" cmp before after
say "$passed passed, $failed failed"
((failed == 0))
