#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# What the mount tells of itself: streams, tiers, the last start, what a look-up holds, and who waits for room.
. "$(dirname "$0")/lib.sh"

# number FILE KEY: the number behind KEY on a line of FILE.
number()
{
	awk -v k="$2" '$1 == k { print $2 }' "$1"
}


tp_mount -o ram=16M
cd "$MNT" || exit 1
mkdir samples/s
for id in c a b; do
	echo $id >samples/s/.$id.tmp
	mv samples/s/.$id.tmp samples/s/$id
done
is "a stream is listed in the order of its commits" "$(ls -U samples/s)" "c
a
b"
echo half >samples/s/.d.tmp
is ".state counts what is ready" "$(number samples/s/.state ready)" 3
is "and its bytes" "$(number samples/s/.state ready_bytes)" 6
is "and what has a temporary name" "$(number samples/s/.state temporary)" 1
is "and tells what publishes" "$(awk '$1 == "commit" { print $2 }' samples/s/.state)" success
has "tiers tells of the memory" "$(cat .tidepool/tiers)" '^ram size=16777216 free=[0-9]+ '
has "reconcile tells what the start found" "$(cat .tidepool/reconcile)" '^new store'
is "commits are timed, and what has a temporary name is none" "$(stat_of tidepool_commit_seconds_count)" 3
touch -d 2300-01-01 samples/s/a
is "a date beyond what can be kept is the last that can" "$(stat -c %y samples/s/a | cut -c 1-10)" 2262-04-11
is "what takes less than a page does so in st_blocks, too" "$(stat -c %b samples/s/a)" 1
cat samples/s/a >/dev/null
is "and cold reads" "$(stat_of tidepool_cold_read_seconds_count)" 1

cd cache || exit 1
head -c 8M /dev/zero >kept
exec 8<>"$MNT/.tidepool/lookup"
echo cache/kept >&8
read -r answer <&8
has "a look-up finds it" "$answer" '^hit 8388608 ram$'
fails_with "what a look-up found stays until it is closed" "No space left" dd if=/dev/zero of=fill bs=1M count=10
is "all of it" "$(stat -c %s kept)" 8388608
exec 8>&-
ok "then there is room" dd if=/dev/zero of=fill bs=1M count=10
fails "in its place" test -e kept
rm -f fill

# What is open may not go.
mkdir d
"$TIDEPOOL" set d quota=1M
exec 7>d/open
head -c 1M /dev/zero >&7
has "what is open cannot give way to a quota" "$(dd if=/dev/zero of=d/more bs=64K count=1 2>&1)" "Disk quota exceeded"
exec 7>&-
cd / || exit 1
tp_umount

if [ "$(stat -f -c %T /dev/shm)" = tmpfs ] && pool=$(mktemp /dev/shm/tidepool-pool.XXXXXX); then
	truncate -s 32M "$pool"
	tp_mount -o "ram=32M,pool=$pool,threads=1"
	head -c 3M /dev/urandom >"$TP_DIR/bytes"
	ok "a pool in a file takes an object" cp "$TP_DIR/bytes" "$MNT/cache/x"
	ok "and gives it back" cmp "$TP_DIR/bytes" "$MNT/cache/x"
	is "its size is the file's" "$(stat_of tidepool_pool_size_bytes)" 33554432
	tp_umount
	rm -f "$pool"
fi
