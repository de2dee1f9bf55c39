#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# What the kernel may ask of our session at the same time, it does ask at the same time.
. "$(dirname "$0")/lib.sh"

mkdir "$TP_DIR/mnt"
ok "eight look-ups in one directory are in flight at once, and eight readers are not held up by a CREATE elsewhere" \
	within 200 "$TP_BUILD/tests/storm/tp-parallel" "$TP_DIR/mnt"
