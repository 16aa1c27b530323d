#!/usr/bin/env bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# Two users hold one session; a release by force of one that is in use, with a target that lives and with one that is dead.
set -eEuo pipefail
cd "$(dirname "$0")"
# shellcheck source=tests/vm/lib.sh
. ../lib.sh

host_snapshot "$WORK/before"
as() { # USER COMMAND...: as a member of group ilr
    local user=$1
    shift
    setpriv --reuid "$user" --regid ilr --clear-groups -- "$@"
}
held_by() { session_json "$1" | jq -e --arg names "$2" '[.holders[].caller] | sort | join(" ") == $names'; }
closing() { [[ $(session_state "$1") == closing ]]; }
mounted() { findmnt -rno TARGET | grep -q "^/run/ilr/$1/"; }
registered() { sim_state | jq -e '.registrations | length > 0'; }

# A program that has a file open: it reads its beginning, and each time it is told to, a piece that is in no memory. It says
# what came of that, and ends when its input does.
cat >"$WORK/reader.py" <<'PYTHON'
import errno, os, sys
fd = os.open(sys.argv[1], os.O_RDONLY)
os.read(fd, 4096)
print("open", flush=True)
at = 0
for line in sys.stdin:
    at += 8 << 20
    os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
    try:
        print("read" if os.pread(fd, 4096, at % (os.fstat(fd).st_size - 4096)) else "end", flush=True)
    except OSError as e:
        print(errno.errorcode[e.errno], flush=True)
PYTHON
reader_start() { # FILE
    rm -f "$WORK/to-reader"
    mkfifo "$WORK/to-reader"
    python3 "$WORK/reader.py" "$1" <"$WORK/to-reader" >"$WORK/reader.out" &
    reader=$!
    exec 5>"$WORK/to-reader"
    eventually 10 grep -q open "$WORK/reader.out"
}
reader_says() { [[ $(tail -n 1 "$WORK/reader.out") == "$1" ]]; }
reader_alive() { kill -0 $reader; }
reader_end() {
    exec 5>&-
    wait $reader || true
}

# ---- two users ----

must "a user brings it up" as daemon ilrctl provision --reason="mail of May" "$(point_id backup-vm-02 "$POINT_C")"
id=$(sessions)
again() { # the same at once, and it is the same
    as games timeout 10 ilrctl provision --json --reason="bill" "$(point_id backup-vm-02 "$POINT_C")" >"$WORK/again"
    [[ $(jq -r -s 'last | .id' "$WORK/again") == "$id" ]]
}
check "another one gets the same session at once" again
check "both hold it" held_by "$id" "daemon games"
systemctl restart ilrd.service
check "and still do when ilrd was restarted" eventually 20 held_by "$id" "daemon games"
refused() {
    local status=0
    as bin ilrctl release "$id" 2>"$WORK/refused" || status=$?
    cat "$WORK/refused"
    [[ $status == 3 ]] && grep -q "daemon, games" "$WORK/refused"
}
check "a third one may not release it, and is told who holds it" refused
check "the first one gives it back" as daemon ilrctl release "$id"
check "it stays up for the other" held_by "$id" games
check "with its files" sums_match "$LISTS/data.sha256" "$(volume_path "$id" data)" 10
check "the other one gives it back, too" as games ilrctl release "$id"
check "nothing is left of it" nothing_left azure

# ---- in use, and the target lives ----

must "it comes up" provision backup-vm-02 "$POINT_C"
id=$(sessions)
file=$(volume_path "$id" data)/dump/etc-and-var.tar
reader_start "$file"
busy() {
    local status=0
    timeout 60 ilrctl release "$id" || status=$?
    [[ $status == 8 ]]
}
check "in use: an orderly release is refused" busy
start=$SECONDS
force() { timeout 90 ilrctl release --force "$id" >"$WORK/force" 2>&1 || { cat "$WORK/force"; return 1; }; }
check "in use: a release by force ends" force
say "release --force with an open file: $((SECONDS - start)) s"
says() {
    cat "$WORK/force"
    grep -q "pid $reader (python3)" "$WORK/force"
}
check "and names who has a file open" says
check "the session is closing" closing "$id"
check "nothing is mounted any more" not mounted "$id"
check "no target is logged in" not ls -d /sys/class/iscsi_session/session*
check "Azure has it back" not registered
check "one device is left, of errors" test "$(dmsetup table | grep "^ilr_${id}_" | awk '{print $4}')" = error
check "the reader was not killed" reader_alive
echo more >&5
check "the reader gets an error" eventually 10 reader_says EIO
must "the same point comes up beside it" provision backup-vm-02 "$POINT_C"
second=$(sessions | grep -vx "$id")
check "with its files" sums_match "$LISTS/data.sha256" "$(volume_path "$second" data)" 10
check "and goes" ilrctl release "$second"
daemon_killed
check "ilrd knows that it is closing when it was killed" eventually 20 closing "$id"
check "the reader is alive to the end" reader_alive
reader_end
check "when the reader has closed the file, nothing is left" eventually 20 nothing_left azure
check "the host is as it was" host_unchanged "$WORK/before"

# ---- in use, and the target is dead ----

must "it comes up again" provision backup-vm-02 "$POINT_C"
id=$(sessions)
reader_start "$(volume_path "$id" data)/dump/etc-and-var.tar"
kill -STOP "$(jq -er '.tunnelPid | select(. > 0)' "/run/ilr-connect/$id/connection.json")"
echo more >&5 # it waits for the target from here on
start=$SECONDS
check "dead target: a release by force ends" force
say "release --force on a dead target with a read under way: $((SECONDS - start)) s"
check "dead target: the reader was not killed" reader_alive
check "dead target: the reader gets an error" eventually 10 reader_says EIO
check "dead target: the session is closing" closing "$id"
check "dead target: no target is logged in" not ls -d /sys/class/iscsi_session/session*
check "dead target: Azure has it back" not registered
reader_end
check "dead target: nothing is left" eventually 20 nothing_left azure
check "dead target: the host is as it was" host_unchanged "$WORK/before"
finish
