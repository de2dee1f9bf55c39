/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The table of requests that wait (struct tp_wait in fs/session.h), and the interrupts that came for them. A session has one; others use
 * tp_wait_add() and its kin.
 */
#pragma once

#include <pthread.h>

#include "fs/session.h"

#define TP_WAITS_EARLY_MAX 64

struct tp_waits {
	pthread_mutex_t lock;
	struct tp_list waits; /* oldest first; by lock */
	bool closed;	      /* nobody may wait any more; by lock */
	/* By lock: interrupts of requests that were not waiting (yet): they may be in a handler that will have them wait. Handlers are few and short, so the last
	 * ones suffice. */
	uint64_t early[TP_WAITS_EARLY_MAX];
	unsigned early_next;
};

void tp_waits_init(struct tp_waits *t);
/* Nobody waits any more. */
void tp_waits_fini(struct tp_waits *t);
int tp_waits_add(struct tp_waits *t, struct tp_wait *w);
bool tp_waits_take(struct tp_waits *t, struct tp_wait *w);
void tp_waits_each(struct tp_waits *t, void (*each)(const struct tp_wait *w, void *user), void *user);
/* The caller of request unique was interrupted. */
void tp_waits_interrupt(struct tp_waits *t, uint64_t unique);
/* Cancels all that wait; from now on tp_waits_add() says -EINTR. */
void tp_waits_close(struct tp_waits *t);
