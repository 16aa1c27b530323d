#!/usr/bin/env bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# LUKS (alone; under LVM in md; under the members of a mirror), unlocked later; btrfs over several devices, whole, with one missing, twice, beside the
# living original.
set -eEuo pipefail
cd "$(dirname "$0")"
# shellcheck source=tests/vm/storage/lib.sh
. ./lib.sh

host_clean_up() {
    systemctl stop ilr-session@aaaaaaaa.service ilr-connection@aaaaaaaa.service || true
    rm -f /run/systemd/system/ilr-connection@aaaaaaaa.service /etc/ilrd/ilrd.conf.d/90-storage.conf
    systemctl daemon-reload
    umount $work/live 2>/dev/null || true
    vgchange -an vgc >/dev/null 2>&1 || true
    for made in made half1 half2; do cryptsetup close $made 2>/dev/null || true; done
    mdadm --quiet --stop --scan || true
    losetup -D
}
luks_new() { # DEVICE TYPE LABEL
    cryptsetup luksFormat -q --type "$2" --pbkdf pbkdf2 --pbkdf-force-iterations 1000 --key-file key "$1"
    cryptsetup open --key-file key "$1" made
    mkfs.ext4 -q -L "$3" -d files /dev/mapper/made
    cryptsetup close made
}
make_images() {
    make_files
    printf 'pass\0word\n' >key
    truncate -s 24M luks1.img luks2.img
    luks_new luks1.img luks1 first
    luks_new luks2.img luks2 second
    # md, LVM in it, LUKS on a logical volume, a file system in that
    truncate -s 48M tower1 tower2
    losetup /dev/loop11 tower1
    losetup /dev/loop12 tower2
    mdadm --quiet --create /dev/md/tower --run --assume-clean -l 1 -n 2 /dev/loop11 /dev/loop12
    vgcreate -q -s 1M vgc /dev/md/tower
    lvcreate -q -y -n plain -L 8M vgc
    lvcreate -q -y -n crypt -L 24M vgc
    mkfs.ext4 -q -d files /dev/vgc/plain
    luks_new /dev/vgc/crypt luks2 top
    vgchange -q -an vgc
    mdadm --quiet --stop /dev/md/tower
    cp --sparse=always tower1 tower1.img
    cp --sparse=always tower2 tower2.img
    truncate -s 32M half1.img half2.img
    for i in 1 2; do
        cryptsetup luksFormat -q --type luks1 --pbkdf pbkdf2 --pbkdf-force-iterations 1000 --key-file key half$i.img
        cryptsetup open --key-file key half$i.img half$i
    done
    made_mirror halves /dev/mapper/half1 /dev/mapper/half2
    cryptsetup close half1
    cryptsetup close half2
    truncate -s 128M pool1 pool2
    losetup /dev/loop13 pool1
    losetup /dev/loop14 pool2
    mkfs.btrfs -q -L pool -d raid1 -m raid1 /dev/loop13 /dev/loop14
    mkdir live
    mount /dev/loop13 live
    cp -a files/. live
    btrfs -q subvolume create live/sub
    cp -a files/etc live/sub/
    sync
    echo new >live/newest
    python3 -c 'import os; f = os.open("live/newest", os.O_RDWR); os.fsync(f)'
    dd if=/dev/loop13 of=pool1.img bs=1M conv=sparse iflag=direct status=none
    dd if=/dev/loop14 of=pool2.img bs=1M conv=sparse iflag=direct status=none
    images_done
}
must "the images can be made" make_images
mkdir -p /etc/ilrd/ilrd.conf.d
host_view host.before
helper_ask() { # JSON: as root does
    printf '%s\0' "$1" | socat -t 120 - UNIX-CONNECT:/run/ilrd/helper | tr -d '\0' >answer
    cat answer
}
unlock() { # ID VOLUME KEY-FILE
    helper_ask "$(jq -nc --arg s "$1" --arg v "$2" --arg k "$(base64 -w0 "$3")" '{verb: "unlock", session: $s, volume: $v, key: $k}')"
    jq -e 'has("failure") | not' answer
}
refused() { # NAME ID VOLUME KEY-FILE
    not unlock "$2" "$3" "$4"
    jq -e --arg n "$1" '.failure.name == $n' answer
}
systemctl start ilr-helper.socket
# The session's unit belongs to a connection's; this one has none to make.
printf '[Service]\nType=exec\nExecStart=/bin/sleep infinity\n' >/run/systemd/system/ilr-connection@aaaaaaaa.service
systemctl daemon-reload

target_new a luks1.img luks2.img
target_new b tower1.img tower2.img
target_new c pool1.img pool2.img
target_new d pool1.img pool2.img
session_new aaaaaaaa a b c d
must "up" systemctl start ilr-session@aaaaaaaa.service
v=/run/ilr/aaaaaaaa/volumes
jq -c '.volumes[] | select(.name | startswith("disk") | not) | [.name, .layers, .reason]' /run/ilr-private/aaaaaaaa/session.json | sed 's/^/# /'
check "a volume beside a locked one" has_files $v/plain
for volume in disk1 disk2 crypt; do
    check "$volume is locked" record aaaaaaaa ".volumes[] | select(.name == \"$volume\") | .locked and (.reason | startswith(\"locked\"))"
done
check "btrfs over two disks" has_files $v/pool-disk5
check "the newest file, too" grep -x new $v/pool-disk5/newest
check "its subvolume" grep -x debian $v/pool-disk5/sub/etc/hostname
check "the same once more, of its own" has_files $v/pool-disk7
check "the host sees nothing new" host_same

echo wrong >wrong
check "a wrong key" refused WrongKey aaaaaaaa disk1 wrong
check "no such volume" refused NoSuchVolume aaaaaaaa nothing key
check "not encrypted" refused InvalidRequest aaaaaaaa plain key
check "still locked, nothing lost" record aaaaaaaa '.volumes[] | select(.name == "disk1") | .locked'
# What a helper leaves that is killed right before it takes note: all is open, the record says that nothing is.
killed_unlock() { # ID VOLUME KEY-FILE LABEL
    cp -a "/run/ilr-private/$1/session.json" before.json
    unlock "$1" "$2" "$3"
    umount "/run/ilr/$1/volumes/$4"
    cp -a before.json "/run/ilr-private/$1/session.json"
    record "$1" ".volumes[] | select(.name == \"$2\") | .locked"
    dmsetup ls | grep -c "^ilr_$1_c"
}
check "an unlock whose helper was killed" killed_unlock aaaaaaaa disk1 key first
check "the right key, LUKS1" unlock aaaaaaaa disk1 key
check "one is open, not two" test "$(dmsetup ls | grep -c '^ilr_aaaaaaaa_c[0-9]*\>')" = 1
# The same, killed before the mounts.
killed_mount() {
    umount $v/first
    jq -c '(.volumes[] | select(.name == "first")) |= (.mounted = false | .path = null)' \
        /run/ilr-private/aaaaaaaa/session.json >noted.json
    cat noted.json >/run/ilr-private/aaaaaaaa/session.json
}
check "one killed before the mounts" killed_mount
check "asked again it mounts" unlock aaaaaaaa disk1 key
# The same, killed right behind the mounts, where links are to be forbidden and subvolumes to be listed.
no_links() { findmnt -no OPTIONS "$v/$1" | grep -w nosymfollow; }
killed_behind_mount() {
    jq -c '(.volumes[] | select(.name == "first" or .name == "pool-disk5")) |= (.mounted = false | .path = null | del(.subvolumes))' \
        /run/ilr-private/aaaaaaaa/session.json >noted.json
    cat noted.json >/run/ilr-private/aaaaaaaa/session.json
    not no_links first
}
printf '[Storage]\nFollowSymlinks=no\n' >/etc/ilrd/ilrd.conf.d/90-storage.conf
check "one killed behind the mounts" killed_behind_mount
check "asked again" unlock aaaaaaaa disk1 key
check "no links are followed there" no_links first
check "nor on another volume that was mounted" no_links pool-disk5
check "whose subvolumes are listed" record aaaaaaaa '.volumes[] | select(.name == "pool-disk5") | .mounted and (.subvolumes | length == 1)'
rm /etc/ilrd/ilrd.conf.d/90-storage.conf
check "LUKS2" unlock aaaaaaaa disk2 key
check "LUKS in LVM in md" unlock aaaaaaaa crypt key
check "once more is no mistake" unlock aaaaaaaa crypt key
for volume in first second top; do check "$volume has its files" has_files "$v/$volume"; done
check "what it lies on" record aaaaaaaa '.volumes[] | select(.name == "top") | .layers == ["disk3 + disk4", "md raid1", "LV vgc/crypt", "LUKS"]'
check "none is locked any more" record aaaaaaaa '[.volumes[] | select(.locked)] == []'
check "the host sees nothing new" host_same
check "down" down aaaaaaaa
check "nothing is left" gone aaaaaaaa
systemctl stop ilr-session@aaaaaaaa.service ilr-connection@aaaaaaaa.service

# ---- a mirror of what two keys open, and one that misses its half for good ----

target_new f half1.img half2.img tower1.img
session_new aaaaaaaa f
must "up" systemctl start ilr-session@aaaaaaaa.service
check "what misses a half beside locked volumes is there" has_files $v/plain
check "the first key" unlock aaaaaaaa disk1 key
check "a half that is not locked any more waits for the other" record aaaaaaaa '[.volumes[] | select((.reason // "") | contains("unlock the locked volumes"))] | length == 1'
check "nothing was made of it alone" not test -e $v/halves
check "the second key" unlock aaaaaaaa disk2 key
check "the mirror has its files" has_files $v/halves
check "and is whole" record aaaaaaaa '[.volumes[] | select(.label == "halves")] | length == 1 and (.[0].degraded | not)'
check "down" down aaaaaaaa
check "nothing is left" gone aaaaaaaa
systemctl stop ilr-session@aaaaaaaa.service ilr-connection@aaaaaaaa.service

target_new e pool2.img
session_new bbbbbbbb e
must "up with a device of the btrfs missing" up bbbbbbbb
check "its files" has_files /run/ilr/bbbbbbbb/volumes/pool
check "degraded" record bbbbbbbb '.volumes[] | select(.name == "pool") | .degraded and (.layers | index("btrfs (degraded, 1 of 2 devices)"))'
check "down" down bbbbbbbb
check "nothing is left" gone bbbbbbbb
check "the original goes on" touch live/alive
check "the host saw nothing" host_same
check "the kernel has no complaint" kernel_quiet
check "the backing stores are what they were" same_bytes
finish
