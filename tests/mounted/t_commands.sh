#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Every command but mount and umount: what it prints, and what it exits with.
. "$(dirname "$0")/lib.sh"

run()
{
	out=$("$TIDEPOOL" "$@" 2>"$TP_DIR/err")
	code=$?
	err=$(cat "$TP_DIR/err")
}

# --- without a mount ---
run
is "no command: exit 2" $code 2
run frobnicate
is "an unknown one: exit 2" $code 2
is "in one sentence" "$err" "tidepool: there is no command 'frobnicate': see \`tidepool --help\`"
for c in format fsck each; do
	run $c --help
	is "$c does not exist yet" $code 2
done
for c in mount umount status top lookup get set explain warm version; do
	run $c --help
	is "$c --help: exit 0" "$code$err" 0
	has "shows how it is called" "$out" "^usage: tidepool $c"
	if [ $c != version ] && [ $c != umount ]; then
		run $c --frob
		is "$c with an unknown option: exit 2" "$code $(wc -l <<<"$err")" "2 1"
	fi
done
run version
has "version" "$out" "^tidepool [0-9.]+$"
for c in get set explain warm lookup umount; do
	run $c
	is "$c without arguments: exit 2 and a line" "$code $(wc -l <<<"$err")" "2 1"
done
run status "$TP_DIR"
is "status of what is no STATE" $code 1
has "says so" "$err" "neither in a tidepool mount nor a STATE"
touch "$TP_DIR/plain"
run get "$TP_DIR/plain"
is "get outside a mount" $code 1
run set "$TP_DIR/plain" pin=1 user.x=1
is "set outside a mount: exit 1 and a line" "$code $err" "1 tidepool set: $TP_DIR/plain: it is in no tidepool mount"
if command -v python3 >/dev/null; then
	is "and nothing is set" "$(python3 -c 'import os, sys; print(os.listxattr(sys.argv[1]))' "$TP_DIR/plain")" "[]"
fi
run lookup "$TP_DIR/plain"
is "lookup outside a mount" $code 1
has "says so" "$err" "in no tidepool mount"
run warm "$TP_DIR/plain"
is "warm outside a mount" $code 1
run warm ""
is "warm of nothing: exit 2" "$code $err" "2 tidepool warm: a path is empty"

tp_mount
mkdir -p "$MNT/cache/d/e"
for i in 1 2 3; do
	head -c $((i * 1000)) /dev/zero >"$MNT/cache/d/$i"
done

# --- status, top ---
run status "$MNT"
is "status" $code 0
is "is .tidepool/status" "$(grep -c . <<<"$out")" "$(grep -c . "$MNT/.tidepool/status")"
run status "$STATE"
is "by STATE" $code 0
run status "$MNT/cache/d"
is "by a path inside" $code 0
run status --json "$MNT"
is "status --json" $code 0
if command -v python3 >/dev/null; then
	ok "is JSON with what belongs in it" python3 -c '
import json, sys
o = json.loads(sys.argv[1])
assert o["mounted"] is True and o["mountpoint"] == sys.argv[2] and o["state"] == sys.argv[3], o
assert "volatile" in o["health"], o["health"]
assert o["stats"]["tidepool_published_total"] >= 3
assert any(k.startswith("tidepool_fuse_requests_total{op=") for k in o["stats"])
' "$out" "$MNT" "$STATE"
fi
run top -n 2 -d 0.05 "$MNT"
is "top" $code 0
has "has counters" "$out" "published_total"
is "two looks" "$(grep -c "per second" <<<"$out")" 2
run top --json -n 1 -d 0.05 "$MNT"
is "top --json" $code 0
if command -v python3 >/dev/null; then
	ok "is JSON" python3 -c 'import json, sys; o = json.loads(sys.argv[1]); assert o["seconds"] > 0 and o["per_second"]' "$out"
fi
if command -v python3 >/dev/null; then
	ok "all of it is UTF-8, whatever directories are called" python3 - "$TIDEPOOL" "$MNT" <<'PY'
import json, os, re, subprocess, sys
tidepool, mnt = sys.argv[1:]
names = {b"bad\xff": r"bad\\xff", b"bad\\xff": r"bad\\x5cxff", b"bad\xfe": r"bad\\xfe", b"cut\xe2\x82": r"cut\\xe2\\x82",
         b"new\nline": r"new\nline", b'quo"te': r"quo\"te", "fünf €".encode(): "fünf €", b"\xed\xa0\x80": r"\\xed\\xa0\\x80"}
for n in names:
    os.mkdir(os.fsencode(mnt) + b"/cache/" + n)
text = open(mnt + "/.tidepool/stats", "rb").read().decode("utf-8", "strict")
labels = re.findall(r'^tidepool_directory_uses_total\{directory="((?:[^"\\\n]|\\[\\"n])*)",result="miss"\} \d+$', text, re.M)
assert len(labels) == len(set(labels)), labels
for label in names.values():
    assert label in labels, (label, labels)
for command in (["status", "--json"], ["top", "--json", "-n", "1", "-d", "0.05"]):
    out = subprocess.run([tidepool, *command, mnt], stdout=subprocess.PIPE, check=True).stdout.decode("utf-8", "strict")
    o = json.loads(out)
    got = o["stats"] if "stats" in o else o["per_second"]
    for label in names.values():
        assert f'tidepool_directory_uses_total{{directory="{label}",result="hit"}}' in got, label
for n in names:
    os.rmdir(os.fsencode(mnt) + b"/cache/" + n)
PY
fi
for bad in "-n 0" "-n -1" "-n 1x" "-n 99999999999999999999" "-d x" "-d 0" "-d nan" "-d -nan" "-d inf" "-d -1" "-n" "-q" "--json=1"; do
	# shellcheck disable=SC2086
	out=$(within 20 "$TIDEPOOL" top -d 0.05 $bad "$MNT" 2>&1)
	is "top $bad: exit 2 and a line" "$? $(wc -l <<<"$out")" "2 1"
done
is "which names what is wrong" "$("$TIDEPOOL" top -q "$MNT" 2>&1) $("$TIDEPOOL" top "$MNT" --json=1 2>&1) $("$TIDEPOOL" top "$MNT" -n 2>&1)" \
	"tidepool top: there is no option '-q' tidepool top: there is no option '--json=1' tidepool top: -n needs a value"

# --- what cannot be printed is an error, and once ---
for c in version --help "mount --help" "status $MNT" "status --json $MNT" "top -d 0.05 $MNT" "top --json -d 0.05 $MNT" \
	"lookup $MNT/cache/d/1" "get $MNT/cache/d/1" "explain $MNT/cache/d/1"; do
	for where in /dev/full -; do
		# shellcheck disable=SC2086
		if [ $where = - ]; then
			within 20 "$TIDEPOOL" $c >&- 2>"$TP_DIR/err"
		else
			within 20 "$TIDEPOOL" $c >$where 2>"$TP_DIR/err"
		fi
		is "${c%% *} to $where: exit 1 and a line" "$? $(wc -l <"$TP_DIR/err") $(cut -c 1-43 "$TP_DIR/err")" \
			"1 1 tidepool: standard output cannot be written"
	done
done
"$TIDEPOOL" set "$MNT/cache/d" ttl >&- 2>"$TP_DIR/err"
is "who prints nothing needs no output" "$?$(cat "$TP_DIR/err")" 0
# What the reader of a pipe does not want is none; a shell that was started with SIGPIPE ignored passes that on.
sh -c 'kill -PIPE $$'
if [ $? = 141 ]; then
	out=$(set -o pipefail; seq -f "$MNT/cache/%.0f" 100000 | "$TIDEPOOL" lookup - 2>"$TP_DIR/err" | head -n 1)
	is "a closed pipe ends it quietly" "$? $out$(cat "$TP_DIR/err")" "141 miss $MNT/cache/1"
fi
"$TIDEPOOL" lookup - <&- >"$TP_DIR/out" 2>"$TP_DIR/err"
is "names that cannot be read are an error" "$? $(wc -l <"$TP_DIR/err")" "1 1"

# --- lookup ---
run lookup "$MNT/cache/d/1" "$MNT/cache/d/2" "$MNT/cache/d/none" "$MNT/cache/no/dir" "$MNT/cache/d/3"
is "lookup with misses: exit 1" $code 1
is "a line for each, and the leading hits" "$out" "hit 1000 ram $MNT/cache/d/1
hit 2000 ram $MNT/cache/d/2
miss $MNT/cache/d/none
miss $MNT/cache/no/dir
hit 3000 ram $MNT/cache/d/3
leading 2"
run lookup "$MNT/cache/d/1" "$MNT/cache/d/3"
is "without: exit 0" "$code $(tail -n 1 <<<"$out")" "0 leading 2"
out=$(cd "$MNT/cache/d" && printf '%s\n' 1 ./2 ../d/3 | "$TIDEPOOL" lookup -)
is "relative ones, from standard input" "$out" "hit 1000 ram 1
hit 2000 ram ./2
hit 3000 ram ../d/3
leading 3"
run lookup "$MNT/cache/d/1" "$TP_DIR/plain"
is "one that is elsewhere" $code 1
mkdir "$MNT/cache/many"
for i in {1..300}; do
	echo >"$MNT/cache/many/$i"
done
out=$(for i in {1..20000}; do echo "$MNT/cache/many/$i"; done | "$TIDEPOOL" lookup -)
is "twenty thousand in one go" "$(grep -c ^hit <<<"$out") $(grep -c ^miss <<<"$out") $(tail -n 1 <<<"$out")" "300 19700 leading 300"
out=$("$TIDEPOOL" lookup - </dev/null)
is "none at all" "$?$out" 0
mkdir "$MNT/cache/in"
ln -s 1 "$MNT/cache/d/link"
ln -s d "$MNT/cache/to"
mkfifo "$MNT/cache/in/fifo"
echo secret >"$MNT/cache/in/new"
names=("$MNT/cache/d/1" "$MNT/cache/d//./2" "$MNT/cache/d/3/" "$MNT/cache/d/../d/1" "$MNT/cache/d/1/x" "$MNT/cache/d" "$MNT/cache/d/link"
	"$MNT/cache/to/1" "$MNT/cache/in/fifo" "$MNT/cache/no/../d/1" "$MNT/cache/$(printf '%0300d' 0)" "$MNT/samples/none" "$MNT/cache/in/new")
run lookup "${names[@]}"
as_it_is="$code $out"
has "names of all kinds" "$as_it_is" "^hit 7 ram $MNT/cache/in/new$"
exec 5<>"$MNT/.tidepool/lookup"
printf '%s\n' cache/d/1 "$MNT/cache/d/1" /cache/./d//1/ cache/in/new '' cache/d/../d/1 cache/to/1 cache/d >&5
is "and .tidepool/lookup takes paths as the manual says" "$(tr '\n' ' ' <&5)" "hit 1000 ram hit 1000 ram hit 1000 ram hit 7 ram miss miss miss leading 4 "
exec 5>&-
# Names that nobody has are looked up without asking the mount for each of them.
long=$(printf '%085d' 0)
before=$(stat_of 'tidepool_fuse_requests_total{op="LOOKUP"}')
out=$(cd "$MNT/cache" && {
	seq -f 'many/%.0f' 300
	seq -f "./no/$long/%09.0f" 400000
	echo many/1
} | "$TIDEPOOL" lookup - | awk '{ n[$1]++ } END { print n["hit"], n["miss"], $0 }')
is "four hundred thousand long ones" "$out" "301 400000 leading 300"
after=$(stat_of 'tidepool_fuse_requests_total{op="LOOKUP"}')
[ $((after - before)) -lt 100 ]
is "cost few requests" $? 0
# Nothing can be written to a mount that is read-only, so it is asked otherwise; what it answers is the same.
if [ "$(id -u)" = 0 ] && mount -o bind "$MNT" "$MNT" && mount -o remount,bind,ro "$MNT"; then
	fails_with "a mount that is read-only" "Read-only" touch "$MNT/cache/d/new"
	run lookup "${names[@]}"
	is "answers the same" "$code $out" "$as_it_is"
	out=$(seq -f "$MNT/cache/many/%.0f" 20000 | "$TIDEPOOL" lookup -)
	is "also many" "$(grep -c '^hit 1 ram ' <<<"$out") $(grep -c ^miss <<<"$out") $(tail -n 1 <<<"$out")" "300 19700 leading 300"
	umount "$MNT"
else
	note "a read-only bind mount cannot be made here: lookup on one is not tried"
fi
rm -r "$MNT/cache/in" "$MNT/cache/to" "$MNT/cache/d/link"
run lookup "$MNT/cache/d/1" "$MNT/"
is "the mount itself is none" "$code $(wc -l <<<"$err")" "1 1"

if command -v python3 >/dev/null; then
	ok "all look-ups together take no more than 64 MiB" python3 - "$MNT" "$TP_PID" <<'PY'
import errno, os, sys
MNT, pid = sys.argv[1:]
MIB = 1 << 20

def ask():
    return os.open(MNT + "/.tidepool/lookup", os.O_RDWR)

def memory():
    for line in open(f"/proc/{pid}/status"):
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) << 10

def until_full(fd, text):
    """How many times it could be written, and why not once more."""
    for n in range(1000):
        try:
            assert os.write(fd, text) == len(text)
        except OSError as e:
            return n, e.errno

before = memory()
line = (b"x" * 1023 + b"\n") * 128
fds = [ask() for _ in range(10)]
got = [until_full(fd, line) for fd in fds]
assert [g[1] for g in got[:3]] == [errno.EFBIG] * 3, got
assert [g[1] for g in got[4:]] == [errno.EDQUOT] * 6, got
assert sum(g[0] for g in got) * len(line) <= 64 * MIB, got
# Sanitizers keep what was freed.
if os.environ.get("TP_SLOW", "1") == "1":
    assert memory() - before < 80 * MIB, f"{memory() - before} bytes more"
for fd in fds[3:]:
    os.close(fd)
# What is kept counts, too: 16 bytes an object, and what is asked no more once it is answered.
fd, names, rounds = ask(), b"cache/d/1\n" * 1000, 0
try:
    while rounds < 10000:
        os.write(fd, names)
        rounds += 1
        answer = b""
        while not answer.endswith(b"leading 1000\n"):
            answer += os.read(fd, 1 << 16)
except OSError as e:
    assert e.errno == errno.EDQUOT, e
assert 300 < rounds < 1000, rounds
for f in fds[:3] + [fd]:
    os.close(f)
fd = ask()
assert until_full(fd, line)[1] == errno.EFBIG
PY
fi

# --- get, set ---
run get "$MNT/cache/d/1" tier
is "get one" "$code $out" "0 ram"
run get "$MNT/cache/d/1"
has "get all" "$out" "^generation=[0-9]+$"
has "with what is inherited" "$out" "^pin=0$"
lacks "and no empty ones" "$out" "^quota="
run set "$MNT/cache/d" pin=1 ttl=1000
is "set two" "$code$err" 0
run get "$MNT/cache/d" pin user.tidepool.ttl
is "short and long names" "$out" "pin=1
user.tidepool.ttl=1000"
run get "$MNT/cache/d/1" pin
is "it is inherited" "$out" 1
if command -v getfattr >/dev/null; then
	is "getfattr agrees" "$(getfattr --only-values -n user.tidepool.pin "$MNT/cache/d/1" 2>/dev/null)" 1
	lacks "but does not list it" "$(getfattr -d "$MNT/cache/d" 2>/dev/null)" tidepool
fi
run set "$MNT/cache/d" pin
is "removed" $code 0
run get "$MNT/cache/d/1" pin
is "what was inherited is gone" "$out" 0
run set "$MNT/cache/d/1" user.schema=v1
run get "$MNT/cache/d/1" user.schema
is "the user's own" "$out" v1
run get "$MNT/cache/d/1" user.none
is "one that is not there: exit 1" "$code $(wc -l <<<"$err")" "1 1"
run set "$MNT/cache/d" pin=maybe
is "a bad value: exit 1" $code 1
for good in quota=8M ttl=5 user.x=1 pin; do
	for bad in pin=maybe depth=-1 nonsense=1 temp=*.x tier=tape =1; do
		run set "$MNT/cache/d" $good "$bad"
		[ $code != 0 ] && [ "$(wc -l <<<"$err")" = 1 ]
		is "$good and $bad: refused in a line" $? 0
	done
done
run get "$MNT/cache/d"
lacks "and nothing was changed" "$out" "^quota=|^ttl=5|^user.x="
mkdir "$MNT/samples/s"
run set "$MNT/samples/s" temp='*.x' commit=live
is "a stream: a bad step" $code 1
run set "$MNT/samples/s" temp='*.x' commit=close
is "good ones" "$code$err" 0
run get "$MNT/samples/s" temp
is "are set" "$out" "*.x"
rmdir "$MNT/samples/s"
run set "$MNT/cache/d/1" user.two='a b
c'
run get "$MNT/cache/d/1"
has "get all has the user's own" "$out" "^user.schema=v1$"
has "each on its line" "$out" "^user.two=a.x20b.x0ac$"
run set "$MNT/cache/d" tier=ram
is "a directory is in no tier: exit 1" $code 1
run set "$MNT/cache/d" commit=never
is "a bad step: exit 1" $code 1
run set "$MNT/samples" nonsense=1
is "an unknown key: exit 1" $code 1
run set "$MNT/cache/d/1" generation=7
is "what can only be read: exit 1" $code 1
run set "$MNT/cache/d" =1
is "no key: exit 2" $code 2
run get "$MNT/cache/none" pin
is "no such file: exit 1" $code 1

# --- explain ---
run explain "$MNT/cache/d/1"
is "explain" $code 0
has "where it is" "$out" "ram"
exec 5>"$MNT/cache/d/draft"
run explain "$MNT/cache/d/draft"
is "a draft of another process is not there" $code 1
has "but it says who writes it" "$out" "drafts: .*draft.*$$"
exec 5>&-
exec 5>"$MNT/cache/d/draft.of:a b"
run explain "$MNT/cache/d/draft.of:a b"
has "a name with a blank" "$out" "drafts: cache/d/draft.of:a.x20b "
for name in draft draft.of draft.of:a a b; do
	run explain "$MNT/cache/d/$name"
	lacks "a part of it is another name: $name" "$out" "drafts:"
done
exec 5>&-
rm "$MNT/cache/d/draft.of:a b"
run explain "$MNT/cache/d/never"
is "what never was" $code 1
has "says that it is not there" "$out" "is not there"
has "and that nothing is known" "$out" "nothing that is kept names it"
ln -s 1 "$MNT/cache/d/link"
run explain "$MNT/cache/d/link"
is "a symbolic link" "$code$err $out" "0 symbolic link to: 1
can be evicted: no, kept in the ledger"
rm "$MNT/cache/d/link"
mkfifo "$MNT/cache/d/fifo"
run explain "$MNT/cache/d/fifo"
has "a fifo" "$code $out" "^0 fifo"
rm "$MNT/cache/d/fifo"
ln -s 1 "$TP_DIR/link"
run explain "$TP_DIR/link"
is "a link outside" "$code$out" 1
run explain "$TP_DIR/none"
is "outside" $code 1

# --- who holds it ---
# held_by PATTERN: so it says in drafts of what lies at cache/d/passed.
held_by()
{
	timeout 20 cat "$MNT/.tidepool/drafts" | grep -qE -- "^cache/d/passed .*, written by [0-9]+ \([^)]*\), held by $1$"
}
sees_descriptors()
{
	[ "$(id -u)" = 0 ] && grep -q ^ino: /proc/self/fdinfo/0
}
exec 6<"$MNT/cache/d/1"
run explain "$MNT/cache/d/1"
has "who reads it" "$out" "^held by: $$ \\("
has "and so it stays" "$out" "^can be evicted: no, open$"
exec 6<&-
run explain "$MNT/cache/d/1"
lacks "closed: nobody" "$out" "^held by:"
bash -c 'exec 5>"$1"; sleep 1000 & echo $! >"$2"' - "$MNT/cache/d/passed" "$TP_DIR/pid"
pid=$(cat "$TP_DIR/pid")
if sees_descriptors; then
	ok "the writer is gone and its child has the descriptor" eventually 10 held_by "$pid \(sleep\)"
else
	ok "the writer is gone and who has the descriptor cannot be seen" eventually 10 held_by "a process that is not known"
fi
kill "$pid"
ok "the child is gone" eventually 10 test -e "$MNT/cache/d/passed"
bash -c 'exec 5<"$1"; sleep 1000 & echo $! >"$2"' - "$MNT/cache/d/1" "$TP_DIR/pid"
pid=$(cat "$TP_DIR/pid")
if sees_descriptors; then
	run explain "$MNT/cache/d/1"
	has "a reader that was given the descriptor" "$out" "^held by: $pid \(sleep\)$"
fi
kill "$pid"
rm "$MNT/cache/d/passed"
# The kernel keeps most of /proc/PID locked during an execve, which here waits for another daemon.
if sees_descriptors && command -v python3 >/dev/null; then
	first=$MNT first_pid=$TP_PID first_log=$TP_LOG
	tp_mount
	mkfifo "$TP_DIR/go"
	bash -c 'exec 5>"$1"; python3 -c "
import os, sys
os.set_inheritable(5, True)
os.write(os.open(sys.argv[1], os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC), b\"x\")
open(sys.argv[2]).read()
os.execlp(\"sleep\", \"sleep\", \"1000\")
" "$2" "$3" & echo $! >"$4"' - "$first/cache/d/passed" "$MNT/cache/x" "$TP_DIR/go" "$TP_DIR/pid"
	pid=$(cat "$TP_DIR/pid")
	exec 6>"$TP_DIR/go"
	kill -STOP "$TP_PID"
	exec 6>&-
	in_execve()
	{
		! timeout -s KILL 1 readlink "/proc/$pid/exe" >/dev/null 2>&1
	}
	ok "a process waits in execve" eventually 20 in_execve
	second=$MNT MNT=$first
	ok "and is named all the same" held_by "$pid \(python3\)"
	MNT=$second
	kill -CONT "$TP_PID"
	kill "$pid"
	ok "it ends" eventually 10 process_gone "$pid"
	tp_umount
	MNT=$first TP_PID=$first_pid TP_LOG=$first_log STATE=${STATE%.*}.0
	ok "its draft, too" eventually 10 test -e "$MNT/cache/d/passed"
	rm "$MNT/cache/d/passed"
fi

# --- what waits ---
if command -v flock >/dev/null; then
	exec 6>>"$MNT/cache/d/lock"
	flock 6
	flock "$MNT/cache/d/lock" true 6>&- &
	says_waits()
	{
		grep -qE "^[0-9]+ flock cache/d/lock.*, for [0-9]+\.[0-9]{3} s$" "$MNT/.tidepool/waits"
	}
	ok "waits says who waits, on what, and for how long" eventually 10 says_waits
	exec 6>&-
	wait $!
	rm "$MNT/cache/d/lock"
fi

# --- what the manual says of every directory ---
if command -v python3 >/dev/null; then
	ok "no attributes but user.*, and reading moves no times" python3 - "$MNT/cache/d/1" <<'PY'
import errno, os, struct, sys
acl = struct.pack("<I" + 4 * "HHI", 2, 1, 6, -1 % 2**32, 4, 4, -1 % 2**32, 16, 6, -1 % 2**32, 32, 4, -1 % 2**32)
for name in "security.x", "trusted.x", "system.posix_acl_access":
    if name == "trusted.x" and os.geteuid() != 0:
        continue
    try:
        os.setxattr(sys.argv[1], name, acl)
        sys.exit(name + " was set")
    except OSError as e:
        assert e.errno == errno.EOPNOTSUPP, (name, e)
before = os.stat(sys.argv[1])
open(sys.argv[1], "rb").read()
assert os.stat(sys.argv[1]).st_atime_ns == before.st_atime_ns
PY
fi

# --- warm ---
before=$(stat_of 'tidepool_fuse_requests_total{op="OPEN"}')
run warm "$MNT/cache/d" "$MNT/cache/many/1"
is "warm is quiet in a pipe" "$code$out$err" 0
after=$(stat_of 'tidepool_fuse_requests_total{op="OPEN"}')
[ $((after - before)) -ge 4 ]
is "and opened what is below" $? 0
run warm "$MNT/cache/none"
is "a missing one: exit 1" "$code $(wc -l <<<"$err")" "1 1"
if script -qec true /dev/null </dev/null >/dev/null 2>&1; then
	has "on a terminal it shows how far it is" "$(script -qec "'$TIDEPOOL' warm '$MNT/cache/d'" /dev/null </dev/null)" "4 objects"
fi

# --- a STATE that is not mounted ---
bash -c 'exec 5>"$1"; sleep 1000 & echo $! >"$2"' - "$MNT/cache/d/left" "$TP_DIR/pid"
pid=$(cat "$TP_DIR/pid")
tp_umount
if sees_descriptors; then
	has "umount names who has the descriptor" "$(cat "$TP_DIR/.umount")" "left open: cache/d/left \(process $pid, sleep\)"
fi
kill "$pid"
run status "$STATE"
is "status of a STATE" $code 0
has "says that it is not mounted" "$out" "not mounted"
has "which it is" "$out" "^uuid +[0-9a-f-]{36}$"
sums=$(cd "$STATE" && find . -type f -exec sha256sum {} + | sort)
run status --json "$STATE"
is "as JSON" $code 0
if command -v python3 >/dev/null; then
	ok "it is JSON" python3 -c 'import json, sys; o = json.loads(sys.argv[1]); assert o["mounted"] is False and len(o["uuid"]) == 36 and o["names"] > 0, o' "$out"
fi
run top -n 1 "$STATE"
is "top shows what status does" "$code$err $out" "0 $("$TIDEPOOL" status "$STATE")"
run top -d 0.05 "$TP_DIR/none"
is "but not what is no STATE" "$code $(wc -l <<<"$err")" "1 1"
mv "$STATE" "$STATE"$'\xff'
run status --json "$STATE"$'\xff'
mv "$STATE"$'\xff' "$STATE"
has "a name that is no UTF-8 is escaped" "$out" '"state":"[^"]*\\\\xff",'
is "nothing in it was changed" "$(cd "$STATE" && find . -type f -exec sha256sum {} + | sort)" "$sums"

# --- top, while it is mounted and unmounted ---
shows()
{
	[[ $(tail -n 1 "$TP_DIR/top") == '{"mounted":'$1,*'}' ]]
}
"$TIDEPOOL" top --json -d 0.02 "$STATE" >"$TP_DIR/top" 2>"$TP_DIR/err" &
top=$!
ok "top of a STATE that is not mounted" eventually 10 shows false
tp_start || exit 1
ok "goes over to the mount" eventually 10 shows true
tp_umount
ok "and back" eventually 10 shows false
tp_start || exit 1
ok "and again" eventually 10 shows true
kill $top
wait $top
is "without a word of error" "$?$(cat "$TP_DIR/err")" 143
if command -v python3 >/dev/null; then
	ok "what it said is JSON, and no rate is below 0" python3 - "$TP_DIR/top" <<'PY'
import json, sys
for line in open(sys.argv[1]).read().rpartition("\n")[0].splitlines():
    assert min(json.loads(line).get("per_second", {"": 0}).values()) >= 0, line
PY
fi
# What the one before said is not to be taken for what this one says: it may begin late.
: >"$TP_DIR/top"
"$TIDEPOOL" top --json -d 0.02 "$MNT" >"$TP_DIR/top" 2>"$TP_DIR/err" &
top=$!
ok "by its mount point, too" eventually 10 shows true
tp_umount
ok "it shows the STATE afterwards" eventually 10 shows false
kill $top
wait $top
is "without a word of error, too" "$?$(cat "$TP_DIR/err")" 143

if [ "$(id -u)" = 0 ] && unshare -m --propagation private true 2>/dev/null; then
	mkdir "$TP_DIR/away"
	unshare -m --propagation private "$TIDEPOOL" mount "$STATE" "$TP_DIR/away" -f -o ram=32M 2>"$TP_DIR/away.log" &
	pid=$!
	ok "mounted where it is not seen" eventually 20 grep -q "^$pid serves" "$STATE/daemon"
	run top -n 1 "$STATE"
	has "top says who has it" "$code$err $out" "^0 state +$STATE, in use by process $pid at $TP_DIR/away$"
	run status "$STATE"
	is "for status that is an error" "$code $(wc -l <<<"$err")" "1 1"
	kill $pid
	wait $pid
	is "it ends" $? 0
fi

# --- explain, of what was evicted ---
tp_mount -o ram=16M
mkdir -p "$MNT/cache/d/e"
echo x >"$MNT/cache/d/e/cold one"
ln "$MNT/cache/d/e/cold one" "$MNT/cache/other"
echo x >"$MNT/cache/d/e/warm"
# What is used right after it was written counts as looked at by its writer.
for i in {1..8}; do
	echo "$i" >"$MNT/cache/d/e/last$i"
done
run set "$MNT/cache/d/e/warm" tier=ram
is "tier=ram" "$code$err" 0
fill()
{
	local i
	for i in {1..8}; do
		head -c 4M /dev/zero >"$MNT/cache/fill.$i"
	done
	[ ! -e "$MNT/cache/other" ]
}
ok "it is evicted" eventually 60 fill
ok "what was made hot is not" test -e "$MNT/cache/d/e/warm"
ok "though what came after it is" test ! -e "$MNT/cache/d/e/last1"
run explain "$MNT/cache/d/e/cold one"
is "explain of what was evicted" $code 1
has "says that it was, and when" "$out" "evicted: 2[0-9-]+T[0-9:]+Z cache/d/e/cold.x20one$"
run explain "$MNT/cache/other"
has "by its other name, too" "$out" "evicted: .* cache/other$"
run explain "$MNT/cache/d/e/cold"
lacks "and of no name that is like it" "$out" "evicted:"
