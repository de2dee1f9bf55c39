#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# STATE on a disk that is full: a change that has to be recorded is refused before it is done, what needs no record works, what was there can be removed,
# and nothing that was answered is lost.
. "$(dirname "$0")/lib.sh"
requires_root
requires python3 setfattr getfattr

SMALL=$TP_DIR/small
mkdir "$SMALL"
mount -t tmpfs -o size=16M none "$SMALL" 2>/dev/null || skip "a tmpfs cannot be mounted here"

# Fills the disk to the last page.
fill()
{
	dd if=/dev/zero of="$SMALL/fill" bs=4k conv=fsync 2>/dev/null
	[ -s "$SMALL/fill" ]
}

# make_until_full DIR: prints how many directories could be made in it.
make_until_full()
{
	python3 - "$1" <<'PY'
import errno, os, sys
os.mkdir(sys.argv[1])
for n in range(200000):
    try:
        os.mkdir(f"{sys.argv[1]}/{n}")
    except OSError as e:
        assert e.errno == errno.ENOSPC, e
        print(n)
        sys.exit(0)
sys.exit("200000 directories found room")
PY
}

# A commit in between would find other room, or none: the journal takes all of it.
serve()
{
	tp_start -o journal_interval=60000
}

STATE=$SMALL/state
MNT=$TP_DIR/mnt
mkdir "$MNT"
serve || exit 1
cd "$MNT/cache" || exit 1
mkdir a b old
ln -s to link
echo text >file
setfattr -n user.key -v value a
before=$(stat -c '%n %i %A %U %x %y %z' a b old link)

ok "the disk under STATE is full" fill
ok "some directories find room all the same" make_until_full "$MNT/cache/many"
count=$(find many -mindepth 1 | wc -l)
fails_with "one more does not" "No space left" mkdir "many/$count"
fails "and is not there" test -e "many/$count"
is "nor is it listed" "$(find many -mindepth 1 | wc -l)" "$count"
fails_with "no link" "No space left" ln -s to link2
fails_with "no fifo" "No space left" mkfifo fifo
fails_with "no second link" "No space left" ln link link2
fails_with "no rename of a directory" "No space left" mv -T a c
fails_with "nor over another" "No space left" mv -T a b
fails_with "no exchange" "No space left" python3 -c 'import ctypes, os
libc = ctypes.CDLL(None, use_errno=True)
if libc.renameat2(-100, b"a", -100, b"b", 2) != 0:
    raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))'
fails_with "no chmod of a directory" "No space left" chmod 700 a
fails_with "no times of a directory" "No space left" touch -d 2001-01-01 a
fails_with "no attribute of a directory" "No space left" setfattr -n user.new -v value a
fails_with "no rule" "No space left" setfattr -n user.tidepool.ttl -v 60 a
is "all is as it was" "$(stat -c '%n %i %A %U %x %y %z' a b old link)" "$before"
is "attributes too" "$(getfattr -d a 2>/dev/null | grep user)" 'user.key="value"'
is "names too" "$(ls)" "a
b
file
link
many
old"
ok "a file is written" cp "$TP_SRC/LICENSE" new
ok "renamed" mv new newer
ok "its mode is changed" chmod 600 newer
ok "it is removed" rm newer
ok "a directory is removed" rmdir old
ok "many files are made, all with numbers of their own" within 60 python3 "$TP_SRC/tests/mounted/make_many.py" many 30000
cd / || exit 1
tp_kill
rm "$SMALL/fill"
serve || exit 1
cd "$MNT/cache" || exit 1
is "after a kill every directory is there that was made" "$(find many -mindepth 1 | wc -l)" "$count"
fails "the one that was refused is not" test -e "many/$count"
is "nothing else came" "$(ls)" "a
b
link
many"
is "and all is as it was" "$(stat -c '%n %i %A %U %x %y %z' a b link)" "$(grep -v ^old <<<"$before")"
ok "with room the same works" mkdir "many/$count"

ok "the disk is full again" fill
ok "and found to be" make_until_full "$MNT/cache/more"
count=$(find more -mindepth 1 | wc -l)
fails_with "a directory is refused" "No space left" mkdir "more/$count"
lacks "a refusal is no trouble" "$(cat "$MNT/.tidepool/health")" ledger
fails_with "what was made cannot be synced" "No space left" sync more
has "health says that it waits" "$(cat "$MNT/.tidepool/health")" "^ledger: .* waits to be written to STATE: No space left"
rm "$SMALL/fill"
ok "synced as soon as there is room" sync more
lacks "and health has nothing to say of it" "$(cat "$MNT/.tidepool/health")" ledger
ok "and made as soon as there is room" mkdir "more/$count"
cd / || exit 1
tp_remount
ok "it is there after a remount" test -d "$MNT/cache/more/$count"
is "with all others" "$(find "$MNT/cache/more" -mindepth 1 | wc -l)" $((count + 1))
