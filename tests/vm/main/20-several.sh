#!/usr/bin/env bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# Two recovery points of one VM and one of another at once, which hold the same file systems, do not disturb each other.
set -eEuo pipefail
cd "$(dirname "$0")"
# shellcheck source=tests/vm/lib.sh
. ../lib.sh

host_snapshot "$WORK/before"
# Three connections at once on a slow machine: the script looks after its tunnel once, after a fixed time.
for point in $POINT_A $POINT_B $POINT_C; do sim_scenario "$point" '{"script": {"sleepAfterTunnelSec": 20}}'; done
together() {
    local pids=() p
    provision backup-vm-01 "$POINT_A" & pids+=($!)
    provision backup-vm-01 "$POINT_B" & pids+=($!)
    provision backup-vm-02 "$POINT_C" & pids+=($!)
    for p in "${pids[@]}"; do wait "$p"; done
}
must "three come up at once" together
check "three are listed" test "$(sessions | wc -l)" = 3
by_point() { ilrctl list --json | jq -er --arg p "$1" '.sessions[] | select(.recoveryPoint | endswith($p)) | .id'; }
a=$(by_point "$POINT_A") b=$(by_point "$POINT_B") c=$(by_point "$POINT_C")
for id in $a $b; do
    check "$id: 25 files of its root" sums_match "$LISTS/os.sha256" "$(volume_path "$id" root)" 25
done
for id in $a $b $c; do
    check "$id: 25 files of its data" sums_match "$LISTS/data.sha256" "$(volume_path "$id" data)" 25
done
check "the middle one goes" ilrctl release "$b"
check "the first one still stands" sums_match "$LISTS/os.sha256" "$(volume_path "$a" root)" 25
check "the third one still stands" sums_match "$LISTS/data.sha256" "$(volume_path "$c" data)" 25
both() {
    ilrctl release "$a" & local first=$!
    ilrctl release "$c"
    wait $first
}
check "two go at once" both
check "nothing is left" nothing_left azure
check "the host is as it was" host_unchanged "$WORK/before"
finish
