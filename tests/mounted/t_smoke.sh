#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# The shortest way through: mount, write, read, look, unmount, and find it gone or there again.
. "$(dirname "$0")/lib.sh"

tp_mount
ok "a file is written" cp "$TP_SRC/LICENSE" "$MNT/cache/a"
ok "and read back" cmp "$TP_SRC/LICENSE" "$MNT/cache/a"
ok "a directory is made" mkdir -p "$MNT/cache/d/e"
is "ls shows both" "$(ls "$MNT/cache")" "a
d"
fails_with "nothing is created at the top" "not permitted" mkdir "$MNT/x"
is "the top is what the manual says" "$(ls "$MNT")" "cache
samples"
has "health says that samples are not durable" "$(cat "$MNT/.tidepool/health")" "^volatile"
ok "rm" rm "$MNT/cache/a"
fails "it is gone" test -e "$MNT/cache/a"
tp_remount
ok "directories are kept over a remount" test -d "$MNT/cache/d/e"
tp_umount
fails "nothing is mounted any more" is_mounted "$MNT"
