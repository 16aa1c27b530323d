#!/usr/bin/env bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# The tunnel dies under a session, the cable is pulled, units are stopped by hand: the way down is the same.
set -eEuo pipefail
cd "$(dirname "$0")"
# shellcheck source=tests/vm/lib.sh
. ../lib.sh

host_snapshot "$WORK/before"
tunnel_pid() { jq -er '.tunnelPid | select(. > 0)' "/run/ilr-connect/$1/connection.json"; }

must "it comes up" provision backup-vm-02 "$POINT_C"
id=$(sessions)
pid=$(tunnel_pid "$id")
check "the tunnel is a process of the user ilr-connect" test "$(stat -c %U "/proc/$pid")" = ilr-connect
kill -KILL "$pid"
check "a killed tunnel: nothing is left" eventually 60 nothing_left azure
check "a killed tunnel: the host is as it was" host_unchanged "$WORK/before"

# An iscsid that was started anew does not know our limit of tries.
both_killed() { # VM POINT
    local id pid start
    must "it comes up beside an iscsid that is killed" provision "$1" "$2"
    id=$(sessions)
    pid=$(tunnel_pid "$id")
    say "$(find /sys/class/iscsi_session -name 'session*' | wc -l) targets"
    pkill -KILL -x iscsid
    systemctl reset-failed iscsid.service || true
    systemctl start iscsid.service
    kill -KILL "$pid"
    start=$SECONDS
    check "a tunnel killed after iscsid: nothing is left" eventually 60 nothing_left azure
    say "that took $((SECONDS - start)) s"
    check "the host is as it was" host_unchanged "$WORK/before"
}
both_killed backup-vm-01 "$POINT_A"
# They share a port, and time.
if [[ ${ILR_MORE-} ]]; then
    images=/var/tmp/ilr-eight EIGHT=711000000000001
    eight() {
        local i
        mkdir -p "$images"
        for i in {1..8}; do
            truncate -s 16M "$images/$i.img"
            mke2fs -q -F -t ext4 -L "disk$i" "$images/$i.img"
        done
    }
    must "eight disks are made" eight
    sim_start '.vaults[0].items += [{vm: "backup-vm-03", resourceGroup: "rg-vms", points: [{id: "'$EIGHT'", multiTarget: true,
        time: "2026-11-20T23:00:00Z", disks: [range(1; 9) | "'$images'/\(.).img"]}]}]'
    both_killed backup-vm-03 $EIGHT
    sim_start
    rm -rf "$images"
fi

must "it comes up again" provision backup-vm-02 "$POINT_C"
id=$(sessions)
mounted() { findmnt -rno TARGET | grep -q "^/run/ilr/$id/"; }
check "files are mounted" mounted
since=$(date '+%Y-%m-%d %H:%M:%S')
check "systemctl stop of the connection ends" timeout 60 systemctl stop "ilr-connection@$id.service"
check "no mount is left when it has" not mounted
in_order() { # the session was down before the connection went
    journalctl --since "$since" -o json --no-pager -u "ilr-session@$id.service" -u "ilr-connection@$id.service" |
        jq -r 'select(.JOB_RESULT and .JOB_TYPE == "stop" or (.MESSAGE | type == "string" and startswith("Stopped"))) | .UNIT' >"$WORK/order"
    cat "$WORK/order"
    [[ $(head -n 1 "$WORK/order") == "ilr-session@$id.service" ]]
}
check "the session went before the connection" in_order
check "stopped by hand: nothing is left" eventually 60 nothing_left azure

# The same is asked beside a reader in tests/vm/lifecycle every time.
if [[ ${ILR_MORE-} ]]; then
    must "it comes up once more" provision backup-vm-02 "$POINT_C"
    id=$(sessions)
    file=$(find "/run/ilr/$id/volumes" -type f -size +64k -print -quit)
    from_disk() { timeout 60 dd if="$file" of=/dev/null bs=64k count=1 iflag=direct; }
    check "a file is read from the disk" from_disk
    kill -STOP "$(tunnel_pid "$id")"
    eio_in_time() { # as ilrd(8) promises
        local start=$EPOCHREALTIME
        not from_disk 2>"$WORK/dd"
        grep -q 'Input/output error' "$WORK/dd" || { cat "$WORK/dd"; return 1; }
        awk "BEGIN {s = $EPOCHREALTIME - $start; printf \"%.1f s\n\", s; exit s > 30}" | tee "$WORK/eio"
    }
    check "a stopped tunnel: who reads gets EIO within 30 s" eio_in_time
    say "EIO after $(cat "$WORK/eio")"
    check "a stopped tunnel: a release ends within 60 s" timeout 60 ilrctl release "$id"
    check "a stopped tunnel: nothing is left" eventually 30 nothing_left azure
fi

must "it comes up a third time" provision backup-vm-02 "$POINT_C"
id=$(sessions)
ip -n azure link set host0 down
forced() { timeout 100 systemctl stop "ilr-connection@$id.service"; }
check "with the cable pulled, stopping ends nevertheless" forced
check "with the cable pulled, nothing is left on this host" eventually 30 nothing_left_here
ip -n azure link set host0 up
check "with the cable back, Azure is told" eventually 90 nothing_left azure
check "the host is as it was" host_unchanged "$WORK/before"
finish
