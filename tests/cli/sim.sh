# SPDX-License-Identifier: LGPL-2.1-or-later
# shellcheck shell=bash
# ilr-sim as a client of Azure meets it, with no target behind it.

# shellcheck source=tests/cli/lib.sh
. "$(dirname "$0")/lib.sh"

new=2026-08-01
old=2025-08-01

# get PATH, post PATH [JSON]: status in $status, headers in $scratch/headers, body in $scratch/body, curl's status in $rc.
ask() {
    : >"$scratch/body"
    status=$(curl -sS -m 60 --cacert "$sim_certificate" -D "$scratch/headers" -o "$scratch/body" -w '%{http_code}' \
        -H "Authorization: Bearer ${token:-}" "$@" 2>"$scratch/curl.err")
    rc=$?
}
get() {
    ask "$sim_url$1"
}
post() {
    ask -X POST "$sim_url$1" ${2:+-H "Content-Type: application/json" --data-binary "$2"}
}
header() {
    tr -d '\r' <"$scratch/headers" | sed -n "s/^$1: //Ip"
}
body() {
    jq -r "$1" "$scratch/body" 2>&1
}
login() {
    ask "$sim_url/$sim_tenant/oauth2/v2.0/token" -d grant_type=client_credentials -d "client_id=${2:-app1}" \
        --data-urlencode "client_secret=${1:-s&cr=t+1}" --data-urlencode "scope=${3:-https://management.azure.com/.default}"
}
provision_body() {
    jq -nc --arg vm "$sim_vm" --arg point "$sim_point" '{properties: {objectType: "IaasVMILRRegistrationRequest",
        recoveryPointId: $point, virtualMachineId: $vm, renewExistingRegistration: false,
        initiatorName: "iqn.1993-08.org.debian:01:a1b2"}} | '"${1:-.}"
}
# Starts a provision; its operation in $operation, its status URL's path in $status_path.
provision() {
    post "$sim_item/recoveryPoints/$sim_point/provisionInstantItemRecovery?api-version=$old" "$(provision_body)"
    status_path=$(header Azure-AsyncOperation)
    status_path=${status_path#"$sim_url"}
    operation=${status_path%%\?*}
    operation=${operation##*/}
}
ended() {
    get "$status_path" && [ "$(body .status)" != InProgress ] && cp "$scratch/body" "$scratch/status.json"
}
wait_ended() {
    until_true "$1: the operation ends" ended
}
revoke() {
    post "$sim_item/recoveryPoints/$sim_point/revokeInstantItemRecovery?api-version=$old"
}
active() {
    get "$sim_item/recoveryPoints/$sim_point?api-version=$old"
    [ "$(body .properties.isInstantIlrSessionActive)" = "$1" ]
}
calm() {
    sim_control DELETE "/sim/points/$sim_point/scenario"
    sim_control DELETE /sim/scenario
    revoke
    until_true "$1: no recovery is active" active false
}

# ---- the manual page

top=$(dirname "$0")/../..
manual() {
    local missing='' word
    for word; do
        grep -qE "(^\.|[ ,])$word( |\$)" "$top/man/ilr-sim.1" || grep -q "Cm .*$word" "$top/man/ilr-sim.1" || missing+=" $word"
    done
    echo "$#$missing"
}
mapfile -t words < <(sed -n 's/^ *\[FAULT_[A-Z0-9_]*\] = {"\([a-z0-9-]*\)".*/\1/p' "$top/sim/scenario.c")
is "every fault stands in the manual page" "${#words[@]}" "$(manual "${words[@]}")"
mapfile -t words < <(cat "$top"/sim/simconfig*.c "$top/sim/scenario.c" | tr '\n' ' ' | grep -o ' known\[\] = {[^}]*}' | grep -o '"[a-z][a-zA-Z]*"' | tr -d '"' | sort -u)
is "every key of the configuration, too" "${#words[@]}" "$(manual "${words[@]}")"
check "there are plenty of them" test "${#words[@]}" -gt 40
check "groff has nothing to say about it" test -z "$(groff -ww -mandoc -Tutf8 -z "$top/man/ilr-sim.1" 2>&1)"

# ---- configuration

sim_configure '.vaults[0].items[1].osTyp = "x"'
check_config() {
    "$ILRD_BUILD/ilr-sim" --check-config --config "$scratch/$1" 2>&1
    echo "status $?"
}
has "an unknown key is refused with its place" 'sim.json: vaults[0].items[1].osTyp: unknown key'$'\n''status 1' \
    "$(check_config sim.json)"
has "a missing file is an error" "No such file" "$(check_config none.json)"
echo '{"listen":' >"$scratch/half.json"
has "half a document is an error" "not a JSON document" "$(check_config half.json)"
sim_configure '.certificate = "/nonexistent"'
has "a missing certificate is an error" "certificate /nonexistent: No such file" \
    "$("$ILRD_BUILD/ilr-sim" --config "$scratch/sim.json" 2>&1)"
sim_configure
is "a good configuration passes" "status 0" "$(check_config sim.json)"

check "it starts" sim_start

# ---- login

get "/$sim_tenant/v2.0/.well-known/openid-configuration"
is "the OpenID document names the token's URL" "$sim_url/$sim_tenant/oauth2/v2.0/token" "$(body .token_endpoint)"
login wrong
is "a wrong secret is refused" "401 invalid_client 7000215" "$status $(body .error) $(body '.error_codes[0]')"
login 's&cr=t+1' app2
is "an unknown client is refused" "400 unauthorized_client 700016" "$status $(body .error) $(body '.error_codes[0]')"
login 's&cr=t+1' app1 https://vault.azure.net/.default
is "a foreign scope is refused" "400 invalid_scope" "$status $(body .error)"
ask "$sim_url/other/oauth2/v2.0/token" -d x=y
is "a foreign tenant is refused" "400 invalid_request 90002" "$status $(body .error) $(body '.error_codes[0]')"
ask "$sim_url/$sim_tenant/oauth2/v2.0/token" -d grant_type=client_credentials
has "a missing parameter is named" "'client_id'" "$(body .error_description)"
login 's&cr=t+1' app1 "$sim_url/.default"
is "the right secret gives a token" "200 Bearer 3599" "$status $(body .token_type) $(body .expires_in)"

# ---- what every request needs

get "$sim_item?api-version=$old"
is "no token, no answer" "401 InvalidAuthenticationToken" "$status $(body .error.code)"
has "and a challenge" "Bearer authorization_uri=" "$(header WWW-Authenticate)"
login
token=$(body .access_token)
get "$sim_item"
is "no api-version, no answer" "400 MissingApiVersionParameter" "$status $(body .error.code)"
get "$sim_item?api-version=new"
is "a bad api-version is refused" "400 InvalidApiVersionParameter" "$status $(body .error.code)"
get "/nothing?api-version=$old"
is "an unknown path is 404" "404 NotFound" "$status $(body .error.code)"
ask -X DELETE "$sim_url$sim_item?api-version=$old"
is "an unknown method is 405" 405 "$status"
get "${sim_item/rg1/rg2}?api-version=$old"
is "an unknown group is the gateway's 404" "404 ResourceGroupNotFound gateway" \
    "$status $(body .error.code) $(header x-ms-failure-cause)"
get "${sim_item/vault1/vault2}?api-version=$old"
is "an unknown vault is 404" "404 ResourceNotFound" "$status $(body .error.code)"
ask -H 'x-ms-client-request-id: abc-1' "$sim_url${sim_item//;/%3B}?api-version=$old"
is "%3B serves as ;" "200 web-1" "$status $(body .properties.friendlyName)"
is "the client's request id comes back" abc-1 "$(header x-ms-client-request-id)"
get "$(tr '[:upper:]' '[:lower:]' <<<"$sim_item")?api-version=$old"
is "names have no case" 200 "$status"
check "JSON comes with CRLF" grep -q $'\r$' "$scratch/body"

# ---- lists

get "$sim_vault/backupProtectedItems?api-version=$old&%24filter=backupManagementType+eq+%27AzureIaasVM%27+and+friendlyName+eq+%27WEB-1%27"
is "items are filtered by name" "web-1" "$(body '[.value[].properties.friendlyName] | join(" ")')"
get "$sim_vault/backupProtectionContainers?api-version=$old"
is "containers are listed" 2 "$(body '.value | length')"
get "$sim_item/recoveryPoints?api-version=$old&\$filter=startDate%20eq%20'2026-11-21%2009:00:00%20PM'%20and%20endDate%20eq%20'2026-11-21%2011:00:00%20PM'"
is "points are filtered by time" "182457315790204" "$(body '[.value[].name] | join(" ")')"
get "$sim_item/recoveryPoints/$sim_point?api-version=$old"
is "tiers are numbers" "1 1" "$(body '.properties.recoveryPointTierDetails[0] | "\(.type) \(.status)"')"
get "/subscriptions?api-version=2019-11-01"
is "the subscription is listed" "$sim_subscription" "$(body '.value[0].subscriptionId')"

# ---- provision, status, scripts, revoke

refused() {
    post "$sim_item/recoveryPoints/$sim_point/provisionInstantItemRecovery?api-version=$old" "$(provision_body "$2")"
    has "provision: $1 is refused and named" "400 CloudInvalidInputError $3" "$status $(body .error.code) $(body .error.message)"
}
refused "another kind" '.properties.objectType = "X"' properties.objectType
refused "another point" '.properties.recoveryPointId = "1"' properties.recoveryPointId
refused "another machine" '.properties.virtualMachineId = "/subscriptions/x"' properties.virtualMachineId
refused "a text for a truth value" '.properties.renewExistingRegistration = "no"' properties.renewExistingRegistration
refused "a bad initiator" '.properties.initiatorName = "me"' properties.initiatorName
refused "an unknown property" '.properties.x = 1' properties.x
refused "a missing properties object" 'del(.properties)' properties
post "$sim_item/recoveryPoints/$sim_point/provisionInstantItemRecovery?api-version=$old" '{'
is "provision: half a document is refused" "400 InvalidRequestContent" "$status $(body .error.code)"
ask -X POST "$sim_url$sim_item/recoveryPoints/$sim_point/provisionInstantItemRecovery?api-version=$old" -d x
is "provision: a form is refused" 415 "$status"
sim_point=182457315790204
provision
is "an encrypted point is refused" 400 "$status"
sim_point=182457315790203

sim_control PUT "/sim/points/$sim_point/scenario" '{"retryAfterSeconds":7,"faults":[{"fault":"never","times":1}]}'
provision
is "provision is accepted" "202 7 0" "$status $(header Retry-After) $(header Content-Length)"
is "and is empty" 0 "$(stat -c %s "$scratch/body")"
has "Location has the same operation" "/operationResults/$operation?api-version=$old" "$(header Location)"
get "$status_path"
is "at first it is in progress" "InProgress 0001-01-01T00:00:00 null" \
    "$(body '"\(.status) \(.endTime) \(.properties)"')"
is "and no wait is told" "" "$(header Retry-After)"
get "$sim_item/operationResults/$operation?api-version=$old"
is "its result is 202" 202 "$status"
provision
wait_ended provision
is "it succeeds" "Succeeded true" "$(body '"\(.status) \(.endTime == .startTime)"')"
is "an old api-version carries the script" "Linux .py" \
    "$(body '.properties.recoveryTarget.clientScripts[0] | "\(.osType) \(.scriptExtension)"')"
script=$(body '.properties.recoveryTarget.clientScripts[0].scriptContent' | base64 -d)
suffix=$(body '.properties.recoveryTarget.clientScripts[0].scriptNameSuffix')
tail=${suffix##*_}
has "the suffix holds the script's password" "TargetPassword=\"${tail:32:15}\"" "$script"
has "the target is that of the point" "$sim_point" "$(grep TargetNodeAddress <<<"$script")"
get "$sim_vault/backupOperations/$operation?api-version=$new"
is "a new api-version does not" "Succeeded OperationStatusProvisionILRExtendedInfo null" \
    "$(body '"\(.status) \(.properties.objectType) \(.properties.recoveryTarget)"')"
list=$sim_item/recoveryPoints/$sim_point/listInstantItemRecoveryOperationResult
post "$list?api-version=$new" "{\"provisionInstantItemRecoveryOperationId\":\"$operation\"}"
is "the list action has the same script" "200 $script" "$status $(body '.clientScripts[0].scriptContent' | base64 -d)"
post "$list?api-version=$old" "{\"provisionInstantItemRecoveryOperationId\":\"$operation\"}"
is "an old api-version has no list action" "400 NoRegisteredProviderFound" "$status $(body .error.code)"
post "$list?api-version=$new" '{"properties":{"operationId":"x"}}'
has "a wrong list body is refused" "properties: unknown key" "$(body .error.message)"
post "$list?api-version=$new" '{"provisionInstantItemRecoveryOperationId":"x"}'
is "an unknown operation has no scripts" 404 "$status"
get "$sim_vault/backupOperationResults/$operation?api-version=$old"
is "the result of an ended one is 204" 204 "$status"
check "the point says so" active true
registration() {
    sim_control GET /sim/state | jq -r '[.registrations[].id] | join(" ")'
}
first=$(registration)
provision
wait_ended "provision again"
is "asked again by the same initiator, it is the same" "$first" "$(registration)"
post "$sim_item/recoveryPoints/$sim_point/provisionInstantItemRecovery?api-version=$old" \
    "$(provision_body '.properties.initiatorName = "iqn.1993-08.org.debian:01:other"')"
until_true "another initiator replaces it" [ "$(registration)" != "$first" ]
revoke
is "revoke is accepted" "202 7 0" "$status $(header Retry-After) $(header Content-Length)"
status_path=$(header Azure-AsyncOperation)
status_path=${status_path#"$sim_url"}
wait_ended revoke
is "it succeeds without properties" "Succeeded null" "$(body '"\(.status) \(.properties)"')"
check "the point says so" active false
is "nothing is registered" "" "$(registration)"
revoke
is "a second revoke is no error" 202 "$status"
post "$list?api-version=$new" "{\"provisionInstantItemRecoveryOperationId\":\"$operation\"}"
is "the scripts of a revoked one are gone" 404 "$status"
is "no secret is in the log" "***" "$(sim_control GET /sim/state | jq -r '[.requests[] | select(.kind == "token") |
    .body.client_secret // empty] | unique | join(" ")')"
is "a request in the log has its body" "iqn.1993-08.org.debian:01:other" "$(sim_control GET /sim/state |
    jq -r '[.requests[] | select(.kind == "provision" and .status == 202)][-1].body.properties.initiatorName')"
calm flow

# ---- answers that misbehave

point="$sim_item/recoveryPoints/$sim_point?api-version=$old"
fault() {
    sim_faults "$1"
    get "$point"
}
fault '{"fault":"html","times":1}'
has "html" "200 text/html" "$status $(header Content-Type)"
get "$point"
is "only as often as asked" "200 $sim_point" "$status $(body .name)"
fault '{"fault":"html","skip":1}'
is "not before it is asked" "$sim_point" "$(body .name)"
get "$point"
has "but then" "text/html" "$(header Content-Type)"
fault '{"fault":"empty"}'
is "empty" "200 0" "$status $(stat -c %s "$scratch/body")"
fault '{"fault":"truncated"}'
is "truncated: curl sees a partial file" 18 "$rc"
has "truncated: the beginning is right" '"id": "/subscriptions' "$(cat "$scratch/body")"
fault '{"fault":"huge","bytes":3000000}'
is "huge" "200 3000000" "$status $(stat -c %s "$scratch/body")"
fault '{"fault":"redirect"}'
has "redirect" "307 https://elsewhere.invalid/subscriptions" "$status $(header Location)"
fault '{"fault":"answer","status":418,"body":{"Code":"Tea"}}'
is "an answer of one's own" "418 Tea" "$status $(body .Code)"
fault '{"fault":"unauthorized","times":1}'
is "unauthorized" "401 ExpiredAuthenticationToken" "$status $(body .error.code)"
fault '{"fault":"forbidden","code":"LinkedAuthorizationFailed"}'
is "forbidden, with a code" "403 LinkedAuthorizationFailed" "$status $(body .error.code)"
fault '{"fault":"not-found"}'
is "not-found" 404 "$status"
fault '{"fault":"conflict"}'
is "conflict" "409 BMSUserErrorObjectLocked" "$status $(body .error.code)"
fault '{"fault":"throttled","retryAfter":3}'
is "throttled, seconds" "429 3" "$status $(header Retry-After)"
fault '{"fault":"throttled","retryAfter":"Sun, 22 Nov 2026 22:00:00 GMT"}'
is "throttled, a date" "429 Sun, 22 Nov 2026 22:00:00 GMT" "$status $(header Retry-After)"
fault '{"fault":"server-error"}'
is "server-error" 500 "$status"
fault '{"fault":"server-error","status":502}'
is "bad gateway" 502 "$status"
fault '{"fault":"unavailable"}'
is "unavailable" 503 "$status"
fault '{"fault":"bad-api-version"}'
is "bad-api-version" "400 NoRegisteredProviderFound" "$status $(body .error.code)"
fault '{"fault":"reset"}'
check "reset: no answer comes" test "$rc" -ne 0 -a "$status" = 000
fault '{"fault":"slow","seconds":0.001}'
is "slow, to the end" "0 $sim_point" "$rc $(body .name)"
sim_faults '{"fault":"slow","seconds":3600}'
check "slow: one byte, then nothing" test "$(curl -sS --cacert "$sim_certificate" -m 1 -o /dev/null -w '%{size_download}' \
    -H "Authorization: Bearer $token" "$sim_url$point" 2>/dev/null)" = 1
fault '{"fault":"delay","seconds":0.2}'
is "delay" "200 $sim_point" "$status $(body .name)"
sim_control PUT /sim/scenario '{"faults":[{"fault":"token-refused","times":1}]}'
login
is "token-refused" "401 invalid_client" "$status $(body .error)"
login
is "and then again given" 200 "$status"
sim_control DELETE /sim/tokens
get "$point"
is "tokens can be taken back" 401 "$status"
login
token=$(body .access_token)
calm answers

sim_faults '{"on":"provision","fault":"lost","times":1}'
provision
check "lost: no answer comes" test "$rc" -ne 0
until_true "lost: but it was done" active true
calm lost

# ---- operations that misbehave

sim_faults '{"fault":"never"}'
provision
get "$status_path"
is "never: in progress, and for ever" InProgress "$(body .status)"
sim_faults '{"fault":"failed","code":"UserErrorX","message":"No.","recommendations":["a","b"]}'
provision
wait_ended failed
is "failed: with code, message and recommendations" "200 Failed UserErrorX No. a,b" \
    "$status $(body '"\(.status) \(.error.code) \(.error.message) \(.error.recommendations | join(","))"')"
calm failed
sim_faults '{"fault":"no-scripts"}'
provision
wait_ended no-scripts
is "no-scripts: an old api-version has none either" "Succeeded null" "$(body '"\(.status) \(.properties.recoveryTarget)"')"
post "$list?api-version=$new" "{\"provisionInstantItemRecoveryOperationId\":\"$operation\"}"
is "no-scripts: nor the list action" "200 0" "$status $(body '.clientScripts | length')"
calm no-scripts
sim_faults '{"fault":"failed","on":"revoke","times":1}'
provision
revoke
status_path=$(header Azure-AsyncOperation)
status_path=${status_path#"$sim_url"}
wait_ended "failed revoke"
is "failed revoke: told" Failed "$(body .status)"
check "failed revoke: still active" active true
calm "failed revoke"

# ---- scripts that misbehave

scripts() {
    sim_faults "$1"
    provision
    wait_ended "script of $1"
    sim_control DELETE "/sim/points/$sim_point/scenario"
    revoke
}
content() {
    jq -r '.properties.recoveryTarget.clientScripts[0].scriptContent' "$scratch/status.json" | base64 -d 2>"$scratch/base64.err"
}
scripts '{"fault":"not-base64"}'
check "not-base64" bash -c "! jq -r '.properties.recoveryTarget.clientScripts[0].scriptContent' '$scratch/status.json' | base64 -d"
scripts '{"fault":"plain-script"}'
has "plain-script" "#!/usr/bin/env python3" "$(jq -r '.properties.recoveryTarget.clientScripts[0].scriptContent' "$scratch/status.json")"
scripts '{"fault":"no-target"}'
is "no-target" "1 0" "$(content | grep -c TargetUserName) $(content | grep -c TargetNodeAddress)"
scripts '{"fault":"crlf-script"}'
is "crlf-script" "$(content | wc -l)" "$(content | grep -c $'\r$')"
scripts '{"fault":"big-script"}'
check "big-script" test "$(content | wc -c)" -gt 8388000
scripts '{"fault":"empty-script"}'
is "empty-script" "" "$(content)"
scripts '{"fault":"no-suffix"}'
is "no-suffix" false "$(jq '.properties.recoveryTarget.clientScripts[0] | has("scriptNameSuffix")' "$scratch/status.json")"
scripts '{"fault":"windows","url":"https://example.invalid/x.exe"}'
is "windows: two entries, the second with a URL" "2 .txt .exe https://example.invalid/x.exe TkE=" \
    "$(jq -r '.properties.recoveryTarget.clientScripts |
        "\(length) \(.[0].scriptExtension) \(.[1].scriptExtension) \(.[1].url) \(.[1].scriptContent)"' "$scratch/status.json")"
has "windows: the text names user and target" "Owner=" "$(content)"

# ---- the control side

is "a bad scenario is refused with its place" "faults[0].fault: is \"x\", the name of a fault is expected: see ilr-sim(1)" \
    "$(sim_control PUT "/sim/points/$sim_point/scenario" '{"faults":[{"fault":"x"}]}' | jq -r .error.message)"
is "so is an unknown point" NoSuchPoint "$(sim_control PUT /sim/points/1/scenario '{}' | jq -r .error.code)"
get /sim/state
is "Azure's side does not serve it" 404 "$status"
sim_control DELETE /sim/log
is "the log can be cleared" 0 "$(sim_control GET /sim/state | jq .requestCount)"
head -c 2000000 /dev/zero | tr '\0' a >"$scratch/large"
ask -X POST "$sim_url$sim_item/recoveryPoints/$sim_point/provisionInstantItemRecovery?api-version=$old" \
    -H 'Content-Type: application/json' -H 'Expect:' --data-binary "@$scratch/large"
is "a body of 2 MB is refused" 413 "$status"

# ---- the end

provision
sim_faults '{"fault":"slow","seconds":3600}'
curl -sS --cacert "$sim_certificate" -o /dev/null -H "Authorization: Bearer $token" "$sim_url$point" 2>/dev/null &
waiting=$!
until_true "a request hangs" bash -c "curl -sS --unix-socket $scratch/control http://sim/sim/state | grep -q '\"slow\"'"
start=$(date +%s)
sim_stop
is "SIGTERM ends it well" 0 "$?"
check "at once, whatever hangs" test $(($(date +%s) - start)) -le 3
wait "$waiting"
check "the control socket is gone" test ! -e "$scratch/control"

# ---- recoveries that outlive it

sim_configure '.stateFile = "'"$scratch"'/kept" | .provisionSeconds = 1'
check "it starts with a state file" sim_start
login
token=$(body .access_token)
provision
kill -KILL "$sim_pid"
wait "$sim_pid" 2>/dev/null
check "it starts after SIGKILL in the middle of a provision" sim_start
login
token=$(body .access_token)
until_true "and has the recovery" active true
sim_stop
check "it starts after an orderly end" sim_start
login
token=$(body .access_token)
until_true "and has it again" active true
revoke
until_true "which can be revoked" active false
kill -KILL "$sim_pid"
wait "$sim_pid" 2>/dev/null
check "it starts after another SIGKILL" sim_start
login
token=$(body .access_token)
is "and knows of no recovery" 0 "$(sim_control GET /sim/state | jq '.registrations | length')"
sim_stop
echo '[{"recoveryPoint":1}]' >"$scratch/kept"
has "a state file that is none is an error" "stateFile $scratch/kept: " "$("$ILRD_BUILD/ilr-sim" --config "$scratch/sim.json" 2>&1)"
echo precious >"$scratch/file"
sim_configure '.control = "'"$scratch"'/file"'
has "a file is no control socket" "Address already in use" \
    "$(timeout 20 "$ILRD_BUILD/ilr-sim" --config "$scratch/sim.json" 2>&1)"
is "and it stays" precious "$(cat "$scratch/file")"

# ---- pages, expiry, a cloud behind the times

sim_configure '.pageSize = 2 | .validSeconds = 1 | .apiVersionMax = "2026-07-01"'
check "it starts again" sim_start
login
token=$(body .access_token)
get "$sim_item/recoveryPoints?api-version=$old&\$filter=startDate%20eq%20'2026-11-01%2009:00:00%20PM'"
is "a page" "2" "$(body '.value | length')"
next=$(body .nextLink)
get "${next#"$sim_url"}"
is "the next and last page" "1 null" "$(body '"\(.value | length) \(.nextLink)"')"
provision
until_true "active for a while" active true
until_true "a recovery expires by itself" active false
get "$sim_item?api-version=$new"
is "a newer api-version than the cloud has is refused" "400 NoRegisteredProviderFound" "$status $(body .error.code)"
