# shellcheck shell=bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# The driver's side of tests/vm/kill-point.c: a program of the project is killed or stopped after its Nth step. Sourced.

kill_point_so=/usr/lib/ilr-vm/kill-point.so
kill_point_file=${kill_point_file:-/run/ilr-kill-point}

kill_point_reset() { # new numbers from 1 on, the barrier closed
    rm -f "$kill_point_file"
    truncate -s 256K "$kill_point_file"
    chmod 0666 "$kill_point_file"
}
kill_point_number() { od -An -tu4 -j "$1" -N 4 "$kill_point_file" | tr -d ' '; } # OFFSET
kill_point_count() { kill_point_number 0; }
kill_point_reached() { [[ $(kill_point_number 4) != 0 ]]; } # somebody waits at the barrier
kill_point_go() { printf '\1' | dd of="$kill_point_file" bs=1 seek=8 conv=notrunc status=none; }
kill_point_list() { tail -c +65 "$kill_point_file" | tr -d '\0'; } # "N PROGRAM KIND WORDS"
# kill_point_run MODE N COMMAND...: runs a program of the project directly. KILL_POINT_KINDS counts if it is set.
kill_point_run() {
    local mode=$1 n=$2
    shift 2
    LD_PRELOAD=$kill_point_so KILL_POINT_FILE=$kill_point_file KILL_POINT_MODE=$mode KILL_POINT_AT=$n "$@"
}
# kill_point_unit UNIT MODE N: for its next starts; "off" ends it. Behind it daemon-reload has been done.
kill_point_unit() {
    local dir=/run/systemd/system/$1.d
    if [[ $2 == off ]]; then
        rm -rf "$dir"
    else
        mkdir -p "$dir"
        printf '[Service]\nEnvironment=LD_PRELOAD=%s KILL_POINT_FILE=%s KILL_POINT_MODE=%s KILL_POINT_AT=%s KILL_POINT_KINDS=%s\n' \
            $kill_point_so "$kill_point_file" "$2" "$3" "${KILL_POINT_KINDS:-record,mount,dm,loop,btrfs,exec}" >"$dir/90-kill-point.conf"
    fi
    systemctl daemon-reload
}
