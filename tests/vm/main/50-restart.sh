#!/usr/bin/env bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# ilrd is restarted, killed and stopped while a session stands, and the system bus is restarted: it stays, and can still be
# released.
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
# Somebody reads all the time: each round is all of the sample, and the first error ends it.
reader() {
    local rounds=0 WORK=$WORK/reader # a list of its own
    while [[ ! -e $WORK/stop ]]; do
        sums_match "$LISTS/os.sha256" "$root" 50 || return 1
        rounds=$((rounds + 1))
    done
    ((rounds > 0))
}
mkdir -p "$WORK/reader"
rm -f "$WORK/reader/stop"
reader >"$WORK/reader.out" 2>&1 &
reader_pid=$!
invocation=$(systemctl show -P InvocationID "ilr-connection@$id.service" "ilr-session@$id.service")
check "restart" systemctl restart ilrd.service
check "after a restart it stands, with the same tunnel" eventually 20 stands
daemon_killed
check "after a crash it stands" eventually 20 stands
# An upgrade of the package restarts it: no session may need it.
check "the helper's socket is restarted" systemctl restart ilr-helper.socket
check "after that it stands" eventually 20 stands
check "and its units were not started anew" \
    test "$(systemctl show -P InvocationID "ilr-connection@$id.service" "ilr-session@$id.service")" = "$invocation"
touch "$WORK/reader/stop"
reader_status=0
wait "$reader_pid" || reader_status=$?
read_well() { ((reader_status == 0)) || { cat "$WORK/reader.out"; return 1; }; }
check "whoever read meanwhile noticed nothing" read_well
systemctl stop ilrd.service
check "with ilrd stopped the files are there" sums_match "$LISTS/os.sha256" "$root" 50
check "a call starts ilrd again, and it stands" eventually 20 stands
# Without its bus ilrd would not notice that a unit has ended.
check "the bus is restarted" systemctl restart dbus.service
check "with that it stands" eventually 20 stands
told() { journalctl -u ilrd.service --no-pager -o cat | grep -q "The system bus is there again"; }
check "ilrd is on the bus again" eventually 30 told
# Nothing but a mended fault is needed, however often it dies before that.
main_pid() { systemctl show -P MainPID ilrd.service; }
another_than() { [[ $(main_pid) != 0 && $(main_pid) != "$1" ]]; }
deaths() {
    local i last=0
    for ((i = 0; i < 8; i++)); do
        eventually 20 another_than "$last"
        last=$(main_pid)
        daemon_killed
    done
}
check "it dies eight times, each time as soon as it is started" deaths
check "after that it stands" eventually 20 stands
# What started it anew without being asked, for whoever counts crashes.
restarts() { systemctl show -P NRestarts ilrd.service; }
restarted_six_times() { (($(restarts) >= 6)); }
broken=/etc/ilrd/ilrd.conf.d/90-broken.conf
echo "no section, no key" >$broken
not systemctl restart ilrd.service 2>/dev/null || say "it started with a broken configuration"
check "with a configuration that is wrong it is tried again and again" eventually 60 restarted_six_times
rm $broken
check "when that is mended it stands" eventually 20 stands
seq "$(restarts)" >>"$WORK/killed"
systemctl stop ilrd.service ilrd.socket
check "its start starts the socket as well" systemctl start ilrd.service
check "with that it stands again" eventually 20 stands
# One that hangs is as good as dead. (In less time than the unit gives it; who is stopped does not hear SIGABRT.)
mkdir -p /run/systemd/system/ilrd.service.d
printf '[Service]\nWatchdogSec=5s\nWatchdogSignal=KILL\n' >/run/systemd/system/ilrd.service.d/90-watchdog.conf
systemctl daemon-reload
systemctl restart ilrd.service
eventually 20 stands
hanging=$(main_pid)
echo >>"$WORK/killed"
kill -STOP "$hanging"
check "one that hangs is ended and started again" eventually 60 another_than "$hanging"
check "after that it stands" eventually 20 stands
rm /run/systemd/system/ilrd.service.d/90-watchdog.conf
systemctl daemon-reload
systemctl restart ilrd.service
check "release" ilrctl release "$id"
check "nothing is left" nothing_left azure
if [[ ${ILR_FULL-} ]]; then
    must "it comes up again" provision backup-vm-01 "$POINT_B"
    id=$(sessions)
    check "the bus is restarted again" systemctl restart dbus.service
    systemctl kill --signal=KILL "ilr-connection@$id.service"
    check "the end of a unit meanwhile is noticed" eventually 60 nothing_left azure
fi
finish
