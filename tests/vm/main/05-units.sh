#!/usr/bin/env bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# The installed units and what runs.
set -eEuo pipefail
cd "$(dirname "$0")"
# shellcheck source=tests/vm/lib.sh
. ../lib.sh

check "systemd finds nothing to complain about in the units" \
    systemd-analyze verify --man=no ilrd.service ilrd.socket ilr-helper.socket ilr-helper@1.service \
    ilr-connection@abcdefgh.service ilr-session@abcdefgh.service ilr-hook@ready-abcdefgh.service ilrd-metrics.service \
    ilrd-metrics.timer
all_verified() {
    local unit
    sed 's/@[a-z0-9-]*\./@./g' "$0" >"$WORK/verified"
    for unit in "$(systemctl show -P FragmentPath ilrd.service | xargs dirname)"/ilr*; do
        grep -qF -- "${unit##*/}" "$WORK/verified" || { echo "$unit is not verified"; return 1; }
    done
}
check "and these are all units" all_verified
watched() {
    [[ $(systemctl show -P Type ilrd.service) == notify && $(systemctl show -P WatchdogUSec ilrd.service) == 1min ]]
    [[ $(systemctl show -P Type ilr-connection@abcdefgh.service) == notify ]]
    [[ $(systemctl show -P NRestarts ilrd.service) == 0 ]]
}
check "ilrd is watched by the manager" watched
check "ilrd runs as its own user" test "$(stat -c %U "/proc/$(systemctl show -P MainPID ilrd.service)")" = ilrd
no_capabilities() { grep -qE '^CapEff:\s*0+$' "/proc/$(systemctl show -P MainPID ilrd.service)/status"; }
check "ilrd has no capability" no_capabilities
modes() {
    [[ $(stat -c '%U:%G %a' /run/ilrd/io.ilrd.Recovery) == 'root:ilr 660' ]]
    [[ $(stat -c '%U:%G %a' /run/ilrd/helper) == 'root:ilr-helper 660' ]]
    [[ $(stat -c '%U:%G %a' /run/ilr-private) == 'root:root 700' ]]
    [[ $(stat -c '%U:%G %a' /run/ilr) == 'root:ilr 750' ]]
}
check "sockets and directories have their owners and modes" modes
check "the configuration is judged" ilrd --check-config
# As ilrd(8) tells to do it: encrypted by this machine's key.
encrypted() {
    local drop_in=/etc/systemd/system/ilrd.service.d/credential.conf
    mkdir -p /etc/credstore.encrypted "${drop_in%/*}"
    printf from-the-store >"$WORK/secret"
    systemd-creds encrypt --name=azure-client-secret "$WORK/secret" /etc/credstore.encrypted/azure-client-secret
    printf '[Service]\nLoadCredentialEncrypted=azure-client-secret\n' >$drop_in
    systemctl daemon-reload
    systemctl restart ilrd.service
    grep -qx from-the-store /run/credentials/ilrd.service/azure-client-secret || { ls -lR /run/credentials; return 1; }
}
check "a secret that is encrypted reaches ilrd" encrypted
rm -rf /etc/systemd/system/ilrd.service.d/credential.conf /etc/credstore.encrypted
systemctl daemon-reload
systemctl restart ilrd.service
finish
