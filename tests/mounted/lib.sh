# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
#
# What a mounted test stands on. A test is a bash script t_NAME.sh in this directory, listed in meson.build, that begins with
#
#	. "$(dirname "$0")/lib.sh"
#	requires python3			# skips the whole test when the command is missing
#	tp_mount -o ram=64M			# fresh STATE and MNT under TP_DIR, served by this build's tidepool
#	ok "a file can be created" touch "$MNT/cache/a"
#	is "it is empty" "$(stat -c %s "$MNT/cache/a")" 0
#	fails_with "the top is closed" "not permitted" touch "$MNT/a"
#
# and needs no end: on exit the mount is drained, the daemon's status and log are checked, and what is left (a mount, a
# process, a file) fails the test. Exit status: 0 all checks passed, 1 one failed, 77 skipped.
#
# Variables: TP_DIR a directory of the test's own (not on overlayfs, so that STATE may lie there), STATE, MNT, TP_PID the
# daemon, TP_LOG what it printed, TIDEPOOL the program, TP_BUILD the build directory, TP_SRC the source tree, TP_SLOW a
# factor for waits (4 in sanitizer builds), NOBODY an ordinary user's number.
#
# No test sleeps in order to be right: what comes later is waited for with `eventually`.

set -u
export LC_ALL=C
umask 022

TP_SRC=${TP_SRC:-$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)}
TP_BUILD=${TP_BUILD:-$TP_SRC/build}
TIDEPOOL=${TIDEPOOL:-$TP_BUILD/fs/tidepool}
TP_SLOW=${TP_SLOW:-1}
TP_NAME=$(basename "$0" .sh)
NOBODY=65534
# What sanitizers found must not be lost among a test's own errors.
export ASAN_OPTIONS="${ASAN_OPTIONS:-}:exitcode=99:detect_leaks=1"
export UBSAN_OPTIONS="${UBSAN_OPTIONS:-}:print_stacktrace=1"
export TSAN_OPTIONS="${TSAN_OPTIONS:-}:exitcode=99"
# The machine's own settings are not part of a test.
for tp_variable in $(compgen -e | grep '^TIDEPOOL_'); do
	unset "$tp_variable"
done

tp_checks=0
tp_failed=0
tp_mounts=()
tp_pids=()
TP_PID=
STATE=
MNT=
TP_LOG=

skip()
{
	echo "SKIP: $*"
	exit 77
}

# requires CMD...: all of them, or the test is skipped.
requires()
{
	local c
	for c; do
		command -v "$c" >/dev/null 2>&1 || skip "$c is not installed"
	done
}

requires_root()
{
	[ "$(id -u)" = 0 ] || skip "needs root"
}

# requires_user: as_user works, that is, we are root and may become somebody else.
requires_user()
{
	requires_root
	requires setpriv
	as_user true 2>/dev/null || skip "cannot run a command as another user here"
}

note()
{
	echo "# $*"
}

pass()
{
	tp_checks=$((tp_checks + 1))
	echo "ok $tp_checks - $*"
}

fail()
{
	tp_checks=$((tp_checks + 1))
	tp_failed=$((tp_failed + 1))
	echo "not ok $tp_checks - $*" | cut -c 1-1000
}

# ok WHAT CMD...: CMD must succeed; what it printed is shown when it does not.
ok()
{
	local what=$1 r
	shift
	"$@" >"$TP_DIR/.out" 2>&1
	r=$?
	if [ $r = 0 ]; then
		pass "$what"
		return 0
	fi
	fail "$what (exit $r: $*)"
	sed 's/^/# /' "$TP_DIR/.out" | head -n 40 | cut -c 1-300
	return 1
}

# fails WHAT CMD...: CMD must fail, and not by a signal.
fails()
{
	local what=$1 r
	shift
	"$@" >"$TP_DIR/.out" 2>&1
	r=$?
	if [ $r != 0 ] && [ $r -lt 128 ]; then
		pass "$what"
		return 0
	fi
	fail "$what (exit $r: $*)"
	sed 's/^/# /' "$TP_DIR/.out" | head -n 40 | cut -c 1-300
	return 1
}

# fails_with WHAT TEXT CMD...: CMD must fail and say TEXT.
fails_with()
{
	local what=$1 text=$2 r
	shift 2
	"$@" >"$TP_DIR/.out" 2>&1
	r=$?
	if [ $r != 0 ] && [ $r -lt 128 ] && grep -qF -- "$text" "$TP_DIR/.out"; then
		pass "$what"
		return 0
	fi
	fail "$what (exit $r, not '$text': $*)"
	sed 's/^/# /' "$TP_DIR/.out" | head -n 40 | cut -c 1-300
	return 1
}

# is WHAT GOT WANTED
is()
{
	if [ "$2" = "$3" ]; then
		pass "$1"
		return 0
	fi
	fail "$1"
	echo "# got:    $2" | head -n 20 | cut -c 1-300
	echo "# wanted: $3" | head -n 20 | cut -c 1-300
	return 1
}

# has WHAT TEXT PATTERN: TEXT must match the extended regular expression.
has()
{
	if grep -qE -- "$3" <<<"$2"; then
		pass "$1"
		return 0
	fi
	fail "$1 (nothing like '$3')"
	head -n 20 <<<"$2" | cut -c 1-300 | sed 's/^/# /'
	return 1
}

# lacks WHAT TEXT PATTERN
lacks()
{
	if ! grep -qE -- "$3" <<<"$2"; then
		pass "$1"
		return 0
	fi
	fail "$1 (there is something like '$3')"
	head -n 20 <<<"$2" | cut -c 1-300 | sed 's/^/# /'
	return 1
}

# eventually SECONDS CMD...: CMD succeeds within that time (times TP_SLOW). Not a check by itself: `ok WHAT eventually 5 CMD`.
eventually()
{
	local end=$((SECONDS + $1 * TP_SLOW))
	shift
	until "$@" 2>/dev/null; do
		[ $SECONDS -lt $end ] || return 1
		sleep 0.02
	done
}

# within SECONDS CMD...: CMD must end in that time (times TP_SLOW); 124 when it did not. For programs, not for functions.
within()
{
	local s=$(($1 * TP_SLOW))
	shift
	timeout -k 5 "$s" "$@"
}

# as_user CMD...: as nobody. The mount needs allow_other, which tp_mount gives it.
as_user()
{
	setpriv --reuid $NOBODY --regid $NOBODY --clear-groups -- "$@"
}

# as_ids UID GID CMD...
as_ids()
{
	local u=$1 g=$2
	shift 2
	setpriv --reuid "$u" --regid "$g" --clear-groups -- "$@"
}

# stat_of FILE NAME{labels}: one number of .tidepool/stats, 0 when it is not there.
stat_of()
{
	awk -v n="$1" '$1 == n { print $2; found = 1 } END { if (!found) print 0 }' "$MNT/.tidepool/stats"
}

# has_event PATTERN: an event like that was said.
has_event()
{
	grep -qE -- "$1" "$MNT/.tidepool/events"
}

is_mounted()
{
	awk -v m="$1" '$5 == m { found = 1 } END { exit !found }' /proc/self/mountinfo
}

tp_answers()
{
	[ -f "$1/.tidepool/status" ]
}

process_gone()
{
	local s
	s=$(cat "/proc/$1/stat" 2>/dev/null) || return 0
	s=${s##*) }
	[ "${s%% *}" = Z ]
}

# kill_tree PID: it and all that it started; what stays would hold the test's output open, and its reader waiting.
kill_tree()
{
	local c
	# shellcheck disable=SC2013
	for c in $(cat "/proc/$1/task/"*/children 2>/dev/null); do
		kill_tree "$c"
	done
	kill -KILL "$1" 2>/dev/null
}

tp_answers_or_ended()
{
	process_gone "$TP_PID" || { is_mounted "$MNT" && tp_answers "$MNT"; }
}

# tp_start [mount's arguments]: serves STATE at MNT, both as they are set. 1 when it did not come up (its words are in TP_LOG).
tp_start()
{
	local defaults=ram=64M
	[ "$(id -u)" = 0 ] && defaults=$defaults,allow_other
	TP_LOG=$TP_DIR/log.${#tp_pids[@]}
	# The defaults come first, so that what the test says wins.
	"$TIDEPOOL" mount "$STATE" "$MNT" -f -o "$defaults" "$@" >"$TP_LOG" 2>&1 &
	TP_PID=$!
	tp_pids+=("$TP_PID")
	tp_mounts+=("$MNT")
	if ! eventually 60 tp_answers_or_ended || process_gone "$TP_PID"; then
		note "the mount did not come up"
		sed 's/^/# /' "$TP_LOG"
		return 1
	fi
}

# tp_mount [mount's arguments]: a new store on a new mount point. Ends the test when it does not come up.
tp_mount()
{
	local n=${#tp_mounts[@]}
	STATE=$TP_DIR/state.$n
	MNT=$TP_DIR/mnt.$n
	mkdir -p "$MNT"
	if ! tp_start "$@"; then
		fail "mount $*"
		exit 1
	fi
}

# tp_wait_end PID LOG: that daemon ends by itself, with success, and its log has no sanitizer's report.
tp_wait_end()
{
	local r
	if ! eventually 60 process_gone "$1"; then
		fail "daemon $1 ended after its mount was gone"
		cat "/proc/$1/task/"*/comm "/proc/$1/task/"*/wchan 2>/dev/null | sed 's/^/# /'
		kill -KILL "$1" 2>/dev/null
	fi
	wait "$1" 2>/dev/null
	r=$?
	[ $r = 0 ] || [ $r = 127 ] || fail "daemon $1 ended with status $r"
	tp_check_log "$2"
}

tp_check_log()
{
	if [ -f "$1" ] && grep -qE 'Sanitizer|runtime error:|Assertion|assertion failed' "$1"; then
		fail "nothing was reported by a sanitizer or an assertion"
		sed 's/^/# /' "$1" | head -n 120
	fi
}

# tp_umount: drains the mount at MNT as a user would, and waits until its daemon has ended.
tp_umount()
{
	if ! "$TIDEPOOL" umount "$MNT" >"$TP_DIR/.umount" 2>&1; then
		fail "tidepool umount"
		sed 's/^/# /' "$TP_DIR/.umount"
		is_mounted "$MNT" && umount -l "$MNT" 2>/dev/null
	fi
	tp_wait_end "$TP_PID" "$TP_LOG"
	TP_PID=
}

# tp_remount [mount's arguments]: umount and mount the same STATE again.
tp_remount()
{
	tp_umount
	if ! tp_start "$@"; then
		fail "remount $*"
		exit 1
	fi
}

# tp_kill: SIGKILL for the daemon; the dead mount stays, as after a crash. tp_start then mounts over it.
tp_kill()
{
	kill -KILL "$TP_PID"
	wait "$TP_PID" 2>/dev/null
	tp_check_log "$TP_LOG"
	TP_PID=
}

tp_unmount_all()
{
	local m
	# Last one first; a path's spaces are octal in mountinfo, and our own have none.
	for m in $(awk -v d="$TP_DIR/" 'index($5, d) == 1 { print $5 }' /proc/self/mountinfo | tac); do
		if [ "$(id -u)" = 0 ]; then
			umount "$m" 2>/dev/null || umount -l "$m"
		else
			fusermount3 -u "$m" 2>/dev/null || fusermount3 -uz "$m"
		fi
	done
}

tp_finish()
{
	local r=$? p i
	trap - EXIT
	trap '' INT TERM HUP
	exec 2>&1
	# What the test started in the background and left there ends first: it may hold files of the mount.
	for p in $(jobs -p); do
		case " ${tp_pids[*]:-} " in
		*" $p "*) ;;
		*) kill_tree "$p"; wait "$p" 2>/dev/null ;;
		esac
	done
	cd /
	if [ -n "$TP_PID" ] && ! process_gone "$TP_PID" && is_mounted "$MNT"; then
		if [ $tp_failed != 0 ]; then
			timeout 5 cat "$MNT/.tidepool/waits" 2>/dev/null | sed 's/^/# waits: /' | head -n 20
		fi
		timeout $((60 * TP_SLOW)) "$TIDEPOOL" umount "$MNT" >"$TP_DIR/.umount" 2>&1 ||
			{ fail "the mount can be taken away at the end"; sed 's/^/# /' "$TP_DIR/.umount"; }
	fi
	tp_unmount_all
	for i in "${!tp_pids[@]}"; do
		if ! process_gone "${tp_pids[$i]}"; then
			tp_wait_end "${tp_pids[$i]}" "$TP_DIR/log.$i"
		else
			wait "${tp_pids[$i]}" 2>/dev/null
			tp_check_log "$TP_DIR/log.$i"
		fi
	done
	if awk -v d="$TP_DIR/" 'index($5, d) == 1 { found = 1 } END { exit !found }' /proc/self/mountinfo; then
		fail "no mount is left"
	fi
	# Daemons that the test started without tp_start say in STATE who they are.
	for p in "$TP_DIR"/*/daemon "$TP_DIR"/*/*/daemon; do
		[ -f "$p" ] || continue
		p=$(cut -d' ' -f1 "$p")
		if [ "$(cat "/proc/${p:-none}/comm" 2>/dev/null)" = tidepool ] && ! eventually 60 process_gone "$p"; then
			fail "no daemon is left"
			kill -KILL "$p"
		fi
	done
	if [ "$tp_failed" != 0 ] || { [ $r != 0 ] && [ $r != 77 ]; }; then
		for i in "${!tp_pids[@]}"; do
			[ -s "$TP_DIR/log.$i" ] || continue
			note "what daemon ${tp_pids[$i]} said at last:"
			tail -n 25 "$TP_DIR/log.$i" | sed 's/^/#   /'
		done
	fi
	rm -rf --one-file-system "$TP_DIR"
	[ $r = 77 ] && [ "$tp_failed" = 0 ] && exit 77
	echo "$TP_NAME: $tp_checks checks, $tp_failed failed"
	[ "$tp_failed" = 0 ] || exit 1
	exit $r
}

# STATE may not lie on overlayfs, which containers have everywhere but on their volumes.
tp_choose_dir()
{
	local d
	for d in ${TP_TEST_DIR:+"$TP_TEST_DIR"} "${TMPDIR:-/tmp}" /var/tmp /dev/shm; do
		if [ ! -d "$d" ] || [ ! -w "$d" ]; then
			continue
		fi
		case $(stat -f -c %T "$d") in
		overlay* | nfs* | fuse* | ecryptfs) continue ;;
		esac
		TP_DIR=$(mktemp -d "$d/tidepool-$TP_NAME.XXXXXX") || continue
		chmod 755 "$TP_DIR"
		return 0
	done
	echo "SKIP: no directory that is not on overlayfs: set TP_TEST_DIR"
	exit 77
}

[ -x "$TIDEPOOL" ] || { echo "$TIDEPOOL is not there: build first"; exit 1; }
[ -c /dev/fuse ] || { echo "SKIP: /dev/fuse is not there"; exit 77; }
tp_choose_dir
trap tp_finish EXIT
trap 'echo "# ended by a signal"; tp_failed=$((tp_failed + 1)); exit 1' INT TERM HUP
