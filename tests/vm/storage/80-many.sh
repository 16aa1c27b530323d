#!/usr/bin/env bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# A volume group over many disks, each on a target of its own: 1 and 8, with scripts/check --full also 33. Tells the time
# and how much of the overlays was used. Every byte of the backing stores is compared outside of the machine as well, if
# tests/vm/storage/outside runs it.
set -eEuo pipefail
cd "$(dirname "$0")"
# shellcheck source=tests/vm/storage/lib.sh
. ./lib.sh

host_clean_up() {
    vgchange -an vgn >/dev/null 2>&1 || true
    losetup -D
}
many() { # N
    local n=$1 i names=() start used
    rm -f ./*.img
    for ((i = 1; i <= n; i++)); do
        truncate -s 16M "many$i.img"
        losetup "/dev/loop$((i + 10))" "many$i.img"
        names+=("/dev/loop$((i + 10))")
    done
    vgcreate -q -s 1M vgn "${names[@]}"
    lvcreate -q -y -n over -l 90%FREE -i "$n" -I 64 vgn
    mkfs.ext4 -q -L over -d files /dev/vgn/over
    vgchange -q -an vgn
    losetup -d "${names[@]}"
    images_done
    [[ -z ${ILR_OUTSIDE-} ]] || must "$n disks: hashed outside" outside_begin "many$n"
    names=()
    for ((i = 1; i <= n; i++)); do
        target_new "many$n-$i" "many$i.img"
        names+=("many$n-$i")
    done
    udevadm settle
    host_view host.before
    session_new "many$(printf %04d "$n")" "${names[@]}"
    start=$EPOCHREALTIME
    must "$n disks: up" up "many$(printf %04d "$n")"
    used=$(for ((i = 1; i <= n; i++)); do dmsetup status "ilr_many$(printf %04d "$n")_d$i"; done |
        awk '{split($4, a, "/"); s += a[1]} END {print s / 2}')
    say "$n disks: up in $(awk "BEGIN {print $EPOCHREALTIME - $start}") s, $used KiB of the overlays used"
    check "$n disks: the files are there" has_files "/run/ilr/many$(printf %04d "$n")/volumes/over"
    check "$n disks: down" down "many$(printf %04d "$n")"
    check "$n disks: nothing is left" gone "many$(printf %04d "$n")"
    check "$n disks: the host saw nothing" host_same
    check "$n disks: the backing stores are what they were" same_bytes
    [[ -z ${ILR_OUTSIDE-} ]] || check "$n disks: seen from outside, too" outside_same "many$n"
}
make_files
many 1
many 8
[[ -z ${ILR_FULL-} ]] || many 33
check "the kernel has no complaint" kernel_quiet
finish
