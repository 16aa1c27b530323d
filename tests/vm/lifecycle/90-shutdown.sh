#!/usr/bin/env bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# The machine is shut down in order with sessions up, two of them on dead targets (3 sessions; 8 with --full). This file comes
# last in its boot: it leaves a witness that the manager stops after the sessions and before the network and iscsid, and the
# host looks at what it wrote (shutdown-seen).
set -eEuo pipefail
cd "$(dirname "$0")"
# shellcheck source=tests/vm/lifecycle/lib.sh
. ./lib.sh

count=3
[[ ! ${ILR_FULL-} ]] || count=8
all_up() {
    local n pids=()
    for n in $(seq 1 "$count"); do life_up "$n" >"$WORK/id.$n" & pids+=($!); done
    for n in "${pids[@]}"; do wait "$n"; done
}
must "$count sessions come up" all_up
cat "$WORK"/id.* >"$WORK/ids"
for n in 1 2; do kill -STOP "$(tunnel_pid "$(cat "$WORK/id.$n")")"; done

rm -f "$ILR_RESULTS/witness"
cat >/run/ilr-witness <<'WITNESS'
#!/bin/bash
exec >/run/results/witness 2>&1
pgrep -x iscsid >/dev/null || echo "iscsid is gone"
ip -br link show azure0 | grep -q UP || echo "the network is gone"
for s in /sys/class/iscsi_session/*; do [[ ! -e $s ]] || echo "left: $s"; done
# The script's directory is memory and stands on nothing; it goes with /run.
findmnt -rno TARGET | grep '^/run/ilr' | grep -v '^/run/ilr-connect/[a-z0-9]*/work$' | sed 's/^/left: /'
dmsetup ls 2>/dev/null | grep '^ilr_' | sed 's/^/left: /'
losetup -nl -O NAME,BACK-FILE | grep /run/ilr | sed 's/^/left: /'
pgrep -u ilr-connect -a | sed 's/^/left: /'
echo "seen at $(cut -d' ' -f1 /proc/uptime)"
WITNESS
chmod +x /run/ilr-witness
cat >/run/systemd/system/ilr-witness.service <<UNIT
[Unit]
DefaultDependencies=no
After=iscsid.service azure-network.service
Before=$(sed 's/.*/ilr-connection@&.service/' "$WORK/ids" | tr '\n' ' ')
Conflicts=shutdown.target
Before=shutdown.target
RequiresMountsFor=/run/results
[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/bin/true
ExecStop=/run/ilr-witness
UNIT
systemctl daemon-reload
must "the witness is there" systemctl start ilr-witness.service
: >"$ILR_RESULTS/orderly"
say "$count sessions stand, two of them dead; the rest is for the host"
finish
