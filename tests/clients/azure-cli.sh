#!/usr/bin/env bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# shellcheck disable=SC2317 # what check calls
#
# Debian's azure-cli through a recovery: called by run, in its network, beside the simulator; WORK is the scratch directory.
set -eEuo pipefail

work=${WORK:?}
export REQUESTS_CA_BUNDLE=$work/ca.pem AZURE_CORE_COLLECT_TELEMETRY=false
T=11111111-2222-3333-4444-555555555555
POINT=182457315790203
results=0
check() { # WHAT COMMAND...
    local what=$1 status=0
    shift
    (
        set -eEuo pipefail
        "$@"
    ) >check.out 2>&1 &
    wait $! || status=$?
    if ((status == 0)); then
        echo "ok azure-cli: $what"
    else
        echo "not ok azure-cli: $what"
        tail -n 20 check.out
        results=1
    fi
}
control() { curl -sS --fail-with-body --unix-socket "$work/control" -X "$1" "http://localhost/sim/$2"; }
# requests METHOD PATH-PATTERN: how many of them the simulator saw
requests() { control GET state | jq --arg m "$1" --arg p "$2" '[.requests[] | select(.method == $m and (.path | test($p)))] | length'; }
fresh() { # a client that remembers nothing
    AZURE_CONFIG_DIR=$(mktemp -d -p "$work")
    export AZURE_CONFIG_DIR
    control DELETE log >/dev/null
}
token_by() { # CREDENTIAL: every token was got by that
    control GET state | jq -e --arg c "$1" '[.requests[] | select(.credential) | .credential] | length > 0 and all(. == $c)'
}
by_secret() { az login --service-principal -u app1 -p good-secret --tenant "$T"; }

login_by_secret() { by_secret | jq -e '.[0].id == "aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee"'; token_by secret; }
login_by_certificate() { az login --service-principal -u app1 -p "$work/sp.pem" --tenant "$T" >/dev/null; token_by certificate; }
login_by_identity() { az login --identity >/dev/null; token_by imds; }
wrong_secret() {
    ! az login --service-principal -u app1 -p wrong --tenant "$T" 2>error || return 1
    grep AADSTS7000215 error
}
# A client's login does not outlive its process tree here: each row logs in.
items() {
    by_secret >/dev/null
    az backup item list -g rg -v vault1 --backup-management-type AzureIaasVM --workload-type VM |
        jq -e 'length == 1 and .[0].properties.friendlyName == "web1"'
}
points() {
    az backup recoverypoint list -g rg -v vault1 -c web1 -i web1 --backup-management-type AzureIaasVM |
        jq -e --arg p "$POINT" 'length == 1 and .[0].name == $p'
    az backup recoverypoint list -g rg -v vault1 -c web1 -i web1 --backup-management-type AzureIaasVM \
        --start-date 01-11-2026 --end-date 20-11-2026 | jq -e 'length == 0'
}
at=(-g rg -v vault1 -c web1 -i web1 -r "$POINT")
mount_point() {
    local file password
    mkdir scripts
    cd scripts
    az backup restore files mount-rp "${at[@]}" 2>said || { cat said; return 1; }
    cat said
    password=$(sed -n 's/.*Use password \([A-Za-z0-9]*\).*/\1/p' said)
    file=$(sed -n 's/.*File downloaded: \([^ ]*\)\. Use password.*/\1/p' said)
    [[ ${#password} == 15 && -s $file ]]
    # The client puts a question's answer where the script of the service has the password.
    [[ $(requests POST provisionInstantItemRecovery) == 1 ]]
    echo "$password" >../password # held against what the service gave below
    grep -q 'TargetPassword="UserInput012345"' "$file"
    if grep -q -- "$password" "$file"; then return 1; fi
    head -n 1 "$file" | grep python
}
active() { az rest --method get --url "$1?api-version=2022-09-01-preview" | jq -e ".properties.isInstantIlrSessionActive == $2"; }
point_url() {
    az backup recoverypoint list -g rg -v vault1 -c web1 -i web1 --backup-management-type AzureIaasVM | jq -r '.[0].id'
}
is_active() { active "$(point_url)" "$1"; }
newer_action() {
    local operation
    operation=$(control GET state | jq -r '[.requests[].path | capture("backupOperations/(?<o>[^?/]+)").o][0]')
    az rest --method post --url "$(point_url)/listInstantItemRecoveryOperationResult?api-version=2026-08-01" \
        --body "{\"provisionInstantItemRecoveryOperationId\": \"$operation\"}" >list
    jq -e --arg p "$(cat password)" '.clientScripts | length == 1 and .[0].osType == "Linux" and
        (.[0].scriptNameSuffix | .[rindex("_") + 33:][:15] == $p)' list
    jq -r '.clientScripts[0].scriptContent' list | base64 -d | grep -q "TargetPassword=\"$(cat password)\""
}
unmount_twice() {
    az backup restore files unmount-rp "${at[@]}"
    [[ $(requests POST revokeInstantItemRecovery) == 1 ]]
    az backup restore files unmount-rp "${at[@]}"
    [[ $(requests POST revokeInstantItemRecovery) == 1 ]]
}

# What it asked, by kind: version, filter, body, and where it followed the operation.
asked() {
    control GET state >log.json
    jq -e '[.requests[] | select(.kind == ("items", "points", "provision", "revoke", "status")) | .apiVersion] |
        length > 0 and (unique | length == 1)' log.json
    jq -e '[.requests[] | select(.kind == "items") | .filter] | length > 0 and
        all(startswith("backupManagementType eq \u0027AzureIaasVM\u0027")) and
        any(endswith(" and itemType eq \u0027VM\u0027"))' log.json
    jq -e '[.requests[] | select(.kind == "points") | .filter | select(.)] ==
        ["endDate eq \u00272026-11-20 12:00:00 AM\u0027 and startDate eq \u00272026-11-01 12:00:00 AM\u0027"]' log.json
    jq -e '[.requests[] | select(.kind == "provision") | .body] == [{"properties": {
        "objectType": "IaasVMILRRegistrationRequest", "recoveryPointId": "182457315790203", "virtualMachineId":
        "/subscriptions/aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee/resourceGroups/rg/providers/Microsoft.Compute/virtualMachines/web1"}}]' log.json
    jq -e '[.requests[] | select(.kind == "revoke") | .body] == [null]' log.json
    jq -e '[.requests[] | select(.kind == "status") | .path] | length > 0 and
        all(test("/vaults/vault1/backupOperations/[0-9a-f-]{36}$"))' log.json
}

fresh; check "login by certificate" login_by_certificate
fresh; check "login by managed identity" login_by_identity
fresh; check "a wrong secret stops it" wrong_secret
fresh; check "login by secret" login_by_secret
check "it lists the protected item" items
check "it lists the recovery points, and none of another time" points
check "mount-rp writes a script and tells its password" mount_point
check "the point reports an active recovery" is_active true
check "the newer action gives the script" newer_action
check "unmount-rp revokes once, however often it is asked" unmount_twice
check "the point reports none" is_active false
check "it asked as it is known to" asked
exit $results
