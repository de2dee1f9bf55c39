/* SPDX-License-Identifier: Apache-2.0 */
#include "store/store.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "store/evict.h"
#include "store/tree.h"

#define EVENTS_BYTES_MAX (4u << 20)

static int open_parts(struct tp_store *s, struct tp_err *err, struct tp_store_info *info)
{
	const struct tp_store_options *o = &s->options;
	int r = 0;

	if (o->state)
		r = tp_ledger_open(
			o->state, s->clock, o->journal_interval_ns, err, &s->ledger, &info->ledger);
	if (r == 0)
		r = tp_events_open(o->state, s->clock, EVENTS_BYTES_MAX, err, &s->events);
	if (r == 0)
		r = tp_pool_new(&o->pool, err, &s->pool);
	if (r == 0)
		tp_tier_memory(s, &s->tiers[s->tiers_count++]);
	if (r == 0)
		r = tp_tree_new(s, err, &s->tree);
	if (r == 0)
		r = tp_tree_load(s->tree, err);
	if (r == 0) {
		r = tp_evictor_new(s, &s->evictor);
		if (r < 0)
			(void)tp_err_set(
				err, r, "the thread that makes room could not be started: %s", strerror(-r));
	}
	return r;
}

int tp_store_open(const struct tp_store_options *options, struct tp_err *err, struct tp_store **ret,
	struct tp_store_info *ret_info)
{
	struct tp_store *s = calloc(1, sizeof(*s));
	struct tp_store_info info = {0};
	int r;

	if (!s)
		return tp_err_set(err, -ENOMEM, "no memory for the store");
	s->options = *options;
	s->clock = options->clock ? options->clock : tp_clock_system();
	tp_stats_init(&s->stats);
	r = open_parts(s, err, &info);
	if (r < 0) {
		(void)tp_store_close(s);
		return r;
	}
	info.directories = s->tree->directories;
	info.others = s->tree->others;
	s->found = info;
	*ret = s;
	if (ret_info)
		*ret_info = info;
	return 0;
}

int tp_store_close(struct tp_store *s)
{
	int r, closed;

	if (!s)
		return 0;
	tp_evictor_free(s->evictor);
	s->evictor = NULL;
	r = s->tree ? tp_tree_sync(s->tree) : 0;
	tp_tree_free(s->tree);
	tp_pool_free(s->pool);
	closed = tp_ledger_close(s->ledger);
	tp_events_close(s->events);
	free(s);
	return r < 0 ? r : closed;
}
