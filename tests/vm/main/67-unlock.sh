#!/usr/bin/env bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# Encrypted volumes and open journals through the whole chain: locked with the reason, a wrong key, the right one, keys that
# come with the provision; what a session chooses for its journals.
set -eEuo pipefail
cd "$(dirname "$0")"
# shellcheck source=tests/vm/lib.sh
. ../lib.sh

images=/var/tmp/ilr-unlock
POINT=710000000000001
# shellcheck disable=SC2016 # as a passphrase may be
passphrase='correct $horse "battery"'

put() { dd if="$3" of="$1" bs=512 seek="$2" conv=notrunc,sparse status=none; } # DISK SECTOR PARTITION
luks_new() { # FILE LABEL KEY-FILE
    truncate -s 24M "$1"
    cryptsetup luksFormat -q --type luks2 --pbkdf pbkdf2 --pbkdf-force-iterations 1000 --key-file "$3" "$1"
    cryptsetup open --key-file "$3" "$1" ilr-made
    mke2fs -q -F -t ext4 -d tree -L "$2" /dev/mapper/ilr-made
    cryptsetup close ilr-made
}
# hungry FILE: its keys are to be derived in nine tenths of this machine's memory. Both headers say so, with their checksums.
hungry() {
    python3 - "$1" <<'PYTHON'
import hashlib, json, re, struct, sys
total = int(re.search(r"MemTotal: *(\d+)", open("/proc/meminfo").read()).group(1))
with open(sys.argv[1], "r+b") as f:
    size, = struct.unpack(">Q", f.read(16)[8:])
    for at in 0, size:
        f.seek(at)
        header = bytearray(f.read(size))
        words = json.loads(header[4096:].split(b"\0")[0])
        words["keyslots"]["0"]["kdf"]["memory"] = total * 9 // 10
        header[4096:] = json.dumps(words).encode().ljust(size - 4096, b"\0")
        header[448:512] = bytes(64)
        header[448:480] = hashlib.sha256(header).digest()
        f.seek(at)
        f.write(header)
PYTHON
}
make_images() {
    rm -rf $images
    mkdir -p $images/tree/etc
    cd $images
    echo locked-away >tree/etc/hostname
    printf '%s' "$passphrase" >passphrase
    head -c 64 /dev/urandom >key
    head -c 64 /dev/urandom >wrong
    chmod 0644 passphrase
    luks_new luks1 secret passphrase
    luks_new luks2 vault key
    truncate -s 20M hungry
    cryptsetup luksFormat -q --type luks2 --pbkdf argon2id --pbkdf-memory 1024 --pbkdf-force-iterations 4 --key-file key hungry
    hungry hungry
    truncate -s 24M dirty
    mke2fs -q -F -t ext4 -L dirty dirty
    dirty dirty
    truncate -s 104M disk.img
    sfdisk -q disk.img <<'TABLE'
label: gpt
start=2048, size=49152, name="data"
start=51200, size=49152, name="one"
start=100352, size=49152, name="two"
start=149504, size=40960, name="hungry"
TABLE
    put disk.img 2048 dirty
    put disk.img 51200 luks1
    put disk.img 100352 luks2
    put disk.img 149504 hungry
    cp --sparse=always disk.img before
}
modprobe dm_crypt || true
must "the images can be made" make_images
# shellcheck disable=SC2016 # jq's own
sim_start '.vaults[0].items += [{vm: "backup-vm-04", resourceGroup: "rg-vms", points: [
    {id: "'$POINT'", time: "2026-11-20T22:00:00Z", disks: ["'$images'/disk.img"]}]}]'
useradd --system --no-create-home -G ilr ilr-inside
trap 'rm -rf "$images"; userdel ilr-inside; ilrd_configure' EXIT
since=$(date '+%Y-%m-%d %H:%M:%S')

host_snapshot "$WORK/before"
must "a machine with encrypted disks comes up" provision backup-vm-04 $POINT
id=$(sessions)
top=/run/ilr/$id/volumes
volume() { # NAME FILTER
    session_json "$id" | jq -e --arg n "$1" "[.volumes[] | select(.name == \$n)][0] | $2" || { session_json "$id"; return 1; }
}
check "the newest is there, by the journal" grep -x new "$top/dirty/synced" "$top/dirty/newest"
for name in one two; do
    check "$name is locked, and says so" volume $name '.locked and .path == null and .reason == "locked: encrypted with LUKS"'
done
ilrctl status "$id" >"$WORK/status"
check "status says what to do" grep -F "ilrctl unlock $id one" "$WORK/status"

wrong() {
    local status=0
    ilrctl unlock "$id" one --key-file $images/wrong 2>"$WORK/words" || status=$?
    cat "$WORK/words"
    [[ $status == 7 ]] && grep -q WrongKey "$WORK/words"
}
check "a wrong key: exit status and name" wrong
check "nothing lost" volume one .locked
hungry_refused() {
    local status=0
    ilrctl unlock "$id" hungry --key-file $images/key 2>"$WORK/words" || status=$?
    cat "$WORK/words"
    [[ $status == 7 ]] && grep -q 'more memory than this host can spare' "$WORK/words" && grep -qw UnlockFailed "$WORK/words"
}
check "a volume whose key takes more memory than there is is refused" hungry_refused
check "it stays locked" volume hungry .locked
unlock_as() { printf '%s\n' "$passphrase" | runuser -u ilr-inside -- ilrctl unlock "$id" one --key-fd=0; }
check "the passphrase by a descriptor, from a user of group ilr" unlock_as
check "its files" grep -x locked-away "$top/secret/etc/hostname"
check "ilrd says where" volume secret ".mounted and .path == \"$top/secret\""
check "the other one stays locked" volume two .locked

# As an administrator may, past ilrd.
by_root() {
    jq -nc --arg s "$id" --arg k "$(base64 -w0 $images/key)" '{verb: "unlock", session: $s, volume: "two", key: $k}' |
        tr '\n' '\0' | socat -t 120 - UNIX-CONNECT:/run/ilrd/helper | tr -d '\0' | jq -e 'has("failure") | not'
}
check "root unlocks through the helper" by_root
check "ilrd sees that" eventually 30 volume vault .mounted
check "its files, too" grep -x locked-away "$top/vault/etc/hostname"
restart_ilrd() {
    systemctl restart ilrd.service
    volume vault .mounted && volume secret .mounted
}
check "and knows it after a restart" restart_ilrd
check "release" release "$id"
check "nothing is left" nothing_left azure

must "up with keys, journals left alone" provision backup-vm-04 $POINT --replay=none "--key-file=one=$images/passphrase" \
    "--key-file=$images/wrong"
id=$(sessions)
top=/run/ilr/$id/volumes
check "the volume with the right key is open" grep -x locked-away "$top/secret/etc/hostname"
check "the other one stays locked" volume two .locked
says_why() {
    session_json "$id" | jq -e '.warnings | length == 2 and any(. == "two: none of the keys opens it")
        and any(startswith("hungry: ") and contains("more memory than this host can spare"))' || { session_json "$id"; return 1; }
}
check "and the session says why, of each that stays locked" says_why
check "what the disk has, without its journal" grep -x old "$top/dirty/synced"
check "what was in the journal only is not there" not test -e "$top/dirty/newest"
check "status shows the choice" test "$(session_json "$id" | jq -r .replay)" = none
other_choice() {
    local status=0
    ilrctl provision --replay=overlay "$(point_id backup-vm-04 $POINT)" 2>"$WORK/words" || status=$?
    cat "$WORK/words"
    [[ $status == 3 ]] && grep -q 'replay is "overlay"' "$WORK/words"
}
check "another choice for the same session is refused by name" other_choice
check "who joins brings the key" ilrctl provision "$(point_id backup-vm-04 $POINT)" "--key-file=$images/key"
check "and it is open" grep -x locked-away "$top/vault/etc/hostname"

no_key() {
    local text
    for text in "$passphrase" "$(base64 -w0 $images/passphrase)" "$(base64 -w0 $images/key)" "$(base64 -w0 $images/wrong)"; do
        not grep -rF -e "$text" /run/ilr-private /run/ilrd /var/lib/ilrd --exclude-dir=cow -D skip || return 1
        not grep -F -e "$text" <(journalctl --since "$since" --no-pager -a) || return 1
    done
}
check "no key is in a record or in the journal" no_key
check "release" release "$id"
check "nothing is left" nothing_left azure
check "the host is as it was" host_unchanged "$WORK/before"
check "every byte of the disk is as it was" cmp $images/disk.img $images/before
finish
