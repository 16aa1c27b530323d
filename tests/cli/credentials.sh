#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
# Arc's keys are in a fixed directory: this gets a /var/opt of its own.
cd "$(dirname "$0")" || exit 1
if [ "$(id -u)" = 0 ]; then as=; else as=--map-root-user; fi
# shellcheck disable=SC2086
exec unshare --mount $as sh -c 'mount -t tmpfs tmpfs /var/opt && mkdir -p /var/opt/azcmagent/tokens && exec python3 credentials.py "$@"' sh "$@"
