#!/usr/bin/env bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# What happens at the same time: a release in each state on the way up, two at once, the caller leaving in each; several releases
# when it is ready and on the way down. Each is brought about by waiting for what is to be disturbed, not by the clock. After each
# nothing is left. A sample, all of them with --full.
set -eEuo pipefail
cd "$(dirname "$0")"
# shellcheck source=tests/vm/lifecycle/lib.sh
. ./lib.sh
# shellcheck source=tests/vm/kill-point.sh
. ../kill-point.sh

dir=/run/ilr-race
kill_point_file=$dir/points

# ---- one step of a helper, to be waited at ----

prepare() {
    local unit
    mkdir -p $dir
    : >$dir/env
    for unit in ilr-helper@.service ilr-session@.service; do
        mkdir -p "/run/systemd/system/$unit.d"
        printf '[Service]\nEnvironmentFile=%s\n' $dir/env >"/run/systemd/system/$unit.d/90-kill-point.conf"
    done
    systemctl daemon-reload
}
# What helpers that start from now on do: count, or wait after the step with that number.
arm() { # MODE [N]
    kill_point_reset
    printf '%s\n' LD_PRELOAD=$kill_point_so KILL_POINT_FILE=$kill_point_file KILL_POINT_MODE="$1" KILL_POINT_AT="${2:-0}" \
        KILL_POINT_KINDS=record,mount,dm,loop,btrfs,exec >$dir/env
}
disarm() {
    : >$dir/env
    [[ ! -e $kill_point_file ]] || kill_point_go
}
# step N DIRECTION PATTERN: the number of the first step of that point's way that fits; "3:PATTERN" of the third
step() {
    local which=${3%%:*} n
    case $3 in
        [0-9]:*) ;;
        *) which=1 ;;
    esac
    n=$(grep -E -- "${3#[0-9]:}" "$WORK/steps.$1.$2" | sed -n "${which}p" | cut -d' ' -f1)
    [[ $n ]] || { echo "no step $2 fits $3" >&2; return 1; }
    echo "$n"
}
counted() { # N: the steps of its ways
    local id
    arm count
    id=$(life_up "$1")
    kill_point_list >"$WORK/steps.$1.up"
    arm count
    ilrctl release "$id"
    kill_point_list >"$WORK/steps.$1.down"
    disarm
}

# ---- who asks, and what is seen of it ----

# monitor: from now on all changes, to be read by "until_state".
monitor() {
    rm -f "$WORK/changes"
    mkfifo "$WORK/changes"
    ilrctl monitor --json >"$WORK/changes" &
    watcher=$!
    exec 7< <(jq --unbuffered -r '"\(.state) \(.id) \(.detail // "-")"' <"$WORK/changes")
}
# until_state STATE [DETAIL]: it is there; the session's id in $id
until_state() {
    local state detail
    while read -r -t 90 -u 7 state id detail; do
        [[ $state != "$1" || $detail != *"${2-}"* ]] || return 0
    done
    echo "it was never $1 ${2-}"
    [[ ! -s $WORK/up ]] || cat "$WORK/up"
    return 1
}
until_down() { # it has turned round
    local state detail
    while read -r -t 90 -u 7 state id detail; do
        case $state in detaching | disconnecting | revoking | closing | closed) return 0 ;; esac
    done
    echo "it does not go down"
    return 1
}
# asked N: so many releases of the session have come to ilrd
asked() { (($(journalctl -u ilrd.service ILR_SESSION="$id" --no-pager -o cat | grep -c "Release asked for") >= $1)); }
begin() { # N: asks for it in the background
    ilrctl provision --json "$(life_id "$1")" >"$WORK/up" 2>&1 &
    caller=$!
}
over() {
    kill "$watcher"
    exec 7<&-
}
scenario() { # N JSON: on top of what is there for all; none: as before
    if [[ ${2-} ]]; then
        sim_scenario "$(life_point "$1")" "$(jq -c --argjson more "$2" '. * $more' <<<"$SCENARIO")"
    else
        sim_scenario "$(life_point "$1")" null
    fi
}

# ---- the disturbances ----

released() { # who waits for it is told that it was released
    local status=0 releaser
    timeout 100 ilrctl release "$id" & releaser=$!
    until_down
    disarm
    wait $releaser
    wait "$caller" || status=$?
    ((status)) || { echo "the caller was told that it came up"; cat "$WORK/up"; return 1; }
}
released_twice() {
    local one two first=0 second=0
    timeout 100 ilrctl release "$id" & one=$!
    timeout 100 ilrctl release "$id" & two=$!
    until_down
    disarm
    wait $one || first=$?
    wait $two || second=$?
    echo "$first and $second"
    ((!first || !second)) # the later one may find nothing any more
    [[ ! ${caller-} ]] || wait "$caller" || true
}
left() { # as if his terminal was closed, without a word
    kill -KILL "$caller"
    wait "$caller" || true
    until_down
    disarm
    until_state closed
}
# while STATE DETAIL SCENARIO DISTURBANCE: the way up is held there by the stand-in
while_state() {
    scenario $SINGLE "$3"
    monitor
    begin $SINGLE
    until_state "$1" "$2"
    "$4"
    over
    scenario $SINGLE
    promise1
}
# at_step N PATTERN DISTURBANCE: a helper has just done that step on the way up
at_step() {
    local at
    at=$(step "$1" up "$2")
    arm barrier "$at"
    monitor
    begin "$1"
    eventually 60 kill_point_reached
    id=$(sessions)
    "$3"
    disarm
    over
    promise1
}
# going_down N PATTERN DISTURBANCE: the same on the way down, which $releaser waits for
going_down() {
    local at releaser
    at=$(step "$1" down "$2")
    id=$(life_up "$1")
    arm barrier "$at"
    monitor
    timeout 100 ilrctl release "$id" & releaser=$!
    eventually 60 kill_point_reached
    "$3"
    [[ ! $releaser ]] || wait $releaser
    over
    promise1
}
and_again() { # a second and a third one, and the step goes on
    local one two
    timeout 100 ilrctl release "$id" & one=$!
    timeout 100 ilrctl release "$id" & two=$!
    eventually 10 asked 3
    disarm
    wait $one
    wait $two
}

# ---- all of them ----

# What is waited for on the way up: the record of the first target's session is written, the store of the first overlay has a
# loop device, the first overlay's table is loaded, the first volume is mounted.
LOGGED_IN='3:record .*/session.json' UNIT=' loop ' OVERLAYS='dm load' MOUNTED='mount mount [a-z0-9]+ /run/ilr/'
must "the helpers' steps can be waited at" prepare
warm
for n in $SINGLE $DOUBLE; do must "steps are counted" counted "$n"; done
eventually 30 nothing_left azure

sample=("released while the script runs" "the caller leaves while volumes are mounted")
race() { # NAME COMMAND...
    local name=$1 before=$failed_checks start=$SECONDS
    shift
    if [[ ${ILR_RACE-} ]]; then
        [[ $name =~ $ILR_RACE ]] || return 0
    elif [[ ! ${ILR_FULL-} ]]; then
        printf '%s\n' "${sample[@]}" | grep -qxF -- "$name" || return 0
    fi
    ! done_before "race $name" || return 0
    time_left 120 || { unfinished=1; return 0; }
    check "$name" "$@"
    say "$((SECONDS - start)) s"
    if ((failed_checks == before)); then
        done_now "race $name"
    else
        disarm
        scenario $SINGLE || true
        pkill -x ilrctl || true
        life_clean
    fi
}
unfinished=
for what in released released_twice left; do
    case $what in
        released) name="released while" ;;
        released_twice) name="released twice at once while" ;;
        left) name="the caller leaves while" ;;
    esac
    race "$name the request is on its way" while_state provisioning "" '{"faults": [{"fault": "delay", "on": "provision", "seconds": 4}]}' $what
    race "$name Azure works on it" while_state provisioning "InProgress" '{"provisionSeconds": 8}' $what
    race "$name the script is fetched" while_state provisioning "" '{"faults": [{"fault": "delay", "on": "list-scripts", "seconds": 4}]}' $what
    race "$name the script runs" while_state connecting "running the connection script" '{"script": {"hang": "start"}}' $what
    race "$name the tunnel hangs" while_state connecting "running the connection script" '{"portal": {"hangHandshake": true}}' $what
    race "$name a target is logged in to" at_step $DOUBLE "$LOGGED_IN" $what
    race "$name its unit starts" at_step $SINGLE "$UNIT" $what
    race "$name overlays are made" at_step $DOUBLE "$OVERLAYS" $what
    race "$name volumes are mounted" at_step $DOUBLE "$MOUNTED" $what
done
ready() {
    id=$(life_up $DOUBLE)
    monitor
    caller='' released_twice
    over
    promise1
}
race "released twice at once when ready" ready
race "released again while it is unmounted" going_down $DOUBLE 'umount /run/ilr/' and_again
rm -rf /run/systemd/system/ilr{-helper@,-session@}.service.d
systemctl daemon-reload
finish || exit 1
[[ ! $unfinished ]] || exit 75
