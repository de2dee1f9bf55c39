#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# What the kernel keeps: a warm stat or read asks the daemon for nothing, and what changes is seen at once by every process.
. "$(dirname "$0")/lib.sh"
requires python3

tp_mount -o ram=256M

# --- requests, counted
counted=$("$TP_BUILD/tests/bench/tp-requests" "$MNT" 2>&1)
note "$counted"

# requests OPERATION: what it cost.
requests()
{
	sed -n "s/^requests op=$1\( \|$\)//p" <<<"$counted" | tr ' ' '\n' | sort | tr '\n' ' '
}

has "the counters can be read" "$counted" "^requests op=unlink"
is "doing nothing costs nothing" "$(requests nothing)" " "
is "create, 16 writes of 1 MiB and close" "$(requests create)" "CREATE=1 FLUSH=1 LOOKUP=1 RELEASE=1 WRITE=16 "
lacks "the first read of 16 MiB flushes nothing" "$(requests first-read)" "FLUSH"
if [ "$(id -u)" = 0 ]; then
	has "the first read of 16 MiB, as root: 16 READs" "$(requests first-read)" "READ=16 "
else
	has "the first read of 16 MiB: 128 READs of the kernel's 128 KiB" "$(requests first-read)" "READ=128 "
fi
lacks "a warm read of 16 MiB: OPEN and RELEASE at most" "$(requests warm-read | sed 's/OPEN=1//; s/RELEASE=1//')" "[A-Z]"
is "a warm stat" "$(requests warm-stat)" " "
lacks "creating and reading ask for no attribute by name" "$(grep -v op=overwrite <<<"$counted")" "GETXATTR"

# --- small objects come with the first OPEN
ok "the first read of a small object needs no READ, by read and by mmap" python3 - "$MNT" <<'PY'
import mmap, os, platform, sys
def reads():
    for line in open(sys.argv[1] + "/.tidepool/stats"):
        if line.startswith('tidepool_fuse_requests_total{op="READ"}'):
            return int(line.split()[1])
    return 0

def mapped(f):
    with mmap.mmap(f.fileno(), 0, prot=mmap.PROT_READ) as m:
        return m[:]

reads()
before = reads()
own = reads() - before
# Older kernels leave what was in the rest of the last page, so that they are not given part of one.
clears = tuple(int(n) for n in platform.release().split("-")[0].split(".")[:2]) >= (6, 12)
for size in 1, 100, 4095, 4096, 4097, 12288, 65535, 65536, 65537, 200000:
    small = size <= 65536 and (clears or size % 4096 == 0)
    for how in mapped, lambda f: f.read():
        name = f"{sys.argv[1]}/cache/small"
        data = os.urandom(size)
        with open(name, "wb", buffering=0) as f:
            f.write(data)
        before = reads()
        with open(name, "rb", buffering=0) as f:
            got = how(f)
        n = reads() - before - own
        assert got == data, f"{size} bytes, and others come back"
        assert (n == 0) == small, f"{n} READs for {size} bytes"
        os.unlink(name)
PY

# --- eight processes read what one has read
ok "what one process has read is warm for others" python3 - "$MNT" <<'PY'
import os, subprocess, sys
where = sys.argv[1] + "/cache/shared"
data = os.urandom(1 << 20)
with open(where, "wb") as f:
    f.write(data)

def reads():
    for line in open(sys.argv[1] + "/.tidepool/stats"):
        if line.startswith('tidepool_fuse_requests_total{op="READ"}'):
            return int(line.split()[1])
    return 0

assert open(where, "rb").read() == data
before = reads()
cost = reads() - before
before = reads()
for i in range(8):
    subprocess.run(["cmp", where, where], check=True)
    assert subprocess.run(["cat", where], capture_output=True).stdout == data
after = reads()
assert after - before == cost, f"{after - before - cost} READs for warm reads by other processes"
PY

# --- changes are seen at once
ok "four processes with warm caches see every change at once" python3 - "$MNT" <<'PY'
import os, sys
top = sys.argv[1] + "/cache/seen"
os.mkdir(top)

class Other:
    """Another process that looks when it is told to."""
    def __init__(self):
        ask_r, self.ask = os.pipe()
        self.tell, tell_w = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            os.close(self.ask)
            for line in os.fdopen(ask_r):
                try:
                    what, name = line.split()
                    if what == "read":
                        with open(name, "rb") as f:
                            out = f.read(64)
                    elif what == "stat":
                        out = str(os.stat(name).st_size).encode()
                    else:
                        out = b" ".join(sorted(os.listdir(name.encode())))
                except OSError as e:
                    out = b"E%d" % e.errno
                os.write(tell_w, out + b"\n")
            os._exit(0)
        os.close(ask_r)
        os.close(tell_w)
        self.lines = os.fdopen(self.tell, "rb")

    def __call__(self, what, name):
        os.write(self.ask, f"{what} {name}\n".encode())
        return self.lines.readline().rstrip()

others = [Other() for _ in range(4)]

def all_see(what, name, wanted, when):
    for i, o in enumerate(others):
        got = o(what, name)
        assert got == wanted, f"{when}: process {i} sees {got}, not {wanted}"

def put(name, data):
    with open(name, "wb") as f:
        f.write(data)

for i in range(50):
    name = f"{top}/n{i}"
    all_see("stat", name, b"E2", "before it is created")
    put(name, b"first %d" % i)
    all_see("read", name, b"first %d" % i, "created")
    all_see("stat", name, b"%d" % len(b"first %d" % i), "created")
    put(name, b"the second %d" % i)
    all_see("read", name, b"the second %d" % i, "overwritten")
    all_see("stat", name, b"%d" % len(b"the second %d" % i), "overwritten")
    put(f"{top}/.new", b"third %d" % i)
    os.rename(f"{top}/.new", name)
    all_see("read", name, b"third %d" % i, "renamed over")
    os.rename(name, name + "x")
    all_see("read", name, b"E2", "renamed away")
    all_see("read", name + "x", b"third %d" % i, "renamed")
    os.unlink(name + "x")
    all_see("read", name + "x", b"E2", "unlinked")
    all_see("list", top, b"", "unlinked")
# The later ones hold copies of what the earlier ones wait on.
for o in reversed(others):
    os.close(o.ask)
    os.waitpid(o.pid, 0)
PY
tp_umount

# --- eviction: names that are known and warm
tp_mount -o ram=32M
mkdir "$MNT/cache/e"
ok "an evicted object is gone for stat, open and ls alike, an open one stays" python3 - "$MNT" <<'PY'
import os, sys
top = sys.argv[1] + "/cache/e"
size = 256 << 10
open_one = None
for i in range(400):
    name = f"{top}/{i:04d}"
    with open(name, "wb") as f:
        f.write(bytes([i & 255]) * size)
    with open(name, "rb") as f:
        f.read()
    os.stat(name)
    if i == 10:
        open_one = open(name, "rb")
assert open_one.read() == bytes([10]) * size, "an open object keeps its bytes"
open_one.seek(0)
listed = set(os.listdir(top))
assert 20 <= len(listed) < 128, f"{len(listed)} objects of {size} bytes in 32 MiB"
# A while may pass between the two looks, and eviction goes on: what is gone stays gone, what can be opened is whole.
for i in range(400):
    name = f"{i:04d}"
    try:
        with open(f"{top}/{name}", "rb") as f:
            data = f.read()
        assert data == bytes([i & 255]) * size, f"{name} has other bytes"
    except FileNotFoundError:
        assert name not in os.listdir(top), f"{name} is listed and cannot be opened"
        try:
            os.stat(f"{top}/{name}")
            assert False, f"{name} cannot be opened and stat finds it"
        except FileNotFoundError:
            pass
    else:
        assert name in os.listdir(top) or name not in listed, f"{name} can be opened and is not listed"
PY
has "the kernel was told" "$(stat_of tidepool_notifies_total)" "^[1-9]"
