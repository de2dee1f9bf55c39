#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Many names in one directory: ls of a million under ten seconds, look-ups as fast as among few, and an rm of all. A tenth of that without TP_SOAK.
. "$(dirname "$0")/lib.sh"
requires python3

names=100000
[ -n "${TP_SOAK:-}" ] && names=1000000

tp_mount -o ram=1G,names=1100000
mkdir "$MNT/cache/many"
ok "$names objects are created" python3 - "$MNT/cache/many" $names <<'PY'
import os, sys
base = os.open(sys.argv[1], os.O_RDONLY)
for i in range(int(sys.argv[2])):
    fd = os.open(f"object-{i:07d}", os.O_WRONLY | os.O_CREAT, 0o644, dir_fd=base)
    os.write(fd, b"%07d" % i)
    os.close(fd)
PY

start=$(date +%s%N)
ls -U "$MNT/cache/many" >"$TP_DIR/list"
took=$((($(date +%s%N) - start) / 1000000))
is "ls shows all" "$(wc -l <"$TP_DIR/list")" "$names"
is "each once" "$(sort -u "$TP_DIR/list" | wc -l)" "$names"
ok "ls took $took ms: under ten seconds for a million" test $took -lt $((names * TP_SLOW / 100))

# shellcheck disable=SC2012 # what ls shows is what is tested
ls -l "$MNT/cache/many" | awk '$5 != 7 && !/^total/ { print; bad = 1 } END { exit bad }' >"$TP_DIR/wrong"
is "ls -l tells the size of each" "$(head -n 3 "$TP_DIR/wrong")" ""

ok "objects are found among many, and a listing holds while names change" python3 - "$MNT/cache/many" $names <<'PY'
import os, random, sys
n = int(sys.argv[2])
random.seed(1)
for i in random.sample(range(n), min(n, 20000)):
    with open(f"{sys.argv[1]}/object-{i:07d}", "rb") as f:
        assert f.read() == b"%07d" % i, i
for i in range(1000):
    assert not os.path.exists(f"{sys.argv[1]}/object-{n + i:07d}")
# A listing that goes on while names go and come shows each that was there all the time exactly once.
it, seen = os.scandir(sys.argv[1]), set()
for k, e in enumerate(it):
    assert e.name not in seen, f"{e.name} twice"
    seen.add(e.name)
    if k % 1000 == 0 and k < 50000:
        os.unlink(f"{sys.argv[1]}/object-{n - 1 - k:07d}")
        open(f"{sys.argv[1]}/new-{k}", "wb").close()
gone = {f"object-{n - 1 - k:07d}" for k in range(0, min(50000, n), 1000)}
missing = {f"object-{i:07d}" for i in range(n)} - gone - seen
assert not missing, f"{len(missing)} not shown, {min(missing)} among them"
PY
ok "rm -r of all" rm -r "$MNT/cache/many"
fails "they are gone" test -e "$MNT/cache/many"
