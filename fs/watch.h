/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Sees to it that the clients of a daemon that dies get ENOTCONN, however it dies.
 *
 * The kernel ends a connection when its last descriptor is closed, and a dead process closes what it had only when its last thread has gone. The
 * notifier's may not go: inside write(2) it waits, beyond the reach of SIGKILL, for a directory's lock, which a client holds whose request the dead
 * daemon will never answer. So somebody has to abort the connection:
 *
 * - After a crash it is the crashing thread, before the signal has its way, since a core dump begins with waiting for all other threads.
 * - After SIGKILL it is the watcher, a process of its own ("tidepool-watch" in ps) that the kernel tells when the daemon's main thread ends.
 *
 * The crashing thread also writes the events that were said and not flushed.
 *
 * Both write to fusectl's file abort if there is one, or do as umount(8) -f does, which aborts, too, and is root's only. Nothing can be done for an ordinary user
 * where fusectl is not mounted (in some containers): clients may hang then until root says `umount -f`.
 *
 *	r = tp_watch_begin(&w, mountpoint);	the process has one thread, the one that lives longest
 *	tp_watch_arm(&w);			it is mounted
 *	tp_watch_end(&w);			it is unmounted, and no other thread is left
 *
 * One at a time in a process: signals are handled for the process.
 */
#pragma once

#include <stdatomic.h>
#include <stdint.h>
#include <sys/types.h>

#include "store/events.h"

struct tp_watch {
	const char *mountpoint; /* absolute, without links; the caller's, outlives this */
	pid_t daemon;		/* the process that is watched over */
	pid_t watcher;		/* 0: there is none */
	int line_fd;		/* a socket from the daemon to the watcher; -1 without */
	int abort_fd;		/* fusectl's file of the connection; -1: none */
	uint64_t mount_id;	/* never used twice from Linux 6.8 on; tells whether it is still our mount */
	uint64_t dev;		/* its st_dev; 0: not armed */
	int why_not;		/* -errno: why there is no watcher */
	struct tp_events *_Atomic events; /* the caller's; what a crash writes the last of; NULL: nothing */
};

/*
 * Forks the watcher and returns when it is at its post. mountpoint need not be mounted yet. 0, or -errno of socketpair(2) or fork(2), or -EPIPE when the
 * watcher ended at once: there is none then, and w can be used as if there were.
 */
int tp_watch_begin(struct tp_watch *w, const char *mountpoint);
/*
 * The mount is there now: its connection will be aborted, and by crashes from now on. The daemon need not answer requests yet. 0, or why clients may hang
 * all the same: what tp_watch_begin() returned (crashes are handled), -EPERM when we may not abort, -ENOENT when the mount point is not to be found.
 */
int tp_watch_arm(struct tp_watch *w);
/* Ends the connection now, if the mount was armed; the mount stays. Waits for nobody. */
void tp_watch_abort(const struct tp_watch *w);
/* Ends the watcher, and gives the signals back what they did before. */
void tp_watch_end(struct tp_watch *w);
