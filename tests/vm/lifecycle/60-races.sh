#!/usr/bin/env bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# What happens at the same time: a release in each state, on the way up, when ready and on the way down; the caller leaving in
# each; releases at once; the point asked for again while it goes down; disks that vanish, and a partition table that changes,
# between the look at it and the mount. Each is brought about by waiting for what is to be disturbed, not by the clock. After
# each nothing is left. A sample, all of them with --full.
set -eEuo pipefail
cd "$(dirname "$0")"
# shellcheck source=tests/vm/lifecycle/lib.sh
. ./lib.sh
# shellcheck source=tests/vm/kill-point.sh
. ../kill-point.sh

dir=/run/ilr-race
kill_point_file=$dir/points
TABLE=31 # its disk has a partition, with the files of a.img

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
# step N DIRECTION PATTERN: the number of the first step of that point's way that fits; "3:PATTERN" of the third, "-:PATTERN" of
# the one before the first
step() {
    local which=${3%%:*} n
    [[ -s $WORK/steps.$1.down ]] || counted "$1" >&2
    case $3 in
        [0-9]:* | -:*) ;;
        *) which=1 ;;
    esac
    n=$(grep -E -- "${3#[0-9-]:}" "$WORK/steps.$1.$2" | sed -n "${which/-/1}p" | cut -d' ' -f1)
    [[ $n ]] || { echo "no step $2 fits $3" >&2; return 1; }
    [[ $which != - ]] || n=$((n - 1))
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
and_by_force() {
    local one
    timeout 100 ilrctl release --force "$id" & one=$!
    eventually 10 asked 2
    disarm
    wait $one
}
and_who_asked_leaves() { # it goes on without him
    pkill -KILL -P "$releaser" -x ilrctl
    wait "$releaser" || true
    releaser=
    disarm
    until_state closed
}
begin_again() { # by who is told that he has to wait
    ilrctl provision "$(life_id $SINGLE)" >"$WORK/up" 2>&1 &
    caller=$!
    eventually 10 grep -q "waiting until session $id" "$WORK/up"
}
and_asked_for() { # who asks for it again gets another one, which is whole
    local old=$id
    begin_again
    disarm
    wait "$caller"
    id=$(sessions)
    [[ $id != "$old" ]]
    sums_right "$id"
    timeout 100 ilrctl release "$id"
}
and_asked_for_in_vain() { # he goes before it is his turn: there is no other one
    begin_again
    kill -KILL "$caller"
    wait "$caller" || true
    disarm
}
# Whatever became of it, what can be read is right, and it goes.
comes_to_an_end() {
    local status=0
    timeout 120 tail --pid="$caller" -f /dev/null
    wait "$caller" || status=$?
    echo "the provision ended with $status: $(tail -n 1 "$WORK/up")" | tee "$WORK/ended"
    for id in $(sessions); do
        [[ ${mounted_is_right-} ]] && sums_right "$id"
        timeout 100 ilrctl release "$id"
    done
}
disks_vanish() {
    local d
    for d in /sys/block/sd*; do [[ ! -e $d/device/delete ]] || echo 1 >"$d/device/delete"; done
    disarm
    comes_to_an_end
}
table_image() {
    truncate -s 44M $IMAGES/table.img
    printf 'label: gpt\nstart=2048, size=81920\n' | sfdisk -q $IMAGES/table.img
    dd if=$IMAGES/a.img of=$IMAGES/table.img bs=1M seek=1 conv=notrunc status=none
}
table_changes() {
    printf 'label: gpt\nstart=4096, size=2048\nstart=2048, size=1024\n' |
        sfdisk -q --no-reread --no-tell-kernel --force $IMAGES/table.img
    disarm
    mounted_is_right=1 comes_to_an_end
    table_image
}

# ---- all of them ----

# What is waited for on the way up: the record of the first target's session is written, the store of the first overlay has a
# loop device, the first overlay's table is loaded, the first volume is mounted.
LOGGED_IN='3:record .*/session.json' UNIT=' loop ' OVERLAYS='dm load' MOUNTED='mount mount [a-z0-9]+ /run/ilr/'
filter='.vaults[0].items[30].points[0].disks = ["'$IMAGES'/table.img"]'
life_sim "$filter"
must "a disk with a partition can be made" table_image
must "the helpers' steps can be waited at" prepare
warm

sample=("released while the script runs" "the caller leaves while volumes are mounted" "asked for again while it goes down")
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
    rm -f "$WORK/ended"
    check "$name" "$@"
    say "$((SECONDS - start)) s$([[ ! -s $WORK/ended ]] || sed 's/^/; /' "$WORK/ended" | cut -c1-300)"
    if ((failed_checks == before)); then
        done_now "race $name"
    else
        disarm
        scenario $SINGLE || true
        pkill -x ilrctl || true
        life_clean
        life_sim "$filter"
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
race "released again while devices go" going_down $DOUBLE 'dm remove' and_again
race "released again while it logs out" going_down $DOUBLE 'exec iscsiadm' and_again
race "who releases it leaves while it is unmounted" going_down $DOUBLE 'umount /run/ilr/' and_who_asked_leaves
race "by force while it is unmounted" going_down $DOUBLE 'umount /run/ilr/' and_by_force
race "by force while it logs out" going_down $DOUBLE 'exec iscsiadm' and_by_force
race "asked for again while it goes down" going_down $SINGLE 'umount /run/ilr/' and_asked_for
race "asked for again while it logs out" going_down $SINGLE 'exec iscsiadm' and_asked_for
race "asked for again while it goes down, and given up" going_down $SINGLE 'dm remove' and_asked_for_in_vain
race "the disks vanish before their overlays are made" at_step $DOUBLE "$UNIT" disks_vanish
race "the disks vanish before their volumes are mounted" at_step $DOUBLE "-:$MOUNTED" disks_vanish
race "the disks vanish when one volume is mounted" at_step $DOUBLE "$MOUNTED" disks_vanish
race "the partition table changes before it was read" at_step $TABLE "$UNIT" table_changes
race "the partition table changes when it was read" at_step $TABLE 'dm create ilr_[a-z0-9]+_d1p1' table_changes
race "the partition table changes before the partition is mounted" at_step $TABLE "-:$MOUNTED" table_changes
rm -rf /run/systemd/system/ilr{-helper@,-session@}.service.d
systemctl daemon-reload
finish || exit 1
[[ ! $unfinished ]] || exit 75
