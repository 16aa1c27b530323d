#!/usr/bin/env bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# What can break, while a reader runs through the files: every byte that was read is right, every error is an error and comes in
# time, and what the session promises about the fault holds. A sample, all of them with --full.
set -eEuo pipefail
cd "$(dirname "$0")"
# shellcheck source=tests/vm/lifecycle/lib.sh
. ./lib.sh

azure_tgtadm() {
    local control
    control=$(pgrep -ax tgtd | sed -n 's/.*-\(C\|-control-port\)[ =]*\([0-9]*\).*/\2/p')
    nsenter --net=/run/netns/azure tgtadm -C "${control:-0}" --lld iscsi "$@"
}
targets() { azure_tgtadm --op show --mode target | awk '/^Target/ {sub(":", "", $2); print $2}'; }
netem() { tc -n azure qdisc replace dev host0 root netem "$@"; }
reset_to() { ss -HKt dst "$1" | grep -F "$1"; } # ADDRESS:PORT; it tells what it has reset
inside() { jq -er .portal "/run/ilr-connect/$id/connection.json"; } # where the kernel's iSCSI connections go
recovery_tmo() { cat /sys/class/iscsi_session/session*/recovery_tmo; }

# Each fault: NAME_before (before the session comes up), NAME_break, NAME_mend, and what is expected:
#   rides   the session stands, by the same tunnel, and the reader has no error
#   dies    the reader gets EIO within 30 s, and a release ends in time although the target stays dead
#   goes    the session goes down by itself
#   owes    the fault comes with the release: on this host the session ends all the same, and what Azure is owed stays written
#           down, whatever becomes of ilrd, until it is paid
# RELEASE says when it is mended: before the release or after it; "cut": after it, and Azure cannot be reached until then either.
pulled_link_break() { ip -n azure link set host0 down; }
pulled_link_mend() { ip -n azure link set host0 up; }
blackhole_break() { netem loss 100%; }
blackhole_mend() { tc -n azure qdisc del dev host0 root; }
slow_break() { netem delay 2s; }
slow_mend() { tc -n azure qdisc del dev host0 root; }
lossy_break() { netem loss 5%; }
lossy_mend() { tc -n azure qdisc del dev host0 root; }
reset_break() { reset_to 10.99.0.2:3260; }
stopped_tunnel_break() { kill -STOP "$pid"; }
target_removed_break() {
    local t
    for t in $(targets); do azure_tgtadm --op delete --mode target --tid "$t" --force; done
}
lun_removed_break() {
    local t
    # One that is just being read is refused.
    for t in $(targets); do eventually 10 azure_tgtadm --op delete --mode logicalunit --tid "$t" --lun 1; done
}
iscsid_break() { systemctl restart iscsid.service; }
# The records are private: who comes after a restart of iscsid has its secrets and timers from where the session keeps them.
iscsid_login_break() {
    systemctl restart iscsid.service
    recovery_tmo >"$WORK/tmo"
    reset_to "$(inside)"
}
iscsid_login_holds() {
    eventually 25 logged_in
    diff "$WORK/tmo" <(recovery_tmo)
}
logged_in() { not grep -v LOGGED_IN /sys/class/iscsi_session/session*/state; }
full_run_before() { findmnt -nbo SIZE /run >"$WORK/run.size"; }
full_run_break() {
    mount -o "remount,size=$(($(findmnt -nbo USED /run) + 8192))" /run
    not dd if=/dev/zero of=/run/ilr-test-full bs=4096 count=100 status=none 2>"$WORK/full"
}
full_run_mend() {
    rm -f /run/ilr-test-full
    mount -o "remount,size=$(cat "$WORK/run.size")" /run
}
full_state_before() {
    mount -t tmpfs -o size=1M,mode=0700,uid="$(id -u ilrd)",gid="$(id -g ilrd)" none /var/lib/ilrd
    systemctl restart ilrd.service
    world_keep
}
full_state_break() { not dd if=/dev/zero of=/var/lib/ilrd/.full bs=4096 count=1000 status=none 2>"$WORK/full"; }
full_state_holds() { # another one is refused: what is owed could not be written down
    not timeout 60 ilrctl provision "$(life_id $SINGLE)"
    [[ $(sessions | wc -l) == 1 ]]
}
full_state_mend() { rm -f /var/lib/ilrd/.full; }
full_state_after() {
    systemctl stop ilrd.service
    umount /var/lib/ilrd
    systemctl start ilrd.service
    world_keep
}
clock_ahead_break() { date -s '13 hours' >/dev/null; }
clock_ahead_mend() { date -s '13 hours ago' >/dev/null; }
clock_back_break() { date -s '1 hour ago' >/dev/null; }
clock_back_mend() { date -s '1 hour' >/dev/null; }
# Azure has the revoke and does not answer; it has accepted it and cannot be reached any more when it is asked after.
revoke_sent_before() { sim_scenario "$(life_point $DOUBLE)" '{"faults": [{"fault": "delay", "on": "revoke", "seconds": 3600}]}'; }
revoke_sent_break() { true; }
revoke_sent_mend() { sim_scenario "$(life_point $DOUBLE)" null; }
revoke_polled_before() { sim_scenario "$(life_point $DOUBLE)" '{"revokeSeconds": 10}'; }
revoke_polled_break() {
    eventually 30 revoke_accepted
    pulled_link_break
}
revoke_accepted() { sim_state | jq -e 'any(.operations[]; .kind == "revoke" and .status == "InProgress")' >/dev/null; }
revoke_polled_mend() {
    pulled_link_mend
    sim_scenario "$(life_point $DOUBLE)" null
}
no_memory_break() { echo 1M >"/sys/fs/cgroup/$(systemctl show -P ControlGroup "ilr-connection@$id.service")/memory.max"; }

#     NAME            EXPECTED  RELEASE
table='
      stopped_tunnel  dies      broken
      iscsid          rides     mended
      full_run        rides     broken
      iscsid_login    rides     mended
      pulled_link     dies      cut
      blackhole       dies      cut
      reset           rides     mended
      slow            rides     broken
      lossy           rides     broken
      target_removed  dies      broken
      lun_removed     dies      broken
      full_state      rides     broken
      clock_ahead     rides     broken
      clock_back      rides     broken
      no_memory       goes      -
      revoke_sent     owes      -
      revoke_polled   owes      -
'
sample=' stopped_tunnel '
[[ ! ${ILR_MORE-} ]] || sample+='full_run revoke_polled '
has() { declare -F "$1" >/dev/null; }

since() { awk "BEGIN {printf \"%.1f\", $EPOCHREALTIME - $1}"; }
in_time() { # SECONDS COMMAND...
    local start=$SECONDS limit=$1
    shift
    timeout $((limit + 60)) "$@"
    echo "$((SECONDS - start)) s"
    ((SECONDS - start <= limit))
}
# All that can be done is done and told; the rest is owed.
cut_off() { # COMMAND...
    local status=0
    timeout 180 "$@" || status=$?
    ((status == 5))
}
cut_off_told() {
    cat "$WORK/release"
    return "$1"
}
gone() { not ilrctl status "$id" >/dev/null 2>&1; }
cell() { # NAME EXPECTED RELEASE
    local name=$1 start status
    if has "$1_before"; then "$1_before"; fi
    id=$(life_up $DOUBLE) || { check_failed "$name: it comes up"; return 0; }
    pid=$(tunnel_pid "$id")
    reader_start "$id"
    check "$name: the reader reads before" eventually 30 reader_goes_on
    check "$name: it can be broken" "$1_break"
    start=$EPOCHREALTIME
    case $2 in
        rides)
            if has "$1_holds"; then check "$name: it is as it was" "$1_holds"; fi
            check "$name: the session stands and the reader reads on" eventually 25 promise2 "$id" "$pid"
            ;;
        dies)
            check "$name: the reader gets EIO within 30 s" eventually 30 reader_has EIO
            say "$name: EIO after $(since "$start") s"
            ;;
        goes)
            check "$name: the session goes" eventually 60 gone
            say "$name: gone after $(since "$start") s"
            ;;
    esac
    if [[ $3 == mended ]] && has "$1_mend"; then check "$name: it can be mended" "$1_mend"; fi
    reader_end
    say "$name: the reader's words: $(reader_words)"
    check "$name: no byte was wrong, no read took longer than 30 s" reader_honest
    if [[ $2 != goes ]]; then
        start=$EPOCHREALTIME
        if [[ $3 == cut ]]; then
            cut_off ilrctl release "$id" >"$WORK/release" 2>&1 &
            check "$name: a release leaves nothing on this host within 60 s" eventually 60 same_world here
            say "$name: nothing left on this host after $(since "$start") s"
            status=0
            wait $! || status=$?
            check "$name: then it says that Azure is out of reach" cut_off_told "$status"
        else
            check "$name: a release ends within 60 s" in_time 60 ilrctl release "$id"
        fi
        say "$name: released after $(since "$start") s"
        check "$name: nothing is left on this host" eventually 30 same_world here
    fi
    if [[ $3 != mended ]] && has "$1_mend"; then check "$name: it can be mended" "$1_mend"; fi
    check "$name: nothing is left" promise1 90
    if has "$1_after"; then "$1_after"; fi
}

owed() { # it is written down, and the session is told as one that is at it
    [[ -s /var/lib/ilrd/$id.json ]] || { echo "no record any more"; return 1; }
    [[ $(session_state "$id") == revoking ]] || { session_json "$id"; return 1; }
}
owes() { # NAME
    local name=$1 start releasing
    "$1_before"
    id=$(life_up $DOUBLE) || { check_failed "$name: it comes up"; return 0; }
    start=$EPOCHREALTIME
    timeout 300 ilrctl release "$id" >"$WORK/release" 2>&1 &
    releasing=$!
    check "$name: it can be broken" "$1_break"
    check "$name: nothing is left on this host" eventually 30 same_world here
    say "$name: nothing left on this host after $(since "$start") s"
    check "$name: the revoke is owed" eventually 10 owed
    daemon_killed
    systemctl start ilrd.service
    check "$name: so it is after ilrd was killed" eventually 20 owed
    systemctl restart ilrd.service
    check "$name: and after an orderly restart" eventually 20 owed
    check "$name: nothing came back on this host" same_world here
    check "$name: it can be mended" "$1_mend"
    start=$EPOCHREALTIME
    check "$name: it is paid" promise1 90
    say "$name: paid after $(since "$start") s"
    wait $releasing || say "$name: ilrctl release ended with $? when ilrd was killed"
}

warm
left=0
while read -r name expected release; do
    [[ $name ]] || continue
    [[ ${ILR_FULL-} || ${ILR_FAULTS-} || $sample == *" $name "* ]] || continue
    [[ ! ${ILR_FAULTS-} || " $ILR_FAULTS " == *" $name "* ]] || continue
    ! done_before "fault $name" || continue
    time_left 180 || { left=1; break; }
    before=$failed_checks
    if [[ $expected == owes ]]; then owes "$name"; else cell "$name" "$expected" "$release"; fi
    if ((failed_checks == before)); then done_now "fault $name"; else life_clean; fi
done <<<"$table"
finish || exit 1
((!left)) || exit 75
