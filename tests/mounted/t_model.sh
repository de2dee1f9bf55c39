#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Random operations by several processes against section 3 in memory. TP_MODEL_SEEDS=A-B runs others, TP_MODEL_STEPS longer ones.
. "$(dirname "$0")/lib.sh"

steps=${TP_MODEL_STEPS:-1500}
seeds=${TP_MODEL_SEEDS:-1-4}
[ -n "${TP_SHORT:-}" ] && steps=500
tp_mount -o ram=128M
for step in live close success rename; do
	ok "$step, seeds $seeds" "$TP_BUILD/tests/model/tp-model" --step $step --seeds "$seeds" --steps "$steps" "$MNT/cache"
done
is "no draft is left" "$(grep -c 'model-' "$MNT/.tidepool/drafts")" 0
