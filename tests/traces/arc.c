/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ARC as in "ARC: a self-tuning, low overhead replacement cache" (FAST 2003), with bytes for slots: T1 has what was used
 * once, T2 what was used more often, B1 and B2 remember what went from them, and a find in one of those moves the target
 * size of T1.
 */
#include <stdlib.h>

#include "policy.h"
#include "queue.h"

enum {
	NOWHERE,
	T1,
	T2,
	B1,
	B2,
	N_QUEUES,
};

struct arc {
	struct queue queues[N_QUEUES];
	struct item *items; /* owned */
	uint64_t size_kib, target_kib;
};

static void *arc_new(const struct trace *t, uint64_t size_kib)
{
	struct arc *c = need(calloc(1, sizeof(*c)));

	c->items = items_new(t);
	c->size_kib = size_kib;
	for (int i = 0; i < N_QUEUES; i++)
		tp_list_init(&c->queues[i].list);
	return c;
}

static void arc_free(void *cache)
{
	struct arc *c = cache;

	free(c->items);
	free(c);
}

static bool arc_has(const void *cache, uint32_t id)
{
	const struct arc *c = cache;

	return c->items[id].in == T1 || c->items[id].in == T2;
}

static void arc_use(void *cache, uint32_t id)
{
	struct arc *c = cache;

	item_move(c->queues, &c->items[id], T2);
}

static uint64_t in(const struct arc *c, int queue)
{
	return c->queues[queue].size_kib;
}

static void replace(struct arc *c, const struct item *for_it, bool was_b2)
{
	while (in(c, T1) + in(c, T2) + for_it->size_kib > c->size_kib) {
		if (in(c, T1) &&
			(in(c, T1) > c->target_kib || (was_b2 && in(c, T1) == c->target_kib) || !in(c, T2)))
			item_move(c->queues, queue_oldest(&c->queues[T1]), B1);
		else
			item_move(c->queues, queue_oldest(&c->queues[T2]), B2);
	}
}

static void learn(struct arc *c, const struct item *it)
{
	uint64_t b1 = in(c, B1), b2 = in(c, B2), step;

	if (it->in == B1) {
		step = it->size_kib * (b2 > b1 ? b2 / b1 : 1);
		c->target_kib = c->target_kib + step > c->size_kib ? c->size_kib : c->target_kib + step;
	} else {
		step = it->size_kib * (b1 > b2 ? b1 / b2 : 1);
		c->target_kib = c->target_kib < step ? 0 : c->target_kib - step;
	}
}

static void arc_insert(void *cache, uint32_t id)
{
	struct arc *c = cache;
	struct item *it = &c->items[id];
	bool was_b2 = it->in == B2;

	if (it->size_kib > c->size_kib)
		return;
	if (it->in) {
		learn(c, it);
		item_move(c->queues, it, NOWHERE);
		replace(c, it, was_b2);
		item_move(c->queues, it, T2);
		return;
	}
	/* L1 may have the size of the cache, both lists together twice that. */
	while (in(c, T1) + in(c, B1) + it->size_kib > c->size_kib) {
		if (in(c, B1))
			item_move(c->queues, queue_oldest(&c->queues[B1]), NOWHERE);
		else
			item_move(c->queues, queue_oldest(&c->queues[T1]), NOWHERE);
	}
	while (in(c, T1) + in(c, T2) + in(c, B1) + in(c, B2) + it->size_kib > 2 * c->size_kib && in(c, B2))
		item_move(c->queues, queue_oldest(&c->queues[B2]), NOWHERE);
	replace(c, it, false);
	item_move(c->queues, it, T1);
}

const struct policy policy_arc = {"ARC", arc_new, arc_free, arc_has, arc_use, arc_insert};
