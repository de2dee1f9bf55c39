/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The ledger's numbers: none is given out twice, and nobody waits for one.
 */
#include <endian.h>
#include <sched.h>
#include <unistd.h>

#include "ledger_fixture.h"
#include "store/numbers.h"

static void take_generations(const char *state)
{
	struct tp_ledger *l = opened(state);

	for (unsigned i = 0; i < 100000; i++)
		cr_assert_neq(tp_ledger_next_generation(l), 0);
}

static uint64_t next_of(struct tp_ledger *l)
{
	uint64_t g = tp_ledger_next_generation(l);

	cr_assert_neq(g, 0);
	return g;
}

Test(generations, generations_are_never_given_out_twice)
{
	SCRATCH(dir);
	struct tp_ledger *l = opened(dir.path);
	uint64_t last = 0, g;

	for (unsigned i = 0; i < 200000; i++, last = g) {
		g = next_of(l);
		cr_assert_eq(g, last + 1);
	}
	cr_assert_eq(tp_ledger_close(l), 0);
	l = opened(dir.path);
	g = next_of(l);
	cr_assert_gt(g, last);
	cr_assert_eq(tp_ledger_close(l), 0);
	last = g;
	in_killed_child(take_generations, dir.path);
	l = opened(dir.path);
	cr_assert_gt(next_of(l), last + 100000);
	cr_assert_eq(tp_ledger_close(l), 0);
}

Test(generations, a_close_gives_back_the_generations_that_were_not_used)
{
	SCRATCH(dir);
	struct tp_ledger *l = opened(dir.path);

	cr_assert_eq(tp_ledger_close(l), 0);
	l = opened(dir.path);
	for (unsigned i = 1; i <= 3; i++)
		cr_assert_eq(next_of(l), i);
	cr_assert_eq(change(l, "a", "1"), 0);
	cr_assert_eq(tp_ledger_close(l), 0);
	l = opened(dir.path);
	cr_assert_eq(next_of(l), 4);
	/* When that is not certain, they are lost. */
	atomic_store(&flush_errno, EIO);
	cr_assert_eq(tp_ledger_close(l), 0);
	atomic_store(&flush_errno, 0);
	l = opened(dir.path);
	assert_names(l, "a=1 ");
	cr_assert_eq(next_of(l), TP_NUMBERS_BLOCK + 4);
	cr_assert_eq(change(l, "b", "1"), 0);
	atomic_store(&flush_errno, EIO);
	cr_assert_eq(tp_ledger_close(l), -EROFS);
	atomic_store(&flush_errno, 0);
	l = opened(dir.path);
	cr_assert_eq(next_of(l), 2 * TP_NUMBERS_BLOCK + 4);
	cr_assert_eq(tp_ledger_close(l), 0);
	in_killed_child(hold, dir.path);
	l = opened(dir.path);
	cr_assert_eq(next_of(l), 3 * TP_NUMBERS_BLOCK + 5);
	cr_assert_eq(tp_ledger_close(l), 0);
}

Test(generations, the_next_block_of_generations_is_there_before_one_is_used_up)
{
	SCRATCH(dir);
	struct tp_ledger *l = opened(dir.path);
	uint64_t g;

	tp_ledger_set_block(l, 1000);
	for (g = 1; g <= 501; g++)
		cr_assert_eq(next_of(l), g);
	/* Whatever is committed from now on, the block is, too. */
	cr_assert_eq(change(l, "a", "1"), 0);
	cr_assert_eq(tp_ledger_sync(l), 0);
	atomic_store(&flush_errno, EIO);
	for (; g <= 2000; g++)
		cr_assert_eq(next_of(l), g);
	cr_assert_eq(tp_ledger_next_generation(l), 0);
	cr_assert_eq(tp_ledger_next_generation(l), 0);
	(void)tp_ledger_close(l);
	atomic_store(&flush_errno, 0);
	l = opened(dir.path);
	cr_assert_eq(next_of(l), 2001);
	cr_assert_eq(tp_ledger_close(l), 0);
}

static void take_small_blocks(const char *state)
{
	struct tp_ledger *l = opened(state);
	uint64_t g, last = 0;

	tp_ledger_set_block(l, 100);
	while (last < 2000) {
		g = tp_ledger_next_generation(l);
		if (g && g != last + 1)
			_exit(1);
		last = g ? g : last;
	}
}

Test(generations, generations_go_on_over_blocks_and_after_a_kill)
{
	SCRATCH(dir);
	struct tp_ledger *l;
	uint64_t g;

	in_killed_child(take_small_blocks, dir.path);
	l = opened(dir.path);
	g = next_of(l);
	cr_assert(g > 2000 && g <= 2101, "%lu", (unsigned long)g);
	cr_assert_eq(tp_ledger_close(l), 0);
}

Test(generations, a_disk_that_hangs_or_is_full_holds_up_nobody_who_wants_a_generation)
{
	SCRATCH(dir);
	struct tp_ledger_info info;
	struct tp_ledger *l = opened_with(dir.path, tp_clock_system(), TP_NS_PER_MS, &info);

	tp_ledger_set_block(l, 1000);
	atomic_store(&flush_hangs, true);
	for (uint64_t g = 1; g <= 1000; g++)
		cr_assert_eq(next_of(l), g);
	cr_assert_eq(tp_ledger_next_generation(l), 0);
	atomic_store(&flush_errno, ENOSPC);
	atomic_store(&flush_hangs, false);
	while (tp_ledger_trouble(l) != ENOSPC)
		(void)sched_yield();
	cr_assert_eq(tp_ledger_next_generation(l), 0);
	atomic_store(&flush_errno, 0);
	while (tp_ledger_trouble(l))
		(void)sched_yield();
	cr_assert_eq(next_of(l), 1001);
	cr_assert_eq(tp_ledger_close(l), 0);
}

static void set_reserved(const char *state, uint64_t reserved)
{
	reserved = htole64(reserved);
	meddle(state, "meta", "generation", &reserved, sizeof(reserved));
}

Test(generations, one_that_reserved_small_blocks_is_opened)
{
	SCRATCH(dir);
	struct tp_ledger *l;

	cr_assert_eq(tp_ledger_close(opened(dir.path)), 0);
	set_reserved(dir.path, 3 * 65536);
	l = opened(dir.path);
	cr_assert_eq(next_of(l), 3 * 65536 + 1);
	cr_assert_eq(tp_ledger_close(l), 0);
}

Test(generations, the_last_generations_are_given_out_and_then_none)
{
	SCRATCH(dir);
	struct tp_ledger *l;

	cr_assert_eq(tp_ledger_close(opened(dir.path)), 0);
	set_reserved(dir.path, TP_NUMBERS_MAX - 10);
	for (unsigned round = 0; round < 2; round++) {
		l = opened(dir.path);
		for (unsigned i = 0; i < 5; i++)
			cr_assert_eq(next_of(l), TP_NUMBERS_MAX - 9 + 5 * round + i);
		cr_assert_eq(tp_ledger_close(l), 0);
	}
	for (unsigned round = 0; round < 2; round++) {
		l = opened(dir.path);
		cr_assert_eq(tp_ledger_next_generation(l), 0);
		cr_assert_eq(change(l, "a", "1"), 0);
		cr_assert_eq(tp_ledger_close(l), 0);
	}
	/* Nobody reserves that. */
	set_reserved(dir.path, UINT64_MAX);
	l = opened(dir.path);
	cr_assert_eq(tp_ledger_next_generation(l), 0);
	cr_assert_eq(tp_ledger_close(l), 0);
}
