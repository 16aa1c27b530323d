# SPDX-License-Identifier: LGPL-2.1-or-later
# shellcheck shell=bash disable=SC2034
#
# For the scripts of tests/cli: a scratch directory, TAP lines, and ilr-sim started and spoken to. Sourced.

set -uo pipefail
: "${ILRD_BUILD:=$(cd "$(dirname "${BASH_SOURCE[0]}")/../../build" && pwd)}"
scratch=$(mktemp -d)
failures=0
sim_pid=

finish() {
    [ -z "$sim_pid" ] || kill "$sim_pid" 2>/dev/null && wait "$sim_pid" 2>/dev/null
    rm -rf "$scratch"
    [ "$failures" -eq 0 ] || exit 1
    exit 0
}
trap finish EXIT

ok() {
    echo "ok - $1"
}

not_ok() {
    failures=$((failures + 1))
    echo "not ok - $1"
}

# check NAME COMMAND...: the command succeeds.
check() {
    local name=$1
    shift
    if "$@" >"$scratch/check.out" 2>&1; then
        ok "$name"
    else
        not_ok "$name"
        echo "# $*"
        head -c 2000 "$scratch/check.out" | sed 's/^/# /'
    fi
}

# is NAME EXPECTED GOT
is() {
    if [ "$2" = "$3" ]; then
        ok "$1"
    else
        not_ok "$1"
        echo "# expected: $2"
        echo "# got:      $3"
    fi
}

# has NAME PART TEXT: the text has the part somewhere.
has() {
    if [[ $3 == *"$2"* ]]; then
        ok "$1"
    else
        not_ok "$1"
        echo "# expected in it: $2"
        printf '%s' "$3" | head -c 2000 | sed 's/^/# /'
        echo
    fi
}

# until_true NAME COMMAND...: within 10 s.
until_true() {
    local name=$1 n
    shift
    for ((n = 0; n < 100; n++)); do
        if "$@" >"$scratch/check.out" 2>&1; then
            ok "$name"
            return
        fi
        sleep 0.1
    done
    not_ok "$name"
    sed 's/^/# /' "$scratch/check.out"
}

sim_tenant=11111111-1111-4111-a111-111111111111
sim_subscription=22222222-2222-4222-a222-222222222222
sim_certificate=$scratch/sim.crt
sim_vault=/subscriptions/$sim_subscription/resourceGroups/rg1/providers/Microsoft.RecoveryServices/vaults/vault1
sim_item="$sim_vault/backupFabrics/Azure/protectionContainers/IaasVMContainer;iaasvmcontainerv2;vmgroup;web-1/protectedItems/VM;iaasvmcontainerv2;vmgroup;web-1"
sim_point=182457315790203
sim_vm=/subscriptions/$sim_subscription/resourceGroups/VmGroup/providers/Microsoft.Compute/virtualMachines/web-1

# A self-signed certificate for localhost, which is its own CA.
sim_make_certificate() {
    openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj "/CN=localhost" -keyout "$scratch/sim.key" \
        -out "$sim_certificate" -addext 'subjectAltName=DNS:localhost,IP:127.0.0.1' 2>/dev/null
}

# Writes $scratch/sim.json; further keys of the document as jq sees them: sim_configure '.pageSize = 2 | ...'
sim_configure() {
    [ -e "$sim_certificate" ] || sim_make_certificate
    jq -n --arg dir "$scratch" --arg tenant "$sim_tenant" --arg subscription "$sim_subscription" '{
        listen: ["127.0.0.1:0"], control: ($dir + "/control"),
        certificate: ($dir + "/sim.crt"), key: ($dir + "/sim.key"),
        tenant: $tenant, clientId: "app1", clientSecret: "s&cr=t+1", subscription: $subscription,
        provisionSeconds: 0, revokeSeconds: 0, retryAfterSeconds: 60,
        vaults: [{resourceGroup: "Rg1", name: "Vault1", items: [
            {vm: "web-1", resourceGroup: "VmGroup", points: [
                {id: "182457315790203", time: "2026-11-20T22:00:00Z"},
                {id: "182457315790204", time: "2026-11-21T22:00:00Z", encrypted: true},
                {id: "182457315790205", time: "2026-11-22T22:00:00Z", type: "CrashConsistent"}]},
            {vm: "db-1", resourceGroup: "VmGroup", osType: "Windows", points: [
                {id: "282457315790203", time: "2026-11-20T22:00:00Z"}]}]}]}'" | ${1:-.}" >"$scratch/sim.json"
}

# Starts ilr-sim with $scratch/sim.json and waits until it listens; sets sim_url.
sim_start() {
    local line
    rm -f "$scratch/sim.fifo"
    mkfifo "$scratch/sim.fifo"
    "$ILRD_BUILD/ilr-sim" --config "$scratch/sim.json" 2>"$scratch/sim.fifo" &
    sim_pid=$!
    exec {sim_log}<"$scratch/sim.fifo"
    IFS= read -r -t 20 line <&"$sim_log"
    cat <&"$sim_log" >"$scratch/sim.log" &
    exec {sim_log}<&-
    case $line in
    *"Listening on 127.0.0.1:"*) sim_url=https://localhost:${line##*:} ;;
    *)
        echo "# ilr-sim: $line"
        return 1
        ;;
    esac
}

# Ends it; its exit status.
sim_stop() {
    local pid=$sim_pid
    sim_pid=
    kill "$pid" && wait "$pid"
}

# sim_control METHOD PATH [JSON]: the control side; prints the answer.
sim_control() {
    curl -sS --unix-socket "$scratch/control" -X "$1" "http://sim$2" ${3:+--data-binary "$3"}
}

# sim_faults JSON... : the scenario of the test's point is these faults.
sim_faults() {
    local list
    list=$(printf '%s,' "$@")
    sim_control PUT "/sim/points/$sim_point/scenario" "{\"faults\":[${list%,}]}"
}
