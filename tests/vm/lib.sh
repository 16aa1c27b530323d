# shellcheck shell=bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# What the tests in the machine, and the demo, share: the stand-in for Azure with the backup behind it, ilrd's
# configuration, results as "ok NAME" and "not ok NAME" lines, and the questions that matter at the end.
# Sourced, inside the machine, by bash with set -eEuo pipefail.

SUBSCRIPTION=0c5bd17c-6a2b-4f8a-9d6e-2f40f1e3a901
TENANT=8f14e45f-ceea-467f-a9a4-3b7c9d0e1f22
CLIENT=c9f0f895-fb98-4b91-99d4-1f7e6d5c4b33
CLIENT_SECRET='s3cret~of.the-tests_'
VAULT=/subscriptions/$SUBSCRIPTION/resourceGroups/rg-backup/providers/Microsoft.RecoveryServices/vaults/vault-1
POINT_A=601280542191211 # multi target, disks os and data
POINT_B=601280542191212 # one target with two LUNs
POINT_C=601280542191213 # one disk
WORK=${WORK:-/run/ilr-test}
daemon_pid=
# shellcheck disable=SC2034 # for those who source this
LISTS=/usr/share/ilr-vm
OS_DISK=/dev/disk/by-id/virtio-backup-os
DATA_DISK=/dev/disk/by-id/virtio-backup-data
# The target would let us write: that nothing is written is ilrd's own doing. (The machine's drives are snapshots.)
REAL_SCENARIO='{"portal": {"writable": true}}'
# The same without the waits of the real script: it asks often for what the real one waits for once.
QUICK='{"sleepAfterTunnelSec": 0.3, "tunnelReads": 100, "sleepAfterLoginSec": 0, "addressLookupSec": 1, "notReadySec": 0.2}'
QUICK_SCENARIO='{"portal": {"writable": true}, "script": '$QUICK'}'
SCENARIO=$REAL_SCENARIO
[[ ! ${ILR_QUICK-} ]] || SCENARIO=$QUICK_SCENARIO
mkdir -p "$WORK"
trap 'echo "# line $LINENO of ${BASH_SOURCE[0]##*/} failed: $BASH_COMMAND" >&2' ERR

# ---- results ----

failed_checks=0
say() { printf '# %s\n' "$*"; }
check_passed() { printf 'ok %s\n' "$*"; }
check_failed() {
    printf 'not ok %s\n' "$*"
    failed_checks=$((failed_checks + 1))
}
skip() { printf 'ok %s # SKIP %s\n' "$1" "$2"; }

# tried COMMAND...: its exit status in $tried_status. In a child with a set -e that holds: inside "if" or behind "!" bash
# would let a function run on after its first failure.
tried() {
    set +e
    (
        set -eEuo pipefail
        trap - ERR EXIT
        "$@"
    )
    tried_status=$?
    set -e
}
# check WHAT COMMAND...: one result; what the command said is shown when it is not the wanted one.
check() {
    local what=$1
    shift
    tried "$@" >"$WORK/check.out" 2>&1
    if ((tried_status == 0)); then
        check_passed "$what"
    else
        check_failed "$what"
        printf '#   exit status %s: %s\n' "$tried_status" "$*"
        sed -n '1,40s/^/#   /p' "$WORK/check.out"
    fi
}
# The same for what the rest of the file needs.
must() {
    local before=$failed_checks
    check "$@"
    ((failed_checks == before)) || { say "the rest of this file needs that"; exit 1; }
}
# Ends a test file: exit status by its results.
finish() { ((failed_checks == 0)); }
not() { ! "$@"; }

# eventually SECONDS COMMAND...: until it succeeds.
eventually() {
    local until=$((SECONDS + $1))
    shift
    while true; do
        tried "$@" >"$WORK/eventually.out" 2>&1
        ((tried_status)) || return 0
        ((SECONDS < until)) || { cat "$WORK/eventually.out"; return 1; }
        sleep 0.2
    done
}

# ---- the stand-in for Azure ----

point_id() { # VM POINT
    local group=rg-vms vm=$1 container item
    container="IaasVMContainer;iaasvmcontainerv2;$group;$vm"
    item="VM;iaasvmcontainerv2;$group;$vm"
    echo "$VAULT/backupFabrics/Azure/protectionContainers/$container/protectedItems/$item/recoveryPoints/$2"
}

certificates() {
    local d=$1 hash
    mkdir -p "$d"
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 30 -subj '/CN=ilr test CA' \
        -addext basicConstraints=critical,CA:TRUE -addext keyUsage=keyCertSign,cRLSign \
        -keyout "$d/ca.key" -out "$d/ca.pem" 2>/dev/null
    openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj '/CN=*.ilr-sim.test' \
        -keyout "$d/sim.key" -out "$d/sim.csr" 2>/dev/null
    openssl x509 -req -in "$d/sim.csr" -CA "$d/ca.pem" -CAkey "$d/ca.key" -set_serial 2 -days 30 -out "$d/sim.pem" \
        -extfile <(echo "subjectAltName=DNS:*.ilr-sim.test,DNS:*.sim.backup.windowsazure.test") 2>/dev/null
    cat "$d/ca.pem" >>"$d/sim.pem"
    # The machine trusts it, as it would one of the public ones.
    hash=$(openssl x509 -noout -hash -in "$d/ca.pem")
    cp "$d/ca.pem" "/etc/ssl/certs/$hash.0"
    cat "$d/ca.pem" >>/etc/ssl/certs/ca-certificates.crt
}

# sim_config [JQ-FILTER]: the default world, changed by the filter.
sim_config() {
    jq -n --arg subscription $SUBSCRIPTION --arg tenant $TENANT --arg client $CLIENT --arg secret "$CLIENT_SECRET" \
        --arg os $OS_DISK --arg data $DATA_DISK --arg a $POINT_A --arg b $POINT_B --arg c $POINT_C \
        --argjson scenario "$SCENARIO" '
        {listen: ["10.99.0.2:443"], control: "/run/ilr-sim/control",
         certificate: "/etc/ilr-sim/sim.pem", key: "/etc/ilr-sim/sim.key",
         publicUrl: "https://management.ilr-sim.test",
         tenant: $tenant, clientId: $client, clientSecret: $secret, subscription: $subscription,
         retryAfterSeconds: 1, backend: "tgt", scenario: $scenario,
         portal: {listen: "10.99.0.2:3260", host: "pod01-rec2.sim.backup.windowsazure.test"},
         vaults: [{resourceGroup: "rg-backup", name: "vault-1", items: [
            {vm: "backup-vm-01", resourceGroup: "rg-vms", points: [
                {id: $a, time: "2026-11-20T22:00:00Z", disks: [$os, $data], multiTarget: true},
                {id: $b, time: "2026-11-21T22:00:00Z", disks: [$os, $data]}]},
            {vm: "backup-vm-02", resourceGroup: "rg-vms", points: [
                {id: $c, time: "2026-11-21T23:00:00Z", disks: [$data]}]}]}]}
        | '"${1:-.}"
}

sim_start() { # [JQ-FILTER]
    mkdir -p /etc/ilr-sim
    [[ -f /etc/ilr-sim/sim.pem ]] || certificates /etc/ilr-sim
    for module in iscsi_tcp dm_snapshot loop ext4 xfs btrfs vfat nls_cp437 nls_ascii nls_utf8; do modprobe "$module" || true; done
    sim_config "$@" >/etc/ilr-sim/ilr-sim.json
    systemctl restart ilr-sim.service
}
sim() { # METHOD PATH [BODY]
    curl -sS --fail-with-body --unix-socket /run/ilr-sim/control -X "$1" ${3+-d "$3"} "http://localhost/$2"
}
sim_state() { sim GET sim/state; }
# sim_scenario POINT JSON: until the next call; "null" ends it.
sim_scenario() {
    if [[ $2 == null ]]; then sim DELETE "sim/points/$1/scenario"; else sim PUT "sim/points/$1/scenario" "$2"; fi
}

# ---- ilrd ----

ilrd_configure() { # [LINE...]: sections and keys behind the default ones
    mkdir -p /etc/ilrd/ilrd.conf.d
    printf '%s' "$CLIENT_SECRET" >/etc/ilrd/client-secret
    chown ilrd:ilrd /etc/ilrd/client-secret
    chmod 0600 /etc/ilrd/client-secret
    cat >/etc/ilrd/ilrd.conf <<CONF
[Azure]
ManagementUrl=https://management.ilr-sim.test
LoginUrl=https://login.ilr-sim.test
TenantId=$TENANT
ClientId=$CLIENT
ClientSecretFile=/etc/ilrd/client-secret
PollIntervalSec=250ms
[Session]
BusyRetrySec=2s
CONF
    rm -f /etc/ilrd/ilrd.conf.d/*
    ((!$#)) || printf '%s\n' "$@" >/etc/ilrd/ilrd.conf.d/50-test.conf
    systemctl try-restart ilrd.service
    ! systemctl -q is-active ilrd.service || daemon_noted
}
# What same_daemon compares with; for a test that ends or restarts ilrd itself.
daemon_noted() {
    systemctl start ilrd.service
    daemon_pid=$(systemctl show -P MainPID ilrd.service)
}
daemon_killed() {
    echo >>"$WORK/killed"
    systemctl kill --signal=KILL ilrd.service
}
# ilrd lives on: the process is the one that was noted last, it answers, and the host's iscsid.conf is what it was.
same_daemon() {
    [[ $(systemctl show -P MainPID ilrd.service) == "$daemon_pid" ]] || { systemctl status --no-pager ilrd.service; return 1; }
    ilrctl list >/dev/null
    sha256sum --quiet -c "$WORK/iscsid.sha256"
}

# provision VM POINT [OPTION...]: prints the new session's id
provision() {
    local id log=$WORK/provision.$2
    id=$(point_id "$1" "$2")
    shift 2
    ilrctl provision --json "$@" "$id" >"$log" 2>&1 || {
        local status=$?
        tail -n 5 "$log" >&2
        return $status
    }
    # One document for each change of state; the last one tells.
    jq -r -s 'last | (.session // .).id' "$log"
}
session_json() { ilrctl status --json "$1" | jq -s 'last | (.session // .)'; }
session_state() { session_json "$1" | jq -r .state; }
sessions() { ilrctl list --json | jq -r -s '[.[] | (.sessions? // .) | if type == "array" then .[] else . end | .id? // empty] | .[]'; }
release() { ilrctl release "$1"; }

# The directory of the volume with that file system label.
volume_path() { # ID LABEL
    session_json "$1" | jq -er --arg wanted "$2" '[.volumes[] | select(.label == $wanted and .mounted)][0].path'
}

# ---- the host: what must be the same afterwards ----

host_snapshot() { # FILE
    {
        sha256sum /etc/iscsi/iscsid.conf /etc/iscsi/initiatorname.iscsi /etc/lvm/lvm.conf
        { find /etc/iscsi /var/lib/iscsi /etc/lvm -printf '%p %m %u %s\n' 2>/dev/null || true; } | sort
        echo "mounts:"; findmnt -rno TARGET | grep -v -e '^/proc/sys/fs/binfmt_misc' -e '^/run/credentials' | sort
        echo "dm:"; dmsetup ls 2>&1 | sort
        echo "loop:"; losetup -nl -O NAME,BACK-FILE
        echo "disks:"; find /sys/block -mindepth 1 -printf '%f\n' | grep -vE '^(loop|ram)' | sort
        # A used and freed loop device has another sequence number, that is all these links say.
        echo "links:"; { find /dev/disk -type l ! -path '*/by-diskseq/*' 2>/dev/null || true; } | sort
        echo "pvs:"; LVM_SUPPRESS_FD_WARNINGS=1 pvs --noheadings 2>&1 || true
        echo "md:"; grep ^md /proc/mdstat 2>/dev/null || true
        echo "passwd:"; sha256sum /etc/passwd /etc/group /etc/hosts
    } >"$1"
}

# Nothing of any session is left: each line that this prints is something that is. With an argument also at Azure.
left_behind() {
    local d
    for d in /sys/class/iscsi_session/*; do [[ ! -e $d ]] || echo "iSCSI session $(basename "$d")"; done
    findmnt -rno TARGET | grep -E '^/run/(ilr|ilr-private|ilr-connect)/' | sed 's/^/mount /' || true
    dmsetup ls 2>/dev/null | grep '^ilr_' | sed 's/^/dm device /' || true
    losetup -nl -O NAME,BACK-FILE | grep -E '/run/ilr' | sed 's/^/loop device /' || true
    systemctl list-units --all --plain --no-legend 'ilr-connection@*.service' 'ilr-session@*.service' |
        awk '$3 != "inactive" || $4 == "failed" {print "unit " $0}'
    for d in /run/ilr /run/ilr-private /run/ilr-connect; do
        find "$d" -mindepth 1 -maxdepth 1 -printf 'directory %p\n' 2>/dev/null | grep -vE 'lock$' || true
    done
    find /etc/iscsi/nodes /etc/iscsi/send_targets /etc/iscsi/ifaces /var/lib/iscsi -mindepth 1 -type f \
        ! -name iface.example -printf 'record %p\n' 2>/dev/null || true
    find /var/lib/ilrd -name '*.json' -printf 'record %p\n' 2>/dev/null || true
    pgrep -u ilr-connect -a 2>/dev/null | sed 's/^/process /' || true
    if [[ ${1-} ]]; then
        sim_state | jq -r '.registrations[] | "registration \(.id) at Azure, \(.state)"'
    fi
}
nothing_left() {
    local left
    left=$(left_behind "$@")
    [[ -z $left ]] || { echo "$left"; return 1; }
}
nothing_left_here() { # but for what ilrd still owes Azure
    left_behind | grep -v '^record /var/lib/ilrd' >"$WORK/here" || true
    [[ ! -s $WORK/here ]] || { cat "$WORK/here"; return 1; }
}
host_unchanged() { # SNAPSHOT
    host_snapshot "$WORK/host.now"
    diff -u "$1" "$WORK/host.now"
}

# A file system in FILE that was in use: mounted, written, synced, and copied as it lies on the disk. What was written
# last ("new" in synced and newest) is in its journal only.
dirty() { # FILE
    mkdir -p mnt
    mount -o loop "$1" mnt
    echo old >mnt/synced
    sync -f mnt
    python3 - <<'PY'
import os
for name in ("synced", "newest"):
    with open(f"mnt/{name}", "w") as f:
        f.write("new\n")
        f.flush()
        os.fsync(f.fileno())
PY
    cp --sparse=always "$1" "$1.copy"
    umount mnt
    mv "$1.copy" "$1"
}

# sums_match LIST DIRECTORY [COUNT]: the files have the recorded checksums; COUNT of them picked evenly, default all. The first
# one of the data disk is its largest, which takes longer than a hundred others and is not among them.
sums_match() {
    local list=$1 directory=$2 count=${3-} total step
    if [[ $count ]]; then
        total=$(wc -l <"$list")
        step=$((total / count))
        ((step > 0)) || step=1
        awk -v step=$step -v count="$count" 'NR % step == int(step / 2) && n++ < count' "$list" >"$WORK/sample"
        [[ $(wc -l <"$WORK/sample") == "$count" ]] || { echo "only $(wc -l <"$WORK/sample") files in $list"; return 1; }
        list=$WORK/sample
    fi
    (cd "$directory" && sha256sum --strict --quiet -c "$list")
}
