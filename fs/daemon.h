/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who serves a STATE: the file STATE/daemon. The daemon holds a lock on it from before it opens the store until it ends, so that the
 * lock says whether one lives, whatever stands in the file; the text says which process it is, what it is doing and where.
 * What a drain had to leave is in STATE/last-drain, for who took the mount away.
 */
#pragma once

#include <limits.h>
#include <stdbool.h>
#include <sys/types.h>

#include "store/errtext.h"

/* TP_DAEMON_DIES: it was killed and has not gone yet, which can take a while; it answers nothing any more. Only tp_daemon_find() tells it. */
enum tp_daemon_phase { TP_DAEMON_STARTS, TP_DAEMON_SERVES, TP_DAEMON_DRAINS, TP_DAEMON_DIES };

struct tp_daemon {
	pid_t pid; /* 0: not known */
	enum tp_daemon_phase phase;
	char mountpoint[PATH_MAX];
};

/*
 * Becomes the daemon of state, a directory that exists. One that drains is waited for, up to wait_s seconds. -EBUSY: a living one has it;
 * -ETIMEDOUT: it was draining all the time; -ENOENT: it had just made state, and took it back; others as of open(2). All with text.
 */
int tp_daemon_acquire(
	const char *state, const char *mountpoint, unsigned wait_s, struct tp_err *err, int *ret_fd);
/* Says what the daemon is doing now. */
void tp_daemon_say(int fd, enum tp_daemon_phase phase, const char *mountpoint);
/* Who serves state now. -ESRCH: nobody; -errno: it cannot be looked at (-ENOENT: never a STATE, -EACCES). */
int tp_daemon_find(const char *state, struct tp_daemon *ret);
/*
 * Waits until the daemon of state has ended. 0, or -errno as of tp_daemon_find(), or -ETIMEDOUT: it was killed, or gave up its drain, and has not gone
 * seconds later, as happens when the disk of state hangs.
 */
int tp_daemon_wait(const char *state);
