#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# A program keeps directories locked in the kernel for as long as it likes: what goes from there cannot be told, and everybody else goes on.
. "$(dirname "$0")/lib.sh"
requires python3

cat >"$TP_DIR/objects.py" <<'PY'
"""
fill DIRECTORY COUNT: writes objects of a MiB.
check DIRECTORY COUNT SURE: each is whole, or gone for stat and open alike; the last SURE are there.
open DIRECTORY COUNT: each is whole, or gone for who opens it.
"""
import os, sys
what, d, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
MIB = 1 << 20
for i in range(count):
    path = f"{d}/{i}"
    if what == "fill":
        with open(path, "wb") as f:
            f.write(bytes([i]) * MIB)
        continue
    seen = False
    try:
        if what == "check":
            assert os.stat(path).st_size == MIB, path
            seen = True
        with open(path, "rb") as f:
            assert f.read() == bytes([i]) * MIB, path
    except FileNotFoundError:
        assert not seen, f"{path} is there for stat and gone for open"
        assert what == "open" or i < count - int(sys.argv[4]), f"{path} was written last and is gone"
PY
objects()
{
	within 120 python3 "$TP_DIR/objects.py" "$@"
}

# take DIRECTORY...: until give_back.
take()
{
	mkfifo "$TP_DIR/until"
	: >"$TP_DIR/hostages"
	"$TP_BUILD/tests/storm/tp-hostage" "$TP_DIR/hostile" "$@" <"$TP_DIR/until" >"$TP_DIR/hostages" 2>&1 &
	hostage=$!
	exec 7>"$TP_DIR/until"
	ok "a program keeps $# of the directories locked" eventually 60 grep -q held "$TP_DIR/hostages"
}
give_back()
{
	exec 7>&-
	ok "it gives them back" wait "$hostage"
	rm "$TP_DIR/until"
}
told()
{
	[ "$(stat_of tidepool_notices_held_up)" = 0 ] && [ "$(stat_of tidepool_notices_waiting)" = 0 ]
}

mkdir "$TP_DIR/hostile"
tp_mount -o ram=32M
mkdir "$MNT/cache/held" "$MNT/cache/other"
ok "objects are there" objects fill "$MNT/cache/held" 8
take "$MNT/cache/held"
ok "others write four times the pool" objects fill "$MNT/cache/other" 128
ok "what is there of that is whole, and what went is gone" objects check "$MNT/cache/other" 128 8
has "health says what is the matter" "$(cat "$MNT/.tidepool/health")" "^notices: programs keep 1 directories locked"
give_back
ok "then what had to wait is told" eventually 60 told
ok "and that directory is as it should be" objects check "$MNT/cache/held" 8 0
ok "from which something went" test "$(find "$MNT/cache/held" -type f | wc -l)" -lt 8
lacks "health is well again" "$(cat "$MNT/.tidepool/health")" "notices"

# More than there are threads that may be held up.
held=()
for i in $(seq 10); do
	mkdir "$MNT/cache/held$i"
	objects fill "$MNT/cache/held$i" 2
	held+=("$MNT/cache/held$i")
done
take "${held[@]}"
for i in $(seq 5); do
	ok "others write twice the pool" objects fill "$MNT/cache/other" 64
done
ok "which can be read, or is gone" objects open "$MNT/cache/other" 64
give_back
ok "then what had to wait is told" eventually 60 told
for d in "${held[@]}"; do
	ok "each object is whole, or gone" objects check "$d" 2 0
done
ok "and all can be removed" within 60 rm -rf "${held[@]}" "$MNT/cache/held" "$MNT/cache/other"
is "nothing is left" "$(ls "$MNT/cache")" ""
tp_umount

# Unmounting waits no longer than it may.
tp_mount -o ram=32M,drain=2
mkdir "$MNT/cache/held" "$MNT/cache/other"
objects fill "$MNT/cache/held" 8
take "$MNT/cache/held"
objects fill "$MNT/cache/other" 40
fails_with "umount says what is in the way" "a program keeps a directory of the mount locked" \
	within 60 "$TIDEPOOL" umount "$MNT"
fails "the mount is gone" is_mounted "$MNT"
give_back
ok "and so is the daemon, then" eventually 60 process_gone "$TP_PID"
TP_PID=
