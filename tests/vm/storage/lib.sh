# shellcheck shell=bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# What the tests of the helper's storage share: a target of their own in the machine, sessions as connect and login would
# leave them, and the questions that are asked of every layout. Sourced, in the machine, by the *.sh beside it, which
# run in a tmpfs of their own ($work) and make their images there: NAME.img is served and must not change by a byte.
# A file that changes the host defines host_clean_up.

# shellcheck source=tests/vm/lib.sh
. ../lib.sh

helper=/usr/libexec/ilrd/ilr-helper
prefix=iqn.2016-01.microsoft.azure.backup:
work=/var/tmp/ilr-storage
mask=/run/udev/rules.d/57-ilr.rules
next_tid=1
kernel_line=$(($(dmesg | wc -l) + 1))
tgtd_pid=
ids=()

clean_up() {
    local s
    [[ ! -e $mask ]] || { rm $mask; udevadm control -R; }
    [[ -z $tgtd_pid ]] || kill -CONT "$tgtd_pid" || true
    for s in "${ids[@]}"; do
        $helper down "$s" --forced >/dev/null 2>&1 || true
        rm -rf "/run/ilr-private/$s"
    done
    iscsiadm -m node -o delete >/dev/null 2>&1 || true
    [[ -z $tgtd_pid ]] || { kill -KILL "$tgtd_pid" || true; wait "$tgtd_pid" || true; }
    cd /
    ! declare -F host_clean_up >/dev/null || host_clean_up || true
    umount $work/mnt 2>/dev/null || true
    umount -l $work || true
}
trap clean_up EXIT

target_new() { # NAME [4096:]IMAGE...
    local name=$prefix$1 lun=1 image size
    shift
    tgtadm --lld iscsi --op new --mode target --tid $next_tid -T "$name"
    for image in "$@"; do
        size=512
        [[ $image != 4096:* ]] || size=4096
        tgtadm --lld iscsi --op new --mode logicalunit --tid $next_tid --lun $lun -b "$work/${image#4096:}" --blocksize $size
        tgtadm --lld iscsi --op update --mode logicalunit --tid $next_tid --lun $lun --params vendor_id="MABILR I"
        lun=$((lun + 1))
    done
    tgtadm --lld iscsi --op bind --mode target --tid $next_tid -I ALL
    next_tid=$((next_tid + 1))
}
# A session as connect and login would leave it: logged in, nothing scanned, the record written.
session_new() { # ID NAME...
    local id=$1 name targets='' sid
    shift
    ids+=("$id")
    install -d -m 0700 "/run/ilr-private/$id"
    cp -a /etc/iscsi "/run/ilr-private/$id/iscsi"
    for name; do
        iscsiadm -m node -o new -T "$prefix$name" -p 127.0.0.1:3260 >/dev/null
        iscsiadm -m node -T "$prefix$name" -p 127.0.0.1:3260 -o update -n node.session.scan -v manual
        iscsiadm -m node -T "$prefix$name" -p 127.0.0.1:3260 --login >/dev/null
        sid=$(iscsiadm -m session | sed -n "s/^tcp: \[\([0-9]*\)\].* $prefix$name .*/\1/p")
        targets+="${targets:+,}{\"name\":\"$prefix$name\",\"portal\":\"127.0.0.1:3260\",\"sid\":$sid}"
    done
    (
        umask 077
        echo "{\"version\":1,\"session\":\"$id\",\"targets\":[$targets],\"disks\":[],\"volumes\":[]}" \
            >"/run/ilr-private/$id/session.json"
    )
}
record() { # ID JQ-FILTER
    jq -e "$2" "/run/ilr-private/$1/session.json" || { jq -c '.volumes[], .failure' "/run/ilr-private/$1/session.json"; return 1; }
}
gone() { # ID
    not grep "ilr_$1" <(dmsetup ls)
    not grep "ilr-private/$1" <(losetup -a)
    not grep -e "/run/ilr/$1" -e "/run/ilr-private/$1" /proc/self/mountinfo
    not grep "$prefix" <(iscsiadm -m session 2>/dev/null)
    [[ ! -e /run/ilr/$1 && ! -e /run/ilr-private/$1/cow ]]
}
sums() { (cd $work && sha256sum -- *.img); }
up() { $helper up "$1"; }
# unlock_asked ID VOLUME KEY-FILE COMMAND...: runs the command with the request that "ilr-helper unlock ID" finds, as the session's
# unit runs it.
unlock_asked() {
    local pipe=/run/ilr-private/$1/unlock result=0
    rm -f "$pipe"
    mkfifo -m 0600 "$pipe"
    exec 9<>"$pipe"
    jq -nc --arg v "$2" --arg k "$(base64 -w0 "$3")" '{volume: $v, key: $k}' >&9
    shift 3
    "$@" 9>&- || result=$?
    exec 9>&-
    rm -f "$pipe"
    return $result
}
down() { $helper down "$@"; }
is() { [[ $(cat "$1") == "$2" ]]; }


put() { dd if="$3" of="$1" bs=512 seek="$2" conv=notrunc,sparse status=none; } # DISK SECTOR PARTITION

# The images move out of the machine and are hashed there (tests/vm/storage/outside); what is served lies there.
outside_begin() { # GROUP
    local f
    mkdir -p "$ILR_RESULTS/outside/$1"
    for f in *.img; do
        cp --sparse=always "$f" "$ILR_RESULTS/outside/$1/$f"
        ln -sf "$ILR_RESULTS/outside/$1/$f" "$f"
    done
    sync -f "$ILR_RESULTS/outside/$1"
    : >"$ILR_RESULTS/outside/$1.made"
    eventually 60 test -e "$ILR_RESULTS/outside/$1.hashed"
    [[ $(cat "$ILR_RESULTS/outside/$1.hashed") == $(find . -maxdepth 1 -name '*.img' | wc -l) ]]
}
outside_same() { # GROUP
    : >"$ILR_RESULTS/outside/$1.done"
    eventually 60 test -e "$ILR_RESULTS/outside/$1.result"
    cat "$ILR_RESULTS/outside/$1.result"
    [[ $(cat "$ILR_RESULTS/outside/$1.result") == same ]]
}

images_done() { sums >before; }
same_bytes() { diff before <(sums); }

# The same files everywhere, and their checksums.
make_files() {
    mkdir -p files/etc files/dir
    for ((i = 0; i < 40; i++)); do echo "file $i" >files/dir/$i; done
    head -c 200000 /dev/urandom >files/blob
    echo debian >files/etc/hostname
    (cd files && find . -type f -print0 | sort -z | xargs -0 sha256sum) >files.sha256
}
has_files() { (cd "$1" && sha256sum --quiet --strict -c $work/files.sha256); } # DIRECTORY

# The files on two loop devices, which then are free of it.
made_mirror() { # LABEL DEVICE DEVICE
    mdadm --quiet --create /dev/md/made --run --assume-clean -l 1 -n 2 "$2" "$3"
    eventually 60 test -b /dev/md/made # mdadm does not wait for long
    mkfs.ext4 -q -L "$1" -d files /dev/md/made
    mdadm --wait-clean /dev/md/made || true
    mdadm --quiet --stop /dev/md/made
}
made_btrfs() { # LABEL DEVICE DEVICE
    mkfs.btrfs -q -L "$1" -d raid1 -m raid1 "$2" "$3"
    mkdir -p mnt
    mount "$2" mnt
    cp -a files/. mnt
    umount mnt
}

# What the host's own tools say, errors too, and all that a session must leave as it is. Of /etc/iscsi everything but the
# records that session_new makes there itself.
host_view() { # FILE
    {
        for what in pvs vgs 'lvs -a'; do LVM_SUPPRESS_FD_WARNINGS=1 $what 2>&1 || true; done
        echo "md:"; grep -A 2 ^md /proc/mdstat || true
        ! command -v multipath >/dev/null || { echo "multipath:"; multipath -ll 2>&1 | grep -v 'DM multipath kernel driver' || true; }
        ! systemctl -q is-active udisks2.service || { echo "udisks:"; udisks_objects; }
        echo "mounts:"; grep -v ' /run/ilr' /proc/self/mounts
        echo "links:"; find /dev -type l ! -path '*/by-diskseq/*' ! -path '/dev/block/*' ! -path '/dev/char/*' ! -path '/dev/ilr_*' ! -path '/dev/mapper/ilr_*' -printf '%p %l\n' | sort
        echo "etc:"; find /etc -path /etc/iscsi/nodes -prune -o -path /etc/iscsi/send_targets -prune -o \
            -printf '%p %y %#m %u:%g %n %l\n' | sort
        find /etc -path /etc/iscsi/nodes -prune -o -type f -exec sha256sum {} + | sort -k 2
        echo "devices with links or units that are not the host's:"
        udevadm info -e | awk -v RS= '/\nE: ILR=1/ && (/\nS: disk/ || /\nE: SYSTEMD_WANTS=[^i]/ || !/\nE: SYSTEMD_READY=0/)'
    } >"$1"
}
udisks_objects() {
    busctl tree --list org.freedesktop.UDisks2 2>/dev/null | grep /block_devices/ | grep -vE 'loop[0-9]+$' | sort || true
}
# What the kernel complains of, but for what a test expects by ERE: it would write to a read-only disk, mixes file systems up.
# That it flushes one work queue in another, once in a boot, is between it and its iSCSI sessions that end.
kernel_quiet() { # [ERE]
    not grep -E 'Trying to write to read-only|duplicate|BUG|WARNING:|Oops|general protection|hung_task|blocked for more' \
        <(dmesg | tail -n "+$kernel_line" | grep -vE "check_flush_dependency${1:+|$1}")
}
host_same() { host_view host.now; diff host.before host.now; }

mkdir -p $work
mount -t tmpfs -o size=900m tmpfs $work
cd $work
tgtd -f &
tgtd_pid=$!
# Directories that iscsiadm makes the first time.
iscsiadm -m node -o new -T "${prefix}none" -p 127.0.0.1:3260 >/dev/null
iscsiadm -m node -o delete -T "${prefix}none" -p 127.0.0.1:3260
must "the target answers" eventually 10 tgtadm --lld iscsi --op show --mode target
