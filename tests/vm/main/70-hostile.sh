#!/usr/bin/env bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# A connection script that tries what it must not be able to, while another session stands. It gets its own connection
# and nothing else; that the same attempts succeed for root on this host shows that they could.
set -eEuo pipefail
cd "$(dirname "$0")"
# shellcheck source=tests/vm/lib.sh
. ../lib.sh

BEFORE=(systemd-run mount remount mknod ptrace disk shadow other-session private state
    write-usr write-usr-bin write-etc write-run-ilr write-run-ilrd write-boot write-root write-var-lib
    network network-mapped network-udp raw-socket user-namespace
    helper-socket service-socket system-bus systemd-socket iscsid real-iscsiadm)
AFTER=(other-target unknown-target other-portal ssh-portal foreign-listener foreign-portal foreign-login foreign-target
    foreign-logout raw-login raw-verb node-update)
# The host has no mount at /usr to remount; that iscsid obeys root is shown by the real iscsiadm.
ROOT_CAN=()
for attempt in "${BEFORE[@]}"; do
    [[ $attempt == remount || $attempt == iscsid ]] || ROOT_CAN+=("$attempt")
done

# An address that is neither portal nor resolver nor this host, and a listener here that is not the script's.
listeners=()
# shellcheck disable=SC2317 # called by the trap
clean_up() {
    ((!${#listeners[@]})) || kill "${listeners[@]}" 2>/dev/null || true
    ip -n azure addr del 10.99.0.3/24 dev host0 2>/dev/null || true
    rm -rf "$WORK/iscsi"
}
trap clean_up EXIT
host_snapshot "$WORK/before"
ip -n azure addr add 10.99.0.3/24 dev host0
: >"$WORK/reached-far"
: >"$WORK/reached-near"
ip netns exec azure socat TCP-LISTEN:8080,bind=10.99.0.3,fork,reuseaddr "SYSTEM:echo tcp >>$WORK/reached-far" &
listeners+=($!)
ip netns exec azure socat -u UDP-RECV:8080,bind=10.99.0.3 "SYSTEM:cat >>$WORK/reached-far" &
listeners+=($!)
socat TCP-LISTEN:5999,bind=127.0.0.1,fork,reuseaddr "SYSTEM:echo tcp >>$WORK/reached-near" &
listeners+=($!)

must "another session stands" provision backup-vm-01 "$POINT_B"
other=$(sessions)
jq -e . "/run/ilr-connect/$other/connection.json" >"$WORK/other.before"
other_target=$(jq -r '.targets[0].name' "$WORK/other.before")
other_portal=$(jq -r .portal "$WORK/other.before")
say "the other one: $other_target through $other_portal"

sim_scenario "$POINT_C" "$(jq -n --arg target "$other_target" --arg portal "$other_portal" '{script: {hostile: true,
    hostileAddress: "10.99.0.3:8080", hostileListener: "127.0.0.1:5999", hostilePortal: $portal, hostileTarget: $target,
    addressLookupSec: 1, sleepAfterLoginSec: 0}}')" >/dev/null
must "the hostile one gets its connection all the same" provision backup-vm-02 "$POINT_C"
id=$(sessions | grep -vx "$other")
cp "/run/ilr-connect/$id/work/"*/Scripts/*.log "$WORK/hostile.log"
grep -oE 'hostile [a-z-]+: (refused|SUCCEEDED) .*' "$WORK/hostile.log" >"$WORK/hostile" || true
sed 's/^/#   /' "$WORK/hostile"

refused() { grep -E "^hostile $1: " "$WORK/hostile" >"$WORK/line" || { echo "no word of it"; return 1; }; cat "$WORK/line"; ! grep -q SUCCEEDED "$WORK/line"; }
for name in "${BEFORE[@]}" "${AFTER[@]}"; do
    check "refused to the script: $name" refused "$name"
done
all_told() { diff <(printf '%s\n' "${BEFORE[@]}" "${AFTER[@]}" | sort) <(sed -E 's/^hostile ([a-z-]+):.*/\1/' "$WORK/hostile" | sort -u); }
check "that is all it tried" all_told
check "nobody reached the address" test ! -s "$WORK/reached-far"
check "nobody reached the other process's listener" test ! -s "$WORK/reached-near"

check "its own session is ready" test "$(session_state "$id")" = ready
check "its own files are the backup's" sums_match "$LISTS/data.sha256" "$(volume_path "$id" data)" 20
same_connection() {
    diff <(jq -S '{state, targets, portal, tunnelPid}' "$WORK/other.before") \
        <(jq -S '{state, targets, portal, tunnelPid}' "/run/ilr-connect/$other/connection.json")
    [[ $(session_state "$other") == ready ]]
    [[ $(find /sys/class/iscsi_session -mindepth 1 | wc -l) == 2 ]]
}
check "the other session is untouched" same_connection
check "its files are still there" sums_match "$LISTS/os.sha256" "$(volume_path "$other" root)" 20
markers() { [[ -z $(find / -xdev -name ilr-hostile-marker -print -quit; find /run -name ilr-hostile-marker -print -quit) ]]; }
check "nothing of it was written on this host" markers

# The same text as root, in name spaces of its own so that nothing of it stays.
cat >"$WORK/control.py" <<'PYTHON'
import json, os, sys
text = open(sys.argv[1]).read().rstrip()
end = "main(sys.argv[1:])"
assert text.endswith(end)
exec(compile(text[: -len(end)], "script", "exec"), globals())
scenario.update(hostileAddress="10.99.0.3:8080")
os.chdir("/root")
hostile_before()
PYTHON
as_root() {
    rm -rf "$WORK/iscsi"
    cp -a /etc/iscsi "$WORK/iscsi"
    # shellcheck disable=SC2016 # expanded in there
    timeout 100 unshare --mount --pid --fork --mount-proc bash -c '
        mount --bind "$1/iscsi" /etc/iscsi
        sleep 100 >/dev/null 2>&1 &
        exec python3 "$1/control.py" "$2"' as_root "$WORK" "/run/ilr-connect/$id/script" >"$WORK/control" 2>&1
}
check "the same attempts by root" as_root
sed 's/^/#   /' "$WORK/control"
for name in "${ROOT_CAN[@]}"; do
    check "root can: $name" grep -qE "^hostile $name: SUCCEEDED" "$WORK/control"
done
check "and reaches the address" eventually 10 grep -q tcp "$WORK/reached-far"

check "release of the hostile one" ilrctl release "$id"
check "release of the other one" ilrctl release "$other"
sim_scenario "$POINT_C" null >/dev/null
check "nothing is left" nothing_left azure
clean_up
check "the host is as it was" host_unchanged "$WORK/before"
finish
