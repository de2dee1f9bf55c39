/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The advisory locks of one object: flock (whole file) and fcntl (ranges), two kinds that do not see each other.
 *
 * The owner is the number that the kernel gives for an open file or a process. A waiter is queued here and granted in order; who it is, and how it is answered, is the
 * caller's. The tree's lock protects all of it.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "store/list.h"

enum tp_lock_type { TP_LOCK_READ, TP_LOCK_WRITE, TP_LOCK_NONE };

struct tp_lock_range {
	uint64_t owner;
	uint64_t handle;     /* the open file through which it was set */
	uint64_t start, end; /* inclusive; the kernel's form */
	enum tp_lock_type type;
	pid_t pid; /* what F_GETLK tells */
	bool flock;
};

struct tp_locks {
	struct tp_list held;	/* struct tp_lock */
	struct tp_list waiters; /* struct tp_lock_waiter, oldest first */
	uint32_t held_count, waiters_count;
	uint64_t freed_from,
		freed_to; /* bytes that were unlocked, or less locked, since the last tp_locks_grant(); from > to: none */
};

/* Each change looks at all that are held, */
#define TP_LOCKS_HELD_MAX 65536u
/* and at these for each waiter: under the tree's lock, and who wants it to take long can. */
#define TP_LOCKS_LOOKS_MAX 4000000u

/* Embedded in the caller's parked request. */
struct tp_lock_waiter {
	struct tp_list link;
	struct tp_list search;	/* only while a deadlock is searched for */
	struct tp_locks *locks; /* that it waits for; set by tp_locks_wait() */
	struct tp_lock_range want;
};

void tp_locks_init(struct tp_locks *l);
/* Drops all that is held; there are no waiters. */
void tp_locks_fini(struct tp_locks *l);
bool tp_locks_empty(const struct tp_locks *l);

/* Sets or (type NONE) drops a lock, as fcntl(2) and flock(2) do: ranges of one owner split, merge and change type. -EAGAIN: another owner is in the way. -ENOLCK: too many are held, or too many with so many who wait. -ENOMEM. Nothing changed then. */
int tp_locks_set(struct tp_locks *l, const struct tp_lock_range *want);
/* The first lock that is in the way of want into *ret; false when there is none. */
bool tp_locks_test(const struct tp_locks *l, const struct tp_lock_range *want, struct tp_lock_range *ret);
/* Queues w. -EDEADLK: among the waiters of this object, w's owner would wait for somebody who waits for it (fcntl locks only, and as far as a bounded search finds). -ENOLCK: too many wait for so many locks. */
int tp_locks_wait(struct tp_locks *l, struct tp_lock_waiter *w);
/* Takes w out of the queue. */
void tp_locks_unwait(struct tp_lock_waiter *w);
/*
 * Grants what can be granted now, in order, and moves the granted waiters to `granted` (initialised by the caller). claim() is asked for each before: false leaves it waiting, since
 * it is being cancelled. One for which there is no memory is left waiting as well, and is granted by a later call.
 */
void tp_locks_grant(struct tp_locks *l, bool (*claim)(struct tp_lock_waiter *w, void *user), void *user,
	struct tp_list *granted);
/* Drops the fcntl locks that were set through the open file. */
void tp_locks_drop_handle(struct tp_locks *l, uint64_t handle);
/* Drops all locks of owner of one kind (close, release). */
void tp_locks_drop_owner(struct tp_locks *l, uint64_t owner, bool flock);
