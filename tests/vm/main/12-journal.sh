#!/usr/bin/env bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# What others learn of a session: the journal's fields, the hooks, the metrics.
set -eEuo pipefail
cd "$(dirname "$0")"
# shellcheck source=tests/vm/lib.sh
. ../lib.sh

told=/run/ilr-hook-test
hooks=/etc/ilrd/hooks.d
timer=/run/systemd/system/ilrd-metrics.timer.d
clean_up() {
    systemctl stop ilrd-metrics.timer
    rm -rf $hooks/50-tell $told /var/lib/prometheus $timer
    systemctl daemon-reload
}
trap clean_up EXIT
install -d $hooks
install -d -o ilr-hook $told
cat >$hooks/50-tell <<HOOK
#!/bin/sh
env | grep ^ILR_ >$told/\$1.\$2
id -un >>$told/\$1.\$2
HOOK
chmod 0755 $hooks/50-tell

since=$(date '+%Y-%m-%d %H:%M:%S')
must "it comes up" provision backup-vm-02 "$POINT_C" --reason "a file is missing"
id=$(sessions)
find "/run/ilr/$id/volumes" -type f -size +100k -exec cat {} + | head -c 2000000 >/dev/null || true
hook_told() { # EVENT LINE...
    local event=$1 line
    shift
    for line in "$@"; do grep -qxE "$line" "$told/$event.$id" || { echo "no $line"; cat "$told/$event.$id"; return 1; }; done
}
check "the hook was told that it is ready, as its own user" eventually 20 hook_told ready ILR_EVENT=ready "ILR_SESSION=$id" \
    ILR_VM=backup-vm-02 "ILR_POINT=$POINT_C" 'ILR_REASON=a file is missing' ILR_HOLDERS=root "ILR_PATH=/run/ilr/$id/volumes" ilr-hook
metrics() {
    ilrctl metrics >"$WORK/metrics"
    grep -qxF 'ilrd_sessions{state="ready"} 1' "$WORK/metrics"
    [[ $(tail -n 1 "$WORK/metrics") == '# EOF' ]]
}
check "metrics count the session" metrics
# Some give the directory to the user of node_exporter.
install -d -o nobody /var/lib/prometheus/node-exporter
collected() { grep -qxF 'ilrd_sessions{state="ready"} 1' /var/lib/prometheus/node-exporter/ilrd.prom; }
serviced() {
    systemctl start ilrd-metrics.service
    collected
}
check "the timer's service writes them for node_exporter" serviced
rm -f /var/lib/prometheus/node-exporter/ilrd.prom
install -d $timer
printf '[Timer]\nOnActiveSec=0\nAccuracySec=1us\n' >$timer/50-at-once.conf
systemctl daemon-reload
check "the timer is started" systemctl start ilrd-metrics.timer
check "and starts the service" eventually 20 collected

check "release" ilrctl release "$id"
check "the hook was told that it is closed" eventually 20 hook_told closed ILR_EVENT=closed ILR_END=released 'ILR_BYTES_READ=[1-9][0-9]+'
line() { # JQ-FILTER
    journalctl --since "$since" -o json --no-pager -u ilrd.service |
        jq -se --arg id "$id" '[.[] | select(.ILR_SESSION == $id and .MESSAGE_ID)] | '"$1" ||
        { journalctl --since "$since" --no-pager -u ilrd.service -o verbose | grep -E 'ILR_|MESSAGE'; return 1; }
}
common='.ILR_CALLER == "root" and .ILR_HOLDERS == "root" and .ILR_VM == "backup-vm-02" and .ILR_POINT == "'$POINT_C'" and
    .ILR_REASON == "a file is missing" and (.ILR_DURATION_USEC | tonumber) > 0 and .PRIORITY == "5"'
check "ready and closed are one line each" line 'length == 2 and .[0].MESSAGE_ID != .[1].MESSAGE_ID'
check "ready has its fields" line ".[0] | $common"
check "closed has its fields" line ".[1] | $common and "'.ILR_END == "released" and (.ILR_BYTES_READ | tonumber) > 0'
check "nothing is left" nothing_left azure
no_hooks() { not grep . <(find /run/ilr-private -name 'hook-*'); }
check "nor of the hooks" eventually 10 no_hooks
finish
