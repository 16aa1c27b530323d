#!/usr/bin/env bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# The main job: one command brings a backup up, its files are the files that were backed up, one command undoes it all.
set -eEuo pipefail
cd "$(dirname "$0")"
# shellcheck source=tests/vm/lib.sh
. ../lib.sh

# The real script's waits, too
sim PUT sim/scenario "$REAL_SCENARIO" >/dev/null
host_snapshot "$WORK/before"
must "a recovery point with two disks comes up" provision backup-vm-01 "$POINT_A"
id=$(sessions)
must "list shows the one session" test "$(wc -w <<<"$id")" = 1
check "its state is ready" test "$(session_state "$id")" = ready
session_json "$id" >"$WORK/session.json"

check "two disks, the first with a GPT, the second without a table" \
    jq -e '[.disks[].table] == ["gpt", null]' "$WORK/session.json"
check "root, EFI and data are mounted" \
    jq -e '[.volumes[] | select(.mounted) | .label] | sort == ["EFI", "data", "root"]' "$WORK/session.json"
check "types are told" \
    jq -e '[.volumes[] | select(.mounted) | .type] | sort == ["ext4", "vfat", "xfs"]' "$WORK/session.json"
check "swap and BIOS boot are listed with a reason and not mounted" \
    jq -e '[.volumes[] | select(.mounted | not) | .reason | length > 0] == [true, true]' "$WORK/session.json"
check "names of volumes are unique" jq -e '[.volumes[].name] | unique | length == 5' "$WORK/session.json"
root=$(volume_path "$id" root)
data=$(volume_path "$id" data)
efi=$(volume_path "$id" EFI)

check "/etc of the backup can be listed" test -s "$root/etc/passwd"
check "it is that machine" grep -qx backup-vm-01 "$root/etc/hostname"
check "a name with spaces and letters that are not ASCII is there" test -s "$root/home/alice/naïve name with spaces.txt"
check "owners are kept" test "$(stat -c %u:%g "$root/home/alice")" = 1000:1000
# All 3,000 take a minute, and the largest one nearly another: not every time.
count=400
[[ ! ${ILR_FULL-} ]] || count=
check "${count:-all} files of the XFS have their checksums" sums_match "$LISTS/data.sha256" "$data" $count
[[ ! ${ILR_MORE-} ]] || check "the largest file has its checksum" sums_match <(grep dump/etc-and-var.tar "$LISTS/data.sha256") "$data"
check "every file of the EFI partition has its checksum" sums_match "$LISTS/efi.sha256" "$efi"
check "300 files of the ext4 have their checksums" sums_match "$LISTS/os.sha256" "$root" 300

root_is() { # its fstab names root and EFI by their labels
    jq -e --arg p "$tree" '.roots | length == 1 and (.[0] | .path == $p and .missing == [] and ([.mounts[].where] == ["/boot/efi"]))' \
        "$WORK/session.json"
}
tree=/run/ilr/$id/root
check "the machine's own tree" root_is
check "browse leads to it" test "$(ilrctl browse "$id")" = "$tree"
check "its files" grep -qx backup-vm-01 "$tree/etc/hostname"
check "and the EFI partition where the machine has it" sums_match "$LISTS/efi.sha256" "$tree/boot/efi"
check "a link of the backup leads to the backup's file" test "$(ilrctl browse "$id" /etc/os-release)" = "$tree/usr/lib/os-release"

options_safe() {
    findmnt -rno OPTIONS "$1" | tr , '\n' >"$WORK/options"
    for option in ro nosuid nodev noexec; do grep -qx "$option" "$WORK/options"; done
}
for path in "$root" "$data" "$efi" "$tree" "$tree/boot/efi"; do
    check "mounted ro,nosuid,nodev,noexec: ${path##*/}" options_safe "$path"
    check "nothing can be written: ${path##*/}" not touch "$path/new"
done
doctor_in_order() {
    ilrctl doctor >"$WORK/doctor" || { cat "$WORK/doctor"; return 1; }
    # With a session there the portal is known, and tried.
    local name
    for name in iscsid 'iSCSI over TCP' overlays 'initiator name' bubblewrap python3 'python3 modules' 'user namespaces' 'space on /run' \
        'TLS to management.ilr-sim.test' clock 'access token' 'recovery portal'; do
        grep -q "^ok  *$name  " "$WORK/doctor" || { echo "no line for $name"; cat "$WORK/doctor"; return 1; }
    done
}
not_sd() { ! findmnt -rno SOURCE | grep -E '^/dev/sd'; }
check "no disk is mounted itself, only its overlay" not_sd
disks_read_only() {
    local d
    for d in /sys/block/sd*; do
        [[ $(cat "$d/ro") == 1 ]] || { echo "${d##*/} is writable"; return 1; }
    done
}
check "the disks are read-only" disks_read_only
no_links() { not grep . <(find /dev/disk -lname '*/sd*'); }
check "udev made no links to the disks" no_links
check "the host's LVM sees nothing new" diff <(sed -n '/^pvs:/,/^md:/p' "$WORK/before") <(host_snapshot "$WORK/x"; sed -n '/^pvs:/,/^md:/p' "$WORK/x")

check "doctor finds everything in order" doctor_in_order
useradd --system --no-create-home nobody-special 2>/dev/null || true
check "another user cannot get at the files" not setpriv --reuid nobody-special --clear-groups ls "$root"
check "another user cannot ask ilrd" not setpriv --reuid nobody-special --clear-groups ilrctl list
# ilrd itself looks at who calls, whatever the socket's mode.
refused_by_uid() {
    local status=0
    chmod 0666 /run/ilrd/io.ilrd.Recovery
    setpriv --reuid nobody-special --regid nogroup --clear-groups ilrctl list >"$WORK/refused" 2>&1 || status=$?
    chmod 0660 /run/ilrd/io.ilrd.Recovery
    cat "$WORK/refused"
    [[ $status == 3 ]] && grep -q PermissionDenied "$WORK/refused"
}
check "even through a socket that is open to all: PermissionDenied" refused_by_uid
reads_as_ilr() { setpriv --reuid nobody-special --regid ilr --clear-groups cat "$root/etc/hostname"; }
check "a member of the group ilr can" reads_as_ilr
check "the secret of CHAP is on no disk" not grep -rlsE '^ *node\.session\.auth\.(password|username) *=' /etc/iscsi /var/lib/iscsi
check "status for people names the volumes" bash -c "ilrctl status $id | grep -q root"
check "browse prints a path that exists" bash -c "test -d \"\$(ilrctl browse $id)\""

check "release" ilrctl release "$id"
check "nothing is left here and at Azure" nothing_left azure
userdel nobody-special
check "the host is as it was" host_unchanged "$WORK/before"
check "list is empty" test -z "$(sessions)"
released_again() { local r=0; ilrctl release "$id" || r=$?; [[ $r == 0 || $r == 4 ]] || { echo "exit status $r"; return 1; }; }
check "release again does no harm" released_again
check "and still nothing is left" nothing_left azure
finish
