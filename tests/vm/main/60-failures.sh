#!/usr/bin/env bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# What goes wrong on the way up has a name, and leaves nothing behind.
set -eEuo pipefail
cd "$(dirname "$0")"
# shellcheck source=tests/vm/lib.sh
. ../lib.sh

host_snapshot "$WORK/before"
daemon_noted
# fails WHAT EXIT-STATUS FAILURE
fails() {
    local status=0
    timeout 120 ilrctl provision --json "$(point_id backup-vm-02 "$POINT_C")" >"$WORK/out" 2>&1 || status=$?
    tail -n 3 "$WORK/out"
    [[ $status == "$1" ]] || { echo "exit status $status"; return 1; }
    grep -q "\"$2\"" "$WORK/out"
}
sim_scenario "$POINT_C" '{"script": {"wrongPassword": true}}'
check "a password that the target rejects: LoginRejected" fails 6 LoginRejected
check "the password is in no message" not grep -q wrongwrongwrong "$WORK/out"
check "and nothing is left" eventually 20 nothing_left azure
check "and ilrd lives, iscsid.conf is untouched" same_daemon
sim_scenario "$POINT_C" '{"script": {"exitWithoutConnecting": true}}'
check "a script that ends without connecting: ScriptExited" fails 6 ScriptExited
check "and nothing is left" eventually 20 nothing_left azure
check "and ilrd lives, iscsid.conf is untouched" same_daemon
sim_scenario "$POINT_C" '{"faults": [{"on": "provision", "fault": "failed", "code": "UserErrorTest", "message": "It did not work."}]}'
check "an operation that fails: OperationFailed" fails 5 OperationFailed
check "with the service's own code" grep -q UserErrorTest "$WORK/out"
check "and nothing is left" eventually 20 nothing_left azure
check "and ilrd lives, iscsid.conf is untouched" same_daemon
sim_scenario "$POINT_C" null
closed_early() {
    # Whoever asks leaves as soon as the connection is being made.
    timeout --signal=INT 60 ilrctl provision --json "$(point_id backup-vm-02 "$POINT_C")" >"$WORK/out" 2>&1 & local pid=$!
    eventually 60 grep -q connecting "$WORK/out"
    kill -INT $pid
    wait $pid || true
}
check "the caller leaves on the way" closed_early
check "and nothing is left" eventually 60 nothing_left azure
check "the host is as it was" host_unchanged "$WORK/before"
check "ilrd lives, iscsid.conf is untouched" same_daemon
check "a point that does not exist" not ilrctl provision "$(point_id backup-vm-02 1234)"
check "afterwards it works" provision backup-vm-02 "$POINT_C"
check "and goes" ilrctl release "$(sessions)"
check "nothing is left" nothing_left azure
finish
