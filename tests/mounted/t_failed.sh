#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# A write that fails: who is told, what becomes of the name, and what is kept all the same.
. "$(dirname "$0")/lib.sh"
requires python3

export PYTHONPATH=$TP_DIR:$TP_SRC/tests/mounted PYTHONDONTWRITEBYTECODE=1
cat >"$TP_DIR/failed.py" <<'PY'
import mmap, os, signal, sys
from checks import error, is_
D = sys.argv[1] if len(sys.argv) > 1 else "."
MIB = 1 << 20

def fill(path, flags=os.O_WRONLY | os.O_CREAT):
    """A file that is written up to 3 MiB, and not to 4, which its quota does not allow."""
    fd = os.open(path, flags, 0o644)
    os.write(fd, b"a" * 3 * MIB)
    is_(path, error(os.pwrite, fd, b"b" * MIB, 3 * MIB), "EDQUOT")
    return fd

def killed(f):
    """Runs f in a process that is then killed."""
    pid = os.fork()
    if pid == 0:
        try:
            f()
        except BaseException as e:
            print(e, flush=True)
            os._exit(1)
        os.kill(os.getpid(), signal.SIGKILL)
    is_("how it ended", os.waitpid(pid, 0)[1], signal.SIGKILL)
PY

tp_mount -o ram=64M
for step in close success live rename; do
	mkdir "$MNT/cache/$step"
	ok "$step: rules" "$TIDEPOOL" set "$MNT/cache/$step" commit=$step quota=3584K
done

# try DESCRIPTION DIR: a script in Python from standard input.
try()
{
	ok "$1" python3 - "$MNT/cache/$2"
}

for step in close success; do
	try "$step: close tells of it, and nothing is published" $step <<'PY'
from failed import *
fd = fill(f"{D}/x")
is_("close", error(os.close, fd), "EDQUOT")
is_("names", os.listdir(D), [])
PY
done
ok "an event says why" has_event "dropped draft cache/close/x: a write had failed"

try "what was made good is published" close <<'PY'
from failed import *
fd = fill(f"{D}/x")
os.ftruncate(fd, 3 * MIB)
os.close(fd)
is_("size", os.stat(f"{D}/x").st_size, 3 * MIB)
os.unlink(f"{D}/x")
PY

try "close: what fsync answered is kept, before the write that failed and after it" close <<'PY'
from failed import *
for killing in False, True:
    def write():
        fd = os.open(f"{D}/db", os.O_RDWR | os.O_CREAT, 0o644)
        os.pwrite(fd, b"1" * 3 * MIB, 0)
        os.fsync(fd)
        is_("write", error(os.pwrite, fd, b"b" * MIB, 3 * MIB), "EDQUOT")
        os.pwrite(fd, b"2" * 4096, 4096)
        os.fsync(fd)
        if not killing:
            is_("close", error(os.close, fd), "EDQUOT")
    (killed if killing else lambda f: f())(write)
    is_("content", open(f"{D}/db", "rb").read(), b"1" * 4096 + b"2" * 4096 + b"1" * (3 * MIB - 8192))
    os.unlink(f"{D}/db")
PY

try "success: not even then" success <<'PY'
from failed import *
fd = os.open(f"{D}/db", os.O_RDWR | os.O_CREAT, 0o644)
os.pwrite(fd, b"1" * 3 * MIB, 0)
os.fsync(fd)
is_("write", error(os.pwrite, fd, b"b" * MIB, 3 * MIB), "EDQUOT")
is_("close", error(os.close, fd), "EDQUOT")
is_("names", os.listdir(D), [])
PY

try "O_DSYNC is an fsync after each write, also past the page cache" close <<'PY'
from failed import *
for flags in os.O_WRONLY | os.O_DSYNC, os.O_WRONLY | os.O_SYNC, os.O_RDWR | os.O_DSYNC:
    killed(lambda: os.write(os.open(f"{D}/x", flags | os.O_CREAT, 0o644), b"whole"))
    is_("content", open(f"{D}/x", "rb").read(), b"whole")
    os.unlink(f"{D}/x")
PY

for step in close success rename; do
	try "$step: under a temporary name close and rename tell of it, and nothing is published" $step <<'PY'
from failed import *
fd = fill(f"{D}/.x.tmp")
is_("close of a reader", error(os.close, os.open(f"{D}/.x.tmp", os.O_RDONLY)), None)
is_("rename while it is open", error(os.rename, f"{D}/.x.tmp", f"{D}/x"), "EDQUOT")
is_("link while it is open", error(os.link, f"{D}/.x.tmp", f"{D}/x"), "EDQUOT")
is_("close", error(os.close, fd), "EDQUOT")
is_("rename", error(os.rename, f"{D}/.x.tmp", f"{D}/x"), "EDQUOT")
is_("link", error(os.link, f"{D}/.x.tmp", f"{D}/x"), "EDQUOT")
is_("to another temporary name", error(os.rename, f"{D}/.x.tmp", f"{D}/.y.tmp"), None)
is_("names", os.listdir(D), [".y.tmp"])
is_("rename once more", error(os.rename, f"{D}/.y.tmp", f"{D}/x"), "EDQUOT")
# A reader changes nothing.
os.close(os.open(f"{D}/.y.tmp", os.O_RDONLY))
# A writer that does not make it good is told as well.
is_("close of another", error(os.close, os.open(f"{D}/.y.tmp", os.O_WRONLY)), "EDQUOT")
is_("rename after it", error(os.rename, f"{D}/.y.tmp", f"{D}/x"), "EDQUOT")
os.truncate(f"{D}/.y.tmp", 3 * MIB)
os.rename(f"{D}/.y.tmp", f"{D}/x")
is_("content", open(f"{D}/x", "rb").read(), b"a" * 3 * MIB)
os.unlink(f"{D}/x")
PY
done

try "a download that goes on where it stopped is whole" close <<'PY'
from failed import *
fd = fill(f"{D}/x.part")
is_("close", error(os.close, fd), "EDQUOT")
os.setxattr(D, "user.tidepool.quota", b"8M")
fd = os.open(f"{D}/x.part", os.O_WRONLY)
os.pwrite(fd, b"b" * MIB, os.fstat(fd).st_size)
is_("close", error(os.close, fd), None)
os.rename(f"{D}/x.part", f"{D}/x")
is_("content", open(f"{D}/x", "rb").read(), b"a" * 3 * MIB + b"b" * MIB)
os.unlink(f"{D}/x")
os.setxattr(D, "user.tidepool.quota", b"3584K")
PY

try "a file from O_TMPFILE gets no name" close <<'PY'
from failed import *
fd = os.open(D, os.O_WRONLY | os.O_TMPFILE, 0o644)
for i in range(80):
    failed = error(os.pwrite, fd, b"a" * MIB, i * MIB)
    if failed:
        break
is_("a write", failed, "ENOSPC")
proc = os.open("/proc/self/fd", os.O_PATH)
link = lambda: os.link(str(fd), f"{D}/x", src_dir_fd=proc, follow_symlinks=True)
is_("link", error(link), "ENOSPC")
os.ftruncate(fd, 0)
link()
os.close(fd)
os.unlink(f"{D}/x")
PY

try "live: close tells of it, the file stays and can be renamed, as on any file system" live <<'PY'
from failed import *
is_("close", error(os.close, fill(f"{D}/log")), "EDQUOT")
os.rename(f"{D}/log", f"{D}/log.1")
is_("size", os.stat(f"{D}/log.1").st_size, 3 * MIB)
is_("close of another", error(os.close, os.open(f"{D}/log.1", os.O_WRONLY)), None)
os.unlink(f"{D}/log.1")
is_("close of a temporary one", error(os.close, fill(f"{D}/.y.tmp")), "EDQUOT")
os.rename(f"{D}/.y.tmp", f"{D}/y")
PY

try "a log that is rotated goes on" close <<'PY'
from failed import *
fd = fill(f"{D}/log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
os.rename(f"{D}/log", f"{D}/log.1")
is_("close", error(os.close, fd), "EDQUOT")
is_("size", os.stat(f"{D}/log.1").st_size, 3 * MIB)
os.unlink(f"{D}/log.1")
PY

try "fsync and msync tell of what a mapping wrote" close <<'PY'
from failed import *
for sync in lambda fd, m: m.flush(), lambda fd, m: os.fsync(fd):
    fd = os.open(f"{D}/x", os.O_RDWR | os.O_CREAT, 0o644)
    os.ftruncate(fd, 6 * MIB)
    m = mmap.mmap(fd, 6 * MIB)
    m[:] = b"m" * 6 * MIB
    assert error(sync, fd, m), "it was not told"
    m.close()
    assert error(os.close, fd), "close did not tell"
    is_("names", os.listdir(D), [])
PY

tp_umount
tp_mount -o ram=16M
mkdir "$MNT/samples/s"
dd if=/dev/urandom of="$TP_DIR/big" bs=1M count=20 status=none
fails "a sample that the pool cannot hold: cp fails" cp "$TP_DIR/big" "$MNT/samples/s/.x.tmp"
fails_with "and mv" "No space left" mv "$MNT/samples/s/.x.tmp" "$MNT/samples/s/x"
is "no sample is committed" "$(ls "$MNT/samples/s")" ""
