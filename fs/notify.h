/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The thread that tells the kernel what it must forget, in the order in which it was queued. A session has one.
 *
 * The kernel takes the directory's lock for such a message, and whoever holds that lock may be waiting for our reply. So the thread is
 * told to send no more (tp_notifier_quiet()) while requests are still read and answered, and only then may reading end.
 *
 * Or it waits for somebody else, for as long as that one likes: a listing copies names into the caller's memory with that lock held, and the memory may be a file of another
 * file system, which does not answer. So who is held up for long loses the queue to a stand-in, which leaves the other what is about the same directory, and all goes on but in
 * there. There are few stand-ins. The last one, which comes when all others are held up, sends nothing that needs such a lock, and leaves it to who comes back first: until then
 * the kernel shows names that are gone, but to who opens them.
 */
#pragma once

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "store/list.h"
#include "store/stats.h"

#define TP_NOTIFIER_THREADS_MAX 8
/* So many messages may wait; beyond that the last thread drops what it cannot send. */
#define TP_NOTIFIER_DEPTH_MAX (1u << 18)

struct tp_notifier;

struct tp_notifier_thread {
	struct tp_notifier *notifier;
	/* By the notifier's lock. */
	bool alive;
	uint64_t parent; /* the directory that it needs the lock of; 0: it sends nothing of the kind */
	struct tp_list
		aside; /* of struct message: what it does when it comes back, as it has lost the queue */
};

struct tp_notifier {
	int fd; /* /dev/fuse; the session's */
	struct tp_stats *stats;
	pthread_mutex_t lock;
	pthread_cond_t queued; /* something was queued, or ending, or active is another */
	pthread_cond_t idle;   /* active sends nothing right now */
	pthread_cond_t left;   /* a thread ended */
	struct tp_notifier_thread threads[TP_NOTIFIER_THREADS_MAX];
	/* By lock. */
	struct tp_notifier_thread *
		active; /* who has the queue; the others that are alive are held up in what they took before, or on their way out */
	unsigned alive;
	struct tp_list queue; /* of struct message */
	uint64_t depth;	      /* queued, and those that are being sent */
	uint64_t lost;	      /* never sent, for want of memory or because too many waited */
	uint64_t turn;	      /* how many were taken from the queue */
	uint64_t turn_seen;   /* tp_notifier_guard()'s */
	bool sleeping;	      /* active waits on queued */
	bool sending;	      /* active is in write() */
	bool quiet;	      /* no more is sent, callbacks are still run */
	bool ending;	      /* the threads go when the queue is empty, and nothing is queued any more */
};

void tp_notifier_init(struct tp_notifier *n, int fd, struct tp_stats *stats);
/* -errno of pthread_create(3). */
int tp_notifier_start(struct tp_notifier *n);
/* To be called each second or so: who has been sending the same message since the last time is held up. */
void tp_notifier_guard(struct tp_notifier *n);
/* Nothing is sent any more once this has returned, but what is held up. */
void tp_notifier_quiet(struct tp_notifier *n);
/* Runs the callbacks that are queued, without sending, and ends the threads. */
void tp_notifier_stop(struct tp_notifier *n);
/* Stopped, or never started. */
void tp_notifier_fini(struct tp_notifier *n);

/* Queued; never block. A name that the kernel does not know is nothing. */
void tp_notifier_entry(struct tp_notifier *n, uint64_t parent, const char *name, size_t name_len);
/* off < 0: attributes only; len 0: to the end. */
void tp_notifier_inode(struct tp_notifier *n, uint64_t node, int64_t off, int64_t len);
/*
 * Calls done(user) from the notifier's thread when all that was queued before has been sent, but for what the kernel has been holding up for long. -ENOMEM, or -ESHUTDOWN when
 * the session has ended: not queued, the caller goes on without.
 */
int tp_notifier_then(struct tp_notifier *n, void (*done)(void *user), void *user);
/* How much is queued or being sent. */
uint64_t tp_notifier_depth(struct tp_notifier *n);
/* Invalidations that were not sent, for want of memory or because too many waited. */
uint64_t tp_notifier_lost(struct tp_notifier *n);
/* How many directories others keep locked in the kernel, so that what is about them waits. */
unsigned tp_notifier_held_up(struct tp_notifier *n);
