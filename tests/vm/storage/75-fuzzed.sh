#!/usr/bin/env bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# File systems with bytes changed at random (seeded, so the same each time): whatever the kernel makes of them, up and
# down end, host and helper live, nothing is left, the images stay as they are. Two rounds, 40 with scripts/check --full;
# ILR_FUZZ_SEED is where they begin.
set -eEuo pipefail
cd "$(dirname "$0")"
# shellcheck source=tests/vm/storage/lib.sh
. ./lib.sh

make_images() {
    make_files
    truncate -s 16M ext4.fs; mkfs.ext4 -q -L ext4 -d files ext4.fs; dirty ext4.fs
    truncate -s 32M xfs.fs; mkfs.xfs -q --unsupported -L xfs xfs.fs; dirty xfs.fs
    truncate -s 110M btrfs.fs; mkfs.btrfs -q -L btrfs --rootdir files btrfs.fs
    truncate -s 16M vfat.fs; mkfs.vfat -n VFAT vfat.fs >/dev/null
    truncate -s 16M ntfs.fs; mkntfs -q -F -f -L ntfs ntfs.fs
    ntfs-3g ntfs.fs mnt
    cp -r files/. mnt/
    umount mnt
    eventually 10 not pgrep ntfs-3g
}
mutate() { # SEED FROM TO: 1 to 64 bytes, most of them where something is
    python3 - "$@" <<'PY'
import os, random, shutil, sys
seed, source, target = int(sys.argv[1]), sys.argv[2], sys.argv[3]
rng = random.Random(f"{seed} {os.path.basename(source)}")
if not os.path.exists(target):
    open(target, "wb").close()
with open(source, "rb") as f, open(target, "r+b") as out:
    size = os.fstat(f.fileno()).st_size
    out.truncate(0)
    out.truncate(size)
    used = []
    position = 0
    while position < size:
        try:
            data = os.lseek(f.fileno(), position, os.SEEK_DATA)
        except OSError:
            break
        end = os.lseek(f.fileno(), data, os.SEEK_HOLE)
        for at in range(data, end, 4096):
            block = os.pread(f.fileno(), 4096, at)
            if block.strip(b"\0"):
                os.pwrite(out.fileno(), block, at)
                used.append(at)
        position = end
    for _ in range(rng.choice([1, 2, 8, 64])):
        at = rng.choice(used[:8] if rng.random() < 0.5 else used) + rng.randrange(4096)
        old = os.pread(out.fileno(), 1, at) or b"\0"
        new = rng.choice([old[0] ^ 1 << rng.randrange(8), 0, 255, rng.randrange(256)])
        os.pwrite(out.fileno(), bytes([new]), at)
PY
}
must "the images can be made" make_images
kinds=(ext4 xfs btrfs vfat ntfs)
for kind in "${kinds[@]}"; do : >"$kind.img"; truncate -s "$(stat -c %s "$kind.fs")" "$kind.img"; done
host_view host.before
target_new a ext4.img xfs.img btrfs.img vfat.img ntfs.img
rounds=2
[[ -z ${ILR_FULL-} ]] || rounds=40
seed=${ILR_FUZZ_SEED:-1}
ends() { # COMMAND...: it may fail, but not crash or hang
    local result=0
    timeout 120 "$@" >helper.log 2>&1 || result=$?
    [[ $result == 0 || $result == 1 ]] || { echo "exit status $result"; cat helper.log; return 1; }
}
for ((n = seed; n < seed + rounds; n++)); do
    for kind in "${kinds[@]}"; do mutate $n "$kind.fs" "$kind.img"; done
    images_done
    session_new aaaaaaaa a
    check "seed $n: up ends" ends $helper up aaaaaaaa
    jq -r '.volumes[] | "# \(.disk) \(.type): \(if .mounted then "mounted" else .reason end)"' /run/ilr-private/aaaaaaaa/session.json || true
    # What is mounted is walked through; errors are its own.
    timeout 60 find /run/ilr/aaaaaaaa/volumes -type f -exec cat {} + >/dev/null 2>&1 || true
    check "seed $n: down" ends $helper down aaaaaaaa
    check "seed $n: nothing is left" gone aaaaaaaa
    check "seed $n: the backing stores are what they were" same_bytes
done
check "the host is as it was" host_same
check "the kernel has no complaint" kernel_quiet
check "no program is left" not pgrep ntfs-3g
finish
