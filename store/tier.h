/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A tier: one place where generations can have a copy of their bytes, behind one table of functions. A store has its tiers in a list, fastest first; memory is always the
 * first of them. Copies are additive: a generation may have one in each.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct tp_gen;
struct tp_store;
struct tp_tier;

struct tp_tier_usage {
	uint64_t size_bytes;
	uint64_t free_bytes;
	char detail[160]; /* what else there is to say, KEY=VALUE, may be empty */
};

/* All are called with the tree's lock held exclusively unless they say otherwise; none waits. */
struct tp_tier_ops {
	const char *name; /* as the attribute `tier` shows it */
	bool durable;	  /* a copy here outlives the daemon */
	/* Without a lock. */
	void (*usage)(const struct tp_tier *t, struct tp_tier_usage *ret);
	/* Does g have a copy here? With the lock shared. */
	bool (*holds)(const struct tp_tier *t, const struct tp_gen *g);
	/* Bytes that would be free if g's copy went. */
	uint64_t (*own_bytes)(const struct tp_tier *t, const struct tp_gen *g);
	/* Gives g's copy up. Nobody has g open. */
	void (*drop)(const struct tp_tier *t, struct tp_gen *g);
};

struct tp_tier {
	const struct tp_tier_ops *ops;
	struct tp_store *store;
};

#define TP_TIERS_MAX 4

/* The memory pool as a tier of s. */
void tp_tier_memory(struct tp_store *s, struct tp_tier *ret);
/* Does any tier keep what is in it over a restart? */
bool tp_tier_any_durable(const struct tp_store *s);
/* "ram", "ram+ssd": the tiers that hold g, into buf; its length, 0 when none does. */
int tp_tier_names(const struct tp_store *s, const struct tp_gen *g, char *buf, size_t len);
