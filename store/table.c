/* SPDX-License-Identifier: Apache-2.0 */
#include "store/table.h"

#include <errno.h>
#include <stdlib.h>

#define BUCKETS_MIN 64

int tp_table_init(struct tp_table *t, uint64_t (*hash)(const struct tp_link *l))
{
	struct tp_link **buckets = calloc(BUCKETS_MIN, sizeof(*buckets));

	if (!buckets)
		return -ENOMEM;
	*t = (struct tp_table){.buckets = buckets, .mask = BUCKETS_MIN - 1, .hash = hash};
	return 0;
}

void tp_table_fini(struct tp_table *t)
{
	free(t->buckets);
	t->buckets = NULL;
}

static void resize(struct tp_table *t, size_t buckets_count)
{
	struct tp_link **buckets = calloc(buckets_count, sizeof(*buckets));

	if (!buckets)
		return;
	for (size_t i = 0; i <= t->mask; i++) {
		struct tp_link *next;

		for (struct tp_link *l = t->buckets[i]; l; l = next) {
			struct tp_link **to = &buckets[t->hash(l) & (buckets_count - 1)];

			next = l->next;
			l->next = *to;
			*to = l;
		}
	}
	free(t->buckets);
	t->buckets = buckets;
	t->mask = buckets_count - 1;
}

void tp_table_add(struct tp_table *t, struct tp_link *l)
{
	struct tp_link **bucket;

	if (t->count > t->mask)
		resize(t, (t->mask + 1) * 2);
	bucket = &t->buckets[t->hash(l) & t->mask];
	l->next = *bucket;
	*bucket = l;
	t->count++;
}

void tp_table_remove(struct tp_table *t, struct tp_link *l)
{
	struct tp_link **at = &t->buckets[t->hash(l) & t->mask];

	while (*at != l)
		at = &(*at)->next;
	*at = l->next;
	t->count--;
	if (t->mask >= BUCKETS_MIN && t->count < t->mask / 8)
		resize(t, (t->mask + 1) / 4 < BUCKETS_MIN ? BUCKETS_MIN : (t->mask + 1) / 4);
}
