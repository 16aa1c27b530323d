#!/usr/bin/env bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# More sessions than scripts have ports, of as many machines and of several callers: the limits, the queue with its places, one
# that hangs in its script and one whose tunnel is stopped beside the others, and all of them released. Only with --full, in a
# machine with 3 GiB. ILR_MANY=34 says how many; from 33 on there is a queue.
set -eEuo pipefail
cd "$(dirname "$0")"
# shellcheck source=tests/vm/lifecycle/lib.sh
. ./lib.sh

many=${ILR_MANY:-34}
ports=32
hanging=1 # waits in its script for a disk that does not get ready, on the way up, with a port
POINTS=$((many + 1))
users=(root daemon games bin)
EACH=10 # of one caller, but for root

seconds() { awk "BEGIN {printf \"%.1f\", $EPOCHREALTIME - $1}"; } # since
memory() { awk '/^(VmRSS|VmHWM)/ {printf "%s%s %d KiB", (n++ ? ", " : ""), $1, $2}' "/proc/$(systemctl show -P MainPID ilrd.service)/status"; }
as() { # USER COMMAND...: instead of this shell
    local user=$1
    shift
    if [[ $user == root ]]; then exec "$@"; else exec setpriv --reuid "$user" --regid ilr --clear-groups -- "$@"; fi
}
caller() { # N: the first EACH are the second user's, and so on; the rest are root's
    local n=$((1 + ($1 - 1) / EACH))
    echo "${users[$((n < ${#users[@]} ? n : 0))]}"
}
up() { # N: in the background, until it is up or not
    as "$(caller "$1")" ilrctl provision --json "$(life_id "$1")" >"$WORK/up.$1" 2>"$WORK/up.$1.err" &
    pids[$1]=$!
}
ready() { # STATE: how many are in it
    ilrctl list --json | jq "[.sessions[] | select(.state == \"$1\")] | length"
}
id_of() { ilrctl list --json | jq -er --arg p "$(life_point "$1")" '.sessions[] | select(.recoveryPoint | endswith($p)) | .id'; }
places() { ilrctl list --json | jq -r '[.sessions[] | .queuePlace? // empty] | sort | join(" ")'; }

life_sim
ilrd_configure '[Session]' "SessionsMax=$many" "SessionsPerCallerMax=$EACH" '[Connection]' 'SilenceTimeoutSec=30min'
systemctl start ilrd.service
warm
say "ilrd with nothing up: $(memory)"
sim_scenario "$(life_point $hanging)" "$(jq -c '. * {portal: {notReadyTimes: 1000}, script: {notReadySec: 3600}}' <<<"$SCENARIO")"

# ---- all come up but the one that hangs, and those behind it in the queue ----

start=$EPOCHREALTIME
declare -a pids=()
up $hanging
hangs() { ilrctl list --json | jq -e '.sessions[] | select(.state == "connecting" and .detail == "running the connection script")'; }
eventually 60 hangs >/dev/null
# So many at a time as make sense with one processor.
come_up() {
    local n
    for n in $(seq 2 $ports); do
        while (($(jobs -rp | wc -l) >= 5)); do wait -n || true; done # the one that hangs is one
        up "$n"
    done
    for n in $(seq 2 $ports); do
        wait "${pids[$n]}" || { echo "number $n:"; cat "$WORK/up.$n.err"; tail -n 1 "$WORK/up.$n"; return 1; }
    done
}
come_up >"$WORK/come.up" 2>&1 || sed 's/^/# /' "$WORK/come.up"
must "$((ports - 1)) come up beside one that hangs" test "$(ready ready)" = $((ports - 1))
say "$((ports - 1)) sessions were ready after $(seconds "$start") s; ilrd: $(memory)"
say "of the machine: $(free -m | awk '/^Mem/ {print $3 " MiB used, " $7 " MiB available"}')"
some_right() { for n in 2 11 23 $ports; do sums_right "$(id_of "$n")"; done; }
check "files of four of them are right" some_right
queued() { [[ $(places) == "$(seq -s ' ' 1 "$1")" ]]; } # so many
for n in $(seq $((ports + 1)) "$many"); do
    up "$n"
    must "what is too many for the ports waits, as number $((n - ports)) in the queue" eventually 60 queued $((n - ports))
done
limit() { # WHO N WORDS
    local status=0
    (as "$1" ilrctl provision "$(life_id "$2")") >"$WORK/limit" 2>&1 || status=$?
    cat "$WORK/limit"
    ((status)) && grep -q "$3" "$WORK/limit"
}
check "more than SessionsMax= are refused" limit root $((many + 1)) "SessionsMax="
# A place in the queue is given up by a release as by a caller who leaves.
leaves() {
    local id
    id=$(id_of $((ports + 1)))
    kill -KILL "${pids[$((ports + 1))]}"
    eventually 30 gone "$id"
    eventually 10 queued $((many - ports - 1))
}
gone() { not session_json "$1"; }
check "who leaves the queue is gone, and the next one moves up" leaves
check "more than SessionsPerCallerMax= are refused" limit daemon $((ports + 1)) "SessionsPerCallerMax="

# ---- the first half goes, then the second with one whose tunnel is stopped ----

down() { # FROM TO: all but the one that hangs
    local n
    for n in $(seq "$1" "$2"); do
        while (($(jobs -rp | wc -l) >= 6)); do wait -n || true; done
        (timeout 300 ilrctl release "$(id_of "$n")" >"$WORK/down.$n" 2>&1 || echo "$n" >>"$WORK/bad") &
    done
}
released() { # FROM TO
    rm -f "$WORK/bad"
    (down "$1" "$2" && wait)
    [[ ! -s $WORK/bad ]] || { echo "not released: $(tr '\n' ' ' <"$WORK/bad")"; return 1; }
}
half=$(((ports - 2) / 2)) # of those from 2 to ports - 1
start=$EPOCHREALTIME
check "the first half is released" released 2 $((1 + half))
before=$(seconds "$start")
last_is_up() { [[ $(session_state "$(id_of "$many")") == ready ]]; }
check "with a port that is free the last one of the queue comes up" eventually 60 last_is_up
kill -STOP "$(tunnel_pid "$(id_of $ports)")"
start=$EPOCHREALTIME
check "the other half is released beside one whose tunnel is stopped" released $((2 + half)) $((1 + 2 * half))
after=$(seconds "$start")
say "$half sessions were released in $before s without and in $after s with the stopped one"
check "that has not slowed them down" test "$(awk "BEGIN {print ($after <= $before * 1.5 + 5)}")" = 1
start=$EPOCHREALTIME
check "the stopped one is released" timeout 90 ilrctl release "$(id_of $ports)"
say "after $(seconds "$start") s"
start=$EPOCHREALTIME
check "the one that hangs is released" timeout 90 ilrctl release "$(id_of $hanging)"
say "after $(seconds "$start") s"
check "the last one is released" timeout 90 ilrctl release "$(id_of "$many")"
check "nothing is left" promise1
say "ilrd at the end: $(memory)"
ilrd_configure
finish
