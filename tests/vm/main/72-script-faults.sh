#!/usr/bin/env bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# Connection scripts and portals that misbehave. Each has a named failure with the script's own words or works; whatever
# comes, everything is given back, ilrd lives on and iscsid.conf is untouched.
set -eEuo pipefail
cd "$(dirname "$0")"
# shellcheck source=tests/vm/lib.sh
. ../lib.sh

trap 'ilrd_configure' EXIT
vm_of() { if [[ $1 == "$POINT_C" ]]; then echo backup-vm-02; else echo backup-vm-01; fi; }
scenario() { # POINT JSON
    sim_scenario "$1" "$(jq -n --argjson quick "$QUICK" --argjson given "$2" '{script: $quick} * $given')" >/dev/null
}
host_snapshot "$WORK/before"

attempted() { # POINT: provisions; its end in $WORK/fault.POINT and .status
    local status=0 start=$SECONDS
    timeout 110 ilrctl provision --json "$(point_id "$(vm_of "$1")" "$1")" >"$WORK/fault.$1" 2>&1 || status=$?
    echo $status >"$WORK/fault.$1.status"
    echo $((SECONDS - start)) >"$WORK/fault.$1.seconds"
}
failed_with() { # POINT STATUS NAME [WORDS]
    tail -n 2 "$WORK/fault.$1"
    echo "after $(cat "$WORK/fault.$1.seconds") s, exit status $(cat "$WORK/fault.$1.status")"
    [[ $(cat "$WORK/fault.$1.status") == "$2" ]]
    grep -q "\"$3\"" "$WORK/fault.$1"
    [[ ! ${4-} ]] || grep -qF -- "$4" "$WORK/fault.$1"
}
# faults WHAT JSON NAME WORDS...: up to three at once, on points A, B and C from the first on.
faults() {
    local points=("$POINT_C" "$POINT_B" "$POINT_A") used=() pids=() what=() name=() words=() i
    while (($#)); do
        used+=("${points[${#used[@]}]}")
        scenario "${used[-1]}" "$2"
        what+=("$1") name+=("$3") words+=("$4")
        shift 4
    done
    for i in "${used[@]}"; do attempted "$i" & pids+=($!); done
    for i in "${pids[@]}"; do wait "$i"; done
    for i in "${!used[@]}"; do
        check "${what[i]}: ${name[i]}" failed_with "${used[i]}" 6 "${name[i]}" "${words[i]}"
        say "$(cat "$WORK/fault.${used[i]}.seconds") s"
        sim_scenario "${used[i]}" null >/dev/null
    done
    check "and nothing is left" eventually 30 nothing_left azure
    check "and ilrd lives, iscsid.conf is untouched" same_daemon
}

ilrd_configure '[Connection]' 'PromptTimeoutSec=2s'

faults "forks away" '{"script": {"forkAway": true}}' ScriptExited "" \
    "asks something unknown" '{"script": {"prompt": "Which colour has the sky?"}}' UnknownPrompt "Which colour has the sky?" \
    "one of two targets never logged in to" '{"script": {"skipLastLogin": true}}' ScriptReported ""
# tests/cli/connect.py and daemon-azure.py have the scripts of these every time, in the real sandbox.
if [[ ${ILR_MORE-} ]]; then
    faults "not base64" '{"faults": [{"fault": "not-base64"}]}' ScriptInvalid "" \
        "no TargetNodeAddress" '{"script": {"noTargetNodeAddress": true}}' ScriptInvalid TargetNodeAddress \
        "9 MiB" '{"script": {"sizeBytes": 9437184}}' ScriptInvalid MiB
    faults "not ready for ever" '{"portal": {"notReadyTimes": 1000}}' TargetNotReady "not ready" \
        "blocked" '{"portal": {"blocked": true}}' TargetBlocked "outside the VNet" \
        "wants packages" '{"script": {"installPackages": true}}' PackagesMissing "not installed"
fi
# The questions that mean failure are asked in tests/cli/connect.py every time, in the real sandbox.
if [[ ${ILR_FULL-} ]]; then
    faults "a placeholder for a password" '{"script": {"placeholderPassword": true}}' PasswordWanted "" \
        "100 MB of output" '{"script": {"printMegabytes": 100}}' ScriptInvalid "16 MiB" \
        "a missing cipher" '{"script": {"cipherPrompt": true}}' CipherMissing "ECDHE-RSA-AES256-GCM-SHA384"
    faults "a portal that times out" '{"script": {"timedOutPrompt": true}}' PortalUnreachable "timed out" \
        "a missing module" '{"script": {"pyasyncorePrompt": true}}' PythonUnsupported asyncore
    faults "a portal that hangs up" '{"portal": {"refuse": true}}' PortalUnreachable ""
fi
faults "a portal with the certificate of another" '{"portal": {"wrongCertificate": true}}' PortalUnreachable ""
ilrd_configure '[Connection]' 'SilenceTimeoutSec=3s'
faults "hangs at once" '{"script": {"hang": "start"}}' ScriptSilent ""

# What may be odd and works: one session with every question that has an answer, one with a log that does not fit.
ilrd_configure
scenario "$POINT_C" '{"script": {"crlf": true, "sizeBytes": 8380000, "osPrompt": true, "unsupportedOsPrompt": true,
    "sameHostPrompt": true, "oldSessionPrompt": true, "wholeDiskPrompt": true}, "portal": {"notReadyTimes": 1}}'
check "CRLF, almost 8 MiB, not ready once, every harmless question: it works" provision backup-vm-02 "$POINT_C"
id=$(sessions)
script_is_long() {
    [[ $(stat -c %s "/run/ilr-connect/$id/script") -ge 8380000 ]]
    head -n 1 "/run/ilr-connect/$id/script" | grep -q $'\r$'
}
check "the script was that long, with CRLF" script_is_long
asked() {
    journalctl --no-pager -o cat -u "ilr-connection@$id.service" | grep -F "The script asks: " >"$WORK/asked"
    cat "$WORK/asked"
    for what in "operating system's name; answer: Debian" "operating system's version; answer: 1" \
        "operating system not supported; answer: Y" "same host, large disks; answer: Y" \
        "same host, logical volumes or RAID; answer: Y" "older session; answer: N" "file system on the whole disk; answer: N"; do
        grep -qF "$what" "$WORK/asked" || { echo "not asked: $what"; return 1; }
    done
}
check "each question was answered as decided" eventually 20 asked
check "the files are there" sums_match "$LISTS/data.sha256" "$(volume_path "$id" data)" 20
check "release" ilrctl release "$id"
check "and nothing is left" nothing_left azure

check "and ilrd lives, iscsid.conf is untouched" same_daemon

# A log that does not fit, and another initiator's name.
initiator=iqn.2026-01.org.example:restore-host
ilrd_configure '[Connection]' 'WorkSizeBytes=1M' "Initiator=$initiator"
scenario "$POINT_C" '{"script": {"hang": "after-login", "logBytesPerBlock": 64000}}'
check "hangs after its login, in 1 MiB, under another initiator name: it works" provision backup-vm-02 "$POINT_C"
id=$(sessions)
check "the initiator's name is the configured one" test "$(cat /sys/class/iscsi_session/*/initiatorname)" = $initiator
data=$(volume_path "$id" data)
device=$(findmnt -no SOURCE "$data")
disk=$(basename "$(find /sys/class/iscsi_session/*/device/target*/*/block -mindepth 1 -maxdepth 1 -print -quit)")
work=/run/ilr-connect/$id/work
read_bytes() { awk '{print $3 * 512}' "/sys/block/$disk/stat"; }
reads_through() {
    local before after start=$SECONDS
    before=$(read_bytes)
    dd if="$device" of=/dev/null bs=1M count=10 iflag=direct 2>&1
    after=$(read_bytes)
    echo "$(((after - before) >> 20)) MiB in $((SECONDS - start)) s"
    (((after - before) * 64000 / 131072 >= 4 << 20))
}
check "the work directory is 1 MiB" test "$(($(stat -f -c '%b * %S' "$work")))" = 1048576
check "a read whose log is four times that" reads_through
sed 's/^/# /' "$WORK/check.out"
check "and files after it" sums_match "$LISTS/data.sha256" "$data" 20
stands() { [[ $(session_state "$id") == ready ]] && [[ $(du -sb "$work" | cut -f1) -lt 1048576 ]]; }
check "the session stands" stands
check "release" ilrctl release "$id"
check "and nothing is left" nothing_left azure
check "and ilrd lives, iscsid.conf is untouched" same_daemon

# Scripts start one at a time.
ilrd_configure
scenario "$POINT_C" '{"script": {"hang": "start"}}'
attempted "$POINT_C" &
runs() { grep -q '"state": *"running"' /run/ilr-connect/*/connection.json; }
check "one that hangs at its beginning runs" eventually 60 runs
attempted "$POINT_B" &
waits() { ilrctl list --json | jq -e 'any(.sessions[]; .detail == "waiting for other connection scripts to start")'; }
check "who comes after it is told that he waits for it" eventually 30 waits
all_released() { for id in $(sessions); do ilrctl release "$id"; done; }
check "both are released" all_released
wait
check "and nothing is left" eventually 30 nothing_left azure
sim_scenario "$POINT_C" null >/dev/null
check "the host is as it was" host_unchanged "$WORK/before"
finish
