/* SPDX-License-Identifier: Apache-2.0 */
/* What was used last goes last. */
#include <stdlib.h>

#include "policy.h"
#include "queue.h"

enum {
	NOWHERE,
	HELD,
	N_QUEUES,
};

struct lru {
	struct queue queues[N_QUEUES];
	struct item *items; /* owned */
	uint64_t size_kib;
};

static void *lru_new(const struct trace *t, uint64_t size_kib)
{
	struct lru *c = need(calloc(1, sizeof(*c)));

	c->items = items_new(t);
	c->size_kib = size_kib;
	tp_list_init(&c->queues[HELD].list);
	return c;
}

static void lru_free(void *cache)
{
	struct lru *c = cache;

	free(c->items);
	free(c);
}

static bool lru_has(const void *cache, uint32_t id)
{
	const struct lru *c = cache;

	return c->items[id].in == HELD;
}

static void lru_use(void *cache, uint32_t id)
{
	struct lru *c = cache;

	item_move(c->queues, &c->items[id], HELD);
}

static void lru_insert(void *cache, uint32_t id)
{
	struct lru *c = cache;

	if (c->items[id].size_kib > c->size_kib)
		return;
	while (c->queues[HELD].size_kib + c->items[id].size_kib > c->size_kib)
		item_move(c->queues, queue_oldest(&c->queues[HELD]), NOWHERE);
	item_move(c->queues, &c->items[id], HELD);
}

const struct policy policy_lru = {"LRU", lru_new, lru_free, lru_has, lru_use, lru_insert};
