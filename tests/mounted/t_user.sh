#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# An ordinary user mounts through fusermount3, uses the mount, and unmounts it.

# Where only root may open /dev/fuse, one for everybody is laid over it, in a mount namespace of our own.
if [ -z "${TP_OWN_FUSE:-}" ] && [ "$(id -u)" = 0 ] && [ "$(stat -c %a /dev/fuse 2>/dev/null)" = 600 ] &&
	unshare -m --propagation private true 2>/dev/null; then
	exec env TP_OWN_FUSE=1 unshare -m --propagation private bash "$0" "$@"
fi
. "$(dirname "$0")/lib.sh"
requires_user
requires fusermount3
requires python3
if [ -n "${TP_OWN_FUSE:-}" ]; then
	mknod -m 666 "$TP_DIR/fuse" c 10 229 && mount --bind "$TP_DIR/fuse" /dev/fuse
fi
as_user test -r "$TIDEPOOL" || skip "an ordinary user cannot reach $TIDEPOOL"
as_user test -w /dev/fuse || skip "an ordinary user cannot open /dev/fuse"

U=$TP_DIR/user
mkdir "$U" "$U/m" "$TP_DIR/rootm"
chown -R $NOBODY:$NOBODY "$U"
o=ram=32M,prefault=off

gone()
{
	! is_mounted "$U/m"
}

fails_with "nosymfollow is for root" "cannot be had but by root" as_user "$TIDEPOOL" mount "$U/s" "$U/m" -o $o,nosymfollow
ok "mount" as_user "$TIDEPOOL" mount "$U/s" "$U/m" -o $o
has "it is the user's" "$(grep " $U/m " /proc/self/mountinfo)" "user_id=$NOBODY"
pid=$(cut -d' ' -f1 "$U/s/daemon")
is "so is the daemon" "$(stat -c %u "/proc/$pid")" $NOBODY
ok "a file is written" as_user sh -c "echo hello >'$U/m/cache/f'"
is "and read" "$(as_user cat "$U/m/cache/f")" hello
is "it is owned by who wrote it" "$(as_user stat -c %u "$U/m/cache/f")" $NOBODY
ok "a stream" as_user mkdir "$U/m/samples/s"
ok "a sample" as_user sh -c "echo x >'$U/m/samples/s/.x.tmp' && mv '$U/m/samples/s/.x.tmp' '$U/m/samples/s/x'"
is "is there" "$(as_user ls "$U/m/samples/s")" x
ok "an attribute" as_user "$TIDEPOOL" set "$U/m/cache" pin=1
is "is set" "$(as_user "$TIDEPOOL" get "$U/m/cache" pin)" 1
ok "status" as_user "$TIDEPOOL" status "$U/m"
ok "what tells of names is the user's" as_user cat "$U/m/.tidepool/events" "$U/m/.tidepool/drafts" "$U/m/.tidepool/waits"
fails "others are kept out, root among them" ls "$U/m/cache"
fails_with "and root sees that it is in use" "in use by process $pid" "$TIDEPOOL" mount "$U/s" "$TP_DIR/rootm" -o $o
ok "umount" as_user "$TIDEPOOL" umount "$U/m"
ok "took the mount away" gone
ok "and waited for the daemon" process_gone "$pid"

ok "mount again" as_user "$TIDEPOOL" mount "$U/s" "$U/m" -o $o
ok "the stream is there" as_user test -d "$U/m/samples/s"
ok "fusermount3 -u" as_user fusermount3 -u "$U/m"
ok "and again, right behind it" as_user "$TIDEPOOL" mount "$U/s" "$U/m" -o $o
pid=$(cut -d' ' -f1 "$U/s/daemon")
kill -KILL "$pid"
eventually 10 process_gone "$pid"
ok "over a dead mount" as_user "$TIDEPOOL" mount "$U/s" "$U/m" -o $o
pid=$(cut -d' ' -f1 "$U/s/daemon")
as_user sh -c "exec sleep 1000 <'$U/m/cache'" &
holder=$!
is_held()
{
	local c
	for c in $holder $(cat "/proc/$holder/task/"*/children 2>/dev/null); do
		[ "$(readlink "/proc/$c/fd/0")" = "$U/m/cache" ] && return
	done
	return 1
}
ok "somebody is in it" eventually 10 is_held
ok "SIGTERM" kill -TERM "$pid"
ok "takes it away, also when it is busy" eventually 20 gone
ok "and the daemon ends" eventually 20 process_gone "$pid"
kill_tree $holder

fails_with "a mount point of somebody else" "" as_user "$TIDEPOOL" mount "$U/s" "$TP_DIR/rootm" -o $o
fails "is not mounted" is_mounted "$TP_DIR/rootm"
fails_with "a STATE where nothing may be written" "" as_user "$TIDEPOOL" mount "$TP_DIR/rootstate" "$U/m" -o $o
fails "is not made" test -e "$TP_DIR/rootstate"
if grep -qs '^user_allow_other' /etc/fuse.conf; then
	ok "allow_other, as fuse.conf allows" as_user "$TIDEPOOL" mount "$U/s" "$U/m" -o $o,allow_other
	ok "root may look" ls "$U/m/cache"
	ok "umount" as_user "$TIDEPOOL" umount "$U/m"
else
	fails "allow_other is refused by fusermount3" as_user "$TIDEPOOL" mount "$U/s" "$U/m" -o $o,allow_other
	fails "and nothing is mounted" is_mounted "$U/m"
fi

# Root's own mount, used by others.
tp_mount
chmod 1777 "$MNT/cache"
ok "others use root's mount when allow_other is on" as_user sh -c "echo a >'$MNT/cache/u'"
is "their files are theirs" "$(stat -c %u "$MNT/cache/u")" $NOBODY
echo secret >"$MNT/cache/r" && chmod 600 "$MNT/cache/r"
fails_with "modes hold" "Permission denied" as_user cat "$MNT/cache/r"
fails "the sticky bit, too" as_user rm -f "$MNT/cache/r"
fails "pin is not for everybody" as_user "$TIDEPOOL" set "$MNT/cache/u" pin=1
ok "but for root" "$TIDEPOOL" set "$MNT/cache/u" pin=1
mkdir -m 777 "$MNT/cache/shared"
for rule in ttl=1 quota=1 commit=rename; do
	fails_with "who may write may not let go what others have below: $rule" "cannot be set" \
		as_user "$TIDEPOOL" set "$MNT/cache/shared" $rule
done
as_user mkdir "$MNT/cache/shared/own"
ok "an owner may" as_user "$TIDEPOOL" set "$MNT/cache/shared/own" ttl=3600 quota=1M commit=rename
fails_with "and may not give it away" "not permitted" as_user setfattr -x user.tidepool.ttl "$MNT/cache/shared"

# What one may not see is not told by the control files either.
mkdir -m 700 "$MNT/cache/private"
echo secret >"$MNT/cache/private/f"
is "a look-up sees what it may reach, and no more" \
	"$(as_user "$TIDEPOOL" lookup "$MNT/cache/u" "$MNT/cache/private/f" "$MNT/cache/r" | sed "s, $MNT.*,,")" "hit 2 ram
miss
hit 7 ram
leading 1"
is "root's sees all" "$("$TIDEPOOL" lookup "$MNT/cache/private/f")" "hit 7 ram $MNT/cache/private/f
leading 1"
exec 5<>"$MNT/.tidepool/lookup"
echo cache/private/f >&5
read -r answer <&5
is "root asks, and is answered" "$answer" "hit 7 ram"
has "what a look-up found is held" "$("$TIDEPOOL" explain "$MNT/cache/private/f")" "can be evicted: no, held by a look-up"
exec 5>&-
let_go()
{
	"$TIDEPOOL" explain "$MNT/cache/private/f" | grep -q "can be evicted: yes"
}
ok "until it is closed" eventually 10 let_go
for f in drafts events waits; do
	fails_with "$f are not for everybody" "Permission denied" as_user cat "$MNT/.tidepool/$f"
	is "as their modes say" "$(stat -c "%a %u" "$MNT/.tidepool/$f")" "400 0"
	ok "but for root" cat "$MNT/.tidepool/$f"
done
for f in config health reconcile stats status tiers; do
	ok "$f is" as_user cat "$MNT/.tidepool/$f"
done
has "explain says what it could not see" "$(as_user "$TIDEPOOL" explain "$MNT/cache/none")" "events: for root"
# What one has open of the texts, and how one calls oneself, is one's own business.
cat >"$TP_DIR/hog.py" <<'PY'
import ctypes, errno, os, resource, sys
mnt, uid = sys.argv[1], int(sys.argv[2])
resource.setrlimit(resource.RLIMIT_NOFILE, (20000, 20000))
os.setgroups([])
os.setgid(uid)
os.setuid(uid)
f = os.open(mnt + "/cache/shared/hog", os.O_WRONLY | os.O_CREAT, 0o644)
ctypes.CDLL(None).prctl(15, b"e)\n\033[31mok x\r", 0, 0, 0)
try:
    while True:
        os.open(mnt + "/.tidepool/stats", os.O_RDONLY)
except OSError as e:
    print(errno.errorcode[e.errno], flush=True)
sys.stdin.read()
PY
coproc HOG { exec python3 "$TP_DIR/hog.py" "$MNT" $NOBODY 2>&1; }
hog=$HOG_PID
read -r reason <&"${HOG[0]}"
is "who opens it again and again is told ENFILE" "$reason" ENFILE
ok "root is not" cat "$MNT/.tidepool/stats"
has "a process is told of on one line, whatever it calls itself" "$(cat "$MNT/.tidepool/drafts")" 'cache/shared/hog .*\(e\)\?\?\[31mok x\?\)'
kill "$hog"
wait "$hog" 2>/dev/null
opens_again()
{
	as_user cat "$MNT/.tidepool/stats" >/dev/null 2>&1
}
ok "when it is gone everybody may open it again" eventually 10 opens_again
tp_umount
tp_mount -o nodefault_permissions
echo x >"$MNT/cache/f" && chmod 700 "$MNT/cache"
has "where nothing is checked, look-ups are not" "$(as_user "$TIDEPOOL" lookup "$MNT/cache/f")" "^hit 2"
fails_with "and names are still not for everybody" "Permission denied" as_user cat "$MNT/.tidepool/events"
