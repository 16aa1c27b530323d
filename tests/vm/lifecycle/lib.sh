# shellcheck shell=bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# What the proofs of a session's life share, beside tests/vm/lib.sh: small recovery points whose sessions come up fast, a
# list of everything that a session could leave behind (world), the two promises that are held against it, and a reader
# that runs through the files all the time. Sourced by bash with set -eEuo pipefail.

# Not below /run, which is full for a while.
WORK=${WORK:-/var/tmp/ilr-test}
# shellcheck source=tests/vm/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"

LIFE=$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")
IMAGES=/var/tmp/ilr-life
SCENARIO=$QUICK_SCENARIO
POINTS=32
# shellcheck disable=SC2034 # for those who source this
seed=${ILR_SEED:-1}

# The N-th point, from 1 on: each of a machine of its own; odd ones have one target with one disk, even ones two targets.
life_point() { printf '8000000000000%02d\n' "$1"; }
life_vm() { printf 'life-vm-%02d\n' "$1"; }
life_id() { point_id "$(life_vm "$1")" "$(life_point "$1")"; }
life_up() { # N [OPTION...]: prints the session's id
    local n=$1
    shift
    provision "$(life_vm "$n")" "$(life_point "$n")" "$@"
}
# shellcheck disable=SC2034 # for those who source this
SINGLE=1 DOUBLE=2

life_images() {
    local loop n
    mkdir -p $IMAGES # which may be a mount point
    find $IMAGES -mindepth 1 -delete
    mkdir -p $IMAGES/tree/sub
    cd $IMAGES
    for n in $(seq 1 24); do dd if=/dev/urandom of=tree/file-"$n" bs=64K count=$((n % 6 + 1)) status=none; done
    for n in $(seq 1 24); do echo "small $n $RANDOM" >tree/sub/small-"$n"; done
    (cd tree && find . -type f -print0 | sort -z | xargs -0 sha256sum) >sums
    truncate -s 40M a.img b.img
    mke2fs -q -F -t ext4 -L first -d tree a.img
    mkfs.xfs -q --unsupported -L second b.img >/dev/null 2>&1
    mkdir mnt
    loop=$(losetup -f --show b.img)
    mount "$loop" mnt
    cp -a tree/. mnt/
    umount mnt
    losetup -d "$loop"
    rm -r tree mnt
}
# jq's: the points beside those of tests/vm/lib.sh.
life_filter() {
    local n disks items=
    for n in $(seq 1 $POINTS); do
        disks='"'$IMAGES'/a.img"'
        ((n % 2)) || disks+=', "'$IMAGES'/b.img"'
        items+='{vm: "'$(life_vm "$n")'", resourceGroup: "rg-vms", points: [{id: "'$(life_point "$n")'",
            time: "2026-11-20T22:00:00Z", disks: ['$disks'], multiTarget: '$( ((n % 2)) && echo false || echo true)'}]}, '
    done
    # The stand-in goes by the time of day: it shall not end what a clock that is set forward does not concern.
    echo '.validSeconds = 86400 | .vaults[0].items = ['"${items%, }"']'"${1:+ | $1}"
}
life_sim() { sim_start "$(life_filter "$@")"; }

# ---- the world: everything that a session could leave, one thing a line ----

world() { # FILE [WITHOUT-AZURE]
    {
        findmnt -rno TARGET,SOURCE,FSTYPE | grep -v -e '^/proc/sys/fs/binfmt_misc' -e '^/run/credentials' | sed 's/^/mount /'
        dmsetup info -c --noheadings -o name,uuid 2>/dev/null | grep -v '^No devices' | sed 's/^/dm /' || true
        { grep ^md /proc/mdstat 2>/dev/null || true; } | sed 's/^/md /'
        losetup -nl -O NAME,BACK-FILE | sed 's/^/loop /'
        find /sys/block -mindepth 1 -printf 'block %f\n' | grep -vE ' (loop|ram)[0-9]+$' || true
        find /sys/class/scsi_device /sys/class/scsi_generic /sys/class/iscsi_session /sys/class/iscsi_connection \
            /sys/class/iscsi_endpoint -mindepth 1 -maxdepth 1 -printf 'scsi %p\n' 2>/dev/null || true
        find /sys/class/iscsi_host -mindepth 1 -maxdepth 1 -printf 'scsi host %p\n' 2>/dev/null || true
        find /etc/iscsi /var/lib/iscsi -mindepth 1 -printf 'record %p %m %s\n' 2>/dev/null || true
        systemctl list-units --all --plain --no-legend 'ilr-connection*' 'ilr-session*' 'ilr-hook*' 'ilr-helper@*' 'run-ilr*' \
            'dev-mapper-ilr*' | awk '!/-\.slice/ && $1 !~ /^system-/ {print "unit", $1, $3, $4}'
        systemctl list-jobs --plain --no-legend 2>/dev/null | grep ilr- | awk '{print "job", $2, $3}' || true
        find /sys/fs/cgroup -name cgroup.procs \( -path '*ilr-connection@*' -o -path '*ilr-session@*' -o -path '*ilr-hook@*' \
            -o -path '*ilr-helper@*' \) -exec sed 's|^|process in {} |' {} \; 2>/dev/null || true
        ps -o pid=,args= -u ilr-connect -u ilr-hook 2>/dev/null | sed 's/^/process of a user of ours /' || true
        ps -eo stat=,pid=,args= | awk '$1 ~ /^D/ && /ilr|mount|dmsetup|iscsiadm/ {print "hanging", $0}'
        find /run/ilr /run/ilr-private /run/ilr-connect /run/ilrd /run/systemd/system /run/systemd/system.control \
            /run/systemd/transient -mindepth 1 -printf 'file %p\n' 2>/dev/null | grep -v '/[.]#' || true
        find /var/lib/ilrd -mindepth 1 -printf 'file %p\n' 2>/dev/null || true
        find /dev /dev/mapper -maxdepth 1 \( -name '.ilr*' -o -name 'ilr*' \) -printf 'file %p\n' || true
        awk 'int($1 / 65536) == 3405 {print "cookie of device-mapper", $1}' /proc/sysvipc/sem 2>/dev/null || true
        find /run/lvm /run/mdadm -type f -printf 'file %p\n' 2>/dev/null | grep -v hints || true
        find /tmp /var/tmp -maxdepth 1 -name '*ilr*' -printf 'file %p\n' |
            sed -E 's/systemd-private-[0-9a-f]+-(.*)-[A-Za-z0-9]+$/systemd-private of \1/'
        sha256sum /etc/iscsi/iscsid.conf /etc/iscsi/initiatorname.iscsi /etc/lvm/lvm.conf /etc/hosts
        [[ ${2-} ]] || sim_state | jq -r '.registrations[] | "registration \(.recoveryPoint // .id) \(.state)"'
    } | sort >"$1"
}
# world_keep: what is now is what must be again.
world_keep() { world "$WORK/world.before"; }
# The first session of a boot loads what stays loaded; from there on nothing may be left.
warm() {
    if [[ ! -e $WORK/warm ]]; then
        must "a first session" warm_up
        : >"$WORK/warm"
    fi
    eventually 30 nothing_left azure
    world_keep
}
warm_up() { ilrctl release "$(life_up $DOUBLE)"; }
same_world() { # [WITHOUT-AZURE]
    world "$WORK/world.now" "$@"
    if [[ ${1-} ]]; then
        # What ilrd still owes Azure stays written down.
        diff <(grep -v -e '^registration' -e '^file /var/lib/ilrd' "$WORK/world.before") \
            <(grep -v -e '^registration' -e '^file /var/lib/ilrd' "$WORK/world.now")
    else
        diff "$WORK/world.before" "$WORK/world.now"
    fi
}
no_leftovers() {
    local status=0
    timeout 60 ilrctl doctor --leftovers --json >"$WORK/leftovers" 2>&1 || status=$?
    [[ $status == 0 && ! -s $WORK/leftovers ]] || { echo "doctor --leftovers: exit status $status"; cat "$WORK/leftovers"; return 1; }
}
# Promise 1: nothing is left, at once or soon, and the program that is to prove it says the same.
promise1() { # [SECONDS]
    eventually "${1:-60}" same_world || return 1
    no_leftovers
}

# ---- the reader ----

tunnel_pid() { jq -er '.tunnelPid | select(. > 0)' "/run/ilr-connect/$1/connection.json"; }
reader_start() { # ID; not in check: the pid is for later
    : >"$WORK/reader.log"
    local paths
    mapfile -t paths < <(session_json "$1" | jq -er '.volumes[] | select(.mounted) | .path')
    ((${#paths[@]})) || { echo "no volume of $1 is mounted"; return 1; }
    python3 "$LIFE/reader.py" "$WORK/reader.log" "$IMAGES/sums" "${paths[@]}" &
    reader=$!
}
# Reads that end well from now on.
reader_goes_on() {
    local from n
    from=$(wc -l <"$WORK/reader.log")
    for n in $(seq 1 60); do
        sleep 0.3
        [[ $(tail -n +$((from + 1)) "$WORK/reader.log" | grep -c '^ok') -lt 2 ]] || return 0
    done
    echo "no read ended well after $((n / 3)) s:"
    tail -n 5 "$WORK/reader.log"
    return 1
}
reader_end() {
    [[ -z ${reader-} ]] || kill "$reader" 2>/dev/null || true
    [[ -z ${reader-} ]] || wait "$reader" 2>/dev/null || true
    reader=
}
# No byte was wrong and no read took longer than 30 s, whatever happened.
reader_honest() { not grep -E '^(WRONG|SLOW|HANGS)' "$WORK/reader.log"; }
reader_errorless() { not grep -v '^ok' "$WORK/reader.log"; }
reader_has() { grep -q "^$1 " "$WORK/reader.log"; }
reader_words() { cut -d' ' -f1 "$WORK/reader.log" | sort | uniq -c | awk '{printf "%s%s %s", (NR > 1 ? ", " : ""), $1, $2}'; }
sums_right() { # ID: all files of all its volumes
    local path n=0
    while read -r path; do
        (cd "$path" && sha256sum --strict --quiet -c "$IMAGES/sums")
        n=$((n + 1))
    done < <(session_json "$1" | jq -er '.volumes[] | select(.mounted) | .path')
    ((n)) || { echo "nothing is mounted"; return 1; }
}
# Promise 2: ready, by the same tunnel, and the reader noticed nothing.
promise2() { # ID PID
    [[ $(session_state "$1") == ready ]] || { session_json "$1"; return 1; }
    [[ $(tunnel_pid "$1") == "$2" ]] || { echo "another tunnel"; return 1; }
    reader_goes_on
    reader_errorless
    reader_honest
}

# ---- what can be gone on with later ----

# done_before NAME / done_now NAME: a list in the results, which the host keeps for this state of the tree.
done_before() { grep -qxF -- "$1" "$ILR_RESULTS/done" 2>/dev/null; }
done_now() { echo "$1" >>"$ILR_RESULTS/done"; }
# time_left SECONDS: is there so much until this boot is to end?
time_left() { ((${ILR_BOOT_SEC:-100000} - $(awk '{print int($1)}' /proc/uptime) >= $1)); }

# ---- a machine with everything running ----

life_begin() {
    # The certificates are of yesterday: a clock that is set back must not make them invalid.
    [[ -f /etc/ilr-sim/sim.pem ]] || { date -s '2 days ago' >/dev/null; certificates /etc/ilr-sim; date -s '2 days' >/dev/null; }
    life_sim
    ilrd_configure "$@"
    systemctl start ilrd.service
}
# After a failure: whatever there is goes, so that one failure stays one.
life_clean() {
    local id
    ip -n azure link set host0 up || true
    for id in $(timeout 20 ilrctl list --json 2>/dev/null | jq -r '.sessions[].id' || true); do
        timeout 60 ilrctl release --force "$id" >/dev/null 2>&1 || true
    done
    eventually 20 nothing_left azure >/dev/null 2>&1 && return 0
    timeout 60 systemctl stop 'ilr-session@*.service' 'ilr-connection@*.service' || true
    timeout 60 systemctl stop ilrd.service || true
    rm -f /var/lib/ilrd/*.json
    systemctl reset-failed || true
    life_begin
    world_keep
}
