/* SPDX-License-Identifier: Apache-2.0 */
/* The store's own: as store/evict.c uses it, without the watermarks. */
#include <stdlib.h>

#include "policy.h"
#include "store/heat.h"

struct ours {
	const struct trace *trace;
	struct tp_heat *heat;	       /* owned */
	struct tp_heat_entry *entries; /* owned */
	uint64_t size_kib, held_kib;
};

static void *ours_new(const struct trace *t, uint64_t size_kib)
{
	struct ours *c = need(calloc(1, sizeof(*c)));

	c->trace = t;
	c->heat = need(tp_heat_new(size_kib * 1024));
	c->entries = need(calloc(t->n_objects + 1, sizeof(*c->entries)));
	for (uint32_t i = 0; i < t->n_objects; i++)
		tp_list_init(&c->entries[i].link);
	c->size_kib = size_kib;
	return c;
}

static bool ours_has(const void *cache, uint32_t id)
{
	const struct ours *c = cache;

	return tp_heat_holds(&c->entries[id]);
}

static void ours_free(void *cache)
{
	struct ours *c = cache;

	for (uint32_t i = 0; i < c->trace->n_objects; i++)
		if (ours_has(c, i))
			tp_heat_remove(c->heat, &c->entries[i]);
	tp_heat_free(c->heat);
	free(c->entries);
	free(c);
}

static void ours_use(void *cache, uint32_t id)
{
	struct ours *c = cache;

	tp_heat_touch(c->heat, &c->entries[id]);
}

static void ours_insert(void *cache, uint32_t id)
{
	struct ours *c = cache;
	const struct object *o = &c->trace->objects[id];

	if (o->size_kib > c->size_kib)
		return;
	while (c->held_kib + o->size_kib > c->size_kib) {
		struct tp_heat_entry *e = tp_heat_victim(c->heat, NULL, NULL, UINT64_MAX);

		c->held_kib -= e->size_kib;
		tp_heat_evict(c->heat, e, c->trace->objects[e - c->entries].key);
	}
	tp_heat_add(c->heat, &c->entries[id], o->key, (uint64_t)o->size_kib * 1024, o->depth);
	c->held_kib += o->size_kib;
}

const struct policy policy_ours = {"ours", ours_new, ours_free, ours_has, ours_use, ours_insert};
