/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The thread that tells the kernel what it must forget, in the order in which it was queued. A session has one; others use tp_notify_entry() and
 * its kin in fs/session.h.
 *
 * The kernel takes the directory's lock for such a message, and whoever holds that lock may be waiting for our reply. So the thread is
 * told to send no more (tp_notifier_quiet()) while requests are still read and answered, and only then may reading end.
 */
#pragma once

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "store/list.h"
#include "store/stats.h"

struct tp_notifier {
	int fd; /* /dev/fuse; the session's */
	struct tp_stats *stats;
	pthread_t thread;
	bool running; /* thread is there; by who starts and ends it */
	pthread_mutex_t lock;
	pthread_cond_t queued; /* something was queued, or ending */
	pthread_cond_t idle;   /* the thread sends nothing right now */
	/* By lock. */
	struct tp_list queue; /* of struct message */
	uint64_t depth;	      /* queued, and the one that is being sent */
	uint64_t lost;	      /* could not be queued for want of memory */
	bool sleeping;	      /* the thread waits on queued */
	bool sending;	      /* the thread is in write() */
	bool quiet;	      /* no more is sent, callbacks are still run */
	bool ending;	      /* the thread goes when the queue is empty, and nothing is queued any more */
};

void tp_notifier_init(struct tp_notifier *n, int fd, struct tp_stats *stats);
/* -errno of pthread_create(3). */
int tp_notifier_start(struct tp_notifier *n);
/* Nothing is sent any more once this has returned. */
void tp_notifier_quiet(struct tp_notifier *n);
/* Runs the callbacks that are queued, without sending, and ends the thread. */
void tp_notifier_stop(struct tp_notifier *n);
/* Stopped, or never started. */
void tp_notifier_fini(struct tp_notifier *n);

void tp_notifier_entry(struct tp_notifier *n, uint64_t parent, const char *name, size_t name_len);
void tp_notifier_inode(struct tp_notifier *n, uint64_t node, int64_t off, int64_t len);
int tp_notifier_then(struct tp_notifier *n, void (*done)(void *user), void *user);
uint64_t tp_notifier_depth(struct tp_notifier *n);
uint64_t tp_notifier_lost(struct tp_notifier *n);
