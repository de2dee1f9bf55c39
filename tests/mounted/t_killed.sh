#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# A daemon that dies in the middle of everything, by SIGKILL or by a crash with and without a core dump: its clients get an error, all of them and soon,
# its mount says ENOTCONN, and it can be mounted again at once. TP_SOAK: many times.
. "$(dirname "$0")/lib.sh"
requires_root
requires python3

rounds=4
[ -n "${TP_SHORT:-}" ] && rounds=2
[ -n "${TP_SOAK:-}" ] && rounds=40
fusectl=/sys/fs/fuse/connections
without_fusectl=${TP_KILLED_WITHOUT_FUSECTL:-}
[ -n "$without_fusectl" ] && umount $fusectl
# A sanitizer's report of a signal that came from outside can wait for a lock that its own thread holds.
export ASAN_OPTIONS="$ASAN_OPTIONS:handle_segv=0:handle_abort=0" TSAN_OPTIONS="$TSAN_OPTIONS:handle_segv=0:handle_abort=0"
# Cores go where the test's files are.
cd "$TP_DIR" || exit 1

# watchers: the process ids of the watchers of MNT, and of no other mount.
watchers()
{
	local d name
	for d in /proc/[0-9]*; do
		name=
		{ read -r name <"$d/comm"; } 2>/dev/null
		if [ "$name" = tidepool-watch ] &&
			[ "$({ tr '\0' ' ' <"$d/cmdline" | sed 's/ *$//'; } 2>/dev/null)" = "tidepool-watch $MNT" ]; then
			echo "${d#/proc/}"
		fi
	done
}

# watchers_are N: there are so many. That of a daemon that died ends soon, not at once.
watchers_are()
{
	[ "$(watchers | wc -l)" = "$1" ]
}

says_not_connected()
{
	timeout 10 stat "$MNT" 2>&1 | grep -qE 'not connected|connection abort'
}

notified()
{
	[ "$(stat_of tidepool_notifies_total)" -ge "$1" ]
}

# let_go PID: the clients have not come to an end; without this no process could look at them, or end the test.
let_go()
{
	local t
	for t in "/proc/$TP_PID/task/"*; do
		note "$(cat "$t/comm") $(grep State: "$t/status") $(cat "$t/wchan")"
	done
	until process_gone "$1"; do
		timeout 10 umount -f "$MNT" 2>/dev/null
		sleep 0.1
	done
}

# round HOW SIGNAL: one death. The mount is there before and after.
round()
{
	local how=$1 signal=$2 old clients
	mkdir "$MNT/cache/kept.$how" "$MNT/cache/storm.$how"
	timeout -k 5 $((100 * TP_SLOW)) "$TP_BUILD/tests/storm/tp-cut" --seconds $((80 * TP_SLOW)) --seed "$seed" \
		"$MNT/cache/storm.$how" >"$TP_DIR/cut" 2>&1 &
	clients=$!
	# Each time at another moment, when they and the notifier are well on their way.
	eventually 30 notified $((200 + seed * 37 % 300)) || fail "$how: names were invalidated"
	kill "-$signal" "$TP_PID"
	if ! eventually 20 process_gone $clients; then
		fail "$how: the clients came to an end"
		let_go $clients
	fi
	wait $clients
	is "$how: all clients met an error" "$? $(cat "$TP_DIR/cut")" "0 8 of 8 were cut off"
	ok "$how: the mount says that it is not connected" says_not_connected
	old=$TP_PID
	if [ "$signal" != KILL ]; then
		# Until a core has been written the daemon is there.
		wait "$old" 2>/dev/null
		rm -f "$TP_DIR"/core*
	fi
	if ! tp_start; then
		fail "$how: it can be mounted again"
		exit 1
	fi
	wait "$old" 2>/dev/null
	is "$how: the dead mount was cleared" "$(grep -c " $MNT " /proc/self/mountinfo)" 1
	ok "$how: what was made before is there" test -d "$MNT/cache/kept.$how"
	is "$how: nothing that was being written is left" "$(cat "$MNT/.tidepool/drafts")" ""
	ok "$how: one watcher, that of the living" eventually 10 watchers_are 1
	seed=$((seed + 1))
}

tp_mount
seed=${TP_SEED:-$((RANDOM + 1))}
note "seed $seed"
watcher=$(watchers)
is "there is one watcher" "$(wc -w <<<"$watcher")" 1
is "that has no file of the mount" "$(readlink "/proc/$watcher/fd/"* "/proc/$watcher/cwd" | grep -c "fuse$\|$TP_DIR")" 0
for signal in HUP INT QUIT TERM USR1 USR2; do
	kill -$signal "$watcher"
done
ok "and ignores what is sent to everybody" test -d "/proc/$watcher"
ok "the mount, too" tp_answers "$MNT"
for ((i = 1; i <= rounds; i++)); do
	round "kill.$i" KILL
done
# What a request did is told of when it is answered. The draft is the shell's, so that rmdir does not see it.
for ((i = 1; i <= rounds; i++)); do
	mkdir "$MNT/cache/told.$i"
	exec 7>"$MNT/cache/told.$i/draft"
	python3 -c 'import os, sys; os.rmdir(sys.argv[1]); os.kill(int(sys.argv[2]), 9)' "$MNT/cache/told.$i" "$TP_PID"
	exec 7>&-
	wait "$TP_PID" 2>/dev/null
	has "an event outlives a kill right after the answer" "$(tail -n 5 "$STATE/events")" \
		" dropped draft cache/told.$i/draft: its directory was removed$"
	tp_start || exit 1
done
ulimit -S -c 0
tp_remount
for ((i = 1; i <= rounds; i++)); do
	round "crash.$i" SEGV
done
if ulimit -S -c unlimited 2>/dev/null; then
	tp_remount
	for ((i = 1; i <= rounds; i++)); do
		round "core.$i" ABRT
	done
else
	note "core dumps are forbidden here: not tried"
fi
watcher=$(watchers)
kill -KILL "$watcher"
ok "without its watcher the mount goes on" tp_answers "$MNT"
tp_remount
tp_umount
ok "an orderly end leaves no watcher" watchers_are 0

if [ -z "$without_fusectl" ] && grep -q " $fusectl " /proc/self/mountinfo && unshare -m true 2>/dev/null; then
	ok "the same where fusectl is not mounted" env TP_KILLED_WITHOUT_FUSECTL=1 unshare -m bash "$TP_SRC/tests/mounted/t_killed.sh"
fi
