#!/usr/bin/env bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# doctor --leftovers and --sweep: a session whose records are gone, what helpers that were killed have left, and what somebody
# has made by hand on a recovery disk, as with the script run by hand: mounts, LVM, an array, a loop device. Nothing else of the
# host is touched.
set -eEuo pipefail
cd "$(dirname "$0")"
# shellcheck source=tests/vm/lib.sh
. ../lib.sh

target=iqn.2016-01.microsoft.azure.backup:by-hand
second=$target-too
gone=$WORK/my-vm-20261120220000/Volume1 # as the script names them
cookie=$((0x0D4D1234))
images=$WORK/images
tgt() { tgtadm -C 7 --lld iscsi "$@"; }
for module in raid1 dm_mod loop; do modprobe $module || true; done
mkdir -p "$images" "$WORK/mnt" "$WORK/own" "$gone"

# ---- a session that nobody knows any more ----

ilrd_configure '[Azure]' "Vault=$VAULT"
host_snapshot "$WORK/first"
must "it comes up" provision backup-vm-02 "$POINT_C"
id=$(sessions)
systemctl stop ilrd.service
rm "/var/lib/ilrd/$id.json" "/run/ilr-private/$id/session.json"
systemctl start ilrd.service
check "without its records it is taken down by itself" eventually 60 nothing_left_here
told() { journalctl -u ilrd.service ILR_SESSION="$id" --no-pager -o cat | grep -q "stood without a record and was taken down"; }
check "and that is in the journal" eventually 10 told
azure_told() {
    local status=0
    ilrctl doctor --leftovers --vm=backup-vm-02 >"$WORK/told" || status=$?
    cat "$WORK/told"
    ((status == 1)) && grep -q "$POINT_C" "$WORK/told"
}
check "what Azure has of it is told" azure_told
again() { ilrctl release "$(provision backup-vm-02 "$POINT_C")"; }
check "the next recovery of the point gives it back" again
check "nothing is left of it" nothing_left azure
check "the host is as it was before" host_unchanged "$WORK/first"

# shellcheck disable=SC2317 # called by the trap
clean_up() {
    local t
    for t in ${tunnel_pid-} ${keeper_pid-}; do kill "$t" 2>/dev/null || true; done
    systemctl stop ilr-connection@lost1234.service || true
    rm -rf "/etc/iscsi/send_targets/127.0.0.1,5390"
    ipcrm -S $cookie 2>/dev/null || true
    umount "$WORK/mnt" 2>/dev/null || true
    umount "$gone" 2>/dev/null || true
    dmsetup remove handgone 2>/dev/null || true
    umount "$WORK/own" 2>/dev/null || true
    dmsetup remove handvg-lv 2>/dev/null || true
    dmsetup remove handspan 2>/dev/null || true
    dmsetup remove mine 2>/dev/null || true
    [[ ! -b /dev/md99 ]] || mdadm --stop /dev/md99 2>/dev/null || true
    losetup -D || true
    for t in $target $second; do
        iscsiadm -m node -T "$t" --logout >/dev/null 2>&1 || true
        iscsiadm -m node -T "$t" -o delete >/dev/null 2>&1 || true
    done
    [[ -z ${tgtd_pid-} ]] || kill -KILL "$tgtd_pid" || true
    rm -rf "$images"
    ilrd_configure
}
trap clean_up EXIT

# ---- disks of somebody's: a file system, LVM, half a mirror, and one for a loop device; a second target has one that is used
# ---- together with that, and the other half of a file system over two disks

image() { # NAME COMMAND...: the command gets a loop device over it
    truncate -s 32M "$images/$1"
    loop=$(losetup -f --show "$images/$1")
    shift
    "$@" "$loop"
    udevadm settle
    losetup -d "$loop" 2>/dev/null || true
    # The name is free only when nobody has it open any more, udev among them.
    eventually 10 free "$loop"
}
free() { not losetup "$1"; }
with_files() { mkfs.ext4 -q "$1"; }
with_group() {
    pvcreate -q "$1"
    # Or udev's rules would activate it, now on the loop device.
    vgcreate -q --setautoactivation n handvg "$1"
    lvcreate -q -an -Wn -Zn -L 8M -n lv handvg
}
with_array() {
    mdadm --create /dev/md99 --level=1 --raid-devices=2 --metadata=1.2 --run "$1" missing
    udevadm settle
    # In this order: udev's rules would assemble it again.
    losetup -d "$1"
    mdadm --stop /dev/md99
}
make_images() {
    image files with_files
    image group with_group
    image array with_array
    image plain true
    image other true
    truncate -s 256M "$images/btrfs-1" "$images/btrfs-2"
    mkfs.btrfs -q -d raid0 -m raid0 "$images/btrfs-1" "$images/btrfs-2"
}
must "the disks are made" make_images

# The first record makes directories that stay.
iscsiadm -m node -o new -T iqn.2005-03.org.example:first -p 127.0.0.1:3270 >/dev/null
iscsiadm -m node -T iqn.2005-03.org.example:first -o delete
mkdir -p /etc/iscsi/send_targets
# What is the host's own stays whatever is swept.
truncate -s 16M "$images/own"
mkfs.ext4 -q "$images/own"
mount -o loop "$images/own" "$WORK/own"
dmsetup create mine --table '0 8 zero'
host_snapshot "$WORK/before"

tgtd -f -C 7 --iscsi portal=127.0.0.1:3270 &
tgtd_pid=$!
must "a target answers" eventually 10 tgt --op show --mode target
serve() { # TID TARGET IMAGE...
    local lun=1 name tid=$1 name_of_target=$2
    shift 2
    tgt --op new --mode target --tid "$tid" -T "$name_of_target"
    for name in "$@"; do
        tgt --op new --mode logicalunit --tid "$tid" --lun $lun -b "$images/$name"
        # A disk may name what vendor it likes: the second target's name one of their own.
        ((tid > 1)) || tgt --op update --mode logicalunit --tid 1 --lun $lun --params vendor_id="MABILR I"
        lun=$((lun + 1))
    done
    tgt --op bind --mode target --tid "$tid" -I ALL
    iscsiadm -m node -o new -T "$name_of_target" -p 127.0.0.1:3270 >/dev/null
    iscsiadm -m node -T "$name_of_target" -p 127.0.0.1:3270 --login
    udevadm settle
}
must "somebody logs in by hand" serve 1 $target files group array plain btrfs-1
disk() { # LUN [TARGET]
    local s d
    for s in /sys/class/iscsi_session/session*; do
        [[ $(<"$s/targetname") == "${2-$target}" ]] || continue
        for d in "$s"/device/target*/*:*:*:"$1"/block/*; do echo "/dev/${d##*/}"; done
    done
}
use() {
    mount -o ro,noload "$(disk 1)" "$WORK/mnt"
    vgchange -ay handvg
    mdadm --assemble --readonly --run /dev/md99 "$(disk 3)"
    losetup -r -f "$(disk 4)"
}
must "and uses the disks" use

# ---- what killed helpers have left ----

dmsetup create ilr_lost1234_d1 --table '0 8 zero'
mkdir -p /run/ilr-private/lost1234/iscsi /run/ilr-connect/lost1234/work /run/systemd/system/ilr-connection@lost1234.service.d
echo '{"version":1' >/run/ilr-private/lost1234/session.json # a broken one, too
touch -d '1 hour ago' /run/ilr-private/hook-ready-gone5678.env
mknod /dev/.ilr-9-77-4194303 b 9 77
# A cookie of device-mapper, and a unit that runs.
semaphore=$(python3 -c "import ctypes; print(ctypes.CDLL(None).semget($cookie, 1, 0o1600))")
echo "$semaphore $cookie" >/run/ilr-private/lost1234/cookies
printf '%s\n' '[Service]' Type=simple ExecStart= 'ExecStart=/bin/sleep 1000' \
    >/run/systemd/system/ilr-connection@lost1234.service.d/50-addresses.conf
systemctl start ilr-connection@lost1234.service
# Somebody who came while it was mounted.
unshare --mount --propagation private sh -c "mount -t tmpfs none /run/ilr-connect/lost1234/work; exec sleep 1000" &
keeper_pid=$!
kept_for_himself() { nsenter --target $keeper_pid --mount mountpoint -q /run/ilr-connect/lost1234/work; }
must "somebody has a mount of the session to himself" eventually 10 kept_for_himself

# ---- what the script has left that was run by hand: its tunnel, the record of its discovery, a mount whose disk is gone ----

bash -c 'exec -a SecureTCPTunnel /usr/bin/python3 -c "$1"' - '
import socket, time
listener = socket.create_server(("127.0.0.1", 5390))
time.sleep(1000)' &
tunnel_pid=$!
mkdir "/etc/iscsi/send_targets/127.0.0.1,5390"
touch "/etc/iscsi/send_targets/127.0.0.1,5390/st_config"
take_disk_away() {
    truncate -s 16M "$images/gone"
    mkfs.ext4 -q "$images/gone"
    loop=$(losetup -f --show "$images/gone")
    dmsetup create handgone --table "0 32768 linear $loop 0"
    mount -o ro,noload /dev/mapper/handgone "$gone"
    dmsetup suspend --noflush --nolockfs handgone
    dmsetup load handgone --table '0 32768 error'
    dmsetup resume handgone
    losetup -d "$loop"
}
must "a disk goes away below a mount" take_disk_away
tunnel_listens() { ss -Hltn 'sport = :5390' | grep -q 127.0.0.1; }
must "a tunnel listens" eventually 10 tunnel_listens

tell() {
    ilrctl doctor --leftovers >"$WORK/told" && { echo "exit status 0"; return 1; }
    local what
    for what in "$@"; do grep -qF "$what" "$WORK/told" || { echo "not told: $what"; cat "$WORK/told"; return 1; }; done
}
check "all that ilrd's helpers have left is told" tell ilr_lost1234_d1 /run/ilr-private/lost1234 /run/ilr-connect/lost1234 \
    ilr-connection@lost1234.service.d hook-ready-gone5678.env /dev/.ilr-9-77-4194303 \
    "active (running)" "sleep in a session's unit" \
    "sleep keeps /run/ilr-connect/lost1234/work in a mount namespace of its own"
check "all that the script has left is told" tell "tunnel of a connection script, at 127.0.0.1:5390" \
    /etc/iscsi/send_targets/127.0.0.1,5390 "$gone"
loop=$(losetup -nO NAME -j "$(disk 4)" | tr -d ' ')
check "all that was made by hand is told" tell "$WORK/mnt" handvg-lv md99 "${loop##*/}" $target
not_told() { not grep -e "$WORK/own" -e ' mine ' "$WORK/told"; }
check "nothing of the host's own is" not_told

# As a helper's child that the kernel keeps: in the control group of a unit that is not there any more.
group=/sys/fs/cgroup/system.slice/ilr-helper@99-1-0.service
mkdir "$group"
sleep 1000 &
stuck_pid=$!
echo $stuck_pid >"$group/cgroup.procs"
check "a process that has outlived its helper is told" tell "$stuck_pid" "outlived ilr-helper@99-1-0.service"
kill $stuck_pid
wait $stuck_pid || true
rmdir "$group"

# The broken record makes unsafe what is foreign; so first what is ours.
ilrctl doctor --leftovers --sweep >"$WORK/swept" 2>&1 || true
ours_gone() {
    not dmsetup info ilr_lost1234_d1
    [[ ! -e /run/ilr-private/lost1234 && ! -e /run/ilr-connect/lost1234 ]]
    [[ ! -e /run/systemd/system/ilr-connection@lost1234.service.d ]]
    [[ ! -e /run/ilr-private/hook-ready-gone5678.env && ! -e /dev/.ilr-9-77-4194303 ]]
    not systemctl -q is-active ilr-connection@lost1234.service
    not grep -qE "^ *$cookie " /proc/sysvipc/sem
    not kept_for_himself
}
check "sweep takes down what ilrd has made" ours_gone
check "and leaves alone what it has not" tell "$WORK/mnt" handvg-lv md99 $target $tunnel_pid 127.0.0.1,5390 "$gone"
kill $keeper_pid
wait $keeper_pid || true
# Who has a disk open, and somebody's mount in a name space of his own.
plain=$(disk 4)
losetup -d "$loop"
exec 7<"$plain"
sleep 1000 <&7 &
reader_pid=$!
exec 7<&-
kept() {
    local status=0
    ilrctl doctor --leftovers --sweep --foreign >"$WORK/swept" 2>&1 || status=$?
    cat "$WORK/swept"
    ((status == 1))
    grep -q "in use by pid $reader_pid (sleep)" "$WORK/swept"
    grep -q by-hand /sys/class/iscsi_session/*/targetname
}
check "a session whose disk a process reads stays, and the process is told" kept
script_gone() {
    not tunnel_listens
    [[ ! -e /etc/iscsi/send_targets/127.0.0.1,5390 ]]
    not mountpoint -q "$gone"
}
check "what the script has left is taken down" script_gone
wait $tunnel_pid || true
dmsetup remove --retry handgone
kill $reader_pid
wait $reader_pid || true
unshare --mount --propagation private sh -c "mount -o ro,noload $(disk 1) $WORK/mnt; exec sleep 1000" &
reader_pid=$!
mounted_there() { nsenter --target $reader_pid --mount mountpoint -q "$WORK/mnt"; }
must "somebody mounts it where nobody else sees it" eventually 10 mounted_there
check "and so does one that is mounted elsewhere" kept
kill $reader_pid
wait $reader_pid || true
# What is on the disks of two sessions is in use on both, though only one of them leads to whoever uses it.
both_kept() { # WHO
    local status=0
    ilrctl doctor --leftovers --sweep --foreign >"$WORK/swept" 2>&1 || status=$?
    cat "$WORK/swept"
    ((status == 1))
    grep -q "in use by .*$1" "$WORK/swept"
    grep -qx $target /sys/class/iscsi_session/*/targetname
    grep -qx $second /sys/class/iscsi_session/*/targetname
}
must "somebody logs in to a second target" serve 2 $second other btrfs-2
span=$(disk 1 $second)
check "its disks are told" tell $second "${span##*/}"
printf '%s\n' "0 2048 linear $(disk 4) 0" "2048 2048 linear $(disk 1 $second) 0" | dmsetup create --readonly handspan
exec 7</dev/mapper/handspan
sleep 1000 <&7 &
reader_pid=$!
exec 7<&-
check "both sessions that a volume spans stay while it is read" both_kept 'handspan (dm-'
kill $reader_pid
wait $reader_pid || true
dmsetup remove --retry handspan
btrfs device scan "$(disk 5)" "$(disk 2 $second)"
unshare --mount --propagation private sh -c "mount -t btrfs -o ro $(disk 5) $WORK/mnt; exec sleep 1000" &
reader_pid=$!
must "somebody mounts a file system over two disks where nobody else sees it" eventually 10 mounted_there
check "both of its sessions stay" both_kept 'btrfs [0-9a-f]'
kill $reader_pid
wait $reader_pid || true
check "swept with --foreign nothing is left" ilrctl doctor --leftovers --sweep --foreign
check "and that is what doctor says" ilrctl doctor --leftovers
foreign_gone() {
    not mountpoint -q "$WORK/mnt"
    not dmsetup info handvg-lv
    [[ ! -e /sys/block/md99 ]]
    not losetup "$loop"
    not grep -q by-hand /sys/class/iscsi_session/*/targetname
    [[ ! -e /etc/iscsi/nodes/$target && ! -e /var/lib/iscsi/nodes/$target ]]
    [[ ! -e /etc/iscsi/nodes/$second && ! -e /var/lib/iscsi/nodes/$second ]]
}
check "nothing that was made by hand is there" foreign_gone
own_stands() { mountpoint -q "$WORK/own" && dmsetup info mine; }
check "what is the host's own stands" own_stands
check "the host is as it was" host_unchanged "$WORK/before"
finish
