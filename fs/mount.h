/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One mount from beginning to end: checks, the way into the background, serving, signals, the drain.
 */
#pragma once

#include <stdbool.h>

#include "fs/options.h"

/* Seconds that one who mounts waits for a STATE that is being drained, beyond what the drain itself may take. */
#define TP_MOUNT_WAIT_MARGIN_S 10

/*
 * Mounts state at mountpoint and, in the foreground, serves it until it is unmounted; otherwise a process in the background does, and this one
 * returns once the mount answers. Says everything on stdout and stderr itself. Returns what to exit with: 0 or 1.
 */
int tp_mount_run(
	const char *state, const char *mountpoint, const struct tp_options *options, bool foreground);
