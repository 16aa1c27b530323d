# shellcheck shell=bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# What make-root and make-backup share: things that take minutes to make, kept in a cache under a name that is the hash
# of their recipe. Two calls at once do not disturb each other; a thing appears only when it is complete, is held
# by a shared lock on NAME.inuse while a machine uses it, and is removed when nobody used it for three days.

cache=${ILRD_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/ilrd}
arch=$(dpkg --print-architecture)
suite=$(sed -n 's/^VERSION_CODENAME=//p' /etc/os-release)

# cache_begin KIND RECIPE-FILE...: prints the finished thing's directory and ends the program where it exists;
# otherwise sets $target and makes an empty $new, with the cache's lock held until the program ends.
cache_begin() {
    local kind=$1 old
    shift
    target=$cache/$kind-$(cat "$@" <(echo "$suite $arch") | sha256sum | cut -c1-16)
    new=$target.new
    mkdir -p "$cache"
    exec 9>"$cache/$kind.lock"
    flock 9
    for old in "$cache/$kind"-*/; do
        old=${old%/}
        [[ -d $old && $old != "$target" ]] || continue
        [[ $old == *.new || -n $(find "$old" -maxdepth 0 -mtime +2) ]] || continue
        if flock -n "$old.inuse" rm -rf "$old"; then rm -f "$old.inuse"; fi
    done
    if [[ -d $target ]]; then
        touch "$target"
        echo "$target"
        exit 0
    fi
    [[ $(id -u) == 0 ]] || { echo "$0: needs root" >&2; exit 1; }
    rm -rf "$new"
    mkdir "$new"
    chmod 0755 "$new"
}

cache_end() {
    mv "$new" "$target"
    echo "$target"
}

# The host's own Debian package sources, as mmdebstrap takes them. A CD or somebody else's archive is of no use here.
# Sets the array source_files; needs $new.
debian_sources() {
    local f
    source_files=()
    for f in /etc/apt/sources.list /etc/apt/sources.list.d/*.list; do
        [[ ! -f $f ]] || grep -E "^deb .*[ /]$suite(-updates|-security|/updates)? .*\bmain\b" "$f" | grep -v cdrom: || true
    done >"$new/sources.list"
    [[ ! -s $new/sources.list ]] || source_files+=("$new/sources.list")
    for f in /etc/apt/sources.list.d/*.sources; do
        if [[ -f $f ]] && grep -qE "^Suites:.*\b$suite\b" "$f" && grep -qE '^Components:.*\bmain\b' "$f"; then
            source_files+=("$f")
        fi
    done
    ((${#source_files[@]})) || { echo "$0: no Debian package sources for $suite found in /etc/apt" >&2; exit 1; }
}

# debian_tree DIRECTORY PACKAGES [MMDEBSTRAP-OPTION...]
debian_tree() {
    local root=$1 packages=$2
    shift 2
    debian_sources
    mmdebstrap --quiet --mode=root --variant=minbase --architectures="$arch" --include="$packages" \
        --aptopt='Acquire::Languages "none"' --aptopt='APT::Install-Recommends "false"' \
        --dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/locale/*' \
        "$@" "$suite" "$root" "${source_files[@]}" >&2
    rm -f "$new/sources.list"
    rm -rf "$root"/var/cache/apt/archives/*.deb "$root"/var/lib/apt/lists/*
}
