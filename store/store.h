/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A store: pool, tree, eviction, ledger and events of one STATE, opened and closed as one.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "store/clock.h"
#include "store/errtext.h"
#include "store/events.h"
#include "store/ledger.h"
#include "store/pool.h"
#include "store/stats.h"
#include "store/tier.h"

struct tp_store_options {
	const char *state; /* STATE; NULL: nothing is kept (tests) */
	struct tp_pool_options pool;
	unsigned high_pct, low_pct;   /* eviction watermarks, 0 < low < high <= 100 */
	uint64_t names_max;	      /* 0: no limit; see tp_tree_may_name() */
	uint64_t journal_interval_ns; /* how long a change may wait for stable storage */
	const struct tp_clock *clock; /* NULL: the system's */
	bool read_only;
};

struct tp_store_info {
	struct tp_ledger_info ledger;
	uint64_t directories, others; /* what was found */
	uint64_t samples;
};

struct tp_tree;
struct tp_evictor;

struct tp_store {
	const struct tp_clock *clock;
	struct tp_stats stats;
	struct tp_events *events;
	struct tp_ledger *ledger;
	struct tp_pool *pool;
	struct tp_tree *tree;
	struct tp_evictor *evictor;
	struct tp_tier tiers[TP_TIERS_MAX]; /* fastest first; [0] is memory */
	unsigned tiers_count;
	struct tp_store_options options;
	struct tp_store_info found; /* when it was opened */
};

/* -EBUSY: STATE is in use by a living process. Other errors as of the parts, always with text. */
int tp_store_open(const struct tp_store_options *options, struct tp_err *err, struct tp_store **ret,
	struct tp_store_info *ret_info);
/* Brings the ledger to stable storage and frees all. Nobody may use the store any more. NULL is allowed. Returns what the ledger's last sync returned. */
int tp_store_close(struct tp_store *s);
