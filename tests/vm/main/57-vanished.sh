#!/usr/bin/env bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# Disks vanish under a session that is ready: with one of two it stands, without any it goes by itself.
set -eEuo pipefail
cd "$(dirname "$0")"
# shellcheck source=tests/vm/lib.sh
. ../lib.sh

host_snapshot "$WORK/before"
must "it comes up" provision backup-vm-01 "$POINT_B"
id=$(sessions)
disk() { session_json "$id" | jq -er --argjson n "$1" '.disks[$n].device'; } # "8:0"
vanish() { echo 1 >"/sys/dev/block/$1/device/delete"; }
first=$(disk 0) second=$(disk 1)
data=$(volume_path "$id" data)
vanish "$first"
told() { journalctl -u ilrd.service ILR_SESSION="$id" --no-pager -o cat | grep -q "has vanished, 1 left"; }
check "the loss of a disk is in the journal" eventually 20 told
check "with the other one it stands" test "$(session_state "$id")" = ready
check "whose files are readable" sums_match "$LISTS/data.sha256" "$data" 10
vanish "$second"
check "without any disk it goes by itself" eventually 60 nothing_left azure
lost() {
    journalctl -u ilrd.service ILR_SESSION="$id" --no-pager -o json |
        jq -se 'any(.[]; .ILR_FAILURE == "ConnectionLost" and .ILR_END == "failed")'
}
check "and says why" lost
check "the host is as it was" host_unchanged "$WORK/before"
finish
