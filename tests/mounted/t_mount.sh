#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Mounting and unmounting in all the ways there are, and what they say when it cannot be.
. "$(dirname "$0")/lib.sh"
requires_root

S=$TP_DIR/s
M=$TP_DIR/m
mkdir "$M"
o=ram=32M,prefault=off

daemon_of()
{
	cut -d' ' -f1 "$1/daemon"
}

says_not_connected()
{
	stat -f "$M" 2>&1 | grep -qE 'not connected|connection abort'
}

# ends PID: that daemon is gone soon.
ends()
{
	ok "$1" eventually 20 process_gone "$2"
}

# --- what is refused, and what it leaves: nothing ---
fails_with "a missing mount point is named" "$M/none does not exist" "$TIDEPOOL" mount "$S" "$M/none" -o $o
touch "$TP_DIR/file"
fails_with "a file is no mount point" "$TP_DIR/file is not a directory" "$TIDEPOOL" mount "$S" "$TP_DIR/file" -o $o
mkdir "$TP_DIR/full" && touch "$TP_DIR/full/x"
fails_with "a full mount point is named" "$TP_DIR/full is not empty" "$TIDEPOOL" mount "$S" "$TP_DIR/full" -o $o
fails_with "a directory of something else is no STATE" "is not a tidepool store: it has x" \
	"$TIDEPOOL" mount "$TP_DIR/full" "$M" -o $o
is "and nothing is written to it" "$(ls -A "$TP_DIR/full")" x
mkdir "$TP_DIR/home" "$TP_DIR/foreign" "$TP_DIR/foreign/ledger"
touch "$TP_DIR/home/.bashrc" "$TP_DIR/home/events-2024.txt" "$TP_DIR/foreign/ledger/2024.txt"
fails_with "names that only begin like a store's are something else's" "is not a tidepool store" \
	"$TIDEPOOL" mount "$TP_DIR/home" "$M" -o $o
fails_with "so is a ledger that is" "is not a tidepool store: its ledger is empty" "$TIDEPOOL" mount "$TP_DIR/foreign" "$M" -o $o
seq 9999 >"$TP_DIR/foreign/ledger/data.mdb"
fails_with "also of the same name" "not a ledger of tidepool" "$TIDEPOOL" mount "$TP_DIR/foreign" "$M" -o $o
is "nothing is written to them" "$(find "$TP_DIR/home" "$TP_DIR/foreign" -type f | wc -l)" 4
for s in "$M" "$M/s"; do
	fails_with "STATE $s in its mount point" "cannot be in the mount point $M" "$TIDEPOOL" mount "$s" "$M" -o $o
done
is "and nothing is written there" "$(ls -A "$M")" ""
mkdir "$TP_DIR/new"
for s in "$S" "$TP_DIR/new"; do
	fails_with "a pool that is not there" "/nonexistent" "$TIDEPOOL" mount "$s" "$M" -o $o,pool=/nonexistent
	fails_with "a mount that the kernel refuses" "cannot mount at" \
		setpriv --bounding-set -sys_admin --inh-caps -sys_admin "$TIDEPOOL" mount "$s" "$M" -o $o
done
is "leave an empty directory empty" "$(ls -A "$TP_DIR/new")" ""
fails_with "a file is no STATE" "is not a directory" "$TIDEPOOL" mount "$TP_DIR/file" "$M" -o $o
fails_with "STATE in a missing directory" "cannot be used" "$TIDEPOOL" mount "$TP_DIR/a/b" "$M" -o $o
"$TIDEPOOL" mount "$S" "$M" -o $o,wet >"$TP_DIR/out" 2>&1
is "an unknown option is exit 2" $? 2
is "in one sentence" "$(cat "$TP_DIR/out")" "tidepool mount: there is no option 'wet'"
for bad in ram=x ram=1K high=101 low=95 drain=no hugepages=maybe ssd=/dev/null cluster=etcd://h:1/n metrics=:1 degraded; do
	"$TIDEPOOL" mount "$S" "$M" -o $bad >"$TP_DIR/out" 2>&1
	is "$bad is exit 2 and one line" "$? $(wc -l <"$TP_DIR/out")" "2 1"
done
TIDEPOOL_DRAIN=soon "$TIDEPOOL" mount "$S" "$M" -o $o >"$TP_DIR/out" 2>&1
is "so is a bad value in the environment" "$? $(wc -l <"$TP_DIR/out")" "2 1"
"$TIDEPOOL" mount "$S" >"$TP_DIR/out" 2>&1
is "and a missing argument" "$? $(wc -l <"$TP_DIR/out")" "2 1"
for bad in -f=1 -q --foreground=1 --fore=1 --no; do
	word=$bad
	[ $bad = -f=1 ] && word=-=
	is "$bad is named" "$("$TIDEPOOL" mount "$S" "$M" $bad 2>&1)" "tidepool mount: there is no option '$word'"
done
is "so is -o without a value" "$("$TIDEPOOL" mount "$S" "$M" -o 2>&1)" "tidepool mount: -o needs a value"
fails "nothing was made" test -e "$S"
fails "nothing was mounted" is_mounted "$M"
mkdir "$TP_DIR/lower" "$TP_DIR/upper" "$TP_DIR/work" "$TP_DIR/over"
if mount -t overlay overlay -o "lowerdir=$TP_DIR/lower,upperdir=$TP_DIR/upper,workdir=$TP_DIR/work" "$TP_DIR/over" 2>/dev/null; then
	fails_with "STATE on overlayfs is refused" "overlayfs" "$TIDEPOOL" mount "$TP_DIR/over/s" "$M" -o $o
	is "and nothing is written there" "$(ls -A "$TP_DIR/over")" ""
	umount "$TP_DIR/over"
else
	note "no overlayfs here: its refusal is not tried"
fi

# --- in the background ---
out=$("$TIDEPOOL" mount "$S" "$M" -o $o 2>"$TP_DIR/err")
is "mount returns with 0" $? 0
ok "and the mount answers at once" test -d "$M/cache"
has "it says that a store was made" "$out" "^tidepool: made a new store [0-9a-f-]{36} in $S, 0 samples, 0 objects, mounted at $M$"
is "in one line" "$(wc -l <<<"$out")" 1
has "and once that samples are not durable" "$(cat "$TP_DIR/err")" "^tidepool: .*not durable"
is "nothing else" "$(wc -l <"$TP_DIR/err")" 1
uuid=$(grep -oE '[0-9a-f-]{36}' <<<"$out")
has "the source of the mount is STATE" "$(grep " $M " /proc/self/mountinfo)" " - fuse.tidepool $S "
pid=$(daemon_of "$S")
is "it has no terminal and no directory of ours" "$(readlink "/proc/$pid/cwd") $(awk '{ print $7 }' "/proc/$pid/stat")" "/ 0"
has "config says where values came from" "$(cat "$M/.tidepool/config")" "^ram=32M +# command line$"
has "and which are the defaults" "$(cat "$M/.tidepool/config")" "^high=90 +# default$"
fails_with "a mount point that is in use is refused" "there is a tidepool mount at $M already" \
	"$TIDEPOOL" mount "$TP_DIR/s2" "$M" -o $o
mkdir "$TP_DIR/m2"
fails_with "a STATE that is in use is refused, by whom" "$S is in use by process $pid, which serves it at $M" \
	"$TIDEPOOL" mount "$S" "$TP_DIR/m2" -o $o
fails_with "STATE inside a mount is refused" "is inside a tidepool mount" "$TIDEPOOL" mount "$M/cache/s" "$TP_DIR/m2" -o $o
ok "the first is as it was" touch "$M/cache/x"
ok "a directory is made" mkdir "$M/cache/d"
ok "umount" "$TIDEPOOL" umount "$M"
ok "waited until the daemon had ended" process_gone "$pid"
fails "nothing is mounted" is_mounted "$M"
fails_with "a store that was there" "/nonexistent" "$TIDEPOOL" mount "$S" "$M" -o $o,pool=/nonexistent
ok "stays" test -s "$S/ledger/data.mdb"

# --- without standard descriptors ---
"$TIDEPOOL" mount "$S" "$M" -o $o <&- >&- 2>"$TP_DIR/err"
is "nothing to read from or print to: mount returns with 0" $? 0
is "and says the same" "$(wc -l <"$TP_DIR/err")" 1
ok "and the mount answers" test -d "$M/cache"
"$TIDEPOOL" umount "$M" <&- >&- 2>&-
is "umount, too" $? 0
"$TIDEPOOL" mount "$S" "$M" -f -o $o <&- >&- 2>&- &
pid=$!
ok "-f with nowhere to log to serves" eventually 20 test -d "$M/cache"
rest=$(readlink "/proc/$pid/fd/0" "/proc/$pid/fd/1" "/proc/$pid/fd/2" | tr '\n' ' ')
kill $pid
wait $pid
is "and ends with success" $? 0
is "no file of its own is standard error" "$rest" "/dev/null /dev/null /dev/null "
lacks "and none got the log" "$(cat "$S/lock" "$S/daemon")" volatile

# --- fstab, environment ---
out=$(TIDEPOOL_HIGH=70 TIDEPOOL_LOW=60 TIDEPOOL_NONSENSE=1 "$TIDEPOOL" "$S" "$M" -o rw,dev,suid,$o,nofail,_netdev,x-systemd.automount,low=50 2>"$TP_DIR/err")
is "the call that fstab makes" $? 0
has "an old store is opened" "$out" "^tidepool: opened the store $uuid in $S"
ok "with what was in it" test -d "$M/cache/d"
has "an unknown name in the environment is warned about" "$(cat "$TP_DIR/err")" "TIDEPOOL_NONSENSE"
has "the environment counts" "$(cat "$M/.tidepool/config")" "^high=70 +# environment$"
has "the command line wins" "$(cat "$M/.tidepool/config")" "^low=50 +# command line$"
pid=$(daemon_of "$S")
ok "fusermount3 -u" fusermount3 -u "$M"
ends "its daemon drains and ends" "$pid"
if command -v mount.fuse >/dev/null; then
	# The type fuse.tidepool has the program looked for in the system's own directories; this names it.
	ok "mount(8)" mount -t fuse "$TIDEPOOL#$S" "$M" -o $o,nofail
	ok "is there" test -d "$M/cache/d"
	ok "umount(8)" umount "$M"
fi
# Right behind the other: its STATE may be drained still, which is waited for.
ok "a STATE that is being drained is waited for" "$TIDEPOOL" mount "$S" "$M" -o $o

# --- open files ---
pid=$(daemon_of "$S")
echo content >"$M/cache/held"
tail -f "$M/cache/held" >/dev/null 2>&1 &
holder=$!
reads_it()
{
	[ "$(readlink "/proc/$holder/fd/"* 2>/dev/null | grep -c "$M/cache/held")" -gt 0 ]
}
eventually 10 reads_it || fail "tail opened the file"
# A name that would make a line of its own, in whatever names it.
nasty=$M/cache/a$'\n'"not drained: ha"
waits_for_lock()
{
	grep -qE '^[0-9]+ flock cache/a.x0anot.x20drained:.x20ha, for' "$M/.tidepool/waits"
}
exec 7>"$nasty"
flock 7
flock "$nasty" true &
locker=$!
ok "a lock is waited for" eventually 10 waits_for_lock
kill "$locker"
wait "$locker" 2>/dev/null
python3 -c 'import errno, fcntl, os, sys
file = os.open(sys.argv[1], os.O_RDONLY | os.O_CREAT)
try:
    fcntl.flock(file, fcntl.LOCK_EX)
except OSError as e:
    print(errno.errorcode.get(e.errno, e.errno))' "$nasty" >"$TP_DIR/lock" &
locker=$!
ok "another waits for it to the end" eventually 10 grep -q "^$locker flock" "$M/.tidepool/waits"
out=$("$TIDEPOOL" umount "$M" 2>&1)
is "umount goes ahead under open files" $? 0
has "and names them, and who had them" "$out" "cache/held.*$holder.*tail"
has "one a line" "$out" "left open: cache/a.x0anot.x20drained:.x20ha .process $$, bash"
is "whatever its name is" "$(grep -cvE '^tidepool umount: left open: ' <<<"$out")" 0
exec 7>&-
wait "$locker"
is "who waited for a lock hears that the mount is gone" "$(cat "$TP_DIR/lock")" ENOTCONN
fails "the mount is gone" is_mounted "$M"
ok "its daemon, too" process_gone "$pid"
kill "$holder" 2>/dev/null
wait "$holder" 2>/dev/null

# --- signals, -f ---
for s in TERM INT HUP; do
	"$TIDEPOOL" mount "$S" "$M" -o $o -f 2>"$TP_DIR/err" &
	pid=$!
	ok "-f serves" eventually 20 test -d "$M/cache"
	kill -$s $pid
	wait $pid
	is "SIG$s ends it with success" $? 0
	fails "and takes the mount away" is_mounted "$M"
	has "the log is on stderr" "$(cat "$TP_DIR/err")" " drain ok"
done
fails_with "-f says why not, too" "is not empty" "$TIDEPOOL" mount "$S" "$TP_DIR/full" -o $o -f

# --- a daemon that was killed ---
ok "mount" "$TIDEPOOL" mount "$S" "$M" -o $o
ok "mkdir, and then it is killed" mkdir "$M/cache/kept"
kill -KILL "$(daemon_of "$S")"
ok "its mount answers ENOTCONN" eventually 10 says_not_connected
has "status says it" "$("$TIDEPOOL" status "$M" 2>&1)" "daemon of the mount at $M is dead"
ok "mount clears the dead mount" "$TIDEPOOL" mount "$S" "$M" -o $o
is "once" "$(grep -c " $M " /proc/self/mountinfo)" 1
ok "and what was answered before the kill is there" test -d "$M/cache/kept"
kill -KILL "$(daemon_of "$S")"
ok "dead again" eventually 10 says_not_connected
has "umount clears it, too" "$("$TIDEPOOL" umount "$M" 2>&1)" "had died"
fails "it is gone" is_mounted "$M"
fails_with "umount of what is no mount" "there is no tidepool mount at $M" "$TIDEPOOL" umount "$M"

# --- read-only and other options ---
ok "ro" "$TIDEPOOL" mount "$S" "$M" -o $o,ro,noexec
fails_with "nothing can be made" "Read-only" mkdir "$M/cache/new"
ok "what is there can be seen" test -d "$M/cache/kept"
is "and looked up" "$("$TIDEPOOL" lookup "$M/cache/kept/none" 2>&1 | tr '\n' ' ')" "miss $M/cache/kept/none leading 0 "
has "noexec reaches the kernel" "$(grep " $M " /proc/self/mountinfo)" "noexec"
ok "umount" "$TIDEPOOL" umount "$M"

# --- what is of the kernel or of mount(8) ---
ok "nosymfollow" "$TIDEPOOL" mount "$S" "$M" -o $o,nosymfollow,nodev,context=any_u:any_r:any_t:s0,mand,noiversion
ln -s kept "$M/cache/link"
fails_with "no link is followed" "Too many levels" ls "$M/cache/link/"
is "but it is read" "$(readlink "$M/cache/link")" kept
rm "$M/cache/link"
ok "umount" "$TIDEPOOL" umount "$M"
fails_with "a remount says what to do" "unmount, and mount again" "$TIDEPOOL" "$S" "$M" -o remount,ro

# --- files that back the pool ---
case $(stat -f -c %T "$TP_DIR") in
tmpfs | ramfs) note "no disk here: a pool on one is not tried" ;;
*)
	truncate -s 64M "$TP_DIR/pool"
	"$TIDEPOOL" mount "$S" "$M" -o "$o,pool=$TP_DIR/pool" >"$TP_DIR/out" 2>&1
	is "a pool on a disk is exit 2 and one line" "$? $(wc -l <"$TP_DIR/out")" "2 1"
	has "which says why" "$(cat "$TP_DIR/out")" "pool=$TP_DIR/pool is a file neither on tmpfs nor on hugetlbfs"
	;;
esac
if mkdir "$TP_DIR/tmpfs" && mount -t tmpfs -o size=200M tmpfs "$TP_DIR/tmpfs"; then
	truncate -s $((48 * 1024 * 1024 + 1)) "$TP_DIR/tmpfs/a"
	truncate -s 32M "$TP_DIR/tmpfs/b"
	ok "without ram" "$TIDEPOOL" mount "$S" "$M" -o "prefault=off,pool=$TP_DIR/tmpfs/a,pool=$TP_DIR/tmpfs/b"
	has "files give the size that they have" "$(cat "$M/.tidepool/config")" "^ram=80M +# default: the size of the pool's files$"
	has "the whole of it" "$(cat "$M/.tidepool/stats")" "^tidepool_pool_size_bytes $((80 * 1024 * 1024))$"
	ok "umount" "$TIDEPOOL" umount "$M"
	is "and are as long as they were" "$(stat -c %s "$TP_DIR/tmpfs/"? | tr '\n' ' ')" "50331649 33554432 "
	umount "$TP_DIR/tmpfs"
fi

# --- strange names ---
ok "names with blanks, commas and backslashes" mkdir "$TP_DIR/m, \\n x"
ok "are mounted" "$TIDEPOOL" mount "$TP_DIR/s, \\t x" "$TP_DIR/m, \\n x" -o $o
ok "and found" touch "$TP_DIR/m, \\n x/cache/f"
ok "by commands" "$TIDEPOOL" get "$TP_DIR/m, \\n x/cache/f"
ok "and unmounted" "$TIDEPOOL" umount "$TP_DIR/m, \\n x"
cd "$TP_DIR" || exit 1
ok "relative names" "$TIDEPOOL" mount s m -o $o
ok "relative umount" "$TIDEPOOL" umount ./m/
ln -s m link
ok "through a link" "$TIDEPOOL" mount s link -o $o
ok "and back" "$TIDEPOOL" umount link
fails "no mount" is_mounted "$M"

# --- two at once ---
("$TIDEPOOL" mount "$S" "$M" -o $o >"$TP_DIR/one" 2>&1; echo $? >>"$TP_DIR/codes") &
("$TIDEPOOL" mount "$S" "$TP_DIR/m2" -o $o >"$TP_DIR/two" 2>&1; echo $? >>"$TP_DIR/codes") &
wait
is "of two mounts of one STATE at once one is refused" "$(sort "$TP_DIR/codes" | tr '\n' ' ')" "0 1 "
mounted=$M
is_mounted "$M" || mounted=$TP_DIR/m2
ok "the other works" touch "$mounted/cache/y"
ok "umount" "$TIDEPOOL" umount "$mounted"
