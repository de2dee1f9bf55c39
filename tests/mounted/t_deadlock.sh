#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Eviction, invalidations and the locks of directories at once, for a minute (TP_SHORT: for ten seconds): each process gets on.
. "$(dirname "$0")/lib.sh"

seconds=60
times=4
if [ -n "${TP_SHORT:-}" ]; then
	seconds=10
	times=1
fi
tp_mount -o ram=48M
ok "18 processes get on while the pool is filled over and over" \
	"$TP_BUILD/tests/storm/tp-deadlock" --seconds $seconds --stall 60 --pool $((48 * 1048576 * times)) "$MNT/cache"
note "$(cat "$TP_DIR/.out")"
ok "something was evicted" test "$(stat_of tidepool_evicted_total)" -gt 0
is "nobody waits any more" "$(grep -c . "$MNT/.tidepool/waits")" 0
# -f, as the evictor still gives back down to its low mark and may take a name between rm's listing and its unlink.
ok "and all can be removed" rm -rf "$MNT/cache"/d0 "$MNT/cache"/d1 "$MNT/cache"/d2
is "and is gone" "$(ls -A "$MNT/cache")" ""
