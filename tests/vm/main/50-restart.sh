#!/usr/bin/env bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# ilrd is restarted, killed and stopped while a session stands: it stays, and can still be released.
set -eEuo pipefail
cd "$(dirname "$0")"
# shellcheck source=tests/vm/lib.sh
. ../lib.sh

must "it comes up" provision backup-vm-01 "$POINT_B"
id=$(sessions)
root=$(volume_path "$id" root)
pid=$(jq -r .tunnelPid "/run/ilr-connect/$id/connection.json")
stands() {
    [[ $(session_state "$id") == ready ]]
    [[ $(jq -r .tunnelPid "/run/ilr-connect/$id/connection.json") == "$pid" ]]
    sums_match "$LISTS/os.sha256" "$root" 50
}
check "restart" systemctl restart ilrd.service
check "after a restart it stands, with the same tunnel" eventually 20 stands
systemctl kill --signal=KILL ilrd.service
check "after a crash it stands" eventually 20 stands
systemctl stop ilrd.service
check "with ilrd stopped the files are there" sums_match "$LISTS/os.sha256" "$root" 50
check "a call starts ilrd again, and it stands" eventually 20 stands
check "release" ilrctl release "$id"
check "nothing is left" nothing_left azure
finish
