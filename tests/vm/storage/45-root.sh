#!/usr/bin/env bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# The guest's own view: trees put together by the guests' fstabs, honest and hostile ones.
set -eEuo pipefail
cd "$(dirname "$0")"
# shellcheck source=tests/vm/storage/lib.sh
. ./lib.sh

host_clean_up() {
    umount $work/mnt 2>/dev/null || true
    vgchange -an vgr >/dev/null 2>&1 || true
    losetup -D
    rm -rf /etc/host-only-fstab /srv/inside /etc/ilrd/ilrd.conf.d/90-storage.conf
}
volume() { # DEVICE LABEL DIRECTORY
    mkfs.ext4 -q -O '^has_journal' ${2:+-L "$2"} -d "$3" "$1"
}
lvm_uuid() { echo "dm-uuid-LVM-$(lvs --noheadings -o vg_uuid,lv_uuid "$1" | tr -d ' -')"; }

make_images() {
    local lv
    mkdir -p top/{etc,home,var,boot/efi,srv/inside,hostile,dev,proc} home/alice var/{log,lib/app} log extra lost
    echo guest-lvm >top/etc/hostname
    echo 'dear diary' >home/alice/diary
    echo data >var/lib/app/data
    echo line >log/syslog
    echo extra >extra/here
    echo EFI >lost/here
    ln -s /etc/host-only top/etc/resolv.conf
    ln -s /srv/inside top/hostile/in
    ln -s / top/hostile/top
    ln -s ../../../../../../run/ilr top/hostile/out
    # Where this leads in six steps no path reaches.
    (
        cd top/hostile
        steps=$(printf '%0200d/' 0 0 0 0)
        for ((i = 0; i < 6; i++)); do
            ln -s "$steps" far
            mkdir -p "$steps"
            cd "$steps"
        done
    )
    truncate -s 64M lvm
    losetup /dev/loop1 lvm
    vgcreate -q -s 1M vgr /dev/loop1
    for lv in ro-ot home var log; do lvcreate -q -y -L 12M -n $lv vgr; done
    volume /dev/vgr/home '' home
    volume /dev/vgr/var '' var
    volume /dev/vgr/log '' log
    udevadm settle
    cat >top/etc/fstab <<FSTAB
# <file system> <mount point> <type> <options> <dump> <pass>
/dev/mapper/vgr-ro--ot / ext4 errors=remount-ro 0 1
/dev/vgr/log /var/log ext4 defaults 0 2
UUID=$(blkid -o value -s UUID /dev/vgr/home) /home ext4 defaults 0 2
/dev/disk/by-id/$(lvm_uuid vgr/var) /var ext4 defaults 0 2
LABEL=extra /hostile/in auto defaults
LABEL=extra /hostile/top auto defaults
LABEL=extra /hostile/out auto defaults
LABEL=extra /hostile/far/far/far/far/far/far auto defaults
LABEL=extra /home auto defaults
/dev/disk/by-label/two\\x20words /not/there auto defaults
PARTUUID=00000000-1111-2222-3333-444444444444 /boot ext4 defaults
/dev/sdb1 /srv ext4 defaults
/dev/disk/cloud/azure_resource-part1 /mnt auto defaults,nofail
/dev/sr0 /media/cdrom iso9660 ro,noauto
/home /srv/bound none bind
/dev/mapper/vgr-home /srv/also ext4 bind
proc /proc proc defaults
tmpfs /tmp tmpfs defaults
nas:/export /srv/nas nfs defaults
/swapfile none swap sw
this line is
FSTAB
    volume /dev/vgr/ro-ot '' top
    vgchange -q -an vgr
    dd if=/dev/loop1 of=lvm.img bs=1M conv=sparse iflag=direct status=none
    losetup -d /dev/loop1

    truncate -s 128M btrfs.img
    mkfs.btrfs -q -L pool btrfs.img
    mkdir -p mnt
    mount -o loop btrfs.img mnt
    for lv in @ @home @old; do btrfs -q subvolume create mnt/$lv; done
    mkdir -p mnt/@/{etc,home,old}
    echo guest-btrfs >mnt/@/etc/hostname
    echo 'in @home' >mnt/@home/file
    echo 'in @old' >mnt/@old/file
    cat >mnt/@/etc/fstab <<FSTAB
UUID=$(blkid -o value -s UUID btrfs.img) / btrfs subvol=@ 0 0
LABEL="pool" /home btrfs defaults,subvol=/@home 0 0
LABEL=pool /old btrfs subvolid=$(btrfs inspect-internal rootid mnt/@old) 0 0
LABEL=pool /gone btrfs subvolid=4711 0 0
FSTAB
    btrfs subvolume set-default mnt/@
    umount mnt

    # Not one of these is a root, whatever the host has there.
    truncate -s 4M extra.img words.img link.img up.img directory.img
    volume extra.img extra extra
    volume words.img 'two words' lost
    mkdir -p link/etc up/etc directory/etc/fstab
    ln -s /etc/shadow link/etc/fstab
    ln -s ../../../../../../../etc/host-only-fstab up/etc/fstab
    volume link.img link link
    volume up.img up up
    volume directory.img directory directory
    images_done
    mkdir -p /srv/inside
    echo 'LABEL=extra /home auto defaults' >/etc/host-only-fstab
}
must "the images can be made" make_images
install -d -m 0700 /etc/iscsi/ifaces # iscsiadm makes it when it is run first
host_view host.before

target_new a lvm.img btrfs.img extra.img words.img link.img up.img directory.img
session_new aaaaaaaa a
must "up" up aaaaaaaa
top=/run/ilr/aaaaaaaa
jq -c '.volumes[] | [.name, .label, .subvolumes, .reason]' /run/ilr-private/aaaaaaaa/session.json | sed 's/^/# /'
jq -c '.roots[]' /run/ilr-private/aaaaaaaa/session.json | sed 's/^/# /'

check "two systems, the one on the first disk first" record aaaaaaaa '[.roots[] | [.name, .volume, .path, .subvolume]] ==
    [["root", "ro-ot", "/run/ilr/aaaaaaaa/root", null], ["root-2", "pool", "/run/ilr/aaaaaaaa/root-2", "@"]]'
check "the root" is $top/root/etc/hostname guest-lvm
check "home, by UUID" is $top/root/home/alice/diary 'dear diary'
check "var, by udev's name of a logical volume" is $top/root/var/lib/app/data data
check "what lies deeper comes later, whatever the order of the lines" is $top/root/var/log/syslog line
check "a mount point that is a link is followed inside of the tree" is $top/root/srv/inside/here extra
check "and not outside" test -z "$(ls -A /srv/inside)"
check "the root of btrfs is its default subvolume" is $top/root-2/etc/hostname guest-btrfs
check "a subvolume by its path" is $top/root-2/home/file 'in @home'
check "a subvolume by its id" is $top/root-2/old/file 'in @old'
check "the btrfs itself is mounted from its top" is $top/volumes/pool/@old/file 'in @old'
check "its subvolumes are listed" record aaaaaaaa '[.volumes[] | select(.name == "pool").subvolumes[] | [.path, .default]] ==
    [["@", true], ["@home", false], ["@old", false]]'
check "nothing is mounted below the volumes" test -z "$(find $top/volumes/ro-ot/{home,var,srv/inside} $top/volumes/var/log -mindepth 1)"
missing() { # WHERE TEXT
    record aaaaaaaa "[.roots[].missing[] | select(.where == \"$1\")] | length == 1 and (.[0].reason | contains(\"$2\"))"
}
check "missing: a link that leads out" missing /hostile/out "no such directory"
check "missing: a link to the top" missing /hostile/top "already"
check "missing: farther than any path reaches" missing /hostile/far/far/far/far/far/far "too long"
check "missing: the second one in one place" missing /home "already"
check "missing: no directory to mount it on" missing /not/there "no such directory"
check "missing: not in the backup" missing /boot "no volume like this"
check "missing: a name that says nothing" missing /srv "does not tell"
check "missing: the temporary disk" missing /mnt "temporary disk"
check "missing: no such subvolume" missing /gone "no subvolume"
check "and no more than these" record aaaaaaaa '[.roots[].missing[].where] | length == 9'
flags() { # COUNT [OPTION]: of all mounts
    local count=$1 n=0 target options o
    shift
    while read -r target options; do
        for o in ro nosuid nodev noexec "$@"; do [[ ,$options, == *,$o,* ]] || { echo "$target: $options"; return 1; }; done
        n=$((n + 1))
    done < <(findmnt -rno TARGET,OPTIONS | grep "^$top/")
    ((n == count)) || { echo "$n mounts"; findmnt -rno TARGET | grep "^$top/"; return 1; }
}
# 10 volumes, 2 roots, 6 below them
check "each mount is ro,nosuid,nodev,noexec" flags 18
status_has_roots() {
    printf '{"verb":"status"}\0' | socat -t 60 - UNIX-CONNECT:/run/ilrd/helper | tr -d '\0' >answer
    jq -e '.sessions[] | select(.session == "aaaaaaaa") | (.roots | length == 2) and .mounts == 18' answer
}
systemctl start ilr-helper.socket
check "status tells it" status_has_roots
check "the host sees nothing new" host_same
(cd $top/root/var && exec sleep 600) &
holder=$!
eventually 10 is /proc/$holder/comm sleep
says_who() { not down aaaaaaaa >answer 2>&1; grep "pid $holder (sleep)" answer; }
check "who uses a tree is in the way, by name" says_who
kill $holder
wait $holder || true
check "down" down aaaaaaaa
check "nothing is left" gone aaaaaaaa
check "the host is as it was" host_same
check "the backing stores are what they were" same_bytes

mkdir -p /etc/ilrd/ilrd.conf.d
printf '[Storage]\nFollowSymlinks=no\n' >/etc/ilrd/ilrd.conf.d/90-storage.conf
session_new bbbbbbbb a
must "up without links" up bbbbbbbb
top=/run/ilr/bbbbbbbb
check "the trees" is $top/root/home/alice/diary 'dear diary'
no_links() {
    not cat $top/root/etc/resolv.conf >answer 2>&1
    grep 'symbolic links' answer
}
check "no link is followed" no_links
one_less() { record bbbbbbbb '[.roots[].missing[] | select(.where == "/hostile/in")] | length == 1 and (.[0].reason | contains("link"))'; }
check "nor to a mount point, which is told" one_less
check "nosymfollow on each mount" flags 17 nosymfollow
check "down" down bbbbbbbb
check "nothing is left" gone bbbbbbbb
rm /etc/ilrd/ilrd.conf.d/90-storage.conf

session_new cccccccc a
must "up once more" up cccccccc
mount_far() {
    local i
    cd /run/ilr/cccccccc/root/hostile
    for i in {1..6}; do cd -P far; done
    mount --no-canonicalize -t tmpfs far .
}
must "somebody mounts where no path reaches" mount_far
check "that is in the way" not down cccccccc
check "but not by force" down cccccccc --forced
check "nothing is left" gone cccccccc
check "the kernel has no complaint" kernel_quiet
finish
