#!/usr/bin/env bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# ilr-helper killed right after its Nth step (tests/vm/kill-point.c), the disks staying logged in, on seven layouts: up (with
# LUKS unlock), after which the next one must bring the files or down must leave nothing, and down, after which the next one must
# leave nothing. Some points of each layout; every one with scripts/check --full, where a run goes on behind what the one before did with
# the same helper ($ILR_RESULTS/kill-points). ILR_KILL_LAYOUTS="md luks" takes only these.
set -eEuo pipefail
cd "$(dirname "$0")"
# shellcheck source=tests/vm/kill-point.sh
. ../kill-point.sh
# shellcheck source=tests/vm/storage/lib.sh
. ./lib.sh

read -ra layouts <<<"${ILR_KILL_LAYOUTS:-linear lvm thin md btrfs luks late}"
progress=$ILR_RESULTS/kill-points
build=$(sha256sum $helper | cut -c1-16)
log=$WORK/helper.log
end=$((SECONDS + ${ILR_TEST_TIMEOUT:-600} - 60))

host_clean_up() {
    vgchange -an vgk vgt vgl >/dev/null 2>&1 || true
    mdadm --quiet --stop --scan || true
    cryptsetup close made 2>/dev/null || true
    cryptsetup close made2 2>/dev/null || true
    losetup -D
    rm -f /etc/lvm/lvmlocal.conf
}
make_images() {
    printf 'activation { monitoring=0 }\nglobal { thin_check_executable="" }\n' >/etc/lvm/lvmlocal.conf
    make_files
    truncate -s 12M linear.img
    echo 'start=2048, size=20480' | sfdisk -q -X gpt linear.img
    truncate -s 10M fs
    mkfs.ext4 -q -L files -d files fs
    put linear.img 2048 fs
    rm fs
    truncate -s 24M lvm.img thin.img luks.img
    truncate -s 16M md.img md2.img
    truncate -s 128M btrfs.img btrfs2.img
    losetup /dev/loop11 lvm.img
    losetup /dev/loop12 thin.img
    losetup /dev/loop13 md.img
    losetup /dev/loop14 md2.img
    losetup /dev/loop15 btrfs.img
    losetup /dev/loop16 btrfs2.img
    vgcreate -q -s 1M vgk /dev/loop11
    lvcreate -q -y -n files -L 10M vgk
    mkfs.ext4 -q -d files /dev/vgk/files
    lvcreate -q -y -n snap -s vgk/files -L 2M
    vgcreate -q -s 1M vgt /dev/loop12
    lvcreate -q -y -L 12M -T vgt/pool
    lvcreate -q -y -V 16M -T vgt/pool -n files
    mkfs.ext4 -q -d files /dev/vgt/files
    vgchange -q -an vgk vgt
    made_mirror files /dev/loop13 /dev/loop14
    made_btrfs files /dev/loop15 /dev/loop16
    printf key >key
    cryptsetup luksFormat -q --type luks1 --pbkdf-force-iterations 1000 --key-file key luks.img
    cryptsetup open --key-file key luks.img made
    vgcreate -q -s 1M vgl /dev/mapper/made
    lvcreate -q -y -n files -L 10M vgl
    mkfs.ext4 -q -d files /dev/vgl/files
    vgchange -q -an vgl
    cryptsetup close made
    # A mirror of which one half is opened before the other one: the first one's leg is made anew with it.
    truncate -s 16M late.img late2.img
    cryptsetup luksFormat -q --type luks1 --pbkdf-force-iterations 1000 --key-file key late.img
    cryptsetup luksFormat -q --type luks1 --pbkdf-force-iterations 1000 --key-file key late2.img
    cryptsetup open --key-file key late.img made
    cryptsetup open --key-file key late2.img made2
    made_mirror files /dev/mapper/made /dev/mapper/made2
    udevadm settle
    mdadm --quiet --stop --scan || true
    cryptsetup close made
    cryptsetup close made2
    losetup -D
    images_done
}
must "the images can be made" make_images
host_view host.before
for layout in "${layouts[@]}"; do
    images=("$layout.img")
    [[ ! -f ${layout}2.img ]] || images+=("${layout}2.img")
    target_new "$layout" "${images[@]}"
done

# run_helper VERB [MODE N]: up, unlock or down.
run_helper() {
    local -a run=()
    (($# == 1)) || run=(kill_point_run "$2" "$3")
    run+=("$helper" "$1" "$id")
    if [[ $1 == unlock ]]; then
        unlock_asked "$id" "$locked" key "${run[@]}" >"$log" 2>&1
    else
        "${run[@]}" >"$log" 2>&1
    fi
}
works() { run_helper "$@" || { echo "$*: exit status $?"; cat "$log"; return 1; }; }
# killed VERB N: it was killed right after its step N. A run that had fewer steps this time says so.
killed() {
    local result=0
    kill_point_reset
    run_helper "$1" self "$2" || result=$?
    if ((result == 137)); then
        echo "#KILLED $layout $1 after step $2: $(kill_point_list | sed -n "$2s/^[0-9]* [^ ]* //p")"
    elif ((result == 0)) && (($(kill_point_count) < $2)); then
        echo "#FEWER $layout $1 had $(kill_point_count) steps"
    else
        echo "$1, to be killed after step $2: exit status $result"
        cat "$log"
        return 1
    fi
}
# The disks as they are after the log-in, and, where up is not what is looked at, up.
begin() {
    session_new "$id" "$layout"
    [[ $way != unlock ]] || works up
    [[ $layout != late ]] || locked=disk1 works unlock
}
# One number for all that can be killed at it: on the way up, then once more up, or down; on the way down.
round() { # N
    if (($1 <= ups)); then
        begin
        killed "$way" "$1"
        works down
        gone "$id"
        begin
        killed "$way" "$1"
        works "$way"
    else
        begin
        works "$way"
    fi
    has_files /run/ilr/"$id"/volumes/files
    record "$id" '[.volumes[] | select(.degraded)] == []'
    if (($1 <= downs)); then killed down "$1"; fi
    works down
    gone "$id"
}
steps() { # VERB: their number, and of which kinds they are
    kill_point_reset
    run_helper "$1" count 0 || { cat "$log" >&2; return 1; }
    kill_point_list | awk '{print $3}' | sort | uniq -c | awk -v w="# $layout, $1:" '{w = w " " $1 " " $2 ","} END {print substr(w, 1, length(w) - 1)}' >&2
    kill_point_count
}

left=0
for layout in "${layouts[@]}"; do
    id=kill$(printf %s "$layout" | md5sum | cut -c1-4)
    way=up
    [[ $layout != luks && $layout != late ]] || way=unlock
    locked=disk1
    [[ $layout != late ]] || locked=disk2
    begin
    ups=$(steps $way)
    activation=$(kill_point_list | awk '/ exec .*(vg|lv)change/ {print $1; exit}')
    check "$layout: has its files" has_files /run/ilr/"$id"/volumes/files
    downs=$(steps down)
    check "$layout: nothing is left" gone "$id"
    most=$((ups > downs ? ups : downs))
    points=($((downs / 2)) $((ups * 3 / 4)))
    # A map over the opened volume that has no table yet stands on nothing; and the group in it has its name here before the
    # record knows it.
    [[ $layout != luks ]] || points+=(2 "$activation")
    # The legs of the mirror are there, and not yet in the record.
    [[ $layout != late ]] || points+=($((ups / 2)))
    [[ ! ${ILR_FULL-} ]] || mapfile -t points < <(seq "$most")
    tries=0 hits=0 failed=0
    for n in "${points[@]}"; do
        ! grep -qsx "$build $layout $n" "$progress" || continue
        if [[ ${ILR_FULL-} ]] && ((SECONDS > end)); then
            left=$((left + 1))
            continue
        fi
        tried round "$n" >"$WORK/round" 2>&1
        tries=$((tries + (n <= ups ? 2 : 0) + (n <= downs ? 1 : 0)))
        hits=$((hits + $(grep -c '^#KILLED' "$WORK/round" || true)))
        sed -n 's/^#\(KILLED\|FEWER\)/#/p' "$WORK/round" | uniq
        if ((tried_status)); then
            check_failed "$layout: killed after step $n"
            sed 's/^/#   /' "$WORK/round"
            failed=1
            $helper down "$id" --forced >/dev/null 2>&1 || true
        elif [[ ${ILR_FULL-} ]]; then
            echo "$build $layout $n" >>"$progress"
        fi
    done
    ((failed)) || check_passed "$layout: whatever step it is killed after"
    ((tries == 0)) || check "$layout: it was killed" test $((hits * 10)) -ge $((tries * 9))
    say "$layout: $ups steps up, $downs down; killed $hits times now, of $((2 * ups + downs)) that there are"
done
check "the host saw nothing" host_same
check "the kernel has no complaint" kernel_quiet
check "the backing stores are what they were" same_bytes
((left == 0)) || skip "the other kill points" "$left numbers of steps are left: the same call goes on"
finish
