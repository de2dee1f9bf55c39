/* SPDX-License-Identifier: Apache-2.0 */
#include "store/tier.h"

#include <inttypes.h>
#include <stdio.h>

#include "store/cleanup.h"
#include "store/tree.h"

static void memory_usage(const struct tp_tier *t, struct tp_tier_usage *ret)
{
	struct tp_pool_usage u;

	tp_pool_usage(t->store->pool, &u);
	ret->size_bytes = u.size_bytes;
	ret->free_bytes = u.free_bytes;
	(void)snprintf(ret->detail, sizeof(ret->detail),
		"slots=%" PRIu64 " arenas=%u prefaulted=%" PRIu64 " huge=%s", u.slot_bytes, u.arenas,
		u.prefaulted_bytes, u.huge ? "yes" : "no");
}

static bool memory_holds(const struct tp_tier *t, const struct tp_gen *g)
{
	return g->state != TP_GEN_GONE && g->state != TP_GEN_RESERVED;
}

static uint64_t memory_own_bytes(const struct tp_tier *t, const struct tp_gen *g)
{
	return tp_map_own_bytes(&g->map);
}

static void memory_drop(const struct tp_tier *t, struct tp_gen *g)
{
	TP_WRLOCK(tp_tree_map_lock(t->store->tree, g));
	tp_tree_charge(t->store->tree, g->object, -(int64_t)tp_map_bytes(&g->map));
	tp_map_fini(&g->map, t->store->pool);
	tp_map_init(&g->map);
}

void tp_tier_memory(struct tp_store *s, struct tp_tier *ret)
{
	static const struct tp_tier_ops ops = {
		.name = "ram",
		.usage = memory_usage,
		.holds = memory_holds,
		.own_bytes = memory_own_bytes,
		.drop = memory_drop,
	};

	*ret = (struct tp_tier){.ops = &ops, .store = s};
}

bool tp_tier_any_durable(const struct tp_store *s)
{
	for (unsigned i = 0; i < s->tiers_count; i++)
		if (s->tiers[i].ops->durable)
			return true;
	return false;
}

int tp_tier_names(const struct tp_store *s, const struct tp_gen *g, char *buf, size_t len)
{
	size_t used = 0;

	for (unsigned i = 0; i < s->tiers_count; i++) {
		const struct tp_tier *t = &s->tiers[i];

		if (t->ops->holds(t, g) && used < len)
			used += (size_t)snprintf(
				buf + used, len - used, "%s%s", used ? "+" : "", t->ops->name);
	}
	return (int)used;
}
