#!/usr/bin/env bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# Two recovery points of different VMs at once, which hold the same file system, do not disturb each other; with --full a third
# one, another point of the first VM.
set -eEuo pipefail
cd "$(dirname "$0")"
# shellcheck source=tests/vm/lib.sh
. ../lib.sh

host_snapshot "$WORK/before"
points=("backup-vm-01 $POINT_B" "backup-vm-02 $POINT_C")
[[ ! ${ILR_FULL-} ]] || points+=("backup-vm-01 $POINT_A")
together() {
    local pids=() p
    # shellcheck disable=SC2086 # VM and point
    for p in "${points[@]}"; do provision $p & pids+=($!); done
    for p in "${pids[@]}"; do wait "$p"; done
}
must "${#points[@]} come up at once" together
check "all are listed" test "$(sessions | wc -l)" = ${#points[@]}
by_point() { ilrctl list --json | jq -er --arg p "$1" '.sessions[] | select(.recoveryPoint | endswith($p)) | .id'; }
b=$(by_point "$POINT_B") c=$(by_point "$POINT_C") a=
check "25 files of the one's root" sums_match "$LISTS/os.sha256" "$(volume_path "$b" root)" 25
for id in $b $c; do
    check "$id: 25 files of its data" sums_match "$LISTS/data.sha256" "$(volume_path "$id" data)" 25
done
if [[ ${ILR_FULL-} ]]; then
    a=$(by_point "$POINT_A")
    check "the first VM's other point, too" sums_match "$LISTS/os.sha256" "$(volume_path "$a" root)" 25
fi
check "one goes" ilrctl release "$b"
check "the other one still stands" sums_match "$LISTS/data.sha256" "$(volume_path "$c" data)" 25
others() {
    local pids=() id
    for id in $a $c; do ilrctl release "$id" & pids+=($!); done
    for id in "${pids[@]}"; do wait "$id"; done
}
check "the rest goes at once" others
check "nothing is left" nothing_left azure
check "the host is as it was" host_unchanged "$WORK/before"
finish
