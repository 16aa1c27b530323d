#!/usr/bin/env bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# The stand-in's target and script as people use the real ones: as root, by hand, without ilrd (tests/vm/sim-target).
set -eEuo pipefail
cd "$(dirname "$0")"
# shellcheck source=tests/vm/lib.sh
. ../lib.sh

# Such a script leaves its marks on a host.
kept=(/etc/iscsi /etc/hosts /etc/ssl/certs /etc/MicrosoftAzureBackupILR)
# shellcheck disable=SC2317 # called by the trap
back() {
    rm -rf "${kept[@]}" /usr/local/share/ca-certificates/sim-target.crt /usr/local/bin/lshw /tmp/sim-target
    tar -C / -xf "$WORK/kept.tar"
    systemctl start ilrd.socket ilr-sim.service
    ilrd_configure
}
systemctl stop ilrd.socket ilrd.service ilr-sim.service
tar -cPf "$WORK/kept.tar" "${kept[@]}" 2>/dev/null || true
trap back EXIT
../sim-target || failed_checks=1
finish
