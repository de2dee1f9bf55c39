/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A hash table of elements that carry their own link: it grows by doubling and allocates nothing per element.
 * The owner's lock protects it: shared for tp_table_first() and on, exclusively for the rest.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

struct tp_link {
	struct tp_link *next;
};

struct tp_table {
	struct tp_link **buckets;
	size_t mask; /* number of buckets - 1 */
	size_t count;
	uint64_t (*hash)(const struct tp_link *l);
};

/* -ENOMEM. hash tells an element's hash; it must not change while the element is in the table. */
int tp_table_init(struct tp_table *t, uint64_t (*hash)(const struct tp_link *l));
void tp_table_fini(struct tp_table *t);
/* Never fails: when the heap is exhausted the chains get longer. */
void tp_table_add(struct tp_table *t, struct tp_link *l);
void tp_table_remove(struct tp_table *t, struct tp_link *l);

/* The first element of the chain that an element with this hash would be in; go on with ->next and compare. */
static inline struct tp_link *tp_table_first(const struct tp_table *t, uint64_t hash)
{
	return t->buckets[hash & t->mask];
}
