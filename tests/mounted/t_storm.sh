#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# One name, opened, read, closed and replaced by several processes: nobody sees ESTALE, a short read or bytes of two generations.
. "$(dirname "$0")/lib.sh"

tp_mount -o ram=128M
for step in close success; do
	mkdir "$MNT/cache/$step"
	"$TIDEPOOL" set "$MNT/cache/$step" commit=$step
	ok "$step: every way to replace a name" "$TP_BUILD/tests/storm/tp-storm" --seconds 4 "$MNT/cache/$step"
	note "$(cat "$TP_DIR/.out")"
	mkdir "$MNT/cache/$step.there"
	"$TIDEPOOL" set "$MNT/cache/$step.there" commit=$step
	ok "$step: one that is only replaced is always there" \
		"$TP_BUILD/tests/storm/tp-storm" --never-absent --seconds 3 "$MNT/cache/$step.there"
	note "$(cat "$TP_DIR/.out")"
done
for step in live rename; do
	mkdir "$MNT/cache/$step"
	"$TIDEPOOL" set "$MNT/cache/$step" commit=$step
	ok "$step: temporary names, rename and unlink" "$TP_BUILD/tests/storm/tp-storm" --posix --seconds 2 "$MNT/cache/$step"
	note "$(cat "$TP_DIR/.out")"
done
for step in close success live; do
	mkdir "$MNT/cache/$step.pairs"
	"$TIDEPOOL" set "$MNT/cache/$step.pairs" commit=$step
	ok "$step: what one has closed the next one finds" "$TP_BUILD/tests/storm/tp-handover" --seconds 3 "$MNT/cache/$step.pairs"
	note "$(cat "$TP_DIR/.out")"
done
