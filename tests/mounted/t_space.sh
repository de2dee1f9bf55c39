#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# A full pool: what goes, what stays, who gets ENOSPC, and that freed space is free at once. quota, ttl, pin, df.
. "$(dirname "$0")/lib.sh"
requires python3

# What the Python pieces below share.
export PYTHONPATH=$TP_DIR PYTHONDONTWRITEBYTECODE=1
cat >"$TP_DIR/space.py" <<'PY'
import errno, os, sys, time
MNT = sys.argv[1]
MIB = 1 << 20
POOL = 64 * MIB

def put(path, size, byte=b"s"):
    """Writes an object; the errno by name when it fails, None when it worked."""
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
    except OSError as e:
        return errno.errorcode[e.errno]
    failed = None
    try:
        while size:
            n = min(size, MIB)
            os.write(fd, byte * n)
            size -= n
    except OSError as e:
        failed = errno.errorcode[e.errno]
    try:
        os.close(fd)
    except OSError as e:
        failed = failed or errno.errorcode[e.errno]
    return failed

def there(path):
    try:
        os.stat(path)
        return True
    except FileNotFoundError:
        return False

def whole(path, size, byte=b"s"):
    with open(path, "rb") as f:
        return f.read() == byte * size

def empty(path):
    """Removes what is there; the evictor may be quicker."""
    for n in os.listdir(path):
        try:
            os.unlink(f"{path}/{n}")
        except FileNotFoundError:
            pass

def stat_of(name):
    for line in open(MNT + "/.tidepool/stats"):
        w = line.split()
        if w and w[0] == name:
            return float(w[1])
    return 0

def mkdir(name):
    path = f"{MNT}/cache/{name}"
    os.mkdir(path)
    return path
PY

tp_mount -o ram=64M

ok "writing four times the pool: every write works, what is there is whole, the newest are there" \
	python3 - "$MNT" <<'PY'
from space import *
d = mkdir("flow")
for i in range(256):
    r = put(f"{d}/{i:03d}", MIB, bytes([i]))
    assert r is None, f"object {i}: {r}"
    assert there(f"{d}/{i:03d}"), f"object {i} is gone as soon as it is written"
# The evictor may still be on its way from `high` to `low`: what is listed may go before it is opened.
left = []
for i in sorted(int(n) for n in os.listdir(d)):
    try:
        assert whole(f"{d}/{i:03d}", MIB, bytes([i])), i
        left.append(i)
    except FileNotFoundError:
        pass
assert 64 * 0.75 <= len(left) <= 64, f"{len(left)} MiB of 64 are used"
assert left[-32:] == list(range(256 - 32, 256)), f"the newest are not all there: {left}"
assert stat_of("tidepool_evicted_total") >= 256 - 64
assert stat_of("tidepool_nospace_total") == 0
empty(d)
os.rmdir(d)
PY

ok "freed space is free at once: rm and write again, 60 % of the pool, fifty times, nothing else goes" \
	python3 - "$MNT" <<'PY'
from space import *
d = mkdir("again")
assert put(f"{d}/keep", 4 * MIB, b"k") is None
before = stat_of("tidepool_evicted_total")
for i in range(50):
    assert put(f"{d}/big", 38 * MIB) is None, f"round {i}"
    os.unlink(f"{d}/big")
for i in range(50):
    fd = os.open(f"{d}/big", os.O_WRONLY | os.O_CREAT, 0o644)
    for _ in range(38):
        os.write(fd, b"t" * MIB)
    os.ftruncate(fd, 0)
    for _ in range(38):
        os.pwrite(fd, b"t" * MIB, 0)
    os.close(fd)
    os.unlink(f"{d}/big")
assert stat_of("tidepool_evicted_total") == before, "something was evicted"
assert whole(f"{d}/keep", 4 * MIB, b"k")
os.unlink(f"{d}/keep")
os.rmdir(d)
PY

ok "an object larger than the pool: ENOSPC, and nothing of it is left" python3 - "$MNT" <<'PY'
from space import *
d = mkdir("huge")
assert put(f"{d}/small", MIB) is None
r = put(f"{d}/huge", 80 * MIB)
assert r == "ENOSPC", r
assert not there(f"{d}/huge")
for i in range(40):
    assert put(f"{d}/after{i}", MIB) is None, "there is room again"
empty(d)
os.rmdir(d)
PY

ok "fallocate of more than the pool is ENOSPC at once, and nothing goes for it" python3 - "$MNT" <<'PY'
from space import *
d = mkdir("allocate")
assert put(f"{d}/keep", 4 * MIB, b"k") is None
evicted, refused = stat_of("tidepool_evicted_total"), stat_of("tidepool_nospace_total")
fd = os.open(f"{d}/x", os.O_WRONLY | os.O_CREAT, 0o644)
for offset, size in ((0, POOL + 1), (1, POOL), (0, 1 << 40), (0, 1 << 45)):
    try:
        os.posix_fallocate(fd, offset, size)
        sys.exit(f"{size} bytes are reserved in a pool of {POOL}")
    except OSError as e:
        assert e.errno == errno.ENOSPC, (size, e)
assert os.fstat(fd).st_size == 0
os.posix_fallocate(fd, 0, 8 * MIB)
os.close(fd)
assert stat_of("tidepool_evicted_total") == evicted, "something was evicted"
assert stat_of("tidepool_nospace_total") == refused + 4
assert whole(f"{d}/keep", 4 * MIB, b"k")
empty(d)
os.rmdir(d)
PY

ok "open objects stay, and when only they are left: ENOSPC; closed, they make room" python3 - "$MNT" <<'PY'
from space import *
d = mkdir("open")
held, i, r = [], 0, None
while r is None and i < 100:
    r = put(f"{d}/{i:03d}", MIB, bytes([i]))
    if r is None:
        try:
            held.append(os.open(f"{d}/{i:03d}", os.O_RDONLY))
        except FileNotFoundError:
            break  # above `high` it is the only one that may go
        i += 1
assert len(held) >= 56, f"only {len(held)} MiB of 64 can be open"
r = put(f"{d}/more", 10 * MIB)
assert r == "ENOSPC", r
assert not there(f"{d}/more"), "the failed object has a name"
for k, fd in enumerate(held):
    assert os.pread(fd, MIB + 1, 0) == bytes([k]) * MIB, f"open object {k}"
for fd in held[:32]:
    os.close(fd)
for k in range(100, 140):
    r = put(f"{d}/{k:03d}", MIB)
    assert r is None, f"{r} though half may go"
for k, fd in enumerate(held[32:], 32):
    assert os.pread(fd, MIB + 1, 0) == bytes([k]) * MIB, f"open object {k}"
    os.close(fd)
empty(d)
os.rmdir(d)
PY

# --- pin
mkdir "$MNT/cache/pinned"
ok "pin on a directory" "$TIDEPOOL" set "$MNT/cache/pinned" pin=1
ok "pinned objects stay through four times the pool of others" python3 - "$MNT" <<'PY'
from space import *
p = MNT + "/cache/pinned"
for i in range(16):
    assert put(f"{p}/{i}", MIB, bytes([65 + i])) is None
d = mkdir("others")
for i in range(256):
    r = put(f"{d}/{i}", MIB)
    assert r is None, r
for i in range(16):
    assert whole(f"{p}/{i}", MIB, bytes([65 + i])), f"pinned object {i}"
empty(d)
os.rmdir(d)
PY
ok "pins are bounded: not all of the pool can be pinned, or nothing but ENOSPC ends it" python3 - "$MNT" <<'PY'
from space import *
p = MNT + "/cache/pinned"
r, i = None, 16
while r is None and i < 100:
    r = put(f"{p}/{i}", MIB, b"p")
    i += 1
assert r in (None, "ENOSPC", "EDQUOT"), r
if r is None:
    left = len(os.listdir(p))
    assert left <= 64
d = mkdir("beside")
got = [put(f"{d}/{k}", MIB) for k in range(4)]
assert all(g in (None, "ENOSPC") for g in got), got
PY
ok "pin can be taken away" "$TIDEPOOL" set "$MNT/cache/pinned" pin=0
ok "what is not pinned any more makes room" python3 - "$MNT" <<'PY'
from space import *
d = mkdir("room")
for i in range(100):
    r = put(f"{d}/{i}", MIB)
    assert r is None, r
PY
rm -rf "$MNT/cache/pinned" "$MNT/cache/room" "$MNT/cache/beside"

# --- samples
mkdir "$MNT/samples/s"
ok "samples are never evicted: ENOSPC when nothing else is left, and room again after rm" python3 - "$MNT" <<'PY'
from space import *
s = MNT + "/samples/s"
d = mkdir("evictable")
for i in range(40):
    assert put(f"{d}/{i}", MIB) is None
r, n = None, 0
while r is None and n < 100:
    r = put(f"{s}/x{n:03d}", MIB, b"x")
    n += r is None
assert r == "ENOSPC", r
assert n >= 50, f"ENOSPC after {n} samples of 1 MiB in 64 MiB"
assert not there(f"{s}/x{n:03d}")
assert sorted(os.listdir(s)) == [f"x{i:03d}" for i in range(n)], "all committed samples are there"
for i in range(n):
    assert whole(f"{s}/x{i:03d}", MIB, b"x"), i
r = put(f"{d}/one", 8 * MIB)
assert r == "ENOSPC", f"{r}: only samples are left"
for i in range(20):
    os.unlink(f"{s}/x{i:03d}")
for i in range(10):
    r = put(f"{d}/again{i}", MIB)
    assert r is None, r
for i in range(20, n):
    os.unlink(f"{s}/x{i:03d}")
PY
rm -rf "$MNT/samples/s" "$MNT/cache/evictable"

# --- df
ok "df: blocks of 4096, the pool's size; what can be evicted counts as available, samples do not" \
	python3 - "$MNT" <<'PY'
from space import *
def df():
    v = os.statvfs(MNT)
    return v.f_frsize, v.f_blocks * v.f_frsize, v.f_bavail * v.f_frsize
block, size, free = df()
assert block == 4096, block
assert 0.9 * POOL <= size <= POOL, size
assert free >= 0.95 * size, f"{free} of {size} when empty"
d = mkdir("df")
for i in range(200):
    put(f"{d}/{i}", MIB)
_, _, full = df()
assert full >= 0.85 * size, f"{full} of {size} available when full of what can go"
os.mkdir(MNT + "/samples/df")
for i in range(20):
    assert put(f"{MNT}/samples/df/{i}", MIB) is None
_, _, some = df()
assert some <= size - 20 * MIB, f"{some} of {size} available with 20 MiB of samples"
p = mkdir("pinned")
for i in range(8):
    assert put(f"{p}/{i}", MIB) is None
def less(what, by):
    now = df()[2]
    assert abs(some - by - now) <= MIB, f"{what}: {some - now} less"
less("nothing", 0)
fd = os.open(f"{p}/0", os.O_RDONLY)
less("open", MIB)
os.setxattr(p, "user.tidepool.pin", b"1")
less("pinned, and one of them open", 8 * MIB)
os.close(fd)
less("pinned", 8 * MIB)
os.setxattr(p, "user.tidepool.pin", b"0")
less("not pinned any more", 0)
fd = os.open(f"{p}/draft", os.O_WRONLY | os.O_CREAT)
for _ in range(4):
    os.write(fd, b"d" * MIB)
less("being written", 4 * MIB)
os.close(fd)
# The daemon hears of a close a moment later.
until = time.monotonic() + 30
while abs(some - df()[2]) > MIB:
    assert time.monotonic() < until, "published"
    time.sleep(0.05)
empty(p)
os.rmdir(p)
for i in range(20):
    os.unlink(f"{MNT}/samples/df/{i}")
os.rmdir(MNT + "/samples/df")
empty(d)
os.rmdir(d)
PY

# --- quota
mkdir -p "$MNT/cache/q/deep"
ok "quota on a directory" "$TIDEPOOL" set "$MNT/cache/q" quota=8M
ok "quota: evicts below that directory and nowhere else; EDQUOT when nothing there can go" python3 - "$MNT" <<'PY'
from space import *
q = MNT + "/cache/q"
o = mkdir("outside")
for i in range(30):
    assert put(f"{o}/{i}", MIB) is None
for i in range(40):
    r = put(f"{q}/deep/{i}", MIB)
    assert r is None, r
used = sum(os.stat(f"{q}/deep/{n}").st_size for n in os.listdir(f"{q}/deep"))
assert 4 * MIB <= used <= 8 * MIB, used
assert len(os.listdir(o)) == 30, f"{30 - len(os.listdir(o))} objects outside went"
r = put(f"{q}/large", 12 * MIB)
assert r == "EDQUOT", r
assert not there(f"{q}/large")
empty(f"{q}/deep")
held = []
r, i = None, 0
while r is None and i < 20:
    r = put(f"{q}/deep/o{i}", MIB)
    if r is None:
        held.append(os.open(f"{q}/deep/o{i}", os.O_RDONLY))
    i += 1
assert r == "EDQUOT", r
assert 6 <= len(held) <= 8, f"{len(held)} MiB were open under a quota of 8"
for fd in held:
    os.close(fd)
assert put(f"{q}/deep/again", MIB) is None
assert len(os.listdir(o)) == 30, "nothing outside went"
PY
rm -rf "$MNT/cache/q" "$MNT/cache/outside"
ok "a directory above its quota is brought down though nobody writes there" python3 - "$MNT" <<'PY'
from space import *
def held(path):
    return sum(os.stat(f"{path}/{n}").st_blocks * 512 for n in os.listdir(path))
def comes_down(path, to):
    until = time.monotonic() + 30
    while True:
        try:
            if held(path) <= to:
                return len(os.listdir(path)) > 0
        except FileNotFoundError:
            pass  # went between the two
        assert time.monotonic() < until, f"{path} holds {held(path)}"
        time.sleep(0.05)
dirs = [mkdir(f"lower{i}") for i in range(3)]
for d in dirs:
    for i in range(12):
        assert put(f"{d}/{i}", MIB) is None
for d in dirs[:2]:
    os.setxattr(d, "user.tidepool.quota", b"8M")
assert comes_down(dirs[0], 8 * MIB) and comes_down(dirs[1], 8 * MIB)
assert len(os.listdir(dirs[2])) == 12, "it has no quota"
into = mkdir("limited")
os.setxattr(into, "user.tidepool.quota", b"8M")
os.rename(dirs[2], f"{into}/moved")
assert comes_down(f"{into}/moved", 8 * MIB)
PY
rm -rf "$MNT"/cache/lower[0-9] "$MNT/cache/limited"

# --- ttl
mkdir "$MNT/cache/t"
ok "ttl on a directory" "$TIDEPOOL" set "$MNT/cache/t" ttl=1
echo one >"$MNT/cache/t/one"
echo stays >"$MNT/cache/stays"
gone()
{
	[ ! -e "$1" ]
}
changed_and_gone()
{
	! chmod 600 "$1" 2>/dev/null
}
echo two >"$MNT/cache/t/two"
ok "an object is gone after its ttl" eventually 10 gone "$MNT/cache/t/one"
ok "also one whose mode is changed again and again" eventually 10 changed_and_gone "$MNT/cache/t/two"
ok "and no other" test -e "$MNT/cache/stays"
rm "$MNT/cache/stays"
rmdir "$MNT/cache/t"
tp_umount

# --- 4 KiB objects
# A second thread that reads would take a megabyte of the pool for itself in between.
tp_mount -o ram=64M,high=99,low=98,threads=1
ok "4 KiB objects: at most 12.5 % overhead" python3 - "$MNT" <<'PY'
from space import *
d = mkdir("pages")
before = stat_of("tidepool_evicted_total")
n = 0
while stat_of("tidepool_evicted_total") == before and n < 20000:
    for _ in range(100):
        assert put(f"{d}/{n:05d}", 4096) is None
        n += 1
held = len(os.listdir(d))
assert held * 4096 * 1.125 >= 0.98 * POOL, f"{held} objects of 4 KiB in {POOL >> 20} MiB"
empty(d)
os.rmdir(d)
PY
ok "small and odd objects do not waste a page each: 12.5 % at 200, 1,000 and 5,000 bytes" python3 - "$MNT" <<'PY'
from space import *
for size, count in ((200, 20000), (1000, 20000), (5000, 8000)):
    d = mkdir(f"small{size}")
    # df counts what may go as free; and it is asked rather than .tidepool/stats, for whose sake a second thread would take a megabyte to read into.
    os.setxattr(d, "user.tidepool.pin", b"1")
    def free():
        v = os.statvfs(MNT)
        return v.f_bfree * v.f_frsize
    start = free()
    for i in range(count):
        assert put(f"{d}/{i:05d}", size) is None
    bytes_each = (start - free()) / count
    assert bytes_each >= size, f"{bytes_each:.0f} bytes for an object of {size}: pins are not counted"
    assert bytes_each <= size * 1.125 + 64, f"{bytes_each:.0f} bytes for an object of {size}"
    empty(d)
    os.rmdir(d)
PY
tp_umount

# --- names
tp_mount -o ram=32M,names=1000
ok "cold objects make room for names, and who needs one more than there may be hears ENOSPC" python3 - "$MNT" <<'PY'
from space import *
def free_names():
    return os.statvfs(MNT).f_ffree

assert os.statvfs(MNT).f_files == 1000
assert 990 <= free_names() < 1000
d = mkdir("names")
for i in range(3000):
    assert put(f"{d}/{i}", 100) is None, f"object {i} of 100 bytes"
deadline = time.monotonic() + 120
while stat_of("tidepool_names") > 900:
    assert time.monotonic() < deadline, "cold objects go"
    time.sleep(0.02)
assert os.listdir(d), "and not all of them"
empty(d)
n = 0
try:
    for n in range(3000):
        os.mkdir(f"{MNT}/cache/d{n}")
    assert False, f"{n} directories among 1000 names"
except OSError as e:
    assert e.errno == errno.ENOSPC, e
assert 990 <= n <= 1000, f"{n} directories among 1000 names"
assert free_names() == 0
with open(f"{MNT}/.tidepool/health") as f:
    assert "names: all 1000 are taken" in f.read()
os.rename(f"{MNT}/cache/d0", f"{MNT}/cache/e0")
os.rmdir(f"{MNT}/cache/e0")
os.mkdir(f"{MNT}/cache/e1")
PY
