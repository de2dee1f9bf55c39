/* SPDX-License-Identifier: Apache-2.0 */
/* The queues of the textbook policies: lists of the objects of a trace, by their number, that know their bytes. */
#pragma once

#include <stdint.h>
#include <stdlib.h>

#include "store/list.h"
#include "trace.h"

struct item {
	struct tp_list link;
	uint32_t size_kib;
	uint8_t in;   /* which queue, 0: none */
	uint8_t uses; /* the policy's own */
};

struct queue {
	struct tp_list list; /* the first is the youngest */
	uint64_t size_kib;
};

static inline struct item *items_new(const struct trace *t)
{
	struct item *items = need(calloc(t->n_objects + 1, sizeof(*items)));

	for (uint32_t i = 0; i < t->n_objects; i++) {
		tp_list_init(&items[i].link);
		items[i].size_kib = t->objects[i].size_kib;
	}
	return items;
}

/* Takes it out of where it is and puts it at the young end of queues[to]; 0 is nowhere. */
static inline void item_move(struct queue *queues, struct item *it, uint8_t to)
{
	if (it->in)
		queues[it->in].size_kib -= it->size_kib;
	tp_list_remove(&it->link);
	it->in = to;
	if (!to)
		return;
	tp_list_push_front(&queues[to].list, &it->link);
	queues[to].size_kib += it->size_kib;
}

/* NULL: empty. */
static inline struct item *queue_oldest(const struct queue *q)
{
	return tp_list_empty(&q->list) ? NULL : tp_container(q->list.prev, struct item, link);
}
