#!/usr/bin/env bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# Rounds of provision, read, release, several at a time: at the end ilrd, the kernel's numbers, records and Azure are as at the
# start. ILR_ROUNDS and ILR_JOBS say how many; 2 and 2 by default, 100 and 4 with --full, which may take several boots.
set -eEuo pipefail
cd "$(dirname "$0")"
# shellcheck source=tests/vm/lifecycle/lib.sh
. ./lib.sh

rounds=${ILR_ROUNDS:-2} jobs=${ILR_JOBS:-2}
if [[ ${ILR_FULL-} ]]; then rounds=${ILR_ROUNDS:-100} jobs=${ILR_JOBS:-4}; fi

round() { # N POINT: one line into its log
    local id start=$EPOCHREALTIME
    id=$(life_up "$2")
    sums_right "$id"
    ilrctl release "$id"
    awk "BEGIN {printf \"%.1f\n\", $EPOCHREALTIME - $start}" >>"$WORK/round.seconds"
    done_now "soak $1"
}
# What must not grow. A number that the kernel gives next is told by taking it.
numbers() { # FILE
    local pid
    pid=$(systemctl show -P MainPID ilrd.service)
    {
        echo "ilrd $pid"
        # Connections to Azure are kept for a while.
        awk 'NR > 1 {print "socket:[" $10 "]"}' "/proc/$pid/net/tcp" >"$1.tcp"
        echo "descriptors $(find "/proc/$pid/fd" -mindepth 1 -printf '%l\n' | grep -cvxFf "$1.tcp")"
        dmsetup create ilrprobe --table "0 8 zero" && dmsetup info -c --noheadings -o minor ilrprobe | sed 's/^/minor number of dm /'
        dmsetup remove ilrprobe
        echo "loop devices $(find /sys/block -name 'loop*' | wc -l)"
        echo "mount namespaces $(find /proc/[0-9]*/ns/mnt -printf '%l\n' 2>/dev/null | sort -u | wc -l)"
        echo "keys of udev $(find /run/udev/data -name 'b8:*' -o -name '+scsi*' 2>/dev/null | wc -l)"
        echo "records $(find /var/lib/ilrd /run/ilr-private /run/ilr-connect -mindepth 1 | wc -l)"
    } >"$1"
}
memory() { awk '/^VmRSS/ {print $2}' "/proc/$(systemctl show -P MainPID ilrd.service)/status"; }

# As many as will be up at a time come first, or memory for more of them would be taken for growth. In the sample one has to do,
# and its few rounds say nothing about memory.
several() {
    local n pids=()
    for n in $(seq 1 "$jobs"); do (id=$(life_up "$n") && ilrctl release "$id") & pids+=($!); done
    for n in "${pids[@]}"; do wait "$n"; done
}
growth=1024
[[ ! ${ILR_FULL-} ]] || must "$jobs sessions to begin with" several
warm
numbers "$WORK/numbers.before"
rss=$(memory)

worker() { # POINT: every JOBS-th round
    local n failed=0
    for n in $(seq "$1" "$jobs" "$rounds"); do
        ! done_before "soak $n" || continue
        time_left 120 || break
        tried round "$n" "$1" >"$WORK/round.$1" 2>&1
        ((tried_status == 0)) || { failed=1; echo "round $n:"; cat "$WORK/round.$1"; break; }
    done
    return $failed
}
: >"$WORK/round.seconds"
soak() {
    local n pids=() failed=0
    for n in $(seq 1 "$jobs"); do worker "$n" & pids+=($!); done
    for n in "${pids[@]}"; do wait "$n" || failed=1; done
    return $failed
}
check "rounds of provision, read everything, release, $jobs at a time" soak
say "$(wc -l <"$WORK/round.seconds") rounds, $(sort -n "$WORK/round.seconds" | awk '{s += $1; m = $1} END {
    if (NR) printf "mean %.1f s, longest %.1f s", s / NR, m}')"
check "nothing is left" promise1
same_numbers() {
    numbers "$WORK/numbers.now"
    diff "$WORK/numbers.before" "$WORK/numbers.now"
}
check "descriptors, device numbers, records are as at the start" eventually 20 same_numbers
now=$(memory)
say "memory of ilrd: $rss KiB at the start, $now KiB at the end"
[[ ! ${ILR_FULL-} ]] || check "ilrd has not grown by more than $growth KiB" test $((now - rss)) -le $growth
finish || exit 1
done_count=$(grep -c '^soak ' "$ILR_RESULTS/done" || true)
say "$done_count of $rounds rounds are done"
((done_count >= rounds)) || exit 75
