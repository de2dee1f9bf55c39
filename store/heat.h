/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which object goes first when room is needed. Knows sizes, uses and places in prefix chains; owns no objects and
 * frees nothing.
 *
 * The caller serialises all calls on one struct tp_heat with a lock of its own.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "store/list.h"

/* Embedded in what can be evicted: keep it small. */
struct tp_heat_entry {
	struct tp_list link;  /* in one of the queues; self-linked when in none */
	uint32_t size_kib;    /* rounded up; saturates */
	uint16_t depth;	      /* place in its prefix chain; the deepest goes first among the cold */
	uint8_t queue;	      /* which queue it is in; this and what follows are heat.c's own */
	uint8_t uses : 2;     /* since it was added; saturates */
	uint8_t lives : 2;    /* how often it is spared at the cold end */
	uint8_t branched : 1; /* more than one chain has gone on below it */
};

struct tp_heat;

/* size_bytes: of the tier. NULL when the heap is exhausted. */
struct tp_heat *tp_heat_new(uint64_t size_bytes);
/* All entries must have been removed. NULL is allowed. */
void tp_heat_free(struct tp_heat *h);

/* A new object of size_bytes is there. e is initialised by this. key: a hash of its name, by which its return is recognised. Never fails. */
void tp_heat_add(
	struct tp_heat *h, struct tp_heat_entry *e, uint64_t key, uint64_t size_bytes, uint16_t depth);
/* It was opened for reading. The first time right after it was added counts for nothing: its writer looks at it. */
void tp_heat_touch(struct tp_heat *h, struct tp_heat_entry *e);
/* Its depth or size changed (an attribute was set, a live object grew). */
void tp_heat_change(struct tp_heat *h, struct tp_heat_entry *e, uint64_t size_bytes, uint16_t depth);
/* It goes because room is needed; key as it is then. */
void tp_heat_evict(struct tp_heat *h, struct tp_heat_entry *e, uint64_t key);
/* Somebody removed it. */
void tp_heat_remove(struct tp_heat *h, struct tp_heat_entry *e);

/*
 * The object that should go next for which may_go() says yes (NULL: all may), or NULL when there is none. It stays where it
 * is until tp_heat_evict() or tp_heat_remove(). Entries for which may_go() says no are passed over and looked at again next time, after the others;
 * a call looks at all entries at most once, and gives up after refusals_max of a queue: the next one goes on behind these, so that after
 * tp_heat_longest() refusals of each in calls in a row nothing may go. may_go() must not call anything here.
 */
struct tp_heat_entry *tp_heat_victim(struct tp_heat *h, bool (*may_go)(struct tp_heat_entry *e, void *user),
	void *user, uint64_t refusals_max);
/* How many entries the longest queue has. */
uint64_t tp_heat_longest(const struct tp_heat *h);

static inline bool tp_heat_holds(const struct tp_heat_entry *e)
{
	return !tp_list_empty(&e->link);
}
