#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# The manual pages are whole: every failure, every key, every option stands in its page, groff has nothing to complain
# about, and the shell completes what there is. Prints "ok N - name" lines.

set -u
top=$(cd "$(dirname "$0")/../.." && pwd)
build=${ILRD_BUILD:-.}
n=0
failed=0

result() { # NAME STATUS
    n=$((n + 1))
    if [ "$2" -eq 0 ]; then
        echo "ok $n - $1"
    else
        echo "not ok $n - $1"
        failed=1
    fi
}

# PAGE WORD...: each word stands in the text that a reader sees.
stand_in() {
    local page=$1 text word missing=0
    shift
    # Without mdoc's wrapping and hyphenation, which would cut words.
    text=$(MANWIDTH=1000 groff -mandoc -Tascii -P-cbou -rLL=1000n "$top/man/$page" 2>/dev/null)
    [ $# -gt 0 ] || { echo "# nothing to look for in $page"; return 1; }
    for word; do
        grep -qF -e "$word" <<<"$text" || { echo "# $word is not in $page"; missing=1; }
    done
    return $missing
}

for page in ilrctl.1 ilrd.8 ilrd.conf.5 ilr-api.7; do
    warnings=$(groff -ww -mandoc -Tutf8 -z "$top/man/$page" 2>&1)
    [ -z "$warnings" ] || echo "# $warnings"
    result "groff reads $page without a warning" "$([ -z "$warnings" ]; echo $?)"
done

mapfile -t failures < <(grep -oE '\{"[A-Za-z]+", FAILURE_CLASS' "$top/lib/failure.c" | cut -d'"' -f2)
enumerators=$(sed -n '/^typedef enum FailureName/,/FAILURE_NAME_MAX/p' "$top/lib/failure.h" | grep -c '^    FAILURE_[A-Z_]*,$')
mapfile -t classes < <(sed -n 's/^ *\[FAILURE_CLASS_[A-Z_]*\] *= *{ *"\([A-Za-z]*\)".*/\1/p' "$top/lib/failure.c")
[ ${#failures[@]} -eq $((enumerators - 1)) ] && [ ${#classes[@]} -ge 9 ] && stand_in ilr-api.7 "${failures[@]}" "${classes[@]}"
result "all ${#failures[@]} failures and ${#classes[@]} classes stand in ilr-api(7)" $?
stand_in ilrctl.1 "${classes[@]}"
result "each class has its exit status in ilrctl(1)" $?
mapfile -t keys < <(sed -n 's/^ *{"[A-Z][a-z]*", "\([A-Za-z]*\)", parse_.*/\1=/p' "$top/lib/config.c")
[ ${#keys[@]} -gt 20 ] && stand_in ilrd.conf.5 "${keys[@]}"
result "all ${#keys[@]} keys stand in ilrd.conf(5)" $?
mapfile -t options < <("$build/ilrctl" --help | grep -oE -e '--[a-z-]+' | sort -u)
stand_in ilrctl.1 "${options[@]}"
result "all ${#options[@]} options stand in ilrctl(1)" $?
mapfile -t options < <("$build/ilrd" --help | grep -oE -e '--[a-z-]+' | sort -u)
stand_in ilrd.8 "${options[@]}"
result "all ${#options[@]} options stand in ilrd(8)" $?
mapfile -t methods < <(sed -n 's/^method \([A-Za-z]*\).*/\1/p' "$top/daemon/io.ilrd.Recovery.varlink")
mapfile -t errors < <(sed -n 's/^error \([A-Za-z]*\).*/\1/p' "$top/daemon/io.ilrd.Recovery.varlink")
stand_in ilr-api.7 "${methods[@]}" "${errors[@]}"
result "all methods and errors stand in ilr-api(7)" $?

# ---- what is counted, told and logged ----

# FILE PATTERN: what grep finds of it, each once, without what is no part of a name.
named() { grep -ohE -e "$2" "$top/$1" | tr -d '"(,; ' | sort -u; }
# PAGE FROM TO: the source between two headings.
section() { sed -n "/^\.Sh $2\$/,/^\.Sh $3\$/p" "$top/man/$1"; }

mapfile -t families < <(named daemon/metrics.c '"ilrd_[a-z_]+(\{[a-z]+)?')
[ ${#families[@]} -gt 10 ] && stand_in ilrctl.1 "${families[@]}"
result "all families of metrics stand in ilrctl(1)" $?
mapfile -t fields < <({ named daemon/session-milestone.c '"(MESSAGE_ID|ILR_[A-Z_]+)='; named lib/log.c '"ILR_[A-Z_]+='; })
mapfile -t ids < <(sed -n 's/^#define MESSAGE_[A-Z]* "\([0-9a-f]*\)"$/\1/p' "$top/daemon/session-milestone.c")
[ ${#fields[@]} -gt 8 ] && [ ${#ids[@]} -eq 2 ] && stand_in ilrd.8 "${fields[@]}" "${ids[@]}"
result "all ${#fields[@]} fields of the journal stand in ilrd(8), and the ids of messages" $?
mapfile -t variables < <(sed -n '/^void session_tell_hooks/,/^}/p' "$top/daemon/session-milestone.c" |
    grep -oE '\(o, "[A-Z_]+"' | cut -d'"' -f2 | sed 's/^/ILR_/')
missing=0
for variable in ILR_EVENT ILR_SESSION "${variables[@]}"; do
    section ilrd.8 HOOKS FILES | grep -qE "^\.Ev .*\b$variable\b" || { echo "# $variable is not in ilrd.8"; missing=1; }
done
[ ${#variables[@]} -gt 8 ] && [ $missing -eq 0 ]
result "all $((${#variables[@]} + 2)) variables of hooks stand in ilrd(8)" $?
mapfile -t variables < <(cd "$top" && grep -ohE 'getenv\("(ILR|STATE)[A-Z_]*"' lib/*.c daemon/*.c helper/*.c connection/*.c | cut -d'"' -f2 | sort -u)
[ ${#variables[@]} -ge 3 ] && stand_in ilrd.8 "${variables[@]}"
result "${variables[*]} stand in ilrd(8)" $?

# What ilrctl itself calls a failure; the other names are ilrd's, too.
mapfile -t names < <(cat "$top"/client/*.c | tr '\n' ' ' | grep -oE 'tell_failure\( *c, [^"]{1,60}"[A-Za-z]+"' | cut -d'"' -f2 | sort -u)
missing=0
for name in "${names[@]}"; do
    section ilrctl.1 OPTIONS DEADLINES | grep -qE "^\.Li .*\b$name\b" || { echo "# $name is not in ilrctl.1"; missing=1; }
done
[ ${#names[@]} -gt 8 ] && [ $missing -eq 0 ]
result "the names of ilrctl's own failures stand in ilrctl(1)" $?

# The interface without comments, each declaration in one line.
interface=$(sed '/^ *#/d' "$top/daemon/io.ilrd.Recovery.varlink" | tr '\n' ' ' | sed -E 's/(type|method|error) /\n\1 /g')
# NAME and names of parameters of each method
methods_told=$(sed -nE 's/^method ([A-Za-z]+)\(([^)]*)\).*/\1, \2/p' <<<"$interface" | sed -E 's/: *[^,]+//g; s/[ ,]+/ /g; s/ $//' | sort)
diff <(echo "$methods_told") <(sed -n 's/^\.It Fn //p' "$top/man/ilr-api.7" | sort) | sed 's/^/# /'
[ "${PIPESTATUS[0]}" -eq 0 ] && [ "$(wc -l <<<"$methods_told")" -gt 10 ]
result "each method has its parameters in ilr-api(7)" $?
members=$(sed -nE 's/^type Session \((.*)\) *$/\1/p' <<<"$interface" | sed -E 's/: *[^,]+,?//g' | tr -s ' ' '\n' | grep . | sort)
diff <(echo "$members") <(section ilr-api.7 'A SESSION' 'ERRORS AND FAILURES' | sed -n 's/^\.It Va //p' | sed 's/ , /\n/g' | sort) | sed 's/^/# /'
[ "${PIPESTATUS[0]}" -eq 0 ] && [ "$(wc -l <<<"$members")" -gt 20 ]
result "all fields of a session stand in ilr-api(7)" $?
mapfile -t kinds < <(sed -n 's/^ *\[LEFTOVER_[A-Z_]*\] = "\([a-z-]*\)",$/\1/p' "$top/helper/leftover.c")
missing=0
for kind in "${kinds[@]}"; do
    grep -qE "^  # .*\b$kind\b" "$top/daemon/io.ilrd.Recovery.varlink" || { echo "# $kind is not in the interface"; missing=1; }
done
[ ${#kinds[@]} -gt 10 ] && [ $missing -eq 0 ]
result "the interface names all ${#kinds[@]} kinds of what is left on a host" $?
mapfile -t options < <(sed -n 's/^ *{"\([a-z-]*\)", \(no\|required\)_argument, NULL, OPT_.*/\1/p' "$top/client/main.c")
missing=0
for option in "${options[@]}"; do
    section ilrctl.1 SYNOPSIS DESCRIPTION | grep -qE -e "Fl -$option( |\$)" || { echo "# --$option is not in the synopsis"; missing=1; }
done
[ ${#options[@]} -gt 20 ] && [ $missing -eq 0 ]
result "the synopsis of ilrctl(1) has all ${#options[@]} options of verbs" $?

# ---- the deadlines ----

# FILE or directory|what the deadline is there|what ilrd(8) says of it. One that changes is to be changed in both.
deadlines='
lib/config-default.c|.operation_timeout_usec = 30 * USEC_PER_MINUTE|OperationTimeoutSec= (30 min)
lib/config-default.c|.request_timeout_usec = 60 * USEC_PER_SEC|RequestTimeoutSec= (60 s)
lib/config-default.c|.connect_timeout_usec = 30 * USEC_PER_MINUTE|ConnectTimeoutSec= (30 min)
lib/config-default.c|6 * USEC_PER_MINUTE, /* the script itself|SilenceTimeoutSec= (6 min)
lib/config-default.c|.prompt_timeout_usec = 10 * USEC_PER_SEC|PromptTimeoutSec= (10 s)
lib/config-default.c|.disk_timeout_usec = 2 * USEC_PER_MINUTE|DiskTimeoutSec= (2 min)
lib/config-default.c|.mount_timeout_usec = 5 * USEC_PER_MINUTE|MountTimeoutSec= (5 min)
lib/config-default.c|.busy_retry_usec = 10 * USEC_PER_SEC|BusyRetrySec= (10 s)
daemon/http.c|CONNECT_TIMEOUT_USEC (15 * USEC_PER_SEC)|15 s are for the connection
daemon/http.c|SILENCE_USEC (30 * USEC_PER_SEC)|30 s may pass without a byte
daemon/azure.c|PROBE_TIMEOUT_USEC (15 * USEC_PER_SEC)|must take a connection within 15 s
daemon/azure-check.c|REQUEST_DEADLINE_USEC (30 * USEC_PER_SEC)|each one to Azure 30 s
daemon/service.c|NAME_WAIT_USEC USEC_PER_SEC|A directory service of users, 1 s
daemon/doctor.c|HELPER_TIMEOUT_USEC (90 * USEC_PER_SEC)|questions about the host have 90 s together
daemon/manager.c|STATUS_TIMEOUT_USEC (30 * USEC_PER_SEC)|must tell within 30 s what stands
daemon/manager.c|STATUS_TRIES_MAX 3|told after three times
daemon/service-turn.c|TURN_USEC (10 * USEC_PER_MINUTE)|waits for that for 10 min
daemon/session.c|RETRY_MAX_USEC (5 * USEC_PER_MINUTE)|at last each 5 min
daemon|HELPER_DOWN_USEC (8 * USEC_PER_MINUTE)|Release, 8 min for the volumes
daemon|HELPER_DISCONNECT_USEC (11 * USEC_PER_MINUTE)|then 11 min for the connection
daemon/sweep.c|LIST_TIMEOUT_USEC (2 * USEC_PER_MINUTE)|2 min for the list
daemon/sweep.c|TASK_TIMEOUT_USEC (10 * USEC_PER_MINUTE)|10 min for each session
helper/discover.c|DISCOVER_TIMEOUT_USEC (45 * USEC_PER_SEC)|Each discovery and each login has 45 s
helper/discover.c|LOGIN_TIMEOUT_USEC (45 * USEC_PER_SEC)|Each discovery and each login has 45 s
helper/assembly.c|ALL_VOLUMES 4|four times that
helper/luks.c|OPEN_TIMEOUT_USEC (5 * USEC_PER_MINUTE)|Opening one with a key has 5 min
helper/unlock.c|UNLOCK_TIMEOUT_USEC (20 * USEC_PER_MINUTE)|Unlocking a volume, 20 min
helper/iscsid-conf.c|noop_out_interval = 5|silent for 15 s
helper/iscsid-conf.c|noop_out_timeout = 10|silent for 15 s
helper/iscsid-conf.h|REPLACEMENT_TIMEOUT "10"|10 s later
helper/down.c|DISMANTLE_USEC (120 * USEC_PER_SEC)|taking apart, which has 2 min
helper/down.c|DISMANTLE_FORCED_USEC (25 * USEC_PER_SEC)|25 s for taking apart
helper/dismantle.c|STEP_USEC (20 * USEC_PER_SEC)|a single call into the kernel 20 s
helper/dismantle.c|STEP_FORCED_USEC (5 * USEC_PER_SEC)|5 s for a single call into the kernel
helper/iscsi.h|ISCSI_LOGOUT_TIMEOUT_USEC (15 * USEC_PER_SEC)|logging out 15 s
helper/iscsi.c|LOGOUT_TURN_USEC (500 * USEC_PER_MSEC)|0.5 s for each target
helper/sweep.c|STEP_USEC (15 * USEC_PER_SEC)|of which a single call into the kernel has 15 s
helper/serve.c|RECEIVE_TIMEOUT_USEC (30 * USEC_PER_SEC)|said what it wants within 30 s
helper/serve.c|SEND_TIMEOUT_SEC 30|take the answer within 30 s
helper/record.h|LOCK_TIMEOUT_USEC (60 * USEC_PER_SEC)|waits 60 s for another one
connection/connection.c|TUNNEL_GRACE_USEC (3 * USEC_PER_SEC)|has 3 s to say why
daemon/azure-operation.c|POST_ATTEMPTS_MAX 5|is tried five times
connection/connection.c|LOCK_HOLD_USEC (60 * USEC_PER_SEC)|keeps the others waiting for 60 s
client/main.c|TIMEOUT_MSEC 90000|ilrctl, 90 s
systemd/ilr-connection@.service.in|RuntimeMaxSec=13h|13 h after its start
systemd/ilr-connection@.service.in|TimeoutStopSec=15s|has 15 s itself
systemd/ilr-session@.service.in|TimeoutStartSec=30min|Disks and volumes, 30 min
systemd/ilr-session@.service.in|TimeoutStopSec=180s|ilr-session@.service 180 s, ilr-connection@.service 195 s
systemd/ilr-hooks.in|HOOKS_TIMEOUT:-30|30 s each
systemd/ilr-hook@.service.in|TimeoutStartSec=90s|90 s for all of an event
systemd/ilrd-metrics.service.in|TimeoutStartSec=30s|30 s.
systemd/ilrd.service.in|WatchdogSec=60s|ilrd, 60 s
systemd/ilrd.service.in|RestartSec=1s|1 s later it is started again
'
mapfile -t words < <(cut -d'|' -f3 <<<"$deadlines" | grep .)
stand_in ilrd.8 "${words[@]}"
status=$?
while IFS='|' read -r file there _; do
    [ -z "$file" ] || grep -rqF -e "$there" "$top/$file" || { echo "# $file: no \"$there\" any more"; status=1; }
done <<<"$deadlines"
result "the ${#words[@]} deadlines of the code are those of ilrd(8)" $status

# What ilrd gives the helper for a release is more than what the helper gives itself, one after the other.
seconds() { # FILE NAME
    local words
    words=$(sed -nE "s/^#define $2 \(?([0-9]+) \* USEC_PER_(SEC|MINUTE)\)?.*/\1 \2/p" "$top/$1")
    case $words in
    *' SEC') echo "${words% *}" ;;
    *' MINUTE') echo $((${words% *} * 60)) ;;
    *) echo "# $1: no $2" >&2; echo 1000000 ;;
    esac
}
# Half a second for each target.
turns=$(($(sed -n 's/^#define RECORD_TARGETS_MAX //p' "$top/helper/record.h") / 2))
logout=$(($(seconds helper/iscsi.h ISCSI_LOGOUT_TIMEOUT_USEC) + turns + $(seconds helper/iscsi.c LOGOUT_GRACE_USEC)))
lock=$(seconds helper/record.h LOCK_TIMEOUT_USEC)
down=$((lock + 2 * $(seconds helper/down.c DISMANTLE_USEC) + 3 * logout))
disconnect=$((lock + $(seconds helper/connect.c STOP_SESSION_TIMEOUT_USEC) + 2 * $(seconds helper/connect.c STOP_CONNECTION_TIMEOUT_USEC) +
    2 * $(seconds helper/down.c DISMANTLE_FORCED_USEC) + 3 * logout + $(seconds helper/connect.c LINGERING_TIMEOUT_USEC)))
echo "# down $down s, disconnect $disconnect s at worst"
[ $((down + 30)) -le "$(seconds daemon/session-vm-internal.h HELPER_DOWN_USEC)" ] &&
    [ $((disconnect + 30)) -le "$(seconds daemon/session-vm-internal.h HELPER_DISCONNECT_USEC)" ]
result "ilrd waits longer for a release than all that the helper waits for" $?

# ---- who may ask the helper for what ----

# VERB CALLER... of the helper's table, without line breaks
verbs() {
    sed -n '/^} verb_table/,/^};/p' "$top/helper/request.c" | tr '\n' ' ' | grep -oE '\{"[a-z-]+", (MAY\(CALLER_[A-Z]+\)( \| )?)+' |
        sed -e 's/{"\([a-z-]*\)", /\1 /' -e 's/MAY(CALLER_\([A-Z]*\))/\1/g' -e 's/ |//g'
}
# ROW: the verbs of a row of SECURITY.md's table
row() { grep -F "| $1" "$top/SECURITY.md" | cut -d'|' -f3 | sed -e 's/[:,] \(for\|to\) .*//' | tr -d ' ' | tr ',' '\n' | sort; }
told() { # CALLER ROW
    diff <(verbs | grep -w "$1" | cut -d' ' -f1 | sort) <(row "$2") | sed 's/^/# /'
    return "${PIPESTATUS[0]}"
}
told DAEMON 'user ilrd in' && told ROOT 'root, from anywhere' && told CONNECTION 'user ilr-connect in'
result "SECURITY.md tells who may ask the helper for what, and nothing else" $?
missing=0
for verb in $(verbs | cut -d' ' -f1); do
    grep -qE "^\|.*\| \`$verb\` \|" "$top/docs/architecture.md" || { echo "# $verb is not in architecture.md"; missing=1; }
done
[ "$missing" -eq 0 ] && [ "$(verbs | wc -l)" -gt 10 ]
result "each of the helper's verbs stands in architecture.md" $?

# ---- completion ----

bin=$(mktemp -d)
trap 'rm -rf "$bin"' EXIT
cat >"$bin/ilrctl" <<'FAKE'
#!/bin/sh
case $1 in
list) printf 'ID        STATE\nabcd1234  ready\nwxyz5678  ready\n' ;;
status) printf 'Session abcd1234\n  state  ready\n  VOLUME  TYPE\n  root    ext4\n  home    xfs\n' ;;
esac
FAKE
chmod +x "$bin/ilrctl"

# WORD...: what is offered for the last one, in one line.
offers() {
    PATH=$bin:$PATH bash -c 'source "$0"; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _ilrctl; echo "${COMPREPLY[*]}"' \
        "$top/scripts/completion-bash" "$@"
}

is() { # NAME EXPECTED WORD...
    local name=$1 expected=$2 got
    shift 2
    got=$(offers "$@")
    [ "$got" = "$expected" ] || echo "# expected \"$expected\", got \"$got\""
    result "completion: $name" "$([ "$got" = "$expected" ]; echo $?)"
}

is "verbs" "release" ilrctl re
is "ids" "abcd1234" ilrctl status a
is "several ids to release" "wxyz5678" ilrctl release abcd1234 w
is "one id is enough for status" "" ilrctl status abcd1234 w
is "volumes" "home" ilrctl browse abcd1234 h
is "options of the verb" "--vault=" ilrctl provision --va
is "no options of other verbs" "" ilrctl list --va
is "the value of an option is no verb" "release" ilrctl --socket = /tmp/x re

echo "1..$n"
exit $failed
