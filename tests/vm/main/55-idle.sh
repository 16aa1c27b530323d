#!/usr/bin/env bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# A session that nobody uses is released by itself: counted is what the kernel has read from its disks, and who has a file open.
set -eEuo pipefail
cd "$(dirname "$0")"
# shellcheck source=tests/vm/lib.sh
. ../lib.sh

SPAN=6 # seconds
host_snapshot "$WORK/before"
# Uses a file for so long: "read" closes it each time and reads what is in no memory, "open" has it open and reads nothing.
cat >"$WORK/use.py" <<'PYTHON'
import os, sys, time
path, how, seconds = sys.argv[1], sys.argv[2], float(sys.argv[3])
end, at, size = time.monotonic() + seconds, 0, os.stat(path).st_size
held = os.open(path, os.O_RDONLY) if how == "open" else None
while time.monotonic() < end:
    if how == "read":
        fd = os.open(path, os.O_RDONLY)
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
        os.pread(fd, 65536, at % (size - 65536))
        os.close(fd)
        at += 1 << 20
    time.sleep(0.25)
PYTHON
up() {
    id=$(provision backup-vm-02 "$POINT_C" --idle="${SPAN}s")
    file=$(volume_path "$id" data)/dump/etc-and-var.tar
    echo "$id $file" >"$WORK/up"
}
used() { # HOW
    read -r id file <"$WORK/up"
    python3 "$WORK/use.py" "$file" "$1" $((2 * SPAN))
    [[ $(session_state "$id") == ready ]]
}
must "it comes up" up
read -r id file <"$WORK/up"
bytes() { session_json "$id" | jq .bytesRead; }
before=$(bytes)
check "it stays while it is read, longer than the time" used read
after=$(bytes)
say "read: $before bytes when ready, $after now"
check "what was read is counted" test $((after - before)) -ge $((65536 * 8))
check "it stays while a file is open, without a read" used open
ilrctl inhibit --why="the restore" "$id" python3 "$WORK/use.py" "$file" wait $((2 * SPAN)) &
inhibitor=$!
inhibited() {
    tail --pid=$inhibitor -f /dev/null
    [[ $(session_state "$id") == ready ]]
}
check "it stays while somebody says that he needs it" inhibited
wait $inhibitor || true
check "then it goes" eventually 60 nothing_left azure
closed() { # with the reason
    journalctl -u ilrd.service ILR_SESSION="$id" --no-pager -o json | jq -se 'any(.[]; .ILR_END == "idle")'
}
check "unused is what the journal says" closed
waited() { # microseconds from the end of the last use to the release
    journalctl -u ilrd.service ILR_SESSION="$id" --no-pager -o json | jq -se '
        def at(words): [.[] | select(.MESSAGE | contains(words)) | .__REALTIME_TIMESTAMP | tonumber][0];
        at("No file open and nothing read") - at(", no more")'
}
in_time() {
    local usec
    usec=$(waited)
    echo "$usec us"
    ((usec >= SPAN * 1000000 - 50000 && usec <= (SPAN + 10) * 1000000))
}
check "not before its time, and not much after it" in_time
say "released after $(waited) us"
check "the host is as it was" host_unchanged "$WORK/before"
finish
