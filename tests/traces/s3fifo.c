/* SPDX-License-Identifier: Apache-2.0 */
/*
 * S3-FIFO as in "FIFO queues are all you need for cache eviction" (SOSP 2023), with bytes for slots: a small queue of a
 * tenth, a main queue that gives those that were used another round, and a ghost queue as large as the main one.
 */
#include <stdlib.h>

#include "policy.h"
#include "queue.h"

#define USES_MAX 3

enum {
	NOWHERE,
	SMALL,
	MAIN,
	GHOST,
	N_QUEUES,
};

struct s3fifo {
	struct queue queues[N_QUEUES];
	struct item *items; /* owned */
	uint64_t size_kib, small_kib;
};

static void *s3fifo_new(const struct trace *t, uint64_t size_kib)
{
	struct s3fifo *c = need(calloc(1, sizeof(*c)));

	c->items = items_new(t);
	c->size_kib = size_kib;
	c->small_kib = size_kib / 10;
	for (int i = 0; i < N_QUEUES; i++)
		tp_list_init(&c->queues[i].list);
	return c;
}

static void s3fifo_free(void *cache)
{
	struct s3fifo *c = cache;

	free(c->items);
	free(c);
}

static bool s3fifo_has(const void *cache, uint32_t id)
{
	const struct s3fifo *c = cache;

	return c->items[id].in == SMALL || c->items[id].in == MAIN;
}

static void s3fifo_use(void *cache, uint32_t id)
{
	struct s3fifo *c = cache;

	if (c->items[id].uses < USES_MAX)
		c->items[id].uses++;
}

static void evict_main(struct s3fifo *c)
{
	struct item *it;

	while ((it = queue_oldest(&c->queues[MAIN]))) {
		if (!it->uses) {
			item_move(c->queues, it, NOWHERE);
			return;
		}
		it->uses--;
		item_move(c->queues, it, MAIN);
	}
}

static void evict_small(struct s3fifo *c)
{
	struct item *it;

	while ((it = queue_oldest(&c->queues[SMALL]))) {
		if (it->uses <= 1) {
			item_move(c->queues, it, GHOST);
			while (c->queues[GHOST].size_kib > c->size_kib - c->small_kib)
				item_move(c->queues, queue_oldest(&c->queues[GHOST]), NOWHERE);
			return;
		}
		it->uses = 0;
		item_move(c->queues, it, MAIN);
		if (c->queues[MAIN].size_kib > c->size_kib - c->small_kib)
			evict_main(c);
	}
}

static void s3fifo_insert(void *cache, uint32_t id)
{
	struct s3fifo *c = cache;
	struct item *it = &c->items[id];
	uint8_t to = it->in == GHOST ? MAIN : SMALL;

	if (it->size_kib > c->size_kib)
		return;
	item_move(c->queues, it, NOWHERE);
	while (c->queues[SMALL].size_kib + c->queues[MAIN].size_kib + it->size_kib > c->size_kib) {
		if (c->queues[SMALL].size_kib &&
			(c->queues[SMALL].size_kib >= c->small_kib || !c->queues[MAIN].size_kib))
			evict_small(c);
		else
			evict_main(c);
	}
	it->uses = 0;
	item_move(c->queues, it, to);
}

const struct policy policy_s3fifo = {
	"S3-FIFO", s3fifo_new, s3fifo_free, s3fifo_has, s3fifo_use, s3fifo_insert};
