#!/usr/bin/env bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# A host whose own services take every disk that they see: multipathd (greedy), LVM's and mdadm's event activation,
# udisks, btrfs. None of them gets one of a session's, and the disks are read-only before any later rule runs. At the
# end the same without ilrd's rules, which shows that they would have.
set -eEuo pipefail
cd "$(dirname "$0")"
# shellcheck source=tests/vm/storage/lib.sh
. ./lib.sh

spy=/run/udev/rules.d/58-spy.rules
host_clean_up() {
    rm -f $spy /run/spy.log
    udevadm control -R
    let_go
    systemctl stop multipathd.service multipathd.socket udisks2.service || true
    [[ ! -d etc-multipath ]] || { rm -rf /etc/multipath; cp -a etc-multipath /etc/multipath; }
    rm -f /etc/multipath.conf
    losetup -D
}
# What the services took.
let_go() {
    vgchange -an vgp >/dev/null 2>&1 || true
    mdadm --quiet --stop --scan || true
    multipath -F >/dev/null 2>&1 || true
}
make_images() {
    make_files
    truncate -s 24M pv.img m1.img m2.img
    losetup /dev/loop1 pv.img
    losetup /dev/loop2 m1.img
    losetup /dev/loop3 m2.img
    vgcreate -q -s 1M vgp /dev/loop1
    lvcreate -q -y -n policy -L 12M vgp
    mkfs.ext4 -q -d files /dev/vgp/policy
    vgchange -q -an vgp
    made_mirror pair /dev/loop2 /dev/loop3
    losetup -d /dev/loop1 /dev/loop2 /dev/loop3
    pvs >/dev/null 2>&1 # the host's LVM forgets them
    truncate -s 120M pool.img; mkfs.btrfs -q -L pool --rootdir files pool.img
    truncate -s 12M gpt.img
    echo 'start=2048, size=20480' | sfdisk -q -X gpt gpt.img
    truncate -s 10M gpt.fs; mkfs.ext4 -q -L part -d files gpt.fs; put gpt.img 2048 gpt.fs
    rm gpt.fs
    images_done
}
make_host() {
    mkdir -p /etc/multipath /run/udev/rules.d
    cp -a /etc/multipath etc-multipath
    printf 'defaults {\n  find_multipaths greedy\n  user_friendly_names no\n}\n' >/etc/multipath.conf
    modprobe dm_multipath
    systemctl start multipathd.service udisks2.service
    cat >spy <<'SPY'
#!/bin/sh
# udev's environment: the device's properties at this line of the rules.
echo "$ACTION $1 ro=$(cat "/sys/class/block/$1/ro") ilr=$ILR ready=$SYSTEMD_READY udisks=$UDISKS_IGNORE links=$UDEV_DISABLE_PERSISTENT_STORAGE_RULES_FLAG serial=$ID_SERIAL" >>/run/spy.log
SPY
    chmod +x spy
    : >/run/spy.log
    echo "SUBSYSTEM==\"block\", KERNEL==\"sd*\", ACTION!=\"remove\", PROGRAM==\"$work/spy %k\"" >$spy
    udevadm control -R
    eventually 20 multipathd show daemon
}
must "the images can be made" make_images
must "the host's services run" make_host
host_view host.before
target_new a pv.img m1.img m2.img pool.img gpt.img
session_new aaaaaaaa a
must "up" up aaaaaaaa
udevadm settle
v=/run/ilr/aaaaaaaa/volumes
for volume in policy pair pool part; do check "$volume has its files" has_files $v/$volume; done
sed 's/^/# /' /run/spy.log
seen() { [[ $(awk '{print $2}' /run/spy.log | sort -u | wc -l) == 6 ]]; }
check "the rules after ours have seen five disks and a partition" seen
check "each read-only and marked in every event" not grep -v 'ro=1 ilr=1 ready=0 udisks=1 links=1 serial=$' /run/spy.log
check "multipathd has no map" not grep -v "^ok$" <(multipathd show maps raw format %n)
check "and has noted no identity" not grep '^/' /etc/multipath/wwids
check "udisks has no object of them" not grep /sd <(udisks_objects)
check "no array" not grep ^md /proc/mdstat
check "no volume group" not vgs vgp
check "the kernel's btrfs has not been told of the disk" not grep 'BTRFS.*/dev/sd' <(dmesg | tail -n "+$kernel_line")
check "the host is as it was" host_same
check "the kernel has no complaint" kernel_quiet
check "down" down aaaaaaaa
check "nothing is left" gone aaaaaaaa
check "the host is as it was" host_same

# ---- without the rules ----

: >$mask
: >/run/spy.log
udevadm control -R
session_new bbbbbbbb a
check "without the rules: up is refused" not up bbbbbbbb
udevadm settle
eventually 20 grep "^/" /etc/multipath/wwids || true
check "the later rules see disks that can be written to" grep 'ro=0 ilr=' /run/spy.log
check "multipathd takes them" grep '^/' /etc/multipath/wwids
taken() { grep ^md /proc/mdstat || [[ $(lvs --noheadings -o lv_active vgp | tr -d ' ') == active ]] || grep /sd <(udisks_objects); }
check "so do others" taken
rm $mask
udevadm control -R
let_go
check "down" down bbbbbbbb --forced
let_go
check "nothing is left" eventually 20 gone bbbbbbbb
finish
