#!/usr/bin/env bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# The kill matrix: ilrd, a helper, the connection's script, its tunnel, iscsid and ilr-connect, each killed with SIGKILL after
# each step by which ilrd or a helper changes the world, on the way up and on the way down, with one target and with two. Then
# what was killed is started again, and either the session stands with all its files, or nothing is left.
# ILR_KILLS points of it, chosen by the seed, 2 by default; all with --full, in as many boots as that takes. ILR_KILL_KINDS="single"
# takes only those with one target.
set -eEuo pipefail
cd "$(dirname "$0")"
# shellcheck source=tests/vm/lifecycle/lib.sh
. ./lib.sh
# shellcheck source=tests/vm/kill-point.sh
. ../kill-point.sh

dir=/run/ilr-kill
victims=(ilrd helper script tunnel iscsid ilr-connect)
use() { kill_point_file=$dir/point.$1; } # ilrd's own steps, or those of the helpers

# arm WHO MODE N: at the next start of ilrd or of a helper; a file that is read then needs no daemon-reload.
arm() {
    local kinds=record,mount,dm,loop,btrfs,exec
    [[ $1 != ilrd ]] || kinds=record,connect
    use "$1"
    kill_point_reset
    cat >"$dir/$1.env" <<ENV
LD_PRELOAD=$kill_point_so
KILL_POINT_FILE=$kill_point_file
KILL_POINT_MODE=$2
KILL_POINT_AT=$3
KILL_POINT_KINDS=$kinds
ENV
    [[ $1 != ilrd ]] || ilrd_restart
}
disarm() {
    local had
    had=$(wc -c <"$dir/ilrd.env")
    : >"$dir/helper.env"
    : >"$dir/ilrd.env"
    ((!had)) || ilrd_restart
}
ilrd_restart() {
    systemctl restart ilrd.service
    eventually 20 ilrctl list >/dev/null
}
prepare() {
    local unit who=helper
    mkdir -p $dir
    : >$dir/helper.env
    : >$dir/ilrd.env
    chmod 0755 $dir
    for unit in ilr-helper@.service ilr-session@.service ilrd.service; do
        [[ $unit != ilrd.service ]] || who=ilrd
        mkdir -p "/run/systemd/system/$unit.d"
        printf '[Service]\nEnvironmentFile=%s\nReadWritePaths=-%s\n' "$dir/$who.env" "$dir" >"/run/systemd/system/$unit.d/90-kill-point.conf"
        # A mount namespace is what a helper must not have.
        [[ $unit == ilrd.service ]] || sed -i '/^ReadWritePaths/d' "/run/systemd/system/$unit.d/90-kill-point.conf"
    done
    systemctl daemon-reload
    systemctl restart ilrd.service
}
must "the programs can be killed at their steps" prepare

# ---- how many steps there are ----

points_of() { # KIND: lines "KIND DIRECTION WHO BASE STEPS"
    local n id base
    n=$SINGLE
    [[ $1 != double ]] || n=$DOUBLE
    arm helper count 0
    arm ilrd count 0
    base=$(kill_point_count)
    id=$(life_up "$n")
    echo "$1 up ilrd $base $(($(kill_point_count) - base))"
    use helper
    echo "$1 up helper 0 $(kill_point_count)"
    kill_point_list >"$ILR_RESULTS/points.$1.up"
    arm helper count 0
    arm ilrd count 0
    base=$(kill_point_count)
    ilrctl release "$id" >&2
    echo "$1 down ilrd $base $(($(kill_point_count) - base))"
    use helper
    echo "$1 down helper 0 $(kill_point_count)"
    kill_point_list >"$ILR_RESULTS/points.$1.down"
    disarm
}
kinds=double
[[ ! ${ILR_FULL-} ]] || kinds="single double"
read -ra kinds <<<"${ILR_KILL_KINDS:-$kinds}"
points=$ILR_RESULTS/points
if [[ ! ${ILR_FULL-} || ! -s $points ]]; then
    for kind in "${kinds[@]}"; do points_of "$kind"; done >"$points.new"
    mv "$points.new" "$points"
else
    warm
fi
sed 's/^/# steps: /' "$points"
counted() { awk '$5 < 2 {print; bad = 1} END {exit bad || NR == 0}' "$points"; }
must "steps were counted" counted
eventually 30 nothing_left azure
world_keep

# Lines "KIND DIRECTION VICTIM POINT", in an order that the seed gives: a part of them is a fair sample. After one on the way up
# comes one on the way down, which takes the session that the first one left standing.
items() {
    local kind direction who base steps victim n
    while read -r kind direction who base steps; do
        for victim in "${victims[@]}"; do
            case $who:$victim in
                ilrd:ilrd | helper:[!i]* | helper:iscsid | helper:ilr-connect) ;;
                *) continue ;;
            esac
            for ((n = 1; n <= steps; n++)); do echo "$kind $direction $victim $((base + n))"; done
        done
    done <"$points" | python3 -c 'import hashlib, sys
sys.stdout.writelines(sorted(sys.stdin, key=lambda line: hashlib.md5((sys.argv[1] + line).encode()).digest()))' "$seed" |
        awk '{print ++n[$1, $2], $1, $2 == "down", $0}' | sort -s -k1,1n -k2,2 -k3,3n | cut -d' ' -f4-
}

# ---- one of them ----

victim_pids() { # ID VICTIM
    case $2 in
        script) pgrep -u ilr-connect -f '^([^ ]*/)?(python3|bash|sh) .*/run/script' ;;
        tunnel) pgrep -u ilr-connect -f SecureTCPTunnel ;;
        iscsid) pgrep -x iscsid ;;
        ilr-connect) pgrep -u ilr-connect -x ilr-connect ;;
    esac
}
act() { # N DIRECTION ID: what is disturbed; it may fail
    if [[ $2 == up ]]; then timeout 150 ilrctl provision "$(life_id "$1")"; else timeout 150 ilrctl release "$3"; fi
}
settled() { # nothing is under way any more
    ilrctl list --json >"$WORK/list" || return 1
    jq -e '[.sessions[] | select(.state != "ready")] | length == 0' "$WORK/list" >/dev/null || { cat "$WORK/list"; return 1; }
}
stand() { # nothing of what came before but the session that is written down
    local id
    id=$(cat "$WORK/standing")
    : >"$WORK/standing"
    [[ ! $id ]] || ilrctl release "$id"
    promise1
}
item() { # KIND DIRECTION VICTIM POINT: the words about what became of it in $WORK/item
    local kind=$1 direction=$2 victim=$3 at=$4 n=$SINGLE id='' who=helper mode=barrier acting victims_pids hit=''
    [[ $kind != double ]] || n=$DOUBLE
    [[ $victim != ilrd ]] || who=ilrd
    [[ $victim != ilrd && $victim != helper ]] || mode=self
    [[ $direction == up ]] || id=$(cat "$WORK/standing")
    : >"$WORK/standing"
    : >"$dir/helper.env"
    if [[ $direction == down && ! $id ]]; then
        disarm
        id=$(life_up "$n")
    elif [[ $who != ilrd ]]; then
        disarm
    fi
    arm "$who" "$mode" "$at"
    act "$n" "$direction" "$id" >"$WORK/act" 2>&1 &
    acting=$!
    while kill -0 $acting 2>/dev/null && [[ ! $hit ]]; do
        if [[ $mode == self ]]; then
            (($(kill_point_count) < at)) || hit=killed
        elif kill_point_reached; then
            hit=killed
            victims_pids=$(victim_pids "$id" "$victim" || true)
            # shellcheck disable=SC2086 # pids
            if [[ $victims_pids ]]; then kill -KILL $victims_pids; else hit="not there"; fi
            kill_point_go
        fi
        sleep 0.05
    done
    # In the last moment it may have been the last thing that happened.
    if [[ ! $hit && $mode == self ]] && (($(kill_point_count) >= at)); then hit=killed; fi
    echo "${hit:-not reached}: $(kill_point_list | sed -n "s/^$at //p" | head -n 1)" >"$WORK/item"
    if [[ $victim == iscsid ]]; then
        systemctl reset-failed iscsid.service 2>/dev/null || true
        systemctl start iscsid.service
    fi
    wait $acting || true
    : >"$dir/helper.env"
    eventually 90 settled
    id=$(sessions)
    [[ ! $id ]] || sums_right "$id"
    if [[ $id && $direction == up ]]; then
        echo "$id" >"$WORK/standing"
        return
    fi
    [[ ! $id ]] || ilrctl release "$id"
    promise1
}
# What is not there at one step is not there at those on the other side of it either: on the way down nobody starts anew, on the
# way up each begins and ends once. $ILR_RESULTS/there has what was seen: the item, and whether it was there.
not_there() { # KIND DIRECTION VICTIM POINT
    awk -v at="$4" -v way="$2" -v who="$1 $2 $3" '
        $1 " " $2 " " $3 != who {next}
        $5 == "killed" {if (!first || $4 < first) first = $4; if ($4 > last) last = $4; next}
        {absent[$4] = 1}
        END {
            for (p in absent) {
                if (at + 0 >= p + 0 && (way == "down" || (last && last + 0 < p + 0))) found = 1
                if (at + 0 <= p + 0 && way == "up" && first && first + 0 > p + 0) found = 1
            }
            exit !found
        }' "$ILR_RESULTS/there"
}

hits=0 tried_items=0 absent_items=0 left=0 kind=
wanted=${ILR_KILLS:-2}
[[ ! ${ILR_FULL-} || ${ILR_KILLS-} ]] || wanted=1000000
items >"$WORK/items"
if [[ ${ILR_KILL_ITEM-} ]]; then echo "$ILR_KILL_ITEM" >"$WORK/items"; fi
total=$(wc -l <"$WORK/items")
touch "$ILR_RESULTS/there"
: >"$WORK/standing"
while read -r -u 4 line; do
    ! done_before "kill $line" || continue
    ((tried_items < wanted)) || break
    # shellcheck disable=SC2086 # the item's four words
    if not_there $line; then
        done_now "kill $line"
        absent_items=$((absent_items + 1))
        continue
    fi
    time_left 150 || { left=1; break; }
    tried_items=$((tried_items + 1))
    start=$SECONDS
    before=$failed_checks
    if [[ -s $WORK/standing && $line != "$kind down "* ]]; then check "what was left standing goes" stand; fi
    # shellcheck disable=SC2086
    check "killed: $line" item $line
    say "$line: $(cat "$WORK/item"), $((SECONDS - start)) s"
    kind=${line%% *}
    if grep -q ^killed "$WORK/item"; then
        hits=$((hits + 1))
        echo "$line killed" >>"$ILR_RESULTS/there"
    elif grep -q '^not there' "$WORK/item"; then
        echo "$line absent" >>"$ILR_RESULTS/there"
    fi
    if ((failed_checks == before)); then
        done_now "kill $line"
    else
        journalctl --since "-$((SECONDS - start + 2))s" --no-pager -o short-precise | sed 's/^/#K /' | tail -n 120
        : >"$WORK/standing"
        disarm
        life_clean
    fi
done 4<"$WORK/items"
check "what was left standing goes" stand
disarm
rm -rf /run/systemd/system/ilr{-helper@,-session@,d}.service.d
systemctl daemon-reload
systemctl restart ilrd.service
say "$tried_items points tried now, $hits of them seen killed, at $absent_items more there was nobody to kill; $(grep -c ^kill "$ILR_RESULTS/done" || true) of $total done, seed $seed"
check "somebody was killed" test "$hits" -gt 0
finish || exit 1
((!left)) || exit 75
