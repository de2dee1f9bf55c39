#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Streams: what commits a sample, which names it may have, and where it may go.
. "$(dirname "$0")/lib.sh"
requires python3

export PYTHONPATH=$TP_DIR:$TP_SRC/tests/mounted PYTHONDONTWRITEBYTECODE=1
cat >"$TP_DIR/samples.py" <<'PY'
import os, signal, sys, time
from checks import error, is_
MNT = sys.argv[1]
S = MNT + "/samples/s"

def create(path, flags=os.O_WRONLY | os.O_CREAT):
    os.close(os.open(path, flags, 0o644))

def put(path, text=b"sample"):
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
    os.write(fd, text)
    os.close(fd)

def ended(how, path, sync=False, close=False):
    """A process that writes path and ends by a signal, or with an exit status, with it open."""
    pid = os.fork()
    if pid == 0:
        try:
            fd = os.open(path, os.O_WRONLY | os.O_CREAT, 0o644)
            os.write(fd, b"sample")
            if sync:
                os.fsync(fd)
            if close:
                os.close(fd)
            if how < 0:
                os.kill(os.getpid(), -how)
        finally:
            os._exit(how)
    os.waitpid(pid, 0)

def gone(path):
    """What was dropped goes when the kernel has said that the last descriptor is closed."""
    end = time.monotonic() + 30
    while os.path.lexists(path):
        assert time.monotonic() < end, f"{path} is still there"
        time.sleep(0.01)
PY

try()
{
	ok "$1" python3 - "$MNT"
}

tp_mount -o ram=64M
ok "mkdir makes a stream" mkdir "$MNT/samples/s"
is "where success publishes" "$("$TIDEPOOL" get "$MNT/samples/s" commit)" success

try "a writer that fails or is killed commits nothing, fsync or not" <<'PY'
from samples import *
for how in 3, -signal.SIGKILL, -signal.SIGSEGV:
    for sync in False, True:
        ended(how, f"{S}/x", sync)
        gone(f"{S}/x")
ended(0, f"{S}/x")
is_("one that is done", open(f"{S}/x", "rb").read(), b"sample")
os.unlink(f"{S}/x")
PY
ok "events say why" has_event "dropped draft samples/s/x: its writer exited with an error"
ok "and by what" has_event "dropped draft samples/s/x: its writer was killed"

try "one that has closed it before it fails or is killed has committed it" <<'PY'
from samples import *
for how in 3, -signal.SIGKILL:
    ended(how, f"{S}/x", close=True)
    is_("the sample", open(f"{S}/x", "rb").read(), b"sample")
    os.unlink(f"{S}/x")
PY

try "a temporary name is seen, is no sample, and goes when its writer is killed, but not when it fails" <<'PY'
from samples import *
ended(-signal.SIGKILL, f"{S}/.x.tmp")
gone(f"{S}/.x.tmp")
ended(3, f"{S}/.x.tmp")
is_("size", os.stat(f"{S}/.x.tmp").st_size, 6)
is_("state", error(os.getxattr, f"{S}/.x.tmp", "user.tidepool.state"), "ENODATA")
state = dict(l.split() for l in open(f"{S}/.state"))
is_("ready", state["ready"], "0")
is_("temporary", state["temporary"], "1")
os.rename(f"{S}/.x.tmp", f"{S}/x")
is_("state", os.getxattr(f"{S}/x", "user.tidepool.state"), b"ready")
os.unlink(f"{S}/x")
PY

try "a hidden draft, link and O_TMPFILE commit as in cache/" <<'PY'
from samples import *
fd = os.open(f"{S}/x", os.O_WRONLY | os.O_CREAT, 0o644)
os.write(fd, b"sample")
if os.fork() == 0:
    os._exit(error(os.stat, f"{S}/x") != "ENOENT" or os.listdir(S) != [])
is_("others see it", os.wait()[1], 0)
os.close(fd)
put(f"{S}/.y.tmp")
os.link(f"{S}/.y.tmp", f"{S}/y")
os.unlink(f"{S}/.y.tmp")
fd = os.open(S, os.O_WRONLY | os.O_TMPFILE, 0o644)
os.write(fd, b"sample")
os.link(str(fd), f"{S}/z", src_dir_fd=os.open("/proc/self/fd", os.O_PATH), follow_symlinks=True)
os.close(fd)
is_("in order", [e.name for e in os.scandir(S)], ["x", "y", "z"])
for n in "xyz":
    os.unlink(f"{S}/{n}")
PY

try "the same bytes again are a new generation, since the first one wins in cache/ only" <<'PY'
from samples import *
put(f"{S}/x")
before = os.getxattr(f"{S}/x", "user.tidepool.generation")
put(f"{S}/x")
assert os.getxattr(f"{S}/x", "user.tidepool.generation") != before
put(f"{MNT}/cache/x")
before = os.getxattr(f"{MNT}/cache/x", "user.tidepool.generation")
put(f"{MNT}/cache/x")
is_("in cache/", os.getxattr(f"{MNT}/cache/x", "user.tidepool.generation"), before)
os.unlink(f"{S}/x")
os.unlink(f"{MNT}/cache/x")
PY

try "IDs travel as lines: a name that could not is EINVAL, and changes nothing" <<'PY'
from samples import *
put(f"{S}/.x.tmp")
for name in "a\nb", "a\tb", "a\x7fb", "#a", " a", "a ":
    is_(f"create {name!r}", error(create, f"{S}/{name}"), "EINVAL")
    is_(f"rename to {name!r}", error(os.rename, f"{S}/.x.tmp", f"{S}/{name}"), "EINVAL")
    is_(f"link {name!r}", error(os.link, f"{S}/.x.tmp", f"{S}/{name}"), "EINVAL")
    is_(f"stream {name!r}", error(os.mkdir, f"{MNT}/samples/{name}"), "EINVAL")
is_("a stream with a dot", error(os.mkdir, f"{MNT}/samples/.s"), "EINVAL")
is_("names", os.listdir(S), [".x.tmp"])
is_("streams", os.listdir(f"{MNT}/samples"), ["s"])
put(f"{S}/a b#c")
os.unlink(f"{S}/a b#c")
os.unlink(f"{S}/.x.tmp")
PY

try "a stream is flat, and has nothing but samples" <<'PY'
from samples import *
assert error(os.mkdir, f"{S}/d"), "a directory in a stream"
assert error(os.symlink, "a", f"{S}/l"), "a link in a stream"
assert error(os.mkfifo, f"{S}/f"), "a fifo in a stream"
assert error(create, f"{MNT}/samples/x"), "a file outside of all streams"
is_("append", error(create, f"{S}/x", os.O_WRONLY | os.O_CREAT | os.O_APPEND), "EPERM")
is_("live", error(os.setxattr, S, "user.tidepool.commit", b"live"), "EINVAL")
is_("names", os.listdir(S), [])
PY

try "between streams, and from and to cache/, rename and link are EXDEV" <<'PY'
from samples import *
os.mkdir(f"{MNT}/samples/t")
put(f"{S}/x")
put(f"{MNT}/cache/y")
for a, b in (f"{S}/x", f"{MNT}/samples/t/x"), (f"{S}/x", f"{MNT}/cache/x"), (f"{MNT}/cache/y", f"{S}/y"):
    is_(f"rename {a} {b}", error(os.rename, a, b), "EXDEV")
    is_(f"link {a} {b}", error(os.link, a, b), "EXDEV")
is_("a stream into cache/", error(os.rename, f"{MNT}/samples/t", f"{MNT}/cache/t"), "EXDEV")
PY
ok "mv copies" mv "$MNT/samples/s/x" "$MNT/samples/t/x"
is "what was there" "$(cat "$MNT/samples/t/x")$(ls -A "$MNT/samples/s")" sample

try "commit=rename insists on a temporary name" <<'PY'
from samples import *
os.setxattr(S, "user.tidepool.commit", b"rename")
os.setxattr(S, "user.tidepool.temp", b"*.half")
is_("another name", error(create, f"{S}/x"), "EPERM")
put(f"{S}/x.half")
os.rename(f"{S}/x.half", f"{S}/x")
is_("names", os.listdir(S), ["x"])
PY
# .state is there by name, and not listed.
is "rm -r sees samples only" "$(rm -r "$MNT/samples/s" "$MNT/samples/t" 2>&1; ls -A "$MNT/samples")" ""
