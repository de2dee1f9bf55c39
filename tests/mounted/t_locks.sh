#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Locks belong to a name's identity: they exclude though each process opens the lock file anew and has a draft of its own.
. "$(dirname "$0")/lib.sh"
requires flock

tp_mount
for step in close live success; do
	for kind in flock fcntl ofd; do
		D=$MNT/cache/$step.$kind
		mkdir "$D"
		"$TIDEPOOL" set "$D" commit=$step
		ok "$step: $kind excludes" within 150 "$TP_BUILD/tests/storm/tp-locks" --kind $kind --rounds 60 "$D"
		note "$(cat "$TP_DIR/.out")"
	done
done

cd "$MNT/cache" || exit 1
echo 0 >number
add()
{
	for _ in 1 2 3 4 5 6 7 8 9 10; do
		(
			flock 9
			echo $(($(cat number) + 1)) >number
		) 9>LOCK
	done
}
pids=()
for _ in 1 2 3 4; do
	add &
	pids+=($!)
done
for p in "${pids[@]}"; do
	wait "$p"
done
is "(flock 9; ...) 9>LOCK in shells" "$(cat number)" 40

exec 8>held
flock 8
fails "flock -n of what another holds" flock -n held true
exec 8>&-
ok "and when it is let go" flock -n held true
(
	set -C
	echo $$ >pidfile
) && pass "a pid file is created with noclobber"
fails "only once" bash -c 'set -C; echo $$ >pidfile'
cd /
