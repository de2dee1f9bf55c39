#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# drain=SECONDS holds when the disk of STATE hangs: nobody waits for it longer. The disk is a file that is frozen.
. "$(dirname "$0")/lib.sh"
requires_root
requires mkfs.ext4 fsfreeze losetup

D=$TP_DIR/disk
M=$TP_DIR/m
frozen=

freeze()
{
	fsfreeze -f "$D" && frozen=1
}

thaw()
{
	[ -z "$frozen" ] || fsfreeze -u "$D"
	frozen=
}

thaw_and_finish()
{
	local r=$?
	thaw
	(exit $r)
	tp_finish
}
trap thaw_and_finish EXIT

mkdir "$D" "$M"
truncate -s 64M "$TP_DIR/image"
mkfs.ext4 -q "$TP_DIR/image" || skip "mkfs.ext4 makes no file system here"
mount -o loop "$TP_DIR/image" "$D" 2>/dev/null || skip "a file cannot be mounted here"
freeze || skip "a file system cannot be frozen here"
thaw

# serve: a new daemon, in the background, which may drain for 2 seconds. Sets pid.
serve()
{
	"$TIDEPOOL" mount "$D/s" "$M" -f -o ram=32M,prefault=off,drain=2 2>"$TP_DIR/err" &
	pid=$!
	ok "it is served" eventually 20 tp_answers "$M"
}

# The rest of it waits for the disk, unkillable: its main thread has ended, or is to.
has_ended()
{
	process_gone "$pid" || grep -qE '^SigPnd:.*[13579bdf]..$' "/proc/$pid/status"
}

a_thread_hangs()
{
	cat "/proc/$pid/task/"*/stat | grep -q ') D '
}

not_mounted()
{
	! is_mounted "$M"
}

serve
freeze
begin=$SECONDS
fails_with "umount of an idle mount says that the disk hangs" "the disk of $D/s does not answer" \
	within 30 "$TIDEPOOL" umount "$M"
ok "and took seconds" test $((SECONDS - begin)) -le $((12 * TP_SLOW))
ok "the mount is gone" not_mounted
ok "the daemon has ended" has_ended
thaw
ok "and goes when the disk is back" eventually 20 process_gone "$pid"
wait "$pid"
is "with failure" $? 1

serve
freeze
mkdir "$M/cache/d" 2>"$TP_DIR/mkdir" &
client=$!
ok "a request hangs" eventually 20 a_thread_hangs
kill "$pid"
ok "SIGTERM ends the daemon in spite of it" eventually 10 has_ended
ok "the mount is gone" not_mounted
ok "the client is let go" eventually 10 process_gone "$client"
wait "$client"
is "with an error" $? 1
has "the log says what was not done" "$(cat "$TP_DIR/err")" "not drained: stopped after 2 seconds, while requests were answered"
thaw
ok "the daemon goes when the disk is back" eventually 20 process_gone "$pid"
wait "$pid"
serve
ok "the store is whole" mkdir -p "$M/cache/d/e"
ok "and drains in time" "$TIDEPOOL" umount "$M"
wait "$pid"
is "with success" $? 0
