#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# STATE on a disk that does not answer: what has to be recorded waits for it, and nobody else does.
. "$(dirname "$0")/lib.sh"
requires_root
requires fsfreeze mkfs.ext4 python3

DISK=$TP_DIR/disk
mkdir "$DISK"
truncate -s 64M "$TP_DIR/image"
mkfs.ext4 -q "$TP_DIR/image"
mount -o loop "$TP_DIR/image" "$DISK" 2>/dev/null || skip "a loop device cannot be mounted here"
# Nothing can be cleaned up before.
trap 'r=$?; fsfreeze -u "$DISK" 2>/dev/null; (exit $r); tp_finish' EXIT

STATE=$DISK/state
MNT=$TP_DIR/mnt
mkdir "$MNT"
tp_start || exit 1
cd "$MNT/cache" || exit 1
mkdir old there other many
echo text >there/a
fsfreeze -f "$DISK" || skip "the file system cannot be frozen here"
rmdir old &
removes=$!
mkdir other/new &
makes=$!

# waits_say PATTERN: .tidepool/waits has such a line.
waits_say()
{
	grep -qE "$1" "$MNT/.tidepool/waits"
}

ok "waits shows who removes a directory" eventually 20 waits_say "^$removes RMDIR cache: no answer yet, for [0-9]+\.[0-9]{3} s\$"
ok "and who makes one" eventually 20 waits_say "^$makes MKDIR cache/other: no answer yet, for [0-9]+\.[0-9]{3} s\$"
# The kernel holds the directory for the other, and does not let this one through.
ls other/nothing 2>/dev/null &
looks=$!
# One thread stands in for another after a second.
ok "what is there can be read" within 20 cat there/a
ok "and again" within 20 cat there/a
ok "a file can be made" within 20 sh -c 'echo more >there/b'
ok "and read" within 20 grep -q more there/b
ok "and removed" within 20 rm there/b
ok "a listing is shown" within 20 ls there
# From outside: programs look for what is theirs where they are, which is in the directory that waits.
ok "many files are made, all with numbers of their own" within 60 \
	env -C / python3 "$TP_SRC/tests/mounted/make_many.py" "$MNT/cache/many" 30000
ok "and elsewhere all goes on" within 20 cat there/a
ok "what waits for the disk waits" kill -0 $removes $makes $looks
ok "and is shown all the while" waits_say "^$makes MKDIR cache/other: no answer yet, for "
lacks "but not who waits for it in the kernel" "$(cat "$MNT/.tidepool/waits")" "^$looks "
fsfreeze -u "$DISK"
ok "a directory that was removed meanwhile is answered then" wait $removes
ok "and one that was made" wait $makes
wait $looks
lacks "and is not shown any more" "$(cat "$MNT/.tidepool/waits")" "^($removes|$makes) "
is "both are done" "$(echo * other/*)" "many other there other/new"
cd / || exit 1
tp_remount
is "and kept" "$(cd "$MNT/cache" && echo * other/*)" "many other there other/new"
