#!/usr/bin/env bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# The helper alone, with its own callers and target in the place of ilrd and of the stand-in for Azure (tests/vm/helper-test).
set -eEuo pipefail
cd "$(dirname "$0")"
# shellcheck source=tests/vm/lib.sh
. ../lib.sh

# shellcheck disable=SC2317 # called by the trap
back() {
    systemctl stop ilr-test-proxy.socket ilrd.service ilr-test-tgt.service
    rm -rf /run/systemd/system/ilr-test-* /run/systemd/system/ilrd.service \
        /run/systemd/system/ilr-connection@.service.d/90-test.conf /usr/local/sbin/ilr-helper-test
    systemctl daemon-reload
    systemctl start ilrd.socket ilr-sim.service
    ilrd_configure
}
host_snapshot "$WORK/before"
systemctl stop ilrd.socket ilrd.service ilr-sim.service
trap back EXIT
../helper-test || failed_checks=1
check "the host is as it was" host_unchanged "$WORK/before"
finish
