#!/usr/bin/env bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# A system as an installer makes it that encrypts: /boot beside a LUKS volume with LVM in it, root and swap in that, and one more
# LUKS volume that crypttab opens. By keys that come with the provision and by unlock; the guest's own tree after each.
set -eEuo pipefail
cd "$(dirname "$0")"
# shellcheck source=tests/vm/lib.sh
. ../lib.sh

images=/var/tmp/ilr-luks-root
POINT=720000000000001

put() { dd if="$3" of="$1" bs=512 seek="$2" conv=notrunc,sparse status=none; } # DISK SECTOR PARTITION
luks_new() { # FILE KEY-FILE
    cryptsetup luksFormat -q --type luks2 --pbkdf pbkdf2 --pbkdf-force-iterations 1000 --key-file "$2" "$1"
    cryptsetup open --key-file "$2" "$1" ilr-made
}
make_system() {
    luks_new system passphrase
    pvcreate -qq /dev/mapper/ilr-made
    vgcreate -qq debian-vg /dev/mapper/ilr-made
    lvcreate -qq -y -n root -L 20M debian-vg
    lvcreate -qq -y -n swap_1 -L 8M debian-vg
    mkswap /dev/debian-vg/swap_1
    mkdir -p root/{etc,boot,srv,usr}
    echo encrypted-debian >root/etc/hostname
    cat >root/etc/crypttab <<CRYPTTAB
sda2_crypt UUID=$(blkid -o value -s UUID system) none luks,discard
data_crypt UUID=$(blkid -o value -s UUID data) /etc/keys/data.key luks
CRYPTTAB
    cat >root/etc/fstab <<FSTAB
/dev/mapper/debian--vg-root / ext4 errors=remount-ro 0 1
UUID=$(blkid -o value -s UUID boot) /boot ext2 defaults 0 2
/dev/mapper/debian--vg-swap_1 none swap sw 0 0
/dev/mapper/data_crypt /srv ext4 defaults 0 2
FSTAB
    mke2fs -q -F -t ext4 -d root /dev/debian-vg/root
    vgchange -qq -an debian-vg
    cryptsetup close ilr-made
}
make_images() {
    rm -rf $images
    mkdir -p $images/{boot.d,srv.d}
    cd $images
    echo 'the kernel' >boot.d/vmlinuz
    echo 'the data' >srv.d/file
    printf 'a passphrase' >passphrase
    head -c 64 /dev/urandom >key
    truncate -s 8M boot
    mke2fs -q -F -t ext2 -d boot.d boot
    truncate -s 28M data
    luks_new data key
    mke2fs -q -F -t ext4 -d srv.d /dev/mapper/ilr-made
    cryptsetup close ilr-made
    truncate -s 52M system
    make_system
    truncate -s 92M disk.img
    sfdisk -q disk.img <<'TABLE'
label: gpt
start=2048, size=16384
start=18432, size=106496, name="system"
start=124928, size=57344, name="data"
TABLE
    put disk.img 2048 boot
    put disk.img 18432 system
    put disk.img 124928 data
    cp --sparse=always disk.img before
}
modprobe dm_crypt || true
must "the images can be made" make_images
sim_start '.vaults[0].items += [{vm: "backup-vm-05", resourceGroup: "rg-vms", points: [
    {id: "'$POINT'", time: "2026-11-20T22:00:00Z", disks: ["'$images'/disk.img"]}]}]'
trap 'rm -rf "$images"; ilrd_configure' EXIT

host_snapshot "$WORK/before"
roots() { session_json "$id" | jq -e "$1" || { session_json "$id"; return 1; } } # FILTER
must "it comes up" provision backup-vm-05 $POINT
id=$(sessions)
top=/run/ilr/$id
check "the one volume that needs no key" grep -rx 'the kernel' "$top/volumes"
check "no system is seen yet" roots '.roots == []'
check "two are locked" roots '[.volumes[] | select(.locked) | .name] == ["system", "data"]'
check "the system is unlocked" ilrctl unlock "$id" system --key-file "$images/passphrase"
check "its tree is the guest's" grep -x encrypted-debian "$top/root/etc/hostname"
check "with what lies beside it" grep -x 'the kernel' "$top/root/boot/vmlinuz"
check "what it is made of" roots '.volumes[] | select(.name == "root") | .layers == ["disk1-part2", "LUKS", "LV debian-vg/root"]'
check "the swap says that it is one" roots '.volumes[] | select(.name == "swap_1") | .reason | startswith("swap space")'
locked_part() {
    roots '.roots[0].missing == [{where: "/srv", what: "/dev/mapper/data_crypt",
        reason: "volume data is not mounted: locked: encrypted with LUKS"}]'
    [[ -z $(ls -A "$top/root/srv") ]]
}
check "what crypttab opens is missing, by name" locked_part
check "that is unlocked, too" ilrctl unlock "$id" data --key-file "$images/key"
whole() {
    grep -x 'the data' "$top/root/srv/file"
    grep -x encrypted-debian "$top/root/etc/hostname"
    grep -x 'the kernel' "$top/root/boot/vmlinuz"
    roots '(.roots | length == 1) and .roots[0].missing == [] and ([.roots[0].mounts[].where] == ["/boot", "/srv"])'
}
check "the tree is whole" whole
check "the host's LVM sees nothing" not grep -e debian -e ilr <(vgs 2>&1; pvs 2>&1)
check "release" release "$id"
check "nothing is left" nothing_left azure

must "up with its keys" provision backup-vm-05 $POINT "--key-file=system=$images/passphrase" "--key-file=data=$images/key"
id=$(sessions)
top=/run/ilr/$id
check "the tree is whole at once" whole
check "release" release "$id"
check "nothing is left" nothing_left azure
check "the host is as it was" host_unchanged "$WORK/before"
check "every byte of the disk is as it was" cmp $images/disk.img $images/before
finish
