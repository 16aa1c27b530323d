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
result "each of the helper's $(verbs | wc -l) verbs stands in architecture.md" $?

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
