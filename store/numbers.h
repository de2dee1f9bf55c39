/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The numbers of a store, given out one after another from blocks that were reserved before: who has them writes the end of a block down, and does so again while half of it is
 * left. Blocks are so large that nobody ever waits for the next one: at 300,000 numbers a second half of one lasts for 31 hours. What a crash leaves unused of a block is lost,
 * and of such blocks there are 67 million.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#define TP_NUMBERS_BLOCK (UINT64_C(1) << 36)
/* The last of all. Those who make something else of a number may add to it, and have the top bit for themselves. */
#define TP_NUMBERS_MAX ((UINT64_C(1) << 62) - 1)

struct tp_numbers {
	uint64_t block; /* how many are reserved at a time, 1 or more */
	uint64_t last;	/* was given out last */
	uint64_t end;	/* the last that may be given out, at least `last` */
};

/* 0: all that were reserved are used up. */
static inline uint64_t tp_numbers_next(struct tp_numbers *n)
{
	return n->last < n->end ? ++n->last : 0;
}

/* Is it time to reserve the next block? Never, when none is left. */
static inline bool tp_numbers_are_few(const struct tp_numbers *n)
{
	return n->end < TP_NUMBERS_MAX && n->end - n->last <= n->block / 2;
}

/* Where the block behind end ends: at end itself when no number is left. */
static inline uint64_t tp_numbers_block_end(const struct tp_numbers *n)
{
	if (n->end >= TP_NUMBERS_MAX)
		return n->end;
	return TP_NUMBERS_MAX - n->end < n->block ? TP_NUMBERS_MAX : n->end + n->block;
}
