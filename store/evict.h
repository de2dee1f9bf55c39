/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Room: a thread that gives the pool's memory back when it is used above `high`, when somebody waits for room, when a ttl runs out or a directory passes its quota.
 *
 * A victim's name is taken away first, the kernel is told, and only then is the memory free. Whoever needs room and has none registers a waiter and returns; the waiter is called
 * when there is room or when it is certain that there will be none.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "store/list.h"

struct tp_store;
struct tp_gen;
struct tp_evictor;

struct tp_room_waiter {
	struct tp_list link;
	uint64_t bytes;	     /* how much would do */
	uint64_t quota_node; /* the directory whose quota is in the way; 0: the pool is full */
	/* Called once, from the evictor's thread, with no lock held: try again. last: there will be no room. */
	void (*ready)(struct tp_room_waiter *w, bool last);
};

/* -ENOMEM, or what pthread_create gives. The store's tree and pool are there. */
int tp_evictor_new(struct tp_store *s, struct tp_evictor **ret);
/* Ends the thread: what waits is not served any more. */
void tp_evictor_stop(struct tp_evictor *e);
/* Ends the thread and frees it. No waiters are left. NULL is allowed. */
void tp_evictor_free(struct tp_evictor *e);
/* w->link is initialised by this. */
void tp_evictor_wait(struct tp_evictor *e, struct tp_room_waiter *w);
/* Takes w out again; false when ready() was called or is being called. */
bool tp_evictor_unwait(struct tp_evictor *e, struct tp_room_waiter *w);
/* Something was written, published or freed: cheap; wakes the thread when there is something for it to do. NULL is allowed. */
void tp_evictor_kick(struct tp_evictor *e);
/* A rule changed: the thread looks at all of them. NULL is allowed. */
void tp_evictor_look(struct tp_evictor *e);
/* Notes when g's time to live is over, as the rules are now. With tree.lock held exclusively. NULL is allowed. */
void tp_evictor_expire(struct tp_evictor *e, struct tp_gen *g);
/* How many times to live are noted. */
size_t tp_evictor_expiries(struct tp_evictor *e);
/* Bytes that are free, or that would be as soon as somebody needs them. A little more than there will be while a draft shares bytes with what it overwrites. */
uint64_t tp_evictor_available_bytes(struct tp_evictor *e);
/* Bytes that are on their way to being free. */
uint64_t tp_evictor_pending_bytes(struct tp_evictor *e);
/* The names that were evicted last, a line "TIME PATH" for each, oldest first: as many as half a MiB holds. -ENOMEM, -EIO. */
int tp_evictor_print_victims(struct tp_evictor *e, FILE *out);
