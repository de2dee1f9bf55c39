/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What can be known of the processes that write: which process a thread belongs to, whether it is ending and how.
 *
 * All of it comes from /proc and pidfds, may be asked by any thread, takes up to 30 us, and is asked only where a draft is at stake. Nothing here ever waits for
 * an execve(2), which may itself be waiting for our answer to a FLUSH. The descriptors of the processes that were asked for of late are kept, for all who ask, so that
 * one that writes many files is asked in a microsecond.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

enum tp_end {
	TP_END_RUNS,   /* it lives and is not exiting */
	TP_END_GOOD,   /* exiting or gone with status 0 */
	TP_END_FAILED, /* exiting or gone with another status */
	TP_END_KILLED, /* exiting or gone by a signal */
	TP_END_UNKNOWN /* gone, or exiting, and how cannot be known (other user, other pid namespace, old kernel) */
};

struct tp_known;

/* A process that wrote: held by pidfd so that its number cannot be used again unnoticed. */
struct tp_process {
	pid_t tgid;
	int pidfd;		/* -1: could not be had */
	struct tp_known *known; /* whose pidfd is; NULL: it is its own */
};

/* The process of thread tid (the number itself when it is a process); 0 when it cannot be seen. */
pid_t tp_process_of(pid_t tid);
/* Opens the process of tgid. pidfd is -1 where the kernel or limits do not allow one. */
void tp_process_open(pid_t tgid, struct tp_process *ret);
void tp_process_close(struct tp_process *p);
/* How is it now? Uses /proc/TGID/oom_score, /proc/TGID/stat when it is ending (flags and exit code, fields 9 and 52), and, when it is gone, PIDFD_GET_INFO where the kernel has it (6.15). */
enum tp_end tp_process_end(const struct tp_process *p);
/* The same for a thread number that asks right now (FLUSH): only /proc. 0: UNKNOWN. */
enum tp_end tp_process_end_of(pid_t tid);
/* Its short name (comm) into buf, "?" when it cannot be had. Returns buf. */
const char *tp_process_name(pid_t tgid, char *buf, size_t len);
