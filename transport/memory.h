/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A transport between two ends in one process, without threads and without a network: tests drive it by a seed on a clock of its own. What is on its way takes a random time,
 * so it overtakes and is overtaken; it may come twice or never; and the line can be cut.
 *
 * Nothing happens but in tp_memory_step(), by the thread that calls it: it is the transport's thread. Nothing here may be called by two threads at once.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "transport/fetch.h"

struct tp_memory;

struct tp_memory_options {
	uint64_t seed;
	const struct tp_serve *serve[2]; /* what each end answers from */
	uint64_t delay_ns_max;		 /* each request and each piece takes from 1 to that */
	unsigned lost_pct, twice_pct;	 /* how many of them are lost, or come twice */
};

/* -ENOMEM. */
int tp_memory_new(const struct tp_memory_options *options, struct tp_memory **ret);
/* Ends all fetches (-ECANCELED; their done starts no others) and lets all pins go. NULL is allowed. */
void tp_memory_free(struct tp_memory *m);
/* End 0 or 1 asks the other one. Takes ownership of f on success. -EINVAL: more than TP_FETCH_BYTES_MAX; -ENOMEM. */
int tp_memory_fetch(struct tp_memory *m, unsigned end, struct tp_fetch *f);
/* Goes on to what happens next: something arrives, or a deadline is there. False: nothing is under way. */
bool tp_memory_step(struct tp_memory *m);
/* As long as the line is cut all that would arrive is lost. */
void tp_memory_cut(struct tp_memory *m, bool cut);
uint64_t tp_memory_now_ns(const struct tp_memory *m);
