#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# shellcheck disable=SC2016 # what sh -c gets is for that shell to expand
# The conformance suite: on a tmpfs, where all must pass, and then on each step of the ladder, where what differs is in a table.
. "$(dirname "$0")/lib.sh"

CONFORM=${CONFORM:-$TP_BUILD/tests/conform/tp-conform}
TABLE=$TP_SRC/tests/conform/differences.txt

[ -x "$CONFORM" ] || skip "tp-conform is not built"

# conform WHAT DIR [ARG...]: as who we are and, where that is root, as an ordinary user too.
conform()
{
	local what=$1 dir=$2
	shift 2
	ok "$what" within 300 "$CONFORM" "$@" "$dir"
	tail -n 1 "$TP_DIR/.out" | sed 's/^/# /'
	[ "$(id -u)" = 0 ] || return 0
	ok "$what, as a user" within 300 "$CONFORM" --as-user $NOBODY "$@" "$dir"
	tail -n 1 "$TP_DIR/.out" | sed 's/^/# /'
}

# What does not hold for the kernel's own says nothing about ours. Root makes a tmpfs without the nodev and noexec that others have.
if [ "$(id -u)" = 0 ] && mkdir "$TP_DIR/tmpfs" && mount -t tmpfs -o size=1g,mode=755 conform "$TP_DIR/tmpfs" 2>/dev/null; then
	conform "all cases pass on a tmpfs" "$TP_DIR/tmpfs"
	umount "$TP_DIR/tmpfs"
else
	conform "all cases pass on /dev/shm" /dev/shm
fi

# Devices and setuid programs are cases as well; only root may have them.
if [ "$(id -u)" = 0 ]; then
	tp_mount -o ram=256M,dev,suid
else
	tp_mount -o ram=256M
fi
for step in live close success rename; do
	mkdir "$MNT/cache/$step"
	ok "commit=$step is set" "$TIDEPOOL" set "$MNT/cache/$step" "commit=$step"
done

conform "commit=live: all cases pass" "$MNT/cache/live"
conform "commit=close: what differs is what the table says" "$MNT/cache/close" --expect "$TABLE" --step close
conform "commit=success: what differs is what the table says" "$MNT/cache/success" --expect "$TABLE" --step success
conform "commit=rename: all cases pass under temporary names" "$MNT/cache/rename" --temporary

# The rule of that last step.
R=$MNT/cache/rename
fails_with "rename: no file is created under its last name" "not permitted" sh -c ': > "$1"' sh "$R/f"
fails_with "rename: nor appended to" "not permitted" sh -c ': >> "$1"' sh "$R/f"
fails "rename: it is not there" test -e "$R/f"
ok "rename: a temporary name can be written" sh -c 'echo new > "$1"' sh "$R/.f.tmp"
ok "rename: it is renamed" mv "$R/.f.tmp" "$R/f"
is "rename: and is there" "$(cat "$R/f")" new
fails_with "rename: it is not overwritten in place" "not permitted" sh -c 'echo x > "$1"' sh "$R/f"
fails_with "rename: nor truncated" "not permitted" truncate -s 0 "$R/f"
is "rename: and stayed as it was" "$(cat "$R/f")" new
ok "rename: a second one" sh -c 'echo newer > "$1"' sh "$R/.g.tmp"
ok "rename: takes its place" mv "$R/.g.tmp" "$R/f"
is "rename: which shows" "$(cat "$R/f")" newer
ok "rename: a third one is linked into place" sh -c 'echo x > "$1" && ln "$1" "$2"' sh "$R/.h.tmp" "$R/h"
is "rename: and is there too" "$(cat "$R/h")" x
ok "rename: rm" rm "$R/f" "$R/h" "$R/.h.tmp"
