#!/usr/bin/env bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# With sessions up and a reader in their files ilrd and its helper are replaced by a newer build that writes another version of
# the records, and later by the old one again. The reader notices nothing, each knows what the other left, and can release it.
# $ILR_NEXT is the directory of the newer build, as the host has made it.
set -eEuo pipefail
cd "$(dirname "$0")"
# shellcheck source=tests/vm/lifecycle/lib.sh
. ./lib.sh

ilrd=$(command -v ilrd || echo /usr/sbin/ilrd)
helper=/usr/libexec/ilrd/ilr-helper
put() { # FILE PLACE: as a package manager does it, the old one goes on running
    install -m 0755 "$1" "$2.new"
    mv "$2.new" "$2"
}
installed() { # DIRECTORY: and what a package does then
    put "$1/ilrd" "$ilrd"
    put "$1/ilr-helper" $helper
    systemctl daemon-reload
    systemctl restart ilr-helper.socket
    systemctl restart ilrd.service
    eventually 20 ilrctl list >/dev/null
}
version_is() { # N ID: the records of the session
    jq -s -e --argjson n "$1" 'all(.version == $n)' "/var/lib/ilrd/$2.json" "$3"
}
keep_old() {
    mkdir -p "$WORK/old"
    cp "$ilrd" $helper "$WORK/old/"
}
must "the newer build is there" test -x "${ILR_NEXT:-/nonexistent}/ilrd" -a -x "${ILR_NEXT:-/nonexistent}/ilr-helper"
must "the old one is kept" keep_old
warm

old=$(life_up $DOUBLE)
pid=$(tunnel_pid "$old")
reader_start "$old"
check "the reader reads" eventually 30 reader_goes_on
check "the newer build is installed" installed "$ILR_NEXT"
check "the session stands and the reader noticed nothing" eventually 25 promise2 "$old" "$pid"
new=$(life_up $SINGLE)
check "a second session comes up with records of the other version" version_is 2 "$new" "/run/ilr-private/$new/session.json"
check "the old build is installed again" installed "$WORK/old"
check "the first session stands and the reader noticed nothing" eventually 25 promise2 "$old" "$pid"
both() { [[ $(sessions | sort | tr '\n' ' ') == $(printf '%s\n' "$old" "$new" | sort | tr '\n' ' ') ]]; }
check "the old one knows both sessions" eventually 20 both
check "the files of the second one can be read" sums_right "$new"
check "the newer build once more" installed "$ILR_NEXT"
check "it still knows both" eventually 20 both
reader_end
say "the reader's words: $(reader_words)"
check "not one read failed" reader_errorless
check "what the old build made, the newer one releases" ilrctl release "$old"
check "the old build a last time" installed "$WORK/old"
check "what the newer one made, the old one releases" ilrctl release "$new"
check "nothing is left" promise1
finish
