#!/usr/bin/env bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# Somebody works in a volume while it is released.
set -eEuo pipefail
cd "$(dirname "$0")"
# shellcheck source=tests/vm/lib.sh
. ../lib.sh

must "it comes up" provision backup-vm-02 "$POINT_C"
id=$(sessions)
data=$(volume_path "$id" data)
(cd "$data" && exec sleep 1000) & holder=$!
busy() {
    local status=0
    timeout 60 ilrctl release --json "$id" >"$WORK/busy" 2>&1 || status=$?
    cat "$WORK/busy"
    [[ $status == 8 ]]
}
check "release is refused with the exit status for busy" busy
check "and names who is in the way" grep -qw "$holder" "$WORK/busy"
check "with the command" grep -qw sleep "$WORK/busy"
check "the files are still there" test -d "$data/share"
kill $holder
wait $holder || true
check "it is tried again by itself, and everything goes" eventually 30 nothing_left azure
finish
